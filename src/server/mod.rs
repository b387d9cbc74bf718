//! Wiring and supervision: makes the parts, binds the listeners, starts the roles and ends them in order. It decides
//! nothing about requests, records or signatures.
//!
//! `tufgate serve` starts proxy and admin on the runtime it is called on and the signer as a child process ([`start`]);
//! tests start all roles in one process, on port 0. A program that has the gate inside its own Pingora application gets
//! everything but the public listener from [`embed`].

mod accept;
mod access;
mod certificate;
pub mod check;
pub mod child;
pub mod error;
mod expiry;
mod express;
mod http2;
pub mod listen;
mod newer;
pub mod parts;
mod roles;
mod signer;
mod stop;
mod supervise;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

pub use self::{
    child::SignerProgram,
    error::{EmbedError, StartError},
    parts::{Overrides, Store},
    stop::{Running, Stopped},
};
use crate::{
    admin::health::Health,
    cache::Cache,
    catalog::Catalog,
    config::Config,
    intake::{self, Intake},
    proxy::{Gate, GateParts, Host},
    server::{listen::Bound, parts::Shared, roles::Keeper, supervise::Supervisor},
    upstream::{neutral::Reader, secure::Authorities},
};

/// Longest wait for the signer before the listener serves: reads do not need it, but a wrong key should end a start.
const SIGNER_PATIENCE: Duration = Duration::from_secs(10);

/// Which roles this process has.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The public listener.
    pub proxy: bool,
    /// The admin listener, where one is configured.
    pub admin: bool,
    /// The signer.
    pub signer: SignerPlace,
}

/// Where the signer runs: the worker that turns what the gate recorded into signed metadata, and the only one that opens
/// the online keys.
#[derive(Clone, Debug)]
pub enum SignerPlace {
    /// As a child process of this one, started again when it dies: the keys stay out of this process' memory.
    Child(SignerProgram),
    /// Not under this process: `tufgate serve --role signer` runs beside it.
    Elsewhere,
    /// In this process, on the runtime that the gate was started on.
    Here,
}

impl Roles {
    /// Every role in this process, for tests.
    #[cfg(test)]
    pub fn here() -> Self {
        Self {
            proxy: true,
            admin: true,
            signer: SignerPlace::Here,
        }
    }
}

/// Binds the listeners, opens the parts, recovers what a crash left, and starts the roles on the current runtime. When
/// it returns, requests are served.
pub async fn start(config: Config, roles: Roles, overrides: Overrides) -> Result<Running, StartError> {
    // First of all: a port that is taken must be an error before anything else happens.
    let listener = roles.proxy.then(|| bind("gate", config.gate.listen)).transpose()?;
    let addr = listener.as_ref().map(Bound::addr);
    let (mut keeper, admin_addr) = background(config, roles.admin, roles.signer, overrides).await?;
    if let Some(listener) = listener {
        let gate = keeper.proxy_parts().await.map(Gate::new);
        let gate = gate.inspect_err(|_| keeper.stops.abandon())?;
        let speech = keeper.speech().inspect_err(|_| keeper.stops.abandon())?;
        keeper.proxy(listener, gate, speech);
    }
    let running = keeper.running((addr, admin_addr));
    if let Some(addr) = addr {
        tracing::info!(gate.addr = %addr, "serving on {addr}");
    }
    Ok(running)
}

/// Starts the gate inside another Pingora application: everything but the public listener, on the current tokio runtime,
/// which must live until [`Running::stop`] has returned. Once this returns, the gate's methods may be called from the
/// application's filters, on any runtime.
///
/// `tufgate init` must have been over the configuration's folder. `[gate] listen` and `threads` mean nothing to the gate
/// here: the listener is the application's.
///
/// # Errors
///
/// What would also keep `tufgate serve` from starting: bad keys, a damaged ledger or depot, an admin address in use, an
/// upstream that asks anonymous readers for credentials. Nothing is left running then.
pub async fn embed(config: Config, signer: SignerPlace, overrides: Overrides) -> Result<(Gate, Running), EmbedError> {
    let (mut keeper, admin_addr) = background(config, true, signer, overrides).await?;
    let parts = keeper.proxy_parts().await.inspect_err(|_| keeper.stops.abandon())?;
    let gate = Gate::in_host(
        parts,
        Host {
            requests: keeper.open.clone(),
            stopping: keeper.stops.proxy.clone(),
        },
    );
    Ok((gate, keeper.running((None, admin_addr))))
}

