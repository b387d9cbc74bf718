//! Ceremonies by file: drafts of root and of offline targets, the signatures gathered on them, and the record that stays.
//!
//! A draft carries the metadata it follows, so that a reviewer without network sees the whole chain and every change. It
//! becomes the record once it is published. Pure values: nothing here opens a key, reads a clock or a disk, or publishes.

mod diff;
mod draft;
mod error;
mod proposal;
mod ring;
mod rules;
mod tally;

#[cfg(test)]
mod tests;

pub use self::{
    draft::{Draft, Kind, MAX_DRAFT, Moment},
    error::CeremonyError,
    proposal::Proposal,
};
