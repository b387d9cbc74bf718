//! `tufgate root` and `tufgate targets`: ceremonies by file. The same four steps for both; `ceremony` has the rules.

pub(super) mod edit;
pub(super) mod file;
mod make;
mod publish;
mod roles;
mod show;
mod sign;
mod status;

use clap::{Args, Subcommand};

use crate::{
    ceremony::{CeremonyError, Kind, Moment},
    cli::{CliError, operator},
    clock::{Clock as _, SystemClock},
    terminal::printable,
};

/// Change root: draft, sign, status, publish
///
/// The draft is a file: it goes to each signer by git, mail or a USB stick, and comes back with one more signature. To
/// sign one needs this program and the draft, and no network. The published draft is the record of the ceremony.
#[derive(Args, Debug)]
pub struct Root {
    #[command(subcommand)]
    step: Step,
}

/// Change targets.json: roles that others sign, and keys where it is signed offline: draft, sign, status, publish
///
/// The same four steps as for root, signed by the keys that root lists for `targets`. Where the gate holds them, it takes the
/// new version up and signs what follows.
#[derive(Args, Debug)]
pub struct Targets {
    #[command(subcommand)]
    step: Step,
}

/// A step of a ceremony.
#[derive(Debug, Subcommand)]
enum Step {
    Draft(make::Make),
    Sign(sign::Sign),
    Status(status::Status),
    Publish(publish::Publish),
}

impl Root {
    /// Makes the step.
    pub fn run(self) -> Result<(), CliError> {
        self.step.run(Kind::Root)
    }
}

impl Targets {
    /// Makes the step.
    pub fn run(self) -> Result<(), CliError> {
        self.step.run(Kind::Targets)
    }
}

impl Step {
    fn run(self, kind: Kind) -> Result<(), CliError> {
        match self {
            Self::Draft(make) => make.run(kind),
            Self::Sign(sign) => sign.run(kind),
            Self::Status(status) => status.run(kind),
            Self::Publish(publish) => publish.run(kind),
        }
    }
}

/// This user, now.
pub(super) fn moment() -> Moment {
    Moment {
        at: SystemClock.now(),
        by: operator::who(),
    }
}

/// A fault of a draft, for people: what others wrote moves no cursor.
pub(super) fn failed(error: CeremonyError) -> CliError {
    let text = printable(&error.to_string());
    let failed = match &error {
        CeremonyError::Malformed(_) | CeremonyError::Altered(_) => CliError::damaged(text),
        _ => CliError::failed(text),
    };
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
