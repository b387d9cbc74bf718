//! The command line: one file per subcommand, clap types beside their action.
//!
//! Every subcommand returns a [`CliError`] that knows its exit code (DESIGN 9): 1 failed or found something, 2 usage,
//! 64 bad configuration, 65 damaged data.

use std::{
    fmt,
    future::Future,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::{
    config::ConfigError,
    server::StartError,
    terminal::{printable, printable_json},
};

mod ask;
mod audit;
mod ceremony;
mod draft;
mod drift;
pub mod get;
pub mod init;
mod key;
mod lint;
mod operator;
mod plan;
pub mod policy;
mod quickstart;
mod retract;
mod serve;
pub mod signing;
mod status;
mod tuf;
mod verify;

/// tufgate puts TUF (The Update Framework) in front of an artifact server nobody has to change
#[derive(Debug, Parser)]
#[command(name = "tufgate", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::Audit),
    Drift(drift::Drift),
    Get(get::GetArgs),
    Init(ceremony::Init),
    Key(key::Key),
    Lint(lint::Lint),
    Plan(plan::Plan),
    Policy(policy::PolicyArgs),
    Quickstart(quickstart::Quickstart),
    Retract(retract::Retract),
    Root(draft::Root),
    Serve(serve::Serve),
    Status(status::Status),
    Targets(draft::Targets),
    Tuf(tuf::Tuf),
    Verify(verify::Verify),
}

impl Cli {
    /// Reads the command line and does what it asks.
    pub fn start() -> ExitCode {
        match Self::try_parse() {
            Ok(cli) => cli.run(),
            Err(error) => {
                let _ = error.print();
                match error.exit_code() {
                    0 => ExitCode::SUCCESS,
                    // The suites that drive `tufgate tuf` know 0 and 1 only.
                    _ if std::env::args_os().nth(1).is_some_and(|command| command == "tuf") => ExitCode::FAILURE,
                    _ => ExitCode::from(2),
                }
            }
        }
    }

    /// Does what the command line asks; errors are printed here, once, as `error: …` and `hint: …`.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Audit(audit) => audit.run(),
            Command::Drift(drift) => drift.run(),
            Command::Get(get) => block_on(get::run(get)).and_then(|done| Ok(done?)),
            Command::Plan(plan) => plan.run(),
            Command::Policy(policy) => policy.run(&mut io::stdout()).or_else(policy_failed),
            Command::Init(init) => init.run(),
            Command::Key(key) => key.run(),
            Command::Lint(lint) => lint.run(),
            Command::Quickstart(quickstart) => quickstart.run(),
            Command::Retract(retract) => retract.run(),
            Command::Root(root) => root.run(),
            Command::Serve(serve) => serve.run(),
            Command::Status(status) => status.run(),
            Command::Targets(targets) => targets.run(),
            Command::Tuf(tuf) => tuf.run(),
            Command::Verify(verify) => verify.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&error);
                ExitCode::from(error.code)
            }
        }
    }
}

/// A failed command: what, where, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CliError {
    /// The exit code.
    pub code: u8,
    /// Lower-case start, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CliError {
    /// Exit code 1: the work failed or found something.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(1, message)
    }

    /// Exit code 2: the command line asks for something that makes no sense.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(2, message)
    }

    /// Exit code 64: bad configuration, keys and listen addresses included.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(64, message)
    }

    /// Exit code 65: damaged or newer ledger or depot.
    pub fn damaged(message: impl fmt::Display) -> Self {
        Self::new(65, message)
    }

    /// Any exit code.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            hint: None,
        }
    }

    /// With a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// A file or folder that could not be read or written: exit code 1.
    pub fn io(path: &Path, error: &io::Error) -> Self {
        Self::failed(format_args!("`{}`: {error}", path.display()))
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint.clone();
        Self {
            hint,
            ..Self::config(ConfigError { hint: None, ..error })
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self {
            code: error.exit_code(),
            hint: error.hint(),
            message: error.to_string(),
        }
    }
}

/// Runs a future to its end on a small runtime of its own; for every subcommand but `serve`.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format_args!("no runtime: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Prints to standard output, and ends the line. Not `println!`, which panics where nobody reads.
pub fn print(text: impl fmt::Display) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    unless_left(written).map_err(|error| CliError::failed(format_args!("standard output: {error}")))
}

/// Prints to standard error, and ends the line. Not `eprintln!`, which panics where it is closed or its disk is full.
pub fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a value as JSON, one line.
pub fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(CliError::failed)?;
    print(printable_json(&text))
}

/// A reader that has seen enough, such as `head`, makes no failure of what was written.
pub fn unless_left(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

impl From<get::GetError> for CliError {
    fn from(error: get::GetError) -> Self {
        let failed = Self::new(error.exit_code(), printable(&error.to_string()));
        match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

fn policy_failed(error: policy::PolicyError) -> Result<(), CliError> {
    match error {
        policy::PolicyError::Config(error) => Err(error.into()),
        policy::PolicyError::Output(error) => unless_left(Err(error)).map_err(CliError::failed),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }

    /// Every `tufgate WORD` in sources and documents is a command; what begins with `-` or is no word is none.
    #[test]
    fn no_text_names_a_command_that_is_none() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = ["README.md", "SECURITY.md", "integration/README.md"]
            .map(|name| root.join(name))
            .to_vec();
        let mut folders = vec![root.join("src"), root.join("config")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        let command = Cli::command();
        let mut named = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for rest in text.split("`tufgate ").skip(1) {
                let end = rest.find(|end: char| !end.is_ascii_lowercase()).unwrap_or(rest.len());
                if end > 0 {
                    named += 1;
                    let word = &rest[..end];
                    assert!(
                        command.find_subcommand(word).is_some(),
                        "{}: `tufgate {word}`",
                        file.display()
                    );
                }
            }
        }
        assert!(named > 30, "{named}");
    }

    #[test]
    fn errors_say_what_to_do() {
        let error = CliError::config("no such key").hint("run `tufgate init`");
        assert_eq!(error.to_string(), "error: no such key\nhint: run `tufgate init`");
        assert_eq!(error.code, 64);
    }
}
