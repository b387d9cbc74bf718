//! The application as a program. `serve --config FILE` is the application with the gate inside; every other command line
//! is `tufgate`'s, which is also how the signer's process of its own is started. So it stands in for `tufgate` in the
//! gate's own tests.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tufgate::{Cli, SignerPlace, SignerProgram};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (config, alone) = match arguments.as_slice() {
        ["serve", "--config", config] => (Path::new(config), false),
        ["serve", "--role", "proxy", "--config", config] => (Path::new(config), true),
        _ => return Cli::parse().run(),
    };
    let filter = EnvFilter::try_from_env("SITE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A full disk under the log must not take requests down, as reporting the failed write there would.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let signer = match (alone, SignerProgram::this(config)) {
        (true, _) => SignerPlace::Elsewhere,
        (false, Ok(program)) => SignerPlace::Child(program),
        (false, Err(error)) => {
            eprintln!("error: this program's own file: {error}");
            return ExitCode::FAILURE;
        }
    };
    let other = std::env::var("SITE_OTHER").ok();
    let other: Option<SocketAddr> = other.and_then(|addr| addr.parse().ok());
    embed::serve(config, signer, other)
}
