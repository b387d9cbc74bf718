//! Wiring and supervision: makes the parts, binds the listeners, starts the roles and ends them in order. It decides
//! nothing about requests, records or signatures.
//!
//! `tufgate serve` starts proxy and admin on the runtime it is called on and the signer as a child process; tests and
//! programs that embed the gate start all roles in one process, on port 0.

pub mod check;
pub mod child;
pub mod error;
pub mod listen;
pub mod parts;
mod roles;
mod signer;
mod stop;
pub mod supervise;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use tokio::{sync::oneshot, time::timeout};

pub use self::{
    error::StartError,
    parts::{Overrides, Store},
    stop::{Running, Stopped},
};
use crate::{
    admin::health::Health,
    catalog::Catalog,
    config::Config,
    intake::{self, Intake},
    proxy::{Gate, GateParts},
    server::{child::SignerProgram, listen::Bound, parts::Shared, roles::Keeper, supervise::Supervisor},
    spool::Spool,
    upstream::{Ask, Upstream, neutral::Reader},
};

/// Longest wait for the signer before the listener serves: reads do not need it, but a wrong key should end a start.
const SIGNER_PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for the upstream's word on anonymous readers.
const CHALLENGE_PATIENCE: Duration = Duration::from_secs(5);

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

/// Where the signer runs.
#[derive(Clone, Debug)]
pub enum SignerPlace {
    /// As a child process of this one.
    Child(SignerProgram),
    /// Not under this process.
    Elsewhere,
    /// In this process.
    Here,
}

impl Roles {
    /// Every role in this process, for tests and embedding.
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
    let config = Arc::new(config);
    // First of all: a port that is taken must be an error before anything else happens.
    let gate = roles.proxy.then(|| bind("gate", config.gate.listen)).transpose()?;
    let admin_addr = config.admin.listen.filter(|_| roles.admin);
    let admin = admin_addr.map(|addr| bind("admin", addr)).transpose()?;

    let shared = Shared::open(&config, overrides)?;
    let supervisor = Supervisor {
        health: Arc::new(Health::default()),
        metrics: shared.metrics.clone(),
    };
    let mut keeper = Keeper::new(Arc::clone(&config), shared.clone(), supervisor.clone());

    let addrs = (gate.as_ref().map(Bound::addr), admin.as_ref().map(Bound::addr));
    if let Some(admin) = admin {
        keeper.admin(admin);
    }
    let (outcome, refused) = oneshot::channel();
    match roles.signer {
        SignerPlace::Child(program) => keeper.signer_child(program, outcome),
        SignerPlace::Here => keeper.signer_here(outcome),
        SignerPlace::Elsewhere => drop(outcome),
    }
    if let Ok(Ok(Err(error))) = timeout(SIGNER_PATIENCE, refused).await {
        keeper.stops.abandon();
        return Err(error);
    }
    if let Some(gate) = gate {
        proxy(&config, &shared, &mut keeper, gate).await?;
    }
    let running = keeper.running(addrs);
    if let Some(addr) = running.addr {
        tracing::info!(gate.addr = %addr, upstream.url = %config.upstream.url, "serving on {addr}");
    }
    if let Some(addr) = running.admin_addr {
        tracing::info!(admin.addr = %addr, "health, metrics and status on {addr}");
    }
    Ok(running)
}

fn bind(what: &'static str, addr: SocketAddr) -> Result<Bound, StartError> {
    if what == "admin" && !addr.ip().is_loopback() {
        return Err(StartError::AdminNotLoopback { addr });
    }
    Bound::to(addr).map_err(|source| StartError::Listen { what, addr, source })
}

/// The parts only a proxy has, and its roles.
async fn proxy(config: &Arc<Config>, shared: &Shared, keeper: &mut Keeper, bound: Bound) -> Result<(), StartError> {
    let catalog = Arc::new(Catalog::new(Arc::clone(&shared.depot), Arc::clone(&shared.ledger)));
    catalog.refresh().await?;
    let upstream = shared.upstream(config)?;
    if config.gate.metadata_access.is_none() {
        unchallenged(&*upstream).await?;
    }
    let spool = Spool::new(
        &config.gate.spool,
        config.gate.spool_max_object,
        config.gate.spool_max_total,
    )?;
    let reader = Reader::new(Arc::clone(&upstream), config.upstream.max_reads, shared.metrics.clone());
    let intake = Intake::new(intake::Parts {
        config: Arc::clone(config),
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
    let gate = Gate::new(GateParts {
        config: Arc::clone(config),
        intake: Arc::clone(&intake),
        catalog: Arc::clone(&catalog),
        upstream,
        spool: Arc::new(spool),
        metrics: shared.metrics.clone(),
    });
    tracing::warn!(
        "the upstream now sees this gate's address instead of its clients': rules there that go by address or client \
         certificate need a look"
    );
    keeper.catalog(catalog);
    keeper.intake(intake);
    keeper.proxy(bound, gate);
    Ok(())
}

/// Whether anybody may read (DESIGN 4, "the gate never widens access"). An upstream that does not answer now is no
/// reason not to start.
async fn unchallenged(upstream: &dyn Upstream) -> Result<(), StartError> {
    let ask = Ask {
        method: Method::GET,
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        identity: false,
    };
    match timeout(CHALLENGE_PATIENCE, upstream.ask(ask)).await {
        Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED => Err(StartError::Challenged),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the upstream was not asked whether it challenges anonymous readers");
            Ok(())
        }
        Err(_) => {
            tracing::warn!("the upstream did not say in time whether it challenges anonymous readers");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
