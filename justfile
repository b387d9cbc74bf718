# `just` lists these; each is a plain command that works without `just`.

[private]
default:
    @just --list

# The gate over sample artifacts, on 127.0.0.1:8080.
quickstart *args:
    cargo run --release -- quickstart {{ args }}

# Format, lints and unit tests: what to run before each commit.
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo test --locked --lib

# Every test, on real servers and clients; a NAME runs only those that hold it.
test name="":
    integration/run {{ name }}

# All that a change must pass.
ci:
    .ci/run
