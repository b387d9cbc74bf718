//! Choices read from an input: each byte decides one thing, so that a changed byte changes one thing.

/// The choices not made yet.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// All choices of an input.
    pub fn of(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether none is left; from here on every choice is 0.
    pub fn ended(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Which of `count` things, at most 8, to take.
    pub fn some(&mut self, count: usize) -> Vec<usize> {
        let bits = self.byte();
        (0..count).filter(|at| bits & 1 << at != 0).collect()
    }

    /// At most `count` characters of an alphabet.
    pub fn text(&mut self, count: usize, alphabet: &[char]) -> String {
        let count = self.below(count + 1);
        (0..count).map(|_| self.one(alphabet)).collect()
    }
}
