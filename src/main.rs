//! The binary: parse, dispatch. Everything else is in the library.

use std::process::ExitCode;

use tufgate::Cli;

/// The one that the table in `bench/README.md` was measured with; nothing was measured without it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::start()
}
