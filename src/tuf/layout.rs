//! Names of roles and files: generations of bins, the two views, versioned files.

use crate::{digest::Digest, target::bin_of};

/// Folder of the succinct view below the metadata folder, in URLs and in the depot.
pub const SUCCINCT: &str = "succinct/";

/// Bits of the largest generation.
const MAX_BITS: u8 = 14;

/// A generation of bins: `2^bits` bins called `bins<bits>-<hex>` (DESIGN 2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Generation {
    bits: u8,
}

impl Generation {
    /// The generation with `count` bins; a power of two from 2 to 16,384.
    pub fn of(count: u32) -> Option<Self> {
        let good = count.is_power_of_two() && (2..=1 << MAX_BITS).contains(&count);
        good.then(|| Self {
            bits: count.trailing_zeros() as u8,
        })
    }

    /// The generation that is in use where these roles are listed: the names of older ones stay listed for ever, and those
    /// of one that is still being written are not listed yet.
    pub fn listed(listed: impl Fn(&str) -> bool) -> Option<Self> {
        let all = (1..=MAX_BITS).rev().map(|bits| Self { bits });
        all.into_iter().find(|generation| listed(&generation.name(0)))
    }

    /// The next generation: four times as many bins, or as many as there may be; `None` when there are that many.
    pub fn next(self, max: u32) -> Option<Self> {
        Self::of(self.count().saturating_mul(4).min(max)).filter(|next| next.bits > self.bits)
    }

    /// Leading bits of a path's id that choose its bin.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Number of bins.
    pub fn count(self) -> u32 {
        1 << self.bits
    }

    /// `name_prefix` of TAP 15.
    pub fn prefix(self) -> String {
        format!("bins{}", self.bits)
    }

    /// A bin's role name.
    pub fn name(self, bin: u32) -> String {
        bin_name(&self.prefix(), self.bits, bin)
    }

    /// The bin of a path's id.
    pub fn bin_of(self, id: &Digest) -> u32 {
        bin_of(id, self.bits)
    }

    /// The hex prefixes of SHA-256 that make up a bin (`path_hash_prefixes`).
    pub fn hash_prefixes(self, bin: u32) -> Vec<String> {
        hash_prefixes(self.bits, bin)
    }
}

/// Hex digits of a bin number (TAP 15: as many as the last one has). `bits` is 1 to 32, here and below.
fn digits(bits: u8) -> usize {
    usize::from(bits.div_ceil(4))
}

/// The role name of one of `2^bits` succinct bins: `PREFIX-HEX` (TAP 15).
pub fn bin_name(prefix: &str, bits: u8, bin: u32) -> String {
    format!("{prefix}-{bin:0width$x}", width = digits(bits))
}

/// The hex prefixes of SHA-256 that make up one of `2^bits` bins.
pub fn hash_prefixes(bits: u8, bin: u32) -> Vec<String> {
    let digits = digits(bits);
    let spare = digits as u32 * 4 - u32::from(bits);
    (0..1_u32 << spare)
        .map(|low| format!("{:0digits$x}", bin << spare | low))
        .collect()
}

/// The file of one version of a role, in the shared folder.
pub fn file(role: &str, version: u64) -> String {
    format!("{version}.{role}.json")
}

/// Whether a role has a file of its own in each view: the delegators of bins, `bins` and the `NAME.bins` of other roles.
pub fn is_twofold(role: &str) -> bool {
    role == "bins" || role.ends_with(".bins")
}

/// The file of one version of such a role in the succinct view.
pub fn succinct(role: &str, version: u64) -> String {
    format!("{SUCCINCT}{}", file(role, version))
}

/// Version and role of a versioned file's name, in either view's folder; `None` for anything else. A name is read back
/// only as it is written: no sign, no leading zero.
pub fn versioned(name: &str) -> Option<(u64, &str)> {
    let shared = name.strip_prefix(SUCCINCT).unwrap_or(name);
    let (version, role) = shared.strip_suffix(".json")?.split_once('.')?;
    let number: u64 = version.parse().ok()?;
    (number > 0 && number.to_string() == version && !role.is_empty()).then_some((number, role))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn bins_are_named_as_tap_15_pads_them() {
        let names = |count: u32, bin| Generation::of(count).unwrap().name(bin);
        assert_eq!(names(16, 15), "bins4-f");
        assert_eq!(names(64, 1), "bins6-01");
        assert_eq!(names(2, 1), "bins1-1");
        assert_eq!(Generation::of(15), None);
        assert_eq!(Generation::of(1), None);
    }

    #[test]
    fn generations_grow_by_four_to_their_bound() {
        let counts = |max| {
            let grown = std::iter::successors(Generation::of(16), move |generation| generation.next(max));
            grown.map(Generation::count).collect::<Vec<_>>()
        };
        assert_eq!(counts(4_096), [16, 64, 256, 1_024, 4_096]);
        assert_eq!(counts(2_048), [16, 64, 256, 1_024, 2_048]);
        assert_eq!(counts(16_384), [16, 64, 256, 1_024, 4_096, 16_384]);
        assert_eq!(counts(8), [16]);
    }

    #[test]
    fn the_largest_listed_generation_is_in_use() {
        let names = ["bins", "targets", "bins4-0", "bins6-00", "bins8-01"];
        let listed = Generation::listed(|role| names.contains(&role));
        assert_eq!(listed.map(Generation::count), Some(64));
        assert_eq!(Generation::listed(|_| false), None);
    }

    #[test]
    fn hash_prefixes_cover_every_digest_once() {
        for count in [2, 16, 64, 1024] {
            let generation = Generation::of(count).unwrap();
            let all: Vec<_> = (0..count).flat_map(|bin| generation.hash_prefixes(bin)).collect();
            assert_eq!(all.len(), 16_usize.pow(digits(generation.bits()) as u32));
            assert!(all.is_sorted());
        }
    }

    #[test]
    fn versioned_names_are_read_back() {
        assert_eq!(versioned(&file("bins4-a", 12)), Some((12, "bins4-a")));
        assert_eq!(versioned(&succinct("bins", 3)), Some((3, "bins")));
        for other in [
            "timestamp.json",
            "01.root.json",
            "+1.root.json",
            "0.root.json",
            "1..json",
            "1.json",
            "x",
        ] {
            assert_eq!(versioned(other), None, "{other}");
        }
    }
}
