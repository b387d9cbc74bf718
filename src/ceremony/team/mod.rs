//! Drafts of roles that teams sign: one role, or several that a gate prepared and that wait for the team's signature.
//!
//! A draft carries every file from root to who delegates, so that whoever signs sees on whose word the role is theirs.

mod chain;
mod draft;
mod file;
mod part;
mod proposal;

#[cfg(test)]
mod tests;

pub use self::{
    chain::Chain,
    draft::{Sent, SentFile, TeamDraft},
    file::MAX_TEAM_DRAFT,
    part::Part,
    proposal::{Below, TeamProposal},
};
