//! The last bytes of a body that is arriving: what readers that keep up get without a copy.

use std::collections::VecDeque;

use bytes::Bytes;

/// Chunks shorter than this are gathered: each would cost more than its bytes.
const SHORT: usize = 4 << 10;
/// What gathered chunks become a chunk of their own at.
const GATHERED: usize = 16 << 10;

/// Consecutive bytes `start..end` of a body.
#[derive(Default)]
pub(super) struct Window {
    /// Whole chunks and where they begin.
    chunks: VecDeque<(u64, Bytes)>,
    /// Short ones after them.
    tail: Vec<u8>,
    end: u64,
}

impl Window {
    /// Where the bytes that are here begin.
    pub(super) fn start(&self) -> u64 {
        self.chunks.front().map_or(self.tail_start(), |(at, _)| *at)
    }

    /// Where the next chunk begins.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes are here.
    pub(super) fn held(&self) -> u64 {
        self.end - self.start()
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if chunk.len() < SHORT {
            self.tail.extend_from_slice(&chunk);
            self.end += chunk.len() as u64;
            if self.tail.len() >= GATHERED {
                self.close_tail();
            }
        } else {
            self.close_tail();
            let at = self.end;
            self.end += chunk.len() as u64;
            self.chunks.push_back((at, chunk));
        }
    }

    /// Bytes from `from` on, some but not past `to`. `None` where they are gone or there are none.
    pub(super) fn take(&self, from: u64, to: u64) -> Option<Bytes> {
        let to = to.min(self.end);
        if from < self.start() || from >= to {
            return None;
        }
        let tail = self.tail_start();
        if from >= tail {
            return Some(Bytes::copy_from_slice(self.tail.get(within(tail, from, to))?));
        }
        let next = self.chunks.partition_point(|(at, _)| *at <= from);
        let (at, chunk) = self.chunks.get(next.checked_sub(1)?)?;
        let to = to.min(at + chunk.len() as u64);
        Some(chunk.slice(within(*at, from, to)))
    }

    /// Drops whole chunks that end at or before `floor`, the oldest first, until no more than `most` bytes are here.
    pub(super) fn trim(&mut self, floor: u64, most: u64) {
        while self.held() > most {
            match self.chunks.front() {
                Some((at, chunk)) if at + chunk.len() as u64 <= floor => self.chunks.pop_front(),
                _ => return,
            };
        }
    }

    fn tail_start(&self) -> u64 {
        self.end - self.tail.len() as u64
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let at = self.tail_start();
            self.chunks.push_back((at, std::mem::take(&mut self.tail).into()));
        }
    }
}

/// A range of the body as one of a chunk at `at`. It lies within the chunk, whose length is a `usize`.
fn within(at: u64, from: u64, to: u64) -> std::ops::Range<usize> {
    (from - at) as usize..(to - at) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_here_is_the_body(
            sizes in prop::collection::vec(prop_oneof![1usize..40, 3_000usize..9_000], 1..40),
            trims in prop::collection::vec((0u64..60_000, 0u64..30_000), 0..20),
            asked in prop::collection::vec((0u64..60_000, 0u64..60_000), 1..20),
        ) {
            let body: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
            let (mut window, mut at, mut trims) = (Window::default(), 0, trims.into_iter());
            for size in sizes {
                window.push(Bytes::copy_from_slice(&body[at..at + size]));
                at += size;
                prop_assert_eq!(window.end(), at as u64);
                let before = window.start();
                if let Some((floor, most)) = trims.next() {
                    window.trim(floor, most);
                    prop_assert!(window.start() <= floor.max(before), "dropped what is needed");
                }
                prop_assert_eq!(window.held(), window.end() - window.start());
                for &(from, to) in &asked {
                    match window.take(from, to) {
                        Some(bytes) => {
                            let end = from + bytes.len() as u64;
                            prop_assert!(!bytes.is_empty() && end <= to && end <= window.end());
                            prop_assert_eq!(&bytes[..], &body[from as usize..end as usize]);
                        }
                        None => prop_assert!(from < window.start() || from >= to.min(window.end())),
                    }
                }
            }
        }
    }
}
