//! What outlives an interruption, and what does not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use super::*;
use crate::digest::Digest;

fn files(dir: &Path) -> Vec<String> {
    crate::client::testing::names(dir)
}

#[tokio::test]
async fn what_was_written_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(&dir.path().join("out")).unwrap();
    let digest = Hashes::from(Digest::of("abcdef"));
    let mut first = Partial::open(&place, &digest, 6).await.unwrap();
    first.write(b"abc").await.unwrap();
    first.flush().await.unwrap();
    drop(first);
    assert_eq!(files(dir.path()), [name(&digest)]);

    let mut second = Partial::open(&place, &digest, 6).await.unwrap();
    assert_eq!(second.length(), 3);
    assert!(second.check().is_err());
    second.write(b"def").await.unwrap();
    second.check().unwrap();
    let mut file = second.finish().await.unwrap();
    assert_eq!(io::read_to_string(&mut file).unwrap(), "abcdef");
    assert_eq!(files(dir.path()), ["out"]);
}

#[tokio::test]
async fn nothing_stays_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(&dir.path().join("out")).unwrap();
    let digest = Hashes::from(Digest::of("x"));
    drop(Partial::open(&place, &digest, 1).await.unwrap());
    assert_eq!(files(dir.path()), [] as [&str; 0]);
    let mut dropped = Partial::open(&place, &digest, 1).await.unwrap();
    dropped.write(b"y").await.unwrap();
    dropped.restart().await.unwrap();
    drop(dropped);
    assert_eq!(files(dir.path()), [] as [&str; 0]);
    fs::write(dir.path().join(name(&digest)), "too long to be a beginning").unwrap();
    assert_eq!(Partial::open(&place, &digest, 1).await.unwrap().length(), 0);
}

#[tokio::test]
async fn two_that_want_the_same_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        Place::of(&dir.path().join("1")).unwrap(),
        Place::of(&dir.path().join("2")).unwrap(),
    );
    let digest = Hashes::from(Digest::of("abc"));
    let mut first = Partial::open(&one, &digest, 3).await.unwrap();
    first.write(b"ab").await.unwrap();
    let mut second = Partial::open(&two, &digest, 3).await.unwrap();
    assert_eq!(second.length(), 0);
    second.write(b"abc").await.unwrap();
    second.finish().await.unwrap();
    first.write(b"c").await.unwrap();
    first.finish().await.unwrap();
    for name in ["1", "2"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"abc");
    }
    assert_eq!(files(dir.path()), ["1", "2"]);
    // Given up, the second of two leaves nothing; what it would continue is the first one's.
    let first = Partial::open(&one, &digest, 3).await.unwrap();
    let mut second = Partial::open(&two, &digest, 3).await.unwrap();
    second.write(b"a").await.unwrap();
    drop((first, second));
    assert_eq!(files(dir.path()), ["1", "2"]);
}

#[tokio::test]
async fn somebody_elses_file_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(&dir.path().join("out")).unwrap();
    let digest = Hashes::from(Digest::of("abc"));
    fs::write(dir.path().join("precious"), "p").unwrap();
    std::os::unix::fs::symlink("precious", dir.path().join(name(&digest))).unwrap();
    let mut partial = Partial::open(&place, &digest, 3).await.unwrap();
    partial.write(b"abc").await.unwrap();
    partial.finish().await.unwrap();
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"p");
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"abc");
}
