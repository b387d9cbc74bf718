//! Admission of new names: quotas, rates, bin caps. What is refused here costs nobody a record: a fetch passes
//! `untracked`, an upload gets 507 before the upstream hears of it.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use tokio::sync::OnceCell;

use super::Intake;
use crate::{
    compat,
    config::{Config, Layout},
    ledger::LedgerError,
    policy::Rule,
    target::TargetPath,
    tuf::{canonical::before_for_all, layout::Generation},
};

/// Most targets in a flat layout, for clients without delegations (DESIGN 6).
const FLAT_LIMIT: u64 = 1_000;

/// Why a new name is not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The path's bin is at its cap: ground names must not make it unreadable.
    #[error("the path's bin is full")]
    BinFull,
    /// An upload or a deletion of the path is under way: what a fetch shows meanwhile may be over before it is recorded.
    #[error("another change of this path is under way")]
    Busy,
    /// A client that must be able to read what is published could not read metadata that lists this name.
    #[error("a client of `tuf.clients` could not read metadata that lists this name")]
    Client,
    /// Clients sort this name and one beside it differently, and could not verify a file that lists both.
    #[error("some clients could not verify this name beside one that differs by a trailing space or `!`")]
    NameOrder,
    /// The rule's `max_targets` is reached.
    #[error("the rule's `max_targets` is reached")]
    Quota,
    /// This source added too many names within a minute.
    #[error("too many new names from this address within a minute")]
    Rate,
}

impl Refusal {
    /// The metrics label.
    pub fn label(self) -> &'static str {
        match self {
            Self::BinFull => "bin-full",
            Self::Busy => "busy",
            Self::Client => "client",
            Self::NameOrder => "name-order",
            Self::Quota => "quota",
            Self::Rate => "rate",
        }
    }
}

/// Counters behind [`Intake::admit`].
pub(super) struct Admission {
    learn_rate: u32,
    /// Leading bits of a path's id that choose its bin, as they were known last; 0 for one file.
    bits: AtomicU8,
    /// New names a source added within the running minute.
    sources: Cache<IpAddr, Arc<AtomicU64>>,
    /// Targets under each rule with a `max_targets`, in rule order; counted on first use.
    totals: OnceCell<Arc<[AtomicU64]>>,
}

/// A name's place under its rule's `max_targets`. It is given back when this is dropped: an upload that the upstream
/// refuses, as anybody's would be who has no credentials, must not use up the quota.
#[derive(Debug, Default)]
#[must_use = "dropping it gives the place back"]
pub struct Admitted(Option<(Arc<[AtomicU64]>, usize)>);

impl Admitted {
    /// The name is recorded now.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(total) = self.0.take().as_ref().and_then(|(totals, place)| totals.get(*place)) {
            total.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        let bits = match config.tuf.layout {
            Layout::Bins => Generation::of(config.tuf.bins).map_or(0, Generation::bits),
            Layout::Flat => 0,
        };
        Self {
            learn_rate: config.gate.learn_rate,
            bits: AtomicU8::new(bits),
            sources: Cache::builder()
                .max_capacity(100_000)
                .time_to_live(Duration::from_secs(60))
                .build(),
            totals: OnceCell::new(),
        }
    }

    fn over_rate(&self, client: Option<IpAddr>) -> bool {
        let (Some(client), true) = (client, self.learn_rate > 0) else {
            return false;
        };
        let seen = self.sources.get_with(client, Arc::default);
        seen.fetch_add(1, Ordering::Relaxed) >= u64::from(self.learn_rate)
    }
}

impl Intake {
    /// Whether one more name may be recorded; counts it, when so, for as long as the answer lives. The rate is that of
    /// `client`, where there is one.
    pub async fn admit(
        &self,
        path: &TargetPath,
        rule: &Rule,
        client: Option<IpAddr>,
    ) -> Result<Result<Admitted, Refusal>, LedgerError> {
        if !compat::names(path.as_str(), &self.parts.config.tuf.clients).is_empty() {
            return Ok(Err(Refusal::Client));
        }
        if let Err(refusal) = self.fits(path).await? {
            return Ok(Err(refusal));
        }
        if self.admission.over_rate(client) {
            return Ok(Err(Refusal::Rate));
        }
        let Some(limit) = rule.max_targets else {
            return Ok(Ok(Admitted::default()));
        };
        let totals = self.admission.totals.get_or_try_init(|| self.count_rules()).await?;
        let place = self.policy().position(path.as_str());
        let Some((place, total)) = place.and_then(|(place, _)| Some((place, totals.get(place)?))) else {
            return Ok(Ok(Admitted::default()));
        };
        let taken = total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1));
        Ok(match taken {
            Ok(_) => Ok(Admitted(Some((Arc::clone(totals), place)))),
            Err(_) => Err(Refusal::Quota),
        })
    }

    /// Whether the metadata file that would list the path can take it. Names that are pending are not seen here; the
    /// signer, which sees them all, has the last word.
    async fn fits(&self, path: &TargetPath) -> Result<Result<(), Refusal>, LedgerError> {
        let bits = self.admission.bits.load(Ordering::Relaxed);
        let Err(refusal) = self.fits_in(bits, path).await? else {
            return Ok(Ok(()));
        };
        // Bins only grow finer: what fits in a coarser one fits.
        let grown = self.bin_bits().await?;
        if grown == bits {
            return Ok(Err(refusal));
        }
        self.admission.bits.store(grown, Ordering::Relaxed);
        self.fits_in(grown, path).await
    }

    /// Leading bits of a path's id that choose its bin, as the signer published last.
    async fn bin_bits(&self) -> Result<u8, LedgerError> {
        if self.parts.config.tuf.layout == Layout::Flat {
            return Ok(0);
        }
        let roles = self.parts.ledger.roles().await?;
        let published: HashSet<_> = roles
            .into_iter()
            .filter(|role| role.published > 0)
            .map(|role| role.name)
            .collect();
        let listed = Generation::listed(|role| published.contains(role));
        Ok(listed
            .or(Generation::of(self.parts.config.tuf.bins))
            .map_or(0, Generation::bits))
    }

    async fn fits_in(&self, bits: u8, path: &TargetPath) -> Result<Result<(), Refusal>, LedgerError> {
        let limit = match bits {
            0 => FLAT_LIMIT,
            _ => self.parts.config.tuf.max_bin_targets,
        };
        let names = self.parts.ledger.bin_names(bits, path.bin(bits)).await?;
        if names.len() as u64 >= limit {
            return Ok(Err(Refusal::BinFull));
        }
        let path = path.as_str();
        let ordered = |name: &String| match name.as_str() < path {
            true => before_for_all(name, path),
            false => before_for_all(path, name),
        };
        // Two names that sort differently are alike up to a space or `!` (`write_str` escapes nothing else a path holds).
        let suspects = names
            .iter()
            .filter(|name| name.starts_with(path) || path.starts_with(name.as_str()));
        let mut others = suspects.filter(|name| *name != path);
        Ok(match others.all(ordered) {
            true => Ok(()),
            false => Err(Refusal::NameOrder),
        })
    }

    async fn count_rules(&self) -> Result<Arc<[AtomicU64]>, LedgerError> {
        let policy = self.policy();
        let mut totals = vec![0_u64; policy.rules().len()];
        self.parts
            .ledger
            .each_target(&mut |target| {
                let place = policy.position(target.path.as_str());
                if let Some(total) = place.and_then(|(place, _)| totals.get_mut(place)) {
                    *total += 1;
                }
            })
            .await?;
        Ok(totals.into_iter().map(AtomicU64::new).collect())
    }
}
