//! The second look, at the end of a walk: time has passed, and what was published must still stand.

use futures_util::{StreamExt as _, stream};
use http::StatusCode;

use super::{
    Code, Place,
    document::Document,
    finding::Findings,
    role::lot,
    roots::Root,
    top::Timestamp,
    walk::{PARALLEL, Walk},
};
use crate::digest::Digest;

/// Most files that are fetched a second time.
const AGAIN: usize = 256;

impl Walk<'_> {
    /// Looks again at the timestamp, at versioned files that were read, and for what should not be there.
    pub(super) async fn again(&mut self, root: &Root, before: &Timestamp) {
        self.fixed_again().await;
        let now = self.timestamp_again(root, before).await;
        if let Some(now) = now
            && root.consistent
        {
            self.snapshot_ahead(root, &now).await;
            self.missing(&now).await;
        }
    }

    /// A versioned file is written once and kept: whoever began an update before must be able to end it.
    async fn fixed_again(&mut self) {
        let mut files: Vec<_> = self.seen.clone().into_iter().collect();
        if files.len() > AGAIN {
            let seed = self.site.options.seed;
            let is_top = |name: &str| {
                [".root.json", ".snapshot.json", ".targets.json"]
                    .iter()
                    .any(|end| name.ends_with(end))
            };
            files.sort_by_cached_key(|(name, _)| (!is_top(name), lot(seed, name)));
            files.truncate(AGAIN);
        }
        let site = self.site.clone();
        let asked = files.into_iter().map(|(name, digest)| {
            let site = site.clone();
            async move { (site.get(&name).await, name, digest) }
        });
        let answers: Vec<_> = stream::iter(asked).buffered(PARALLEL).collect().await;
        for (answer, name, digest) in answers {
            let place = Place::file(&name);
            // Without consistent snapshots only roots have names of their own.
            let fixed = name.split('.').next().is_some_and(|first| first.parse::<u64>().is_ok());
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => {
                    if fixed && Digest::of(&answer.body) != digest {
                        let message = "it is another file now than when the walk began: a version is written once";
                        self.findings.error(Code::FileChanged, &place, message);
                    }
                }
                Ok(answer) => {
                    let message = format!(
                        "it was there when the walk began and is answered with {} now",
                        answer.status
                    );
                    self.findings.error(Code::FileGone, &place, message);
                }
                Err(error) => self.findings.error(Code::Unreachable, &place, error),
            }
        }
    }

    async fn timestamp_again(&mut self, root: &Root, before: &Timestamp) -> Option<Timestamp> {
        const NAME: &str = "timestamp.json";
        let place = Place::file(NAME);
        let answer = self.file(NAME).await?;
        if answer.body == before.bytes {
            return Timestamp::read(answer.body, root, &place, &mut Findings::default());
        }
        // Another file than the one that was judged: its own faults count too.
        let now = Timestamp::read(answer.body, root, &place, &mut self.findings)?;
        let (old, new) = (before.header.version, now.header.version);
        if new < old {
            let message = format!("it went back from version {old} to {new} during the walk");
            self.findings.error(Code::TimestampRollback, &place, message);
        } else if new == old {
            let message = format!("there are two files of version {old}");
            self.findings.error(Code::FileChanged, &place, message);
        } else if now.snapshot.version < before.snapshot.version {
            let message = format!(
                "it names snapshot {} now and named {} before",
                now.snapshot.version, before.snapshot.version
            );
            self.findings.error(Code::TimestampRollback, &place, message);
        }
        Some(now)
    }

    /// A newer snapshot that no timestamp names is a rollback, or what a crash left.
    async fn snapshot_ahead(&mut self, root: &Root, now: &Timestamp) {
        let next = now.snapshot.version + 1;
        let name = self.site.name("snapshot", Some(next));
        let place = Place::file(&name);
        let Ok(answer) = self.site.get(&name).await else { return };
        if answer.status != StatusCode::OK {
            return;
        }
        let mut unheard = Findings::default();
        let Some(document) = Document::read(&answer.body, &place, &mut unheard) else {
            return;
        };
        let signers = root.signers.get("snapshot");
        let signed = signers.is_some_and(|signers| signers.check(&document, "root", &place, &mut unheard));
        let version = document.header("snapshot", &["meta"], &place, &mut unheard).version;
        if !signed || version != next {
            return;
        }
        // A publication may be on its way: its timestamp comes last.
        let Ok(answer) = self.site.get("timestamp.json").await else {
            return;
        };
        let latest = Timestamp::read(answer.body, root, &place, &mut unheard);
        if latest.is_none_or(|latest| latest.snapshot.version < next) {
            let message = format!(
                "it is signed and newer than what the timestamp names ({}): a rollback, or what a crash left",
                now.snapshot.version
            );
            self.findings.warning(Code::SnapshotAhead, &place, message);
        }
    }

    /// What is not there must be a plain 404.
    async fn missing(&mut self, now: &Timestamp) {
        let name = self
            .site
            .name("targets", Some(now.header.version.max(1) + 1_000_000_007));
        let place = Place::file(&name);
        match self.site.get(&name).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {}
            Ok(answer) => {
                let message = format!(
                    "there is no such file, and the answer is {} instead of 404",
                    answer.status
                );
                self.findings.warning(Code::MissingNot404, &place, message);
            }
            Err(error) => self.findings.error(Code::Unreachable, &place, error),
        }
    }
}
