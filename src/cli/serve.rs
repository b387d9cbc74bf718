//! `tufgate serve`: the gate. One process for proxy and admin, the signer as its child; or one role alone.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::CliError,
    config::Config,
    server::{self, Overrides, Roles, SignerPlace, Stopped, check, child, child::SignerProgram},
    telemetry,
};

/// Run the gate
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Run one role alone; by default all of them, the signer as a process of its own
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Check all that a start asks of configuration, keys, ledger and depot, and exit
    #[arg(long)]
    check: bool,
    /// End when standard input closes, and say `ready` on standard output: how a parent process runs it
    #[arg(long, hide = true)]
    supervised: bool,
}

/// A role of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Role {
    /// Health, metrics and status on loopback
    Admin,
    /// The public listener
    Proxy,
    /// Turns observations into signed metadata; the only one that opens keys
    Signer,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(self) -> Result<(), CliError> {
        let config = Config::load(&self.config)?;
        if self.check {
            return check(&config);
        }
        telemetry::init(&config.log).map_err(CliError::config)?;
        let roles = match self.role {
            None => Roles {
                proxy: true,
                admin: true,
                signer: SignerPlace::Child(this_program(&config)?),
            },
            Some(role) => Roles {
                proxy: role == Role::Proxy,
                admin: role == Role::Admin,
                signer: match role {
                    Role::Signer => SignerPlace::Here,
                    _ => SignerPlace::Elsewhere,
                },
            },
        };
        let ends = match (self.supervised, self.role) {
            (false, _) => Ends::Signals,
            (true, Some(Role::Signer)) => Ends::Input,
            (true, _) => Ends::SignalsOrInput,
        };
        let nothing = async { Ok(()) };
        let proxy = roles.proxy;
        serve(config, roles, nothing, ends, |running| {
            if proxy {
                warn_of_address();
            }
            if self.supervised {
                tokio::spawn(child::report(running.published.clone(), running.metrics.clone()));
            }
        })
    }
}

/// DESIGN 4: what an operator finds out too late otherwise.
pub fn warn_of_address() {
    tracing::warn!(
        "the upstream now sees this gate's address instead of its clients': rules there that go by address or client \
         certificate need a look"
    );
}

/// This program as signer, for a configuration.
pub fn this_program(config: &Config) -> Result<SignerProgram, CliError> {
    SignerProgram::this(&config.file)
        .map_err(|error| CliError::failed(format_args!("this program's own file: {error}")))
}

/// On a runtime with the configured number of threads: does what comes `before`, starts the roles, calls `started`, and
/// ends them once one of `ends` comes.
pub fn serve(
    config: Config,
    roles: Roles,
    before: impl Future<Output = Result<(), CliError>>,
    ends: Ends,
    started: impl FnOnce(&server::Running),
) -> Result<(), CliError> {
    let grace = config.gate.grace;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.gate.threads)
        .thread_name("tufgate")
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format_args!("no runtime: {error}")))?;
    let ended = runtime.block_on(async {
        // From now on SIGHUP ends nothing; `Ends` hears it.
        let _hangup = signal(SignalKind::hangup());
        before.await?;
        let running = server::start(config, roles, Overrides::default()).await?;
        started(&running);
        let reason = ends.wait(&running).await;
        // A signer's end is a part of its gate's.
        let told = ends != Ends::Input;
        if told {
            tracing::info!(
                reason,
                "shutting down; waiting at most {grace:?} for requests in flight"
            );
        }
        let stopped = running.stop().await;
        if told {
            tracing::info!("stopped; {stopped}");
        }
        Ok::<_, CliError>(stopped)
    });
    // Whatever is left was cut: the grace is over.
    runtime.shutdown_timeout(Duration::ZERO);
    match ended? {
        Stopped::Whole => Ok(()),
        Stopped::Cut(what) => Err(CliError::failed(format_args!("stopped, but cut {what}"))),
    }
}

/// Takes as many descriptors as the hard limit allows. The soft limit of most shells and service managers, 1,024, is for
/// the sake of `select`, which nothing here calls, and less than the connections of a busy gate.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // A system may allow less than it says; the gate then runs with what it was given.
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}

/// What ends a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ends {
    /// SIGTERM or SIGINT.
    Signals,
    /// Those, or SIGHUP: the terminal is gone.
    SignalsOrHangup,
    /// SIGTERM, SIGINT, or the end of its standard input.
    SignalsOrInput,
    /// The end of its standard input alone. A signer under its gate ignores signals: a terminal's Ctrl-C and a service
    /// manager reach both, and the gate still needs it while requests in flight end.
    Input,
}

impl Ends {
    /// Waits for it; says which it was. SIGHUP that ends nothing has keys read again.
    async fn wait(self, running: &server::Running) -> &'static str {
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
        else {
            return "signals cannot be received";
        };
        let input = matches!(self, Self::SignalsOrInput | Self::Input);
        let mut input_ends = std::pin::pin!(input_ends());
        loop {
            tokio::select! {
                _ = terminate.recv(), if self != Self::Input => return "SIGTERM",
                _ = interrupt.recv(), if self != Self::Input => return "SIGINT",
                _ = hangup.recv() => match self {
                    Self::SignalsOrHangup => return "SIGHUP",
                    // Its gate says so, and has passed the signal on.
                    Self::Input => running.reload(),
                    _ => {
                        tracing::info!(
                            "SIGHUP: `[keys]` and the certificate of `[gate.tls]` are read again; anything else that was \
                             changed takes a restart"
                        );
                        running.reload();
                    }
                },
                () = &mut input_ends, if input => return "the parent process is done",
            }
        }
    }
}

async fn input_ends() {
    let mut bytes = [0; 64];
    while matches!(tokio::io::stdin().read(&mut bytes).await, Ok(1..)) {}
}

/// `--check`.
fn check(config: &Config) -> Result<(), CliError> {
    super::block_on(check::check(config))??;
    let file = config.file.display();
    super::print(format_args!(
        "{file}: the gate can start: configuration and keys are good, the ledger's rows and audit chain hold, the files \
         that the depot lists are there, and the signer can go on from both\n\
         not looked at: the upstream, whether the ports are free, superseded files, bins against rows; `tufgate audit \
         --config {file}` reads every byte"
    ))
}
