//! `tufgate verify`: walks a live TUF repository as clients would and says what is wrong with it, and for whom.

mod shown;

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::shown::{Shown, count, number};
use crate::{
    cli::{CliError, block_on, get::GetError, print, print_json},
    client::{Timeouts, naming::Base},
    clock::{Clock as _, SystemClock},
    inspect::{Code, Counts, Options, Report, Severity, inspect},
    terminal::printable,
    tls::Roots,
};

/// Targets of each role that are downloaded by default.
const SAMPLE: usize = 3;

/// Check a live TUF repository, ours or any other, as clients see it
///
/// Reads root chain, timestamp, snapshot and delegated roles, downloads a sample of the targets, and says how each known
/// client fares. Exit code 0: no errors and no warnings; 1: there are some; 2: the command line makes no sense, or the
/// root file is none.
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

    /// Certificate authorities (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Walks, prints, and fails when anything was found.
    pub fn run(self) -> Result<(), CliError> {
        let options = self.options()?;
        let metadata_url = options.metadata_url.clone();
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
        let report = report.map_err(|error| CliError::usage(error).hint(self.root_hint()))?;
        match (self.json, report.unanswered()) {
            (true, _) => print_json(&report)?,
            (false, None) => {
                let shown = Shown {
                    report: &report,
                    metadata_url: &metadata_url,
                };
                print(shown.to_string().trim_end())?;
            }
            (false, Some(_)) => {}
        }
        if report.is_clean() {
            return Ok(());
        }
        if let Some(finding) = report.unanswered() {
            let hint = format!("is `{metadata_url}` the right URL, and is the server running?");
            return Err(CliError::failed(printable(&finding.message)).hint(hint));
        }
        let (errors, warnings) = (count(&report, Severity::Error), count(&report, Severity::Warning));
        let found = CliError::failed(format_args!(
            "found {} and {}",
            number(errors, "error"),
            number(warnings, "warning")
        ));
        Err(found.hint(self.hint(&report, &metadata_url)))
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
            root: fs::read(&self.root).map_err(|error| {
                CliError::usage(format_args!("the root `{}`: {error}", self.root.display())).hint(self.root_hint())
            })?,
            all: self.all,
            sample: self.sample,
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            timeouts: Timeouts::default(),
            authorities: match &self.ca {
                None => Roots::default(),
                Some(ca) => {
                    let roots = fs::read(ca).and_then(|pem| Roots::pem(&pem));
                    let unusable = |source| GetError::Authorities {
                        path: ca.clone(),
                        source,
                    };
                    roots.map_err(unusable)?
                }
            },
        })
    }

    fn root_hint(&self) -> String {
        format!(
            "`{}` must be a root file of that repository, such as its 1.root.json",
            self.root.display()
        )
    }

    /// What most likely is to be done about what was found.
    fn hint(&self, report: &Report, metadata_url: &str) -> String {
        if report.counts.roots == 0 && report.has_error_at("timestamp.json") {
            if report.findings.iter().any(|finding| finding.message.contains("401")) {
                return format!(
                    "`{metadata_url}` is answered with 401: who reads there must say who they are, and `tufgate verify` \
                     cannot send credentials"
                );
            }
            let none = format!("no TUF metadata lies at `{metadata_url}`");
            return match &self.url {
                Some(_) if self.metadata_url.is_none() => format!(
                    "{none}: `--url` is the URL above `metadata/`; for other layouts there are `--metadata-url` and \
                     `--targets-url`"
                ),
                _ => none,
            };
        }
        if report.has(Code::RootDiffers) {
            return format!(
                "`{}` may be the root of another repository: begin with a root of this one, such as its 1.root.json, \
                 from whoever runs it",
                self.root.display()
            );
        }
        "the lines above say where; `--json` has them for programs".to_owned()
    }
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
