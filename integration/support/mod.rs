//! What the integration tests run the gate against: real servers, hostile ones, and other people's clients.
#![allow(dead_code, reason = "every test target includes this module and uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

pub mod ceremony;
pub mod certificates;
pub mod clients;
pub mod curl;
pub mod gate;
pub mod http;
pub mod http2;
pub mod nginx;
pub mod origin;
pub mod repository;
pub mod scenario;
pub mod site;
pub mod stage;
pub mod team;
pub mod vault;
pub mod verdict;
