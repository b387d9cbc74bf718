//! The gate against real servers and real clients; `integration/README.md` says which test holds which promise.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

mod access;
mod attack;
mod attackers;
mod audit;
mod bad_input;
mod bench;
mod cache;
mod canonical;
mod ceremony;
mod crash;
mod delegated;
mod drift;
mod fetch;
mod flat;
mod framing;
mod fuzzed;
mod get;
mod grow;
mod guard;
mod hostile;
mod http1;
mod http2;
mod keys;
mod matrix;
mod metadata;
mod operate;
mod probe;
mod protocol;
mod put;
mod readers;
mod recover;
mod scenarios;
mod secure_upstream;
mod structure;
mod surface;
mod team;
mod tls;
mod uploads;
mod verify;

/// Prints what a test measured, and adds it to the file that `integration/run` shows at its end: cargo keeps the output
/// of tests that pass to itself.
fn figure(line: &str) {
    use std::io::Write;
    println!("{line}");
    if let Some(file) = std::env::var_os("TUFGATE_FIGURES") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// An origin that behaves as told, and the runtime it lives on.
fn hostile_origin() -> (tokio::runtime::Runtime, support::origin::Origin) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let origin = runtime.block_on(support::origin::Origin::start());
    (runtime, origin)
}
