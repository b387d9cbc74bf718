//! The gate against real servers and real clients; `integration/README.md` says which test holds which promise.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod drift;
mod get;
mod hostile;
mod matrix;
mod metadata;
mod operate;
mod put;
