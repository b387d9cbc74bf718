//! What the fuzz targets do with one input. Plain functions, so that libFuzzer (`main.rs`) and the gate's tests
//! (`integration/tests/fuzzed.rs`) drive the same ones.

mod choices;
mod config;
mod delegation;
mod draft;
pub mod forge;
mod local_cache;
mod metadata;
mod naive_json;
mod policy_prefix;
mod root_chain;
mod target_path;
mod team_draft;

// What the gate is made of.
use tufgate::internals as gate;

/// One target.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Tries an input; panics if something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "config",
        run: config::run,
        seeds: config::seeds,
    },
    Target {
        name: "delegation",
        run: delegation::run,
        seeds: delegation::seeds,
    },
    Target {
        name: "draft",
        run: draft::run,
        seeds: draft::seeds,
    },
    Target {
        name: "local_cache",
        run: local_cache::run,
        seeds: local_cache::seeds,
    },
    Target {
        name: "metadata",
        run: metadata::run,
        seeds: metadata::seeds,
    },
    Target {
        name: "policy_prefix",
        run: policy_prefix::run,
        seeds: target_path::seeds,
    },
    Target {
        name: "root_chain",
        run: root_chain::run,
        seeds: root_chain::seeds,
    },
    Target {
        name: "target_path",
        run: target_path::run,
        seeds: target_path::seeds,
    },
    Target {
        name: "team_draft",
        run: team_draft::run,
        seeds: draft::seeds,
    },
];