/// Opens what all roles share and starts admin and signer. On failure nothing is left running.
async fn background(
    config: Config,
    admin: bool,
    signer: SignerPlace,
    overrides: Overrides,
) -> Result<(Keeper, Option<SocketAddr>), StartError> {
    let config = Arc::new(config);
    // One process of a gate watches, whether its admin listener is on or off.
    let watched = admin;
    let admin_addr = config.admin.listen.filter(|_| admin);
    let admin = admin_addr.map(|addr| bind("admin", addr)).transpose()?;
    let shared = Shared::open(&config, overrides)?;
    let supervisor = Supervisor {
        health: Arc::new(Health::default()),
        metrics: shared.metrics.clone(),
    };
    let mut keeper = Keeper::new(config, shared, supervisor);
    let admin_addr = admin.as_ref().map(Bound::addr);
    if let Some(admin) = admin {
        keeper.admin(admin);
    }
    if watched {
        keeper.expiry();
    }
    let (outcome, refused) = oneshot::channel();
    match signer {
        SignerPlace::Child(program) => keeper.signer_child(program, outcome),
        SignerPlace::Here => keeper.signer_here(outcome),
        SignerPlace::Elsewhere => drop(outcome),
    }
    if let Ok(Ok(Err(error))) = timeout(SIGNER_PATIENCE, refused).await {
        keeper.stops.abandon();
        return Err(error);
    }
    if let Some(addr) = admin_addr {
        tracing::info!(admin.addr = %addr, "health, metrics and status on {addr}");
    }
    Ok((keeper, admin_addr))
}

fn bind(what: &'static str, addr: SocketAddr) -> Result<Bound, StartError> {
    if what == "admin" && !addr.ip().is_loopback() {
        return Err(StartError::AdminNotLoopback { addr });
    }
    Bound::to(addr).map_err(|source| StartError::Listen { what, addr, source })
}

impl Keeper {
    /// Opens the parts only a proxy has, and starts the roles that go with them.
    async fn proxy_parts(&mut self) -> Result<GateParts, StartError> {
        let (config, shared) = (Arc::clone(&self.config), self.shared.clone());
        let catalog = Arc::new(Catalog::new(Arc::clone(&shared.depot), Arc::clone(&shared.ledger)));
        catalog.refresh().await?;
        let authorities = Authorities::load(&config.upstream)?;
        let upstream = shared.upstream(&config, &authorities)?;
        let anybody = self.access(&upstream).await?;
        let cache = Cache::open(&config.cache, &shared.metrics)?;
        let reader = Reader::new(Arc::clone(&upstream), config.upstream.max_reads, shared.metrics.clone());
        let intake = Intake::new(intake::Parts {
            config: Arc::clone(&config),
            ledger: Arc::clone(&shared.ledger),
            catalog: Arc::clone(&catalog),
            upstream: Arc::clone(&upstream),
            reader: Arc::new(reader),
            metrics: shared.metrics.clone(),
            clock: Arc::clone(&shared.clock),
            wake: Arc::clone(&shared.wake),
        });
        // Before the first request: an upload to a path whose last upload is in doubt must find the doubt.
        intake.recover().await?;
        tracing::info!(upstream.url = %config.upstream.url, "in front of {}", config.upstream.url);
        self.catalog(Arc::clone(&catalog));
        self.intake(Arc::clone(&intake));
        Ok(GateParts {
            config,
            intake,
            catalog,
            upstream,
            anybody,
            reach: shared.reach,
            cache,
            authorities,
            metrics: shared.metrics,
        })
    }
}

#[cfg(test)]
mod tests;
