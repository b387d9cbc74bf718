//! TUF metadata: canonical encoding, role building, layout, verification. Pure values; no clock, no disk, no keys.

pub mod build;
pub mod canonical;
pub mod hashes;
pub mod json;
pub mod key;
pub mod layout;
pub mod pattern;
pub mod schema;
mod signature;
pub mod verify;
