//! A gate's folder as `tufgate init` and a signer make it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{Notify, watch};

use crate::{
    audit::{Report, Severity, Subject, audit, pass},
    cli::init::{InitOptions, init},
    clock::SystemClock,
    config::Config,
    depot::{Depot, DepotError, Stored, fs::FsDepot},
    digest::Digest,
    ledger::{Act, Ledger, Observation, Provenance, sqlite::SqliteLedger},
    signer::{OnlineKeys, Parts, Signer, Turn},
    target::TargetPath,
    telemetry::Metrics,
};

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) config: Config,
}

impl World {
    /// After `init`: keys, a root, nothing else. `tuf`: further configuration.
    pub(super) async fn initialised(tuf: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[upstream]\nurl = \"http://127.0.0.1:9\"\n{tuf}\n[[rule]]\npath = \"**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n"
        );
        let file = folder.path().join("tufgate.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let options = InitOptions {
            root_keys: 2,
            root_threshold: 2,
            root_dir: folder.path().join("root"),
            passphrase: None,
        };
        let depot = FsDepot::open(&config.depot).unwrap();
        init(&config, &depot, &options, Timestamp::now()).await.unwrap();
        drop(SqliteLedger::open(&config.ledger).unwrap());
        Self { folder, config }
    }

    /// The same with a history: targets of every state, superseded digests and files, an audit chain.
    pub(super) async fn furnished() -> Self {
        let world = Self::initialised("[tuf]\nbins = 2\n").await;
        let ledger = world.ledger();
        let mut signer = world.signer();
        for text in ["a", "dir/b", "dir/a space (1)", "gone", "withdrawn", "é"] {
            observe(&ledger, text, record(text)).await;
        }
        settle(&mut signer).await;
        observe(&ledger, "gone", Act::Delete).await;
        let reason = "it was bad".to_owned();
        observe(&ledger, "withdrawn", Act::Retract { reason }).await;
        let digest = Digest::of("another");
        observe(&ledger, "a", Act::Replace { digest, length: 7 }).await;
        settle(&mut signer).await;
        observe(&ledger, "dir/late", record("late")).await;
        settle(&mut signer).await;
        signer.leave().await.unwrap();
        world
    }

    pub(super) fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&self.config.ledger).unwrap()
    }

    /// A connection that keeps to no rule of the ledger's.
    pub(super) fn hand(&self) -> Connection {
        let hand = Connection::open(&self.config.ledger).unwrap();
        hand.execute_batch("PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON;")
            .unwrap();
        hand
    }

    pub(super) fn signer(&self) -> Signer {
        self.signer_of(Arc::new(FsDepot::open(&self.config.depot).unwrap()))
    }

    pub(super) fn signer_of(&self, depot: Arc<dyn Depot>) -> Signer {
        Signer::new(Parts {
            config: Arc::new(self.config.clone()),
            ledger: Arc::new(self.ledger()),
            depot,
            // Keys in files are there at once.
            keys: OnlineKeys::open(&self.config).now_or_never().unwrap().unwrap(),
            clock: Arc::new(SystemClock),
            metrics: Metrics::new().unwrap(),
            wake: Arc::new(Notify::new()),
            reload: Arc::new(Notify::new()),
            published: watch::Sender::new(0),
            holder: "signer".to_owned(),
        })
    }

    pub(super) async fn audit(&self) -> Report {
        self.audit_at(Timestamp::now()).await
    }

    pub(super) async fn audit_at(&self, now: Timestamp) -> Report {
        self.look(now, true).await
    }

    /// One of the two looks that an audit takes: enough to find what does not move.
    pub(super) async fn pass(&self) -> Report {
        self.look(Timestamp::now(), false).await
    }

    async fn look(&self, now: Timestamp, twice: bool) -> Report {
        let ledger = SqliteLedger::look(&self.config.ledger);
        let depot = FsDepot::look(&self.config.depot);
        let subject = Subject {
            config: &self.config,
            ledger: ledger.as_ref().map(|ledger| ledger as &dyn Ledger),
            depot: &depot,
            now,
        };
        if twice {
            audit(subject).await
        } else {
            pass(subject).await
        }
    }

    /// A file of the depot.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.config.depot.join(name)
    }

    /// Names of all metadata files.
    pub(super) async fn names(&self) -> Vec<String> {
        let stored = FsDepot::look(&self.config.depot).list().await.unwrap();
        let mut names: Vec<_> = stored.into_iter().map(|file| file.name).collect();
        names.sort();
        names
    }

    /// Copies of everything that changes, to go back to.
    pub(super) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        copy
    }

    /// Puts a copy of one place back.
    pub(super) fn restore(&self, copy: &tempfile::TempDir, place: &Path) {
        let inside = place.strip_prefix(self.folder.path()).unwrap();
        if place.is_dir() {
            fs::remove_dir_all(place).unwrap();
            fs::create_dir(place).unwrap();
            copy_folder(&copy.path().join(inside), place);
        } else {
            for beside in ["ledger.db-wal", "ledger.db-shm"] {
                let _ = fs::remove_file(self.folder.path().join(beside));
            }
            fs::copy(copy.path().join(inside), place).unwrap();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(super) fn record(bytes: &str) -> Act {
    Act::Record {
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
        provenance: Provenance::Published,
    }
}

pub(super) async fn observe(ledger: &dyn Ledger, path: &str, act: Act) {
    let observation = Observation {
        seq: 0,
        path: TargetPath::new(path).unwrap(),
        act,
        who: "client 127.0.0.1".to_owned(),
        at: Timestamp::now(),
    };
    ledger.observe(observation).await.unwrap();
}

pub(super) async fn settle(signer: &mut Signer) {
    while let Turn::Published { .. } = signer.turn().await.unwrap() {}
}

/// Codes and places of what is worse than a note.
pub(super) fn told(report: &Report) -> Vec<String> {
    let bad = report.findings().filter(|finding| finding.severity != Severity::Note);
    bad.map(|finding| format!("{} {}: {}", finding.code, finding.place, finding.message))
        .collect()
}

/// A depot whose signer dies at the swap: before it happens, or before it hears of it.
pub(super) struct Dying {
    pub(super) inner: FsDepot,
    pub(super) swaps: bool,
}

#[async_trait]
impl Depot for Dying {
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError> {
        self.inner.put_all(files).await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        self.inner.read(name).await
    }

    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError> {
        if self.swaps {
            self.inner.swap_timestamp(expected, new).await?;
        }
        Err(DepotError::Full {
            name: "timestamp.json".to_owned(),
        })
    }

    async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        self.inner.list().await
    }

    async fn delete(&self, name: &str) -> Result<(), DepotError> {
        self.inner.delete(name).await
    }
}
