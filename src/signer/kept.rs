//! Bins that were decided on, kept for the next turn. Only the holder of the lease changes what a bin lists, so what one
//! turn left is what the ledger would say; a turn that fails drops them with all else it knew (`state.rs`).

use std::collections::{HashMap, VecDeque};

use super::batch::Bin;

/// Most rows kept, some 150 bytes each.
pub(super) const ROWS: usize = 200_000;

/// The bins decided on last.
#[derive(Default)]
pub(super) struct Kept {
    bins: HashMap<u32, Bin>,
    /// Their numbers, the one kept longest first.
    order: VecDeque<u32>,
    rows: usize,
}

impl Kept {
    /// Takes a bin out, to be changed.
    pub(super) fn take(&mut self, number: u32) -> Option<Bin> {
        let bin = self.bins.remove(&number)?;
        self.order.retain(|other| *other != number);
        self.rows -= bin.len();
        Some(bin)
    }

    /// Keeps a bin; those kept longest go where there are too many rows.
    pub(super) fn keep(&mut self, number: u32, bin: Bin) {
        self.take(number);
        self.rows += bin.len();
        self.order.push_back(number);
        self.bins.insert(number, bin);
        while self.rows > ROWS
            && let Some(oldest) = self.order.front().copied()
        {
            self.take(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_kept_longest_go_first_and_rows_are_bounded() {
        let mut kept = Kept::default();
        for number in 0..5 {
            kept.keep(number, Bin::of_rows(ROWS / 4));
        }
        assert!(kept.take(0).is_none());
        kept.keep(1, Bin::of_rows(ROWS / 4));
        kept.keep(5, Bin::of_rows(ROWS / 4));
        assert!(kept.take(2).is_none());
        assert_eq!(kept.rows, ROWS / 4 * 4);
        assert_eq!(kept.take(1).map(|bin| bin.len()), Some(ROWS / 4));
        kept.keep(6, Bin::of_rows(ROWS + 1));
        assert_eq!((kept.rows, kept.bins.len(), kept.order.len()), (0, 0, 0));
    }
}
