//! tufgate: a reverse proxy that puts TUF (The Update Framework) in front of an artifact server nobody has to change.
//!
//! `src/README.md` is the tour. Modules stand here in the order of who may import whom: each only those above it.

pub mod clock;
pub mod digest;
pub mod range;
pub mod spool;

pub mod target;

pub mod policy;

pub mod tuf;

pub mod config;

pub mod telemetry;

pub mod keys;

pub mod depot;
pub mod ledger;
pub mod upstream;
pub mod wake;

pub mod catalog;
pub mod intake;
pub mod signer;

pub mod client;
pub mod inspect;

pub mod admin;
pub mod proxy;

pub mod server;

pub mod cli;
