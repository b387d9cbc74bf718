//! The lines that `quickstart --once` prints: a step, what was seen, how long it took.

use std::fmt::Display;

use tokio::time::Instant;

use crate::cli::print;

/// Prints a line a step, with its time.
pub struct Steps {
    begun: Instant,
    /// What is being tried, for the error that ends the trip.
    pub next: String,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            next: "preparing".to_owned(),
        }
    }
}

impl Steps {
    /// Names what is tried from here on.
    pub fn begin(&mut self, what: &str) {
        self.begun = Instant::now();
        self.next = what.to_owned();
    }

    /// It held: says what was seen.
    pub fn done(&self, seen: impl Display) {
        let (millis, what) = (self.begun.elapsed().as_millis(), &self.next);
        // A step that nobody reads of holds all the same.
        let _ = print(format_args!("{millis:>7} ms  {what}: {seen}"));
    }
}
