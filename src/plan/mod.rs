//! What each number of bins would cost each client, before there are so many targets: `tufgate plan`.
//!
//! Nothing is guessed that can be made: every metadata file is built by `tuf::build` with the names it would have, encoded
//! as the catalog encodes it, and measured; what the gate would choose is the signer's own rule. It reads and changes
//! nothing.

mod clients;
mod files;

#[cfg(test)]
mod tests;

use serde::Serialize;

use self::clients::Reader;
pub use self::{
    clients::Costs,
    files::{Files, Sample, Size},
};
use crate::{
    compat::{self, Violation},
    config::Tuf,
    signer::grown,
    tuf::layout::Generation,
};

/// Numbers of bins that are looked at, beside the one that would be chosen.
const COUNTS: [u32; 6] = [16, 64, 256, 1_024, 4_096, 16_384];

/// What to plan for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Targets there will be.
    pub targets: u64,
    /// Releases a day: each adds or changes one target.
    pub rate: f64,
    /// Targets that one user asks for.
    pub uses: u64,
    /// Numbers of bins to look at; none: powers of four from 16 to 16,384.
    pub bins: Vec<u32>,
    /// What the names are like.
    pub sample: Sample,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Targets planned for.
    pub targets: u64,
    /// Releases a day.
    pub rate: f64,
    /// Targets that one user asks for.
    pub uses: u64,
    /// Mean bytes of a target's row.
    pub row_bytes: f64,
    /// Bins that the gate would have.
    pub chosen: u32,
    /// One for each number of bins.
    pub options: Vec<Choice>,
}

/// One number of bins.
#[derive(Debug, Serialize)]
pub struct Choice {
    /// How many.
    pub bins: u32,
    /// Targets in a bin, on average.
    pub mean: f64,
    /// Some would not fit: the mean is above `tuf.max_bin_targets`, or a bin above `tuf.max_bin_bytes`.
    pub overfull: bool,
    /// Clients of `tuf.clients` that could not read so many.
    pub breaks: Vec<Violation>,
    /// Sizes of the files.
    pub files: Files,
    /// What each client pays.
    pub clients: Vec<Costs>,
}

/// Makes the files and adds up.
pub async fn plan(ask: &Ask, tuf: &Tuf) -> Plan {
    let first = Generation::of(tuf.bins);
    let chosen = first.map_or(0, |first| grown(first, ask.targets, tuf).count());
    let mut counts = ask.bins.clone();
    if counts.is_empty() {
        counts.extend(COUNTS);
        counts.push(chosen);
    }
    counts.sort_unstable();
    counts.dedup();
    let mut options = Vec::new();
    for generation in counts.into_iter().filter_map(Generation::of) {
        options.push(choice(ask, tuf, generation).await);
    }
    Plan {
        targets: ask.targets,
        rate: ask.rate,
        uses: ask.uses,
        row_bytes: ask.sample.row_bytes(),
        chosen,
        options,
    }
}

async fn choice(ask: &Ask, tuf: &Tuf, generation: Generation) -> Choice {
    let files = Files::made(ask, tuf, generation).await;
    let bins = generation.count();
    let mean = ask.targets as f64 / f64::from(bins);
    let sizes = (files.prefixes.plain, files.succinct.plain);
    Choice {
        bins,
        mean,
        overfull: mean > tuf.max_bin_targets as f64 || files.bin.plain > tuf.max_bin_bytes,
        breaks: compat::bins(sizes.0, sizes.1, &tuf.clients),
        clients: Reader::ALL
            .iter()
            .map(|reader| reader.costs(ask, bins, &files))
            .collect(),
        files,
    }
}
