//! Each role as the supervisor starts it, again and again if need be.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::server::configuration::ServerConf;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify, oneshot},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin},
    catalog::Catalog,
    config::Config,
    intake::Intake,
    proxy::{Gate, GateProxy},
    server::{
        StartError,
        accept::Speech,
        certificate::Renewal,
        child::SignerProgram,
        expiry::Expiry,
        listen::Bound,
        parts::Shared,
        signer::Opened,
        stop::{Kept, Running, Stops},
        supervise::{Ready, Supervisor},
    },
    wake,
};

/// Pause after a catalog refresh that failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(1);

/// Says once how the signer's first start went.
pub(super) type FirstStart = oneshot::Sender<Result<(), StartError>>;

/// Starts roles and keeps what stops them.
pub(super) struct Keeper {
    pub(super) config: Arc<Config>,
    pub(super) shared: Shared,
    supervisor: Supervisor,
    pub(super) open: TaskTracker,
    kept: Vec<(&'static str, Kept)>,
    pub(super) stops: Stops,
}

impl Keeper {
    pub(super) fn new(config: Arc<Config>, shared: Shared, supervisor: Supervisor) -> Self {
        Self {
            config,
            shared,
            supervisor,
            open: TaskTracker::new(),
            kept: Vec::new(),
            stops: Stops::default(),
        }
    }

    pub(super) fn running(self, (addr, admin_addr): (Option<SocketAddr>, Option<SocketAddr>)) -> Running {
        Running {
            addr,
            admin_addr,
            health: self.supervisor.health,
            metrics: self.shared.metrics,
            published: self.shared.published.subscribe(),
            reload: self.shared.reload,
            grace: self.config.gate.grace,
            open: self.open,
            stops: self.stops,
            kept: self.kept,
        }
    }

    /// Starts a role and keeps it running until `shutdown`.
    pub(super) fn keep<F>(
        &mut self,
        name: &'static str,
        shutdown: CancellationToken,
        start: impl FnMut(Ready) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let kept = self.supervisor.keep(name, shutdown, start);
        self.kept.push((name, kept));
    }

    /// Health, metrics and status.
    pub(super) fn admin(&mut self, bound: Bound) {
        let shutdown = self.stops.admin.clone();
        let admin = Admin {
            health: Arc::clone(&self.supervisor.health),
            metrics: self.shared.metrics.clone(),
            ledger: Arc::clone(&self.shared.ledger),
            roles: Arc::clone(&self.shared.roles),
            clock: Arc::clone(&self.shared.clock),
        };
        let kept = self.supervisor.keep("admin", shutdown.clone(), move |ready| {
            let (admin, shutdown, listener) = (admin.clone(), shutdown.clone(), bound.another());
            async move {
                let listener = listener
                    .and_then(TcpListener::from_std)
                    .map_err(|error| error.to_string())?;
                ready.up();
                admin::serve(admin, listener, shutdown.cancelled_owned())
                    .await
                    .map_err(|error| error.to_string())
            }
        });
        self.kept.push(("admin", kept));
    }

    /// The public listener.
    pub(super) fn proxy(&mut self, bound: Bound, gate: Gate, mut speech: Speech) {
        speech.express = Some(Arc::new(gate.clone()));
        let conf = Arc::new(ServerConf {
            threads: self.config.gate.threads,
            // Nobody: the gate names whom to trust with each connection. Pingora would read the system's authorities
            // here whether they are needed or not, and panic at one that it cannot use.
            ca_file: Some("/dev/null".to_owned()),
            ..ServerConf::default()
        });
        let (bound, open, shutdown) = (Arc::new(bound), self.open.clone(), self.stops.proxy.clone());
        let kept = self.supervisor.keep("proxy", shutdown.clone(), move |ready| {
            let (bound, conf, gate) = (Arc::clone(&bound), Arc::clone(&conf), GateProxy(gate.clone()));
            let (speech, open, shutdown) = (speech.clone(), open.clone(), shutdown.clone());
            async move {
                ready.up();
                bound
                    .serve(&conf, gate, speech, open, shutdown)
                    .await
                    .map_err(|error| error.to_string())
            }
        });
        self.kept.push(("proxy", kept));
    }

    /// Notices before roles end that the signer cannot renew.
    pub(super) fn expiry(&mut self) {
        let shutdown = self.stops.admin.clone();
        let (roles, clock) = (Arc::clone(&self.shared.roles), Arc::clone(&self.shared.clock));
        let online = self.config.keys.targets.is_some();
        let kept = self.supervisor.keep("expiry", shutdown.clone(), move |ready| {
            let expiry = Expiry::new(Arc::clone(&roles), Arc::clone(&clock), online);
            expiry.run(ready, shutdown.clone())
        });
        self.kept.push(("expiry", kept));
    }

    /// The listener's certificate, read again when its files change.
    pub(super) fn certificate(&mut self, renewal: Renewal) {
        let (renewal, shutdown) = (Arc::new(Mutex::new(renewal)), self.stops.proxy.clone());
        let kept = self.supervisor.keep("certificate", shutdown.clone(), move |ready| {
            let (renewal, shutdown) = (Arc::clone(&renewal), shutdown.clone());
            async move { renewal.lock().await.run(ready, shutdown).await }
        });
        self.kept.push(("certificate", kept));
    }

