//! `tufgate plan`: what each number of bins would cost each client, and which the gate would choose.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;

use crate::{
    cli::{CliError, block_on, print, print_json},
    config::Config,
    plan::{Ask, Choice, Plan as Planned, Sample, Size, plan},
    server::Store,
    terminal::printable,
    tuf::layout::Generation,
};

/// Say what each number of bins would cost each client
///
/// Makes the metadata files that so many targets would need, measures them, and adds up what each client asks for: as a new
/// user, as one who was here a day ago, and for one release more. Nothing is written.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Targets there will be
    #[arg(long, value_name = "N")]
    targets: u64,

    /// Releases a day, of one target each
    #[arg(long, value_name = "R", default_value_t = 100.0)]
    rate: f64,

    /// Numbers of bins, with commas between them; powers of two from 2 to 16384
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    bins: Vec<u32>,

    /// Targets that one user asks for
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u64,

    /// The gate that will have them: its `[tuf]`, and the names and lengths of the targets it has
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Plan {
    /// Prints it.
    pub fn run(self) -> Result<(), CliError> {
        if !self.rate.is_finite() || self.rate < 0.0 {
            return Err(CliError::usage("`--rate` is a number of releases a day, 0 or more"));
        }
        if let Some(count) = self.bins.iter().find(|count| Generation::of(**count).is_none()) {
            let message = format!("`--bins` has {count}, which is no power of two from 2 to 16384");
            return Err(CliError::usage(message));
        }
        let config = match &self.config {
            Some(file) => Some(Config::load(file)?),
            None => None,
        };
        let tuf = match &config {
            Some(config) => config.tuf.clone(),
            // What a configuration has that says nothing of `[tuf]`.
            None => Config::parse("[upstream]\nurl = \"http://localhost\"\n", "tufgate.toml")?.tuf,
        };
        let sample = block_on(sample(config.as_ref()))??;
        let ask = Ask {
            targets: self.targets,
            rate: self.rate,
            uses: self.uses,
            bins: self.bins,
            sample,
        };
        let planned = block_on(plan(&ask, &tuf))?;
        match self.json {
            true => print_json(&planned),
            false => print(shown(&planned).trim_end()),
        }
    }
}

/// What the gate has recorded, or what a gate might.
async fn sample(config: Option<&Config>) -> Result<Sample, CliError> {
    let mut sample = Sample::new().map_err(CliError::failed)?;
    if let Some(config) = config.filter(|config| config.ledger.exists()) {
        let store = Store::existing(config)?;
        let mut note = |target: &crate::ledger::Target| sample.note(target.path.as_str(), target.length);
        store.ledger.each_target(&mut note).await.map_err(CliError::damaged)?;
    }
    if sample.is_empty() {
        sample.made_up();
    }
    Ok(sample)
}

/// For people: what the files are, then what each client pays.
fn shown(planned: &Planned) -> String {
    let mut out = String::new();
    let Planned {
        targets, rate, uses, ..
    } = planned;
    let _ = writeln!(
        out,
        "{targets} targets of {:.0} bytes each in metadata, {rate} releases a day, users of {uses}\n",
        planned.row_bytes
    );
    let _ = writeln!(out, "files, as signed / gzip / zstd:");
    let _ = writeln!(
        out,
        "{:>6} {:>8}  {:>20} {:>20} {:>20} {:>20}",
        "bins", "mean", "bin", "snapshot", "bins by prefix", "bins, succinct"
    );
    for choice in &planned.options {
        let files = &choice.files;
        let sizes = [files.bin, files.snapshot, files.prefixes, files.succinct].map(triple);
        let [bin, snapshot, prefixes, succinct] = sizes;
        let _ = writeln!(
            out,
            "{:>6} {:>8.0}  {bin:>20} {snapshot:>20} {prefixes:>20} {succinct:>20}{}",
            choice.bins,
            choice.mean,
            mark(choice, planned.chosen)
        );
    }
    let _ = writeln!(
        out,
        "\nmetadata for each client, as bytes in requests: a new user, one who was here a day ago, one release more:"
    );
    for choice in &planned.options {
        let _ = writeln!(out, "{:>6} bins{}", choice.bins, mark(choice, planned.chosen));
        for costs in &choice.clients {
            let traffic = [costs.new_user, costs.returning, costs.release];
            let [new, returning, release] =
                traffic.map(|traffic| format!("{} in {}", bytes(traffic.bytes), requests(traffic.requests)));
            let seconds = match costs.seconds {
                seconds if seconds >= 0.05 => format!("  {seconds:.1} s of computing"),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "       {:<13} {:<9} {new:>18} {returning:>18} {release:>18}{seconds}",
                costs.client, costs.view
            );
        }
        for violation in &choice.breaks {
            let _ = writeln!(out, "       {}", printable(&violation.to_string()));
        }
    }
    let _ = writeln!(out, "\nthe gate would have {} bins", planned.chosen);
    out
}

/// What is to be said of a number of bins.
fn mark(choice: &Choice, chosen: u32) -> String {
    let mut mark = String::new();
    if choice.bins == chosen {
        mark += "  <- the gate's choice";
    }
    if choice.overfull {
        mark += "  (too full: names would be refused)";
    }
    mark
}

fn triple(size: Size) -> String {
    [size.plain, size.gzip, size.zstd]
        .map(|size| bytes(size as f64))
        .join(" / ")
}

/// Three digits: `54.3K`.
fn bytes(bytes: f64) -> String {
    match bytes {
        small if small < 1_000.0 => format!("{small:.0}"),
        kilo if kilo < 1e6 => format!("{}K", digits(kilo / 1e3)),
        mega if mega < 1e9 => format!("{}M", digits(mega / 1e6)),
        giga => format!("{}G", digits(giga / 1e9)),
    }
}

fn digits(number: f64) -> String {
    let places = if number < 100.0 { 1 } else { 0 };
    format!("{number:.places$}")
}

/// Whole where it is whole.
fn requests(requests: f64) -> String {
    let places = usize::from((requests - requests.round()).abs() >= 0.05);
    format!("{requests:.places$}")
}
