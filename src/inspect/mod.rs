//! The outside view of a TUF repository: walks a live one over HTTP as clients would, and says what is wrong with it.
//!
//! Any TUF repository, not only ours. It goes on after a finding wherever it can, so that one run shows every fault;
//! therefore it reads leniently what a client would refuse, and nothing it has read is ever trusted by others. It keeps
//! no state, writes no file and changes nothing.
//!
//! What a walk sees goes two ways: each fault becomes a [`Finding`] with a stable code, and what is no fault but matters
//! to some client (sizes, key types, forms of delegation, names) becomes a fact, from which `compat` says how each known
//! client fares.

mod again;
mod code;
mod delegations;
mod document;
mod download;
mod finding;
mod graph;
mod keys;
mod levels;
mod lint;
mod names;
mod role;
mod roots;
mod strict;
mod top;
mod verdicts;
mod view;
mod walk;
mod web;

use serde::Serialize;

pub use self::{
    code::Code,
    finding::{Finding, Place, Severity},
    lint::{Lint, Source, lint},
    verdicts::Verdict,
};
pub use crate::compat::{Client, Effect, Facts, Reason};
use crate::{
    client::{ClientError, Timeouts},
    tls::Roots,
};

/// What to inspect, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where metadata lies: `http://gate/metadata/`.
    pub metadata_url: String,
    /// Where targets lie: `http://gate/`.
    pub targets_url: String,
    /// The root file that trust begins with.
    pub root: Vec<u8>,
    /// Every role the snapshot lists and every target, instead of a sample.
    pub all: bool,
    /// Targets of each visited role that are downloaded, unless `all`.
    pub sample: usize,
    /// Chooses the sample: the same seed over the same metadata chooses the same.
    pub seed: u64,
    /// How long a server may take for one file.
    pub timeouts: Timeouts,
    /// Whom to trust beside the system's authorities.
    pub authorities: Roots,
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Root versions read.
    pub roots: u64,
    /// Roles the snapshot lists.
    pub listed: u64,
    /// Targets roles read, top-level and delegated.
    pub roles: u64,
    /// Targets that these roles list.
    pub targets: u64,
    /// Targets downloaded and verified, under every name that is answered.
    pub downloaded: u64,
    /// Targets that were asked for and did not come, or came otherwise than listed.
    pub failed: u64,
    /// Bytes of the downloaded ones.
    pub bytes: u64,
    /// HTTP requests made.
    pub requests: u64,
}

/// What a walk ends with.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was wrong or odd: errors first, then by code and place.
    pub findings: Vec<Finding>,
    /// By code: findings beyond the first hundred of that code, which are counted only.
    pub more: std::collections::BTreeMap<Code, u64>,
    /// How each known client fares, through each view there is; empty where nobody answers.
    pub clients: Vec<Verdict>,
    /// How much was read.
    pub counts: Counts,
    /// The sample's seed.
    pub seed: u64,
}

impl Report {
    /// Whether nothing is wrong. Notes are no faults.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// Whether anything was found under this code.
    pub fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    /// Whether an error was found in this metadata file.
    pub fn has_error_at(&self, file: &str) -> bool {
        let place = Place::file(file);
        let broken = |finding: &Finding| finding.severity == Severity::Error && finding.place == place;
        self.findings.iter().any(broken)
    }

    /// The one finding of a walk that nobody answered.
    pub fn unanswered(&self) -> Option<&Finding> {
        self.findings.first().filter(|_| self.clients.is_empty())
    }
}

/// Why a walk could not even begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A URL that cannot be used.
    #[error(transparent)]
    Url(#[from] ClientError),
    /// A repository without what every one has.
    #[error("there is no repository: {0}")]
    None(String),
    /// The root that was given is no root.
    #[error("the root that was given cannot be read: {0}")]
    Root(String),
}

/// Walks the repository. `progress` hears how far the walk is, some times a second at most.
pub async fn inspect(
    options: Options,
    now: jiff::Timestamp,
    progress: impl Fn(Counts) + Send + Sync,
) -> Result<Report, InspectError> {
    walk::Walk::open(options, now, &progress)?.run().await
}
