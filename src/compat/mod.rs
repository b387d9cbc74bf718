//! The known clients: what each reads and how far, as one table with its sources ([`LIMITS`]), and the rules that say
//! which of them a repository, a role or a single target would break.
//!
//! Pure values, no I/O. Whoever publishes asks before ([`target()`], [`role()`], [`root()`]); whoever looks at a
//! repository gathers [`Facts`] on the way and asks afterwards ([`reasons`], [`lint`]).

mod check;
pub mod cost;
mod facts;
mod limits;
mod names;
mod rules;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Serialize, Serializer};

pub use self::{
    check::{Violation, bins, lint, names, role, root, size, target},
    facts::{Facts, Forms, KeyFact, Served, Sized},
    limits::{File, LIMITS, Limit, Line},
    names::Names,
    rules::{Reason, fails, reasons},
};

/// A known client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "`name` says it")]
pub enum Client {
    PythonTuf,
    GoTuf,
    TufJs,
    Tough,
    SigstoreTuf,
    RustTuf,
    SigstoreJava,
    PhpTuf,
    OldGoTuf,
}

impl Client {
    /// Every one.
    pub const ALL: [Client; 9] = [
        Client::PythonTuf,
        Client::GoTuf,
        Client::TufJs,
        Client::Tough,
        Client::SigstoreTuf,
        Client::RustTuf,
        Client::SigstoreJava,
        Client::PhpTuf,
        Client::OldGoTuf,
    ];

    /// Those that read bins in one of the two views, and so must go on reading whatever is published.
    pub const BINS: [Client; 5] = [
        Client::PythonTuf,
        Client::GoTuf,
        Client::TufJs,
        Client::Tough,
        Client::SigstoreTuf,
    ];

    /// Those that must go on reading the flat layout, which is there for the last two.
    pub const FLAT: [Client; 7] = [
        Client::PythonTuf,
        Client::GoTuf,
        Client::TufJs,
        Client::Tough,
        Client::SigstoreTuf,
        Client::RustTuf,
        Client::SigstoreJava,
    ];

    /// Name and version. Others are these within: sigstore-go is go-tuf, sigstore-python python-tuf, sigstore-js tuf-js.
    pub fn name(self) -> &'static str {
        match self {
            Client::PythonTuf => "python-tuf 7.0.1",
            Client::GoTuf => "go-tuf 2.4.2",
            Client::TufJs => "tuf-js 6.0.2",
            Client::Tough => "tough 0.24.0",
            Client::SigstoreTuf => "sigstore-tuf 0.15.1",
            Client::RustTuf => "rust-tuf 0.3.0-beta14",
            Client::SigstoreJava => "sigstore-java 2.0.0",
            Client::PhpTuf => "php-tuf 0.1.7",
            Client::OldGoTuf => "go-tuf 0.7.0",
        }
    }

    /// What a configuration calls it: its name, with the version for the older of two.
    pub fn key(self) -> &'static str {
        match self {
            Client::OldGoTuf => "go-tuf-0.7",
            other => other.name().split(' ').next().unwrap_or_default(),
        }
    }

    /// The client of this name in a configuration.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.key() == key)
    }

    /// Its lines of the table.
    pub fn limits(self) -> impl Iterator<Item = &'static Line> {
        LIMITS.iter().filter(move |line| line.client == self)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a reason means for the client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It finds and verifies what it is asked for.
    #[serde(rename = "works")]
    Works,
    /// It does, after seconds of computing or hundreds of requests.
    #[serde(rename = "works slowly")]
    Slow,
    /// It fails, or does not find targets that are listed; the reason says which.
    #[serde(rename = "fails")]
    Fails,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Works => "works",
            Self::Slow => "works slowly",
            Self::Fails => "fails",
        })
    }
}
