//! Audits of what a real signer left in a real ledger and a real depot.

#![expect(clippy::unwrap_used, reason = "tests")]

mod damage;
mod lawful;
mod places;
mod world;
