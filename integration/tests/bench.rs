//! The benchmark and the load test at their smallest, on the binary under test, so that they cannot rot. Nothing is
//! judged by time.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::support::gate::binary;

/// Runs a program of `bench/` to its end; what it printed.
fn short(program: &str) -> String {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(program))
        .arg("--short")
        .env("TUFGATE_BIN", binary())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "bench/{program} --short: {}:\n{said}",
        output.status
    );
    said
}

#[test]
fn every_row_of_the_benchmark_works() {
    let said = short("run");
    for row in 1..=5 {
        assert!(said.contains(&format!("row {row}: ")), "no row {row}:\n{said}");
    }
    assert!(said.contains("rows 6 and 7: "), "{said}");
}

#[test]
fn the_gate_holds_under_load_and_recovers_from_its_limit() {
    let said = short("load");
    assert!(said.ends_with("all held\n") && !said.contains("FAIL"), "{said}");
}
