//! The parts that several roles share, opened from a configuration.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::{
    catalog::roles::Roles,
    clock::{Clock, SystemClock},
    config::Config,
    depot::{Depot, fs::FsDepot},
    ledger::{Ledger, sqlite::SqliteLedger},
    server::StartError,
    telemetry::Metrics,
    upstream::{
        Upstream,
        http::HttpUpstream,
        reach::{Noted, Reach},
        secure::Authorities,
    },
};

/// Parts to use in place of those that the configuration names.
#[derive(Clone, Default)]
pub struct Overrides {
    clock: Option<Arc<dyn Clock>>,
    depot: Option<Arc<dyn Depot>>,
    upstream: Option<Arc<dyn Upstream>>,
}

impl Overrides {
    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Another depot than the folder of `[depot]`. A signer in another process opens its own.
    #[must_use]
    pub fn depot(mut self, depot: Arc<dyn Depot>) -> Self {
        self.depot = Some(depot);
        self
    }

    /// Another way than HTTP for reads of tracked paths; uploads and what no rule tracks always go to `[upstream] url`.
    #[must_use]
    pub fn upstream(mut self, upstream: Arc<dyn Upstream>) -> Self {
        self.upstream = Some(upstream);
        self
    }
}

/// Ledger and depot.
#[derive(Clone)]
pub struct Store {
    /// The record.
    pub ledger: Arc<dyn Ledger>,
    /// The metadata.
    pub depot: Arc<dyn Depot>,
}

impl Store {
    /// Opens what `tufgate init` made; nothing is created here, so that a wrong path is an error and not an empty
    /// ledger.
    pub fn existing(config: &Config) -> Result<Self, StartError> {
        if !config.ledger.exists() {
            return Err(StartError::no_ledger(config));
        }
        Ok(Self {
            ledger: Arc::new(SqliteLedger::open(&config.ledger)?),
            depot: Arc::new(FsDepot::open(&config.depot)?),
        })
    }
}

/// What every role of a process shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) depot: Arc<dyn Depot>,
    /// What the depot lists of roles that others sign, read once.
    pub(super) roles: Arc<Roles>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    /// Fires when something is pending for the signer.
    pub(super) wake: Arc<Notify>,
    /// Fires when `[keys]` are to be read again.
    pub(super) reload: Arc<Notify>,
    /// Version of the last snapshot that a signer in this process published.
    pub(super) published: watch::Sender<u64>,
    /// Whether the upstream answers.
    pub(super) reach: Reach,
    upstream: Option<Arc<dyn Upstream>>,
}

impl Shared {
    pub(super) fn open(config: &Config, overrides: Overrides) -> Result<Self, StartError> {
        let store = Store::existing(config)?;
        let metrics = Metrics::new()?;
        let depot = overrides.depot.unwrap_or(store.depot);
        Ok(Self {
            reach: Reach::new(&metrics),
            ledger: store.ledger,
            roles: Arc::new(Roles::new(Arc::clone(&depot))),
            depot,
            clock: overrides.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            metrics,
            wake: Arc::default(),
            reload: Arc::default(),
            published: watch::Sender::new(0),
            upstream: overrides.upstream,
        })
    }

    /// The upstream, for reads.
    pub(super) fn upstream(&self, config: &Config, authorities: &Authorities) -> Result<Arc<dyn Upstream>, StartError> {
        let upstream = match &self.upstream {
            Some(upstream) => Arc::clone(upstream),
            None => Arc::new(HttpUpstream::new(&config.upstream, authorities)?),
        };
        Ok(Arc::new(Noted::new(upstream, self.reach.clone())))
    }
}
