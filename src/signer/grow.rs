//! Growing bins (DESIGN 6). The next generation is written beside the one in use, a few bins a turn, while publishing goes
//! on; one publication then points the delegator at it. `targets.json` is not touched, and the names of the old generation
//! stay listed with their last files, so that no client misses anything it was led to.
//!
//! What is half-written when a signer ends is written anew by the next: it was never listed, and is collected in time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{config::Tuf, ledger::Batch, target::TargetPath, tuf::layout::Generation};

use super::{
    Signer, SignerError, Turn,
    kept::Kept,
    refresh::{Due, Versions},
    shape::Shape,
    state::State,
};

/// Bins written in a turn.
const STEP: usize = 64;

/// The next generation, while it is written.
pub(super) struct Growth {
    to: Generation,
    /// Bins below this one are written.
    next: u32,
    /// Of these, those that are not as they were written.
    dirty: BTreeSet<u32>,
    /// How many may still be written again before the switch: a steady stream of publications must not put it off.
    again: usize,
    written: Versions,
}

impl Growth {
    fn new(to: Generation) -> Self {
        Self {
            to,
            next: 0,
            dirty: BTreeSet::new(),
            again: to.count() as usize,
            written: Versions::new(),
        }
    }

    /// A target changed.
    pub(super) fn touch(&mut self, path: &TargetPath) {
        let bin = self.to.bin_of(&path.id());
        if bin < self.next {
            self.dirty.insert(bin);
        }
    }

    /// The bins to write in this turn; none when it is time to switch.
    fn step(&mut self) -> Vec<u32> {
        let new = self.next..self.to.count().min(self.next + STEP as u32);
        self.next = new.end;
        if !new.is_empty() {
            return new.collect();
        }
        if self.dirty.len() <= STEP || self.again == 0 {
            return Vec::new();
        }
        let dirty: Vec<_> = self.dirty.iter().copied().take(STEP.min(self.again)).collect();
        self.again -= dirty.len();
        self.dirty.retain(|bin| !dirty.contains(bin));
        dirty
    }
}

/// The generation there should be, where it is not the one there is.
fn wanted(state: &State, tuf: &Tuf) -> Option<Generation> {
    let Shape::Bins(current) = state.shape else { return None };
    // Before the first publication there is nothing to grow from.
    state.snapshot?;
    let mut wanted = Generation::of(tuf.bins.max(current.count()))?;
    while state.live > tuf.grow_at * u64::from(wanted.count()) {
        match wanted.next(tuf.max_bins) {
            Some(next) => wanted = next,
            None => break,
        }
    }
    (wanted != current).then_some(wanted)
}

impl Signer {
    /// A step towards the next generation, where there is to be one. After the turn's own work, so that what is pending
    /// waits for one step at most.
    pub(super) async fn grow(&mut self, state: &mut State, turn: Turn, now: Timestamp) -> Result<Turn, SignerError> {
        if state.growth.is_none()
            && let Some(to) = wanted(state, &self.parts.config.tuf)
        {
            tracing::info!(bins.from = state.shape.count(), bins.to = to.count(), "growing bins");
            state.growth = Some(Growth::new(to));
        }
        let Some(mut growth) = state.growth.take() else {
            return Ok(turn);
        };
        let bins = growth.step();
        if bins.is_empty() {
            return self.switch(state, growth, now).await;
        }
        let shape = Shape::Bins(growth.to);
        let roles = bins.iter().map(|bin| shape.role(*bin)).collect();
        let fresh = self
            .reserve(state, &mut Batch::default(), roles, state.upto, now)
            .await?;
        let (mut listed, mut files) = (BTreeMap::new(), Vec::new());
        let bins = bins.into_iter().map(|bin| (bin, None)).collect();
        self.write_bins(shape, bins, &fresh, &mut listed, &mut files).await?;
        self.parts.depot.put_all(files).await?;
        growth.written.extend(fresh);
        state.growth = Some(growth);
        Ok(match turn {
            Turn::Idle { .. } => Turn::Idle {
                wait: std::time::Duration::ZERO,
            },
            other => other,
        })
    }

    /// Points the delegator at the new generation. From here on the old one is as it was published last.
    async fn switch(&mut self, state: &mut State, growth: Growth, now: Timestamp) -> Result<Turn, SignerError> {
        state.shape = Shape::Bins(growth.to);
        state.kept = Kept::default();
        let due = Due {
            bins: growth.dirty.into_iter().collect(),
            delegator: true,
            written: growth.written,
            ..Due::default()
        };
        let snapshot = self.publish_timed(state, Vec::new(), due, None, now).await?;
        tracing::info!(
            bins.count = state.shape.count(),
            snapshot.version = snapshot,
            "bins have grown"
        );
        Ok(Turn::Published { snapshot })
    }
}
