//! `tufgate audit`: depot and ledger against each other and against themselves, and who may touch their files.

use std::path::PathBuf;

use clap::Args;

use crate::{
    audit::{self, Report, Severity, Subject},
    cli::{CliError, block_on, print, print_json},
    clock::{Clock as _, SystemClock},
    config::Config,
    depot::fs::FsDepot,
    ledger::{Ledger, sqlite::SqliteLedger},
    server::StartError,
};

/// Check ledger and depot against each other, every byte and every row
///
/// Reads only, and may run beside the gate. Exit code 0: nothing to do; 1: warnings; 65: damaged data.
#[derive(Debug, Args)]
pub struct Audit {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Audit {
    /// Prints what was found; the exit code is that of the worst of it.
    pub fn run(self) -> Result<(), CliError> {
        let config = Config::load(&self.config)?;
        if !config.ledger.exists() {
            return Err(StartError::no_ledger(&config).into());
        }
        let report = block_on(report(&config))?;
        match self.json {
            true => print_json(&report)?,
            false => print(&report)?,
        }
        let of = |severity| report.findings().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let warnings = audit::counted(warnings as u64, "warning");
        match report.exit_code() {
            0 => Ok(()),
            65 => {
                let errors = audit::counted(errors as u64, "error");
                Err(CliError::damaged(format_args!("data is damaged: {errors}, {warnings}")))
            }
            code => Err(CliError::new(code, warnings)),
        }
    }
}

async fn report(config: &Config) -> Report {
    let ledger = SqliteLedger::look(&config.ledger);
    let depot = FsDepot::look(&config.depot);
    let subject = Subject {
        config,
        ledger: ledger.as_ref().map(|ledger| ledger as &dyn Ledger),
        depot: &depot,
        now: SystemClock.now(),
    };
    audit::audit(subject).await
}
