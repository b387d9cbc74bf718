//! The binary: parse, dispatch. Everything else is in the library.

use std::process::ExitCode;

use tufgate::Cli;

/// glibc's keeps what ten thousand connections once needed, and is slower with small pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::start()
}
