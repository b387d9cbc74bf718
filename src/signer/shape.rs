//! The layout as the signer sees it: a number of bins, each a role. `flat` is one bin, called `targets`.

use std::time::Duration;

use crate::{
    config::{Layout, Tuf},
    tuf::layout::Generation,
};

use super::SignerError;

/// Most targets of the flat layout (DESIGN 6).
const FLAT_TARGETS: u64 = 1_000;

/// Name of the top-level targets role.
pub(super) const TARGETS: &str = "targets";
/// Name of the role that delegates to the bins.
pub(super) const BINS: &str = "bins";
/// Name of the snapshot role.
pub(super) const SNAPSHOT: &str = "snapshot";
/// Name of the timestamp role.
pub(super) const TIMESTAMP: &str = "timestamp";

/// Which roles hold the targets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// A generation of bins below `targets` and `bins`.
    Bins(Generation),
    /// `targets` alone.
    Flat,
}

impl Shape {
    /// The layout that a configuration begins with.
    pub(super) fn first(tuf: &Tuf) -> Result<Self, SignerError> {
        match tuf.layout {
            Layout::Flat => Ok(Self::Flat),
            Layout::Bins => Generation::of(tuf.bins)
                .map(Self::Bins)
                .ok_or(SignerError::Bins(tuf.bins)),
        }
    }

    /// The layout of a snapshot that lists these roles: it must be the configured one, however many bins there are.
    pub(super) fn listed(tuf: &Tuf, listed: impl Fn(&str) -> bool) -> Result<Self, SignerError> {
        let (shape, needed) = match tuf.layout {
            Layout::Flat => ((!listed(BINS)).then_some(Self::Flat), TARGETS),
            Layout::Bins => (Generation::listed(&listed).map(Self::Bins), BINS),
        };
        shape.filter(|_| listed(needed)).ok_or_else(|| SignerError::Layout {
            role: needed.to_owned(),
        })
    }

    /// Leading bits of a path's id that choose its bin.
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Bins(generation) => generation.bits(),
            Self::Flat => 0,
        }
    }

    pub(super) fn count(self) -> u32 {
        match self {
            Self::Bins(generation) => generation.count(),
            Self::Flat => 1,
        }
    }

    /// A bin's role name.
    pub(super) fn role(self, bin: u32) -> String {
        match self {
            Self::Bins(generation) => generation.name(bin),
            Self::Flat => TARGETS.to_owned(),
        }
    }

    pub(super) fn bin_expiry(self, tuf: &Tuf) -> Duration {
        match self {
            Self::Bins(_) => tuf.bin_expiry,
            Self::Flat => tuf.targets_expiry,
        }
    }

    pub(super) fn max_targets(self, tuf: &Tuf) -> u64 {
        match self {
            Self::Bins(_) => tuf.max_bin_targets,
            Self::Flat => FLAT_TARGETS,
        }
    }
}
