//! TUF metadata: canonical encoding, role building, layout, verification. Pure values; no clock, no disk, no keys.

pub mod build;
pub mod canonical;
pub mod layout;
pub mod schema;
pub mod verify;
