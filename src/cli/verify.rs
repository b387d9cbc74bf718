//! `tufgate verify`: walks a live TUF repository as clients would and says what is wrong with it, and for whom.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{CliError, block_on, get::GetError, print_json},
    client::{Timeouts, naming::Base},
    clock::{Clock as _, SystemClock},
    inspect::{Counts, Effect, Options, Report, Severity, Verdict, inspect},
};

/// Targets of each role that are downloaded by default.
const SAMPLE: usize = 3;

/// Check a live TUF repository, ours or any other, as clients see it
///
/// Reads root chain, timestamp, snapshot and delegated roles, downloads a sample of the targets, and says how each known
/// client fares. Exit code 0: no errors and no warnings; 1: there are some.
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// The gate: metadata at URL/metadata/, targets at URL/
    #[arg(long, required_unless_present_any = ["metadata_url", "targets_url"])]
    url: Option<String>,

    /// Trust begins with this root file
    #[arg(long, value_name = "FILE")]
    root: PathBuf,

    /// Every role the snapshot lists and every target, instead of a sample
    #[arg(long)]
    all: bool,

    /// Targets of each visited role to download
    #[arg(long, value_name = "N", default_value_t = SAMPLE, conflicts_with = "all")]
    sample: usize,

    /// Choose the sample of an earlier run again
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Where metadata lies, if not at URL/metadata/
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,

    /// Where targets lie, if not at URL/
    #[arg(long, value_name = "URL")]
    targets_url: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Walks, prints, and fails when anything was found.
    pub fn run(self) -> Result<(), CliError> {
        let options = self.options()?;
        let bar = (!self.json && io::stderr().is_terminal()).then(bar);
        let progress = |counts: Counts| {
            if let Some(bar) = &bar {
                show(bar, counts);
            }
        };
        let report = block_on(inspect(options, SystemClock.now(), progress))?;
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        let report = report.map_err(|error| CliError::failed(error).hint(self.hint()))?;
        match self.json {
            true => print_json(&report)?,
            false => print!("{}", Shown(&report)),
        }
        if report.is_clean() {
            return Ok(());
        }
        let (errors, warnings) = count(&report);
        let found = CliError::failed(format_args!(
            "found {} and {}",
            number(errors, "error"),
            number(warnings, "warning")
        ));
        Err(found.hint("the lines above say where; `--json` has them for programs"))
    }

    fn options(&self) -> Result<Options, CliError> {
        let lacking = match (&self.url, &self.metadata_url, &self.targets_url) {
            (None, None, _) => Some("--metadata-url"),
            (None, Some(_), None) => Some("--targets-url"),
            _ => None,
        };
        if let Some(option) = lacking {
            return Err(GetError::Lacking(option).into());
        }
        for url in [&self.url, &self.metadata_url, &self.targets_url].into_iter().flatten() {
            Base::parse(url).map_err(GetError::from)?;
        }
        let base = self.url.as_deref().unwrap_or_default().trim_end_matches('/');
        let below = |path: &str| format!("{base}/{path}");
        Ok(Options {
            metadata_url: self.metadata_url.clone().unwrap_or_else(|| below("metadata/")),
            targets_url: self.targets_url.clone().unwrap_or_else(|| below("")),
            root: fs::read(&self.root).map_err(|error| CliError::io(&self.root, &error))?,
            all: self.all,
            sample: self.sample,
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            timeouts: Timeouts::default(),
        })
    }

    fn hint(&self) -> String {
        format!(
            "`{}` must be a root of that repository, such as its 1.root.json",
            self.root.display()
        )
    }
}

fn count(report: &Report) -> (usize, usize) {
    let of = |severity| {
        report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    (of(Severity::Error), of(Severity::Warning))
}

fn number(count: usize, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} roles, {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, counts: Counts) {
    bar.set_length(counts.listed);
    bar.set_position(counts.roles);
    bar.set_message(format!("{} targets downloaded", counts.downloaded));
}

/// A report for people.
struct Shown<'a>(&'a Report);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        for finding in &report.findings {
            let place = finding.place.to_string();
            writeln!(
                f,
                "{:<7} {:<22} {}: {}",
                finding.severity,
                finding.code,
                printable(&place),
                printable(&finding.message)
            )?;
        }
        for (code, more) in &report.more {
            writeln!(f, "        {code:<22} and {more} more like these")?;
        }
        if !report.findings.is_empty() {
            writeln!(f)?;
        }
        let mut views: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
        for verdict in &report.clients {
            views.entry(verdict.view).or_default().push(verdict);
        }
        for (view, verdicts) in views {
            match view {
                "prefixes" => writeln!(f, "clients at the metadata URL (path_hash_prefixes):")?,
                "succinct" => writeln!(f, "clients at succinct/ below it (succinct_roles):")?,
                _ => writeln!(f, "clients:")?,
            }
            for verdict in verdicts {
                write!(f, "  {:<22} {}", verdict.client.name(), verdict.verdict)?;
                for reason in &verdict.reasons {
                    let comment = if reason.effect == Effect::Works { " (note)" } else { "" };
                    write!(f, "\n  {:<22} - {}{comment}", "", printable(&reason.text))?;
                }
                f.write_char('\n')?;
            }
        }
        let Counts {
            roots,
            listed,
            roles,
            targets,
            downloaded,
            bytes,
            requests,
        } = report.counts;
        writeln!(
            f,
            "\n{roots} roots, {roles} of {listed} roles, {targets} targets in them, {downloaded} downloaded ({bytes} \
             bytes); {requests} requests, seed {}",
            report.seed
        )
    }
}

/// Text from a server, harmless to a terminal.
fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .flat_map(|c| match harmless(c) {
            true => vec![c],
            false => c.escape_unicode().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_server_cannot_move_the_cursor() {
        assert_eq!(printable("é `a`"), "é `a`");
        assert_eq!(printable("a\u{1b}[2J\u{202e}"), "a\\u{1b}[2J\\u{202e}");
    }
}
