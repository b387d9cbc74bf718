#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod delegations;
mod downloads;
mod roots;
mod store;
mod transfers;
mod workflow;

use super::{testing::*, *};

/// What every failed check must leave behind: the last trusted state, and no output.
#[track_caller]
fn assert_untouched(repo: &Repo, before: &[Option<Vec<u8>>; 2]) {
    assert_eq!(&[repo.stored("timestamp.json"), repo.stored("snapshot.json")], before);
    assert!(!repo.output().exists());
}

fn state(repo: &Repo) -> [Option<Vec<u8>>; 2] {
    [repo.stored("timestamp.json"), repo.stored("snapshot.json")]
}
