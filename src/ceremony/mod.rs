//! Ceremonies by file: drafts of root, of offline targets and of roles that teams sign, the signatures gathered on them, and the record that stays.
//!
//! A draft carries the metadata it follows, so that a reviewer without network sees the whole chain and every change. It
//! becomes the record once it is published. Pure values: nothing here opens a key, reads a clock or a disk, or publishes.

mod diff;
mod draft;
mod error;
mod file;
mod finish;
mod proposal;
mod ring;
mod rules;
mod signatures;
mod tally;
pub mod team;

#[cfg(test)]
mod tests;

pub use self::{
    draft::{Draft, Entry, Kind, Moment, Published},
    error::CeremonyError,
    file::MAX_DRAFT,
    proposal::Proposal,
    tally::{Authority, Signer},
};
