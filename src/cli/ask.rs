//! Questions on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::CliError;

/// Whether somebody is there to answer.
pub fn possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A line, without the blanks around it; empty at the end of the input.
pub fn line(prompt: &str) -> Result<String, CliError> {
    let failed = |error: io::Error| CliError::failed(format_args!("the terminal: {error}"));
    let mut stderr = io::stderr();
    write!(stderr, "{prompt} ")
        .and_then(|()| stderr.flush())
        .map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(answer.trim().to_owned())
}

/// Asks until the answer is `yes` or `no`; the end of the input is a no.
///
/// # Errors
/// Exit code 2 where nobody is there to ask.
pub fn confirmed(question: &str) -> Result<bool, CliError> {
    if !possible() {
        return Err(CliError::usage("nobody is there to confirm it").hint("read what it shows, then give `--yes`"));
    }
    loop {
        match &*line(&format!("{question} [yes/no]"))? {
            "yes" => return Ok(true),
            "no" | "" => return Ok(false),
            _ => {}
        }
    }
}
