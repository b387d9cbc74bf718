//! The files, as the signer would write them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::Ask;
use crate::{
    catalog::document::{Class, Document, Encoding},
    config::Tuf,
    digest::Digest,
    keys::{KeyError, SigningKey as _, memory::MemoryKey},
    tuf::{
        build::{self, Meta},
        layout::Generation,
    },
};

/// Days after which the sizes are taken: versions have as many digits as they have then.
const DAYS: f64 = 90.0;

/// A file's bytes in each coding.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Size {
    /// As signed.
    pub plain: u64,
    /// As `gzip`, where that is smaller.
    pub gzip: u64,
    /// As `zstd`, where that is smaller.
    pub zstd: u64,
}

impl Size {
    /// As the catalog serves it.
    pub async fn of(body: Bytes) -> Self {
        let document = Arc::new(Document::new(body, Class::Immutable));
        let mut sizes = [0; 3];
        for (size, encoding) in sizes
            .iter_mut()
            .zip([Encoding::Identity, Encoding::Gzip, Encoding::Zstd])
        {
            document.encode(encoding).await;
            *size = document.encoded(encoding).unwrap_or(document.body()).len() as u64;
        }
        let [plain, gzip, zstd] = sizes;
        Self { plain, gzip, zstd }
    }
}

/// What target paths are like.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Some paths with their lengths in bytes.
    rows: Vec<(String, u64)>,
    /// Bytes of rows, and how many they are: of all that there are.
    bytes: u64,
    count: u64,
    /// The key that signs bins; its kind decides the size of signatures.
    key: Arc<MemoryKey>,
}

impl Sample {
    /// Paths that are kept of all that are noted: a bin is made of them.
    const KEPT: usize = 5_000;

    /// Nothing noted yet.
    ///
    /// # Errors
    /// The system has no randomness for a key.
    pub fn new() -> Result<Self, KeyError> {
        Ok(Self {
            rows: Vec::new(),
            bytes: 0,
            count: 0,
            key: MemoryKey::generate()?.into(),
        })
    }

    /// Notes a target that there is.
    pub fn note(&mut self, path: &str, length: u64) {
        if self.rows.len() < Self::KEPT {
            self.rows.push((path.to_owned(), length));
        }
        self.bytes += build::row_size(path, length);
        self.count += 1;
    }

