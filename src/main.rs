//! The binary: parse, dispatch. Everything else is in the library.

use std::process::ExitCode;

use tufgate::Cli;

fn main() -> ExitCode {
    Cli::start()
}