    /// Intents, doubts, neutral reads asked for, the hourly probe.
    pub(super) fn intake(&mut self, intake: Arc<Intake>) {
        let shutdown = self.stops.intake.clone();
        let kept = self.supervisor.keep("intake", shutdown.clone(), move |ready| {
            let (intake, shutdown) = (Arc::clone(&intake), shutdown.clone());
            async move {
                ready.up();
                intake.run(shutdown).await;
                Ok(())
            }
        });
        self.kept.push(("intake", kept));
    }

    /// The wire to the signer, and a fresh catalog after each publication.
    pub(super) fn catalog(&mut self, catalog: Arc<Catalog>) {
        let (socket, wake) = (self.config.signer.socket.clone(), Arc::clone(&self.shared.wake));
        let shutdown = self.stops.catalog.clone();
        let kept = self.supervisor.keep("catalog", shutdown.clone(), move |ready| {
            // A notification that comes while the catalog is read is kept: many publications, one more look.
            let published = Arc::new(Notify::new());
            let on_published = Arc::clone(&published);
            let wire = wake::run(
                socket.clone(),
                Arc::clone(&wake),
                move || on_published.notify_one(),
                shutdown.clone(),
            );
            let catalog = Arc::clone(&catalog);
            async move {
                let mut served = catalog.subscribe();
                // Up once there is something to serve: a gate that is ready answers `/metadata`.
                let up = async {
                    if served.wait_for(|served| served.timestamp > 0).await.is_ok() {
                        ready.up();
                    }
                    std::future::pending().await
                };
                tokio::select! {
                    () = wire => Ok(()),
                    never = refresh(&catalog, &published) => never,
                    never = up => never,
                }
            }
        });
        self.kept.push(("catalog", kept));
    }

    /// The signer as a child process.
    pub(super) fn signer_child(&mut self, program: SignerProgram, first: FirstStart) {
        let (shutdown, deadline) = (self.stops.signer.clone(), Arc::clone(&self.stops.deadline));
        let (metrics, grace) = (self.shared.metrics.clone(), self.config.gate.grace);
        let reload = Arc::clone(&self.shared.reload);
        let mut first = Some(first);
        let kept = self.supervisor.keep("signer", shutdown.clone(), move |ready| {
            let (program, shutdown, deadline) = (program.clone(), shutdown.clone(), Arc::clone(&deadline));
            let (metrics, reload, mut first) = (metrics.clone(), Arc::clone(&reload), first.take());
            async move {
                let started = tokio::select! {
                    started = program.start() => started,
                    () = shutdown.cancelled() => return Ok(()),
                };
                let child = match started {
                    Ok(child) => child,
                    Err(error) => return refuse(&mut first, error.into(), &shutdown).await,
                };
                tell(&mut first, Ok(()));
                ready.up();
                let left = move || {
                    let deadline = deadline.get().copied().unwrap_or_else(|| Instant::now() + grace);
                    deadline.saturating_duration_since(Instant::now())
                };
                child
                    .attend(shutdown, left, &reload, &metrics)
                    .await
                    .map_err(|error| error.to_string())
            }
        });
        self.kept.push(("signer", kept));
    }

    /// The signer in this process.
    pub(super) fn signer_here(&mut self, first: FirstStart) {
        let (config, shared, shutdown) = (Arc::clone(&self.config), self.shared.clone(), self.stops.signer.clone());
        let mut first = Some(first);
        let kept = self.supervisor.keep("signer", shutdown.clone(), move |ready| {
            let (config, shared, shutdown) = (Arc::clone(&config), shared.clone(), shutdown.clone());
            let mut first = first.take();
            async move {
                let signer = match Opened::new(config, shared, &shutdown).await {
                    Ok(Some(signer)) => signer,
                    Ok(None) => return Ok(()),
                    Err(error) => return refuse(&mut first, error, &shutdown).await,
                };
                tell(&mut first, Ok(()));
                ready.up();
                signer.run(shutdown).await
            }
        });
        self.kept.push(("signer", kept));
    }
}

/// Says how the first start went; `false` when nobody waits for it any more.
fn tell(first: &mut Option<FirstStart>, outcome: Result<(), StartError>) -> bool {
    first.take().is_some_and(|first| first.send(outcome).is_ok())
}

/// A start that failed: the first ends the gate, which says why; a later one is the supervisor's business.
async fn refuse(first: &mut Option<FirstStart>, error: StartError, shutdown: &CancellationToken) -> Result<(), String> {
    let text = error.to_string();
    if !tell(first, Err(error)) {
        return Err(text);
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn refresh(catalog: &Catalog, published: &Notify) -> Result<(), String> {
    loop {
        published.notified().await;
        while let Err(error) = catalog.refresh().await {
            tracing::error!(%error, "the new metadata cannot be served; the last stays");
            sleep(REFRESH_AGAIN).await;
        }
    }
}