    /// Made-up releases, where there are none yet: `team-07/package-0123/1.4.2/package-0123-1.4.2.tar.gz`, of megabytes.
    pub fn made_up(&mut self) {
        for number in 0..Self::KEPT as u64 {
            let (team, package) = (number % 37, number % 911);
            let release = format!("{}.{}.{}", number % 3, number % 17, number / 911);
            let path = format!("team-{team:02}/package-{package:04}/{release}/package-{package:04}-{release}.tar.gz");
            self.note(&path, 1_000_000 + number * 1_399);
        }
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Mean bytes of a row.
    pub fn row_bytes(&self) -> f64 {
        self.bytes as f64 / self.count.max(1) as f64
    }

    /// A targets role with so many rows.
    fn role(&self, rows: u64, version: u64) -> Bytes {
        let row = |number: u64| {
            let (path, length) = &self.rows[number as usize % self.rows.len()];
            // Beyond the sample its paths come again, told apart in as many bytes.
            let path = match number as usize / self.rows.len() {
                0 => path.clone(),
                again => format!("{again}{}", path.get(again.to_string().len()..).unwrap_or_default()),
            };
            (path, (Digest::of(number.to_be_bytes()), *length))
        };
        let rows: BTreeMap<_, _> = match self.rows.is_empty() {
            true => BTreeMap::new(),
            false => (0..rows).map(row).collect(),
        };
        let rows = rows
            .iter()
            .map(|(path, (digest, length))| (path.as_str(), digest, *length));
        self.signed(build::targets(version, Timestamp::UNIX_EPOCH, None, rows).unwrap_or_default())
    }

    fn signed(&self, signed: Vec<u8>) -> Bytes {
        // As random as a signature, which no coding makes smaller.
        let signature = [Digest::of(&signed).0, Digest::of(b"signature").0].concat();
        build::envelope(&signed, &[(self.key.key_id(), signature)])
    }
}

/// The files of one number of bins. Signatures and keys are Ed25519's.
#[derive(Clone, Debug, Serialize)]
pub struct Files {
    /// timestamp.json.
    pub timestamp: Size,
    /// The snapshot, with the names of all generations that led here.
    pub snapshot: Size,
    /// Roles it lists.
    pub listed: u64,
    /// targets.json.
    pub targets: Size,
    /// The delegator of bins in the view `prefixes`.
    pub prefixes: Size,
    /// The delegator in the view `succinct`.
    pub succinct: Size,
    /// The bin that some target is in: larger than the mean where bins hold few, since it is not empty.
    pub bin: Size,
    /// Targets in it.
    pub bin_targets: f64,
    /// All bins together, as they are signed.
    pub all: u64,
}

impl Files {
    /// Makes and measures them.
    pub(super) async fn made(ask: &Ask, tuf: &Tuf, generation: Generation) -> Self {
        let sample = &ask.sample;
        let bins = f64::from(generation.count());
        let releases = ask.rate * DAYS;
        let version = |changes: f64| 1 + changes.round() as u64;
        let (published, each) = (version(releases), version(releases / bins));
        let bin_targets = match ask.targets {
            0 => 0.0,
            targets => 1.0 + (targets - 1) as f64 / bins,
        };
        let (id, public) = (sample.key.key_id(), sample.key.public());
        let delegator = |below| {
            let signed = build::targets(1, Timestamp::UNIX_EPOCH, Some(&below), []);
            Size::of(sample.signed(signed.unwrap_or_default()))
        };
        let targets = build::targets(1, Timestamp::UNIX_EPOCH, Some(&build::to_bins(id, public)), []);
        let targets = sample.signed(targets.unwrap_or_default());
        let mut roles = BTreeMap::from([
            ("targets".to_owned(), Meta::pinned(1, &targets)),
            ("bins".to_owned(), Meta::version(1)),
        ]);
        for listed in generations(tuf, generation) {
            let version = |bin: u32| match listed == generation {
                true => scattered(each, bin),
                false => 1,
            };
            roles.extend((0..listed.count()).map(|bin| (listed.name(bin), Meta::version(version(bin)))));
        }
        let snapshot = sample.signed(build::snapshot(published, Timestamp::UNIX_EPOCH, &roles));
        let named = Meta::pinned(published, &snapshot);
        let timestamp = sample.signed(build::timestamp(published, Timestamp::UNIX_EPOCH, &named));
        let empty = sample.role(0, each).len() as f64;
        // A bin of so many rows as one has on average; what is left over, and what no client would read, is added by its
        // share.
        let whole = bin_targets.floor().min(Sample::KEPT as f64);
        let rest = (bin_targets - whole) * sample.row_bytes();
        let bin = Size::of(sample.role(whole as u64, each)).await;
        let exact = empty + bin_targets * sample.row_bytes() - f64::from(u8::from(bin_targets >= 1.0));
        let share = |coded: u64| (coded as f64 * (1.0 + rest / bin.plain.max(1) as f64)).round() as u64;
        // Bins without a target: each is passed by with this chance.
        let filled = bins * (1.0 - (1.0 - 1.0 / bins).powf(ask.targets as f64));
        Self {
            timestamp: Size::of(timestamp).await,
            listed: roles.len() as u64,
            snapshot: Size::of(snapshot).await,
            targets: Size::of(targets).await,
            prefixes: delegator(build::by_prefixes(generation, id, public)).await,
            succinct: delegator(build::succinct(generation, id, public)).await,
            bin: Size {
                plain: exact.round() as u64,
                gzip: share(bin.gzip),
                zstd: share(bin.zstd),
            },
            bin_targets,
            all: (bins * empty + ask.targets as f64 * sample.row_bytes() - filled).round() as u64,
        }
    }
}

/// A bin's version: bins change by chance, and versions that were all alike would shrink to nothing when encoded.
fn scattered(mean: u64, bin: u32) -> u64 {
    let spread = mean.saturating_sub(1).isqrt();
    let [chance, ..] = Digest::of(bin.to_be_bytes()).0;
    mean - spread + u64::from(chance) * 2 * spread / 255
}

/// The generations whose names a snapshot lists once bins have grown to this one.
fn generations(tuf: &Tuf, to: Generation) -> Vec<Generation> {
    let first = Generation::of(tuf.bins).filter(|first| first.count() < to.count());
    let grown = std::iter::successors(first, |from| from.next(to.count()));
    let mut all: Vec<_> = grown.collect();
    if !all.contains(&to) {
        all.push(to);
    }
    all
}
