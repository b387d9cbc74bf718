//! What can end a turn, and which exit code it means.

use crate::{
    compat::Violation, depot::DepotError, keys::KeyError, ledger::LedgerError, tuf::canonical::CanonicalError,
};

/// A failed turn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// What is public is newer than what ledger and depot know of.
    #[error(
        "`{url}` shows version {public} of `{role}`, and the ledger handed out no more than {reserved}: ledger and depot are \
         older copies, and to sign would repeat versions clients have seen"
    )]
    Behind {
        /// Where it is public.
        url: String,
        /// The role.
        role: String,
        /// Its version there.
        public: u64,
        /// The highest that the ledger ever handed out.
        reserved: u64,
    },
    /// Not a power of two from 2 to 16,384.
    #[error("`tuf.bins` is {0}; it must be a power of two from 2 to 16384")]
    Bins(u32),
    /// Another signer publishes.
    #[error("another signer holds the lease")]
    Busy,
    /// The wall clock cannot be trusted.
    #[error(
        "the clock is off by {seconds} s ({than}); nothing is signed until it is right again{}",
        if_right(than)
    )]
    Clock {
        /// Forwards when positive.
        seconds: i64,
        /// Than what.
        than: &'static str,
    },
    /// A file in the depot is not what it must be.
    #[error("`{name}` in the depot is damaged: {detail}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The depot failed.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// A role has no canonical form.
    #[error(transparent)]
    Encode(#[from] CanonicalError),
    /// A key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It would break clients that must go on.
    #[error("not published, since it would break clients: {0}")]
    Guarded(Box<Violation>),
    /// Clients would refuse what this key signs.
    #[error("{by} does not list key {key} for `{role}`")]
    KeyNotListed {
        /// The root, or targets.json.
        by: &'static str,
        /// The role.
        role: &'static str,
        /// The key's id.
        key: String,
    },
    /// A role whose targets the gate observes would be left to its team.
    #[error(
        "the role `{role}` is countersigned with the bins' key that is being replaced, and does not list the new one"
    )]
    Countersigned {
        /// The role.
        role: String,
    },
    /// The depot was laid out otherwise.
    #[error("the depot's metadata has another layout than the configuration: it does not list `{role}`")]
    Layout {
        /// What is missing.
        role: String,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// `init` did not run.
    #[error("the depot holds no root; `tufgate init` writes the first")]
    NoRoot,
    /// Targets are signed offline, and nobody did.
    #[error("no key for `targets` is online and the depot holds no targets.json signed offline")]
    NoTargets,
    /// Ledger and depot disagree: one of them is an older copy.
    #[error(
        "the depot names version {depot} of `{role}`, the ledger published {published} and reserved {reserved}: {}, and \
         to sign would repeat versions clients have seen",
        older(*depot, *published, *reserved)
    )]
    Restored {
        /// The role.
        role: String,
        /// What the depot's snapshot or timestamp names; 0 for none.
        depot: u64,
        /// What the ledger says was published.
        published: u64,
        /// What the ledger ever handed out.
        reserved: u64,
    },
    /// A signing thread died.
    #[error("a signing thread failed: {0}")]
    Task(String),
}

impl SignerError {
    /// Whether trying again is of no use. The process ends with [`Self::exit_code`].
    pub fn fatal(&self) -> bool {
        self.exit_code() != 1
    }

    /// DESIGN 9: 65 for damaged or restored data, 64 for what the operator must configure, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Behind { .. } | Self::Damaged { .. } | Self::Restored { .. } => 65,
            Self::Ledger(LedgerError::Damaged { .. } | LedgerError::Newer { .. }) => 65,
            Self::Bins(_)
            | Self::Countersigned { .. }
            | Self::KeyNotListed { .. }
            | Self::Layout { .. }
            | Self::NoRoot
            | Self::NoTargets => 64,
            Self::Depot(DepotError::Unusable { .. }) => 64,
            _ => 1,
        }
    }
}

/// With what a clock is compared at a start.
pub(super) const SINCE_LAST: &str = "compared with the last publication";

/// What an operator does who knows better.
fn if_right(than: &str) -> &'static str {
    match than {
        SINCE_LAST => "; if it is right now, stop the gate, and `tufgate recover --at-least 1` goes on by it",
        _ => "",
    }
}

/// Which of the two is not what it was.
fn older(depot: u64, published: u64, reserved: u64) -> &'static str {
    match (depot, published, reserved) {
        (0, 1.., _) => "what was published is gone from the depot",
        (1.., 0, 0) => "the ledger does not know the depot, as if it were new",
        _ if depot < published => "the depot is an older copy",
        _ => "the ledger is an older copy",
    }
}
