//! The cache as its callers see it, on real folders.
#![expect(clippy::unwrap_used, reason = "tests")]

mod full;
mod properties;
mod sharing;
mod store;
mod tampering;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Cache, CacheError, Fill, FillError};
use crate::{config, digest::Expected, telemetry::Metrics};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;

/// A folder that caches open one after another.
pub(super) struct World {
    pub home: TempDir,
    pub config: config::Cache,
    pub metrics: Metrics,
}

impl World {
    pub(super) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    pub(super) fn within(home: TempDir) -> Self {
        let config = config::Cache {
            memory: 4 << 20,
            memory_max_object: 64 << 10,
            path: home.path().join("cache"),
            disk: 64 << 20,
            max_object: 32 << 20,
            fresh_for: Duration::from_secs(60),
        };
        Self {
            home,
            config,
            metrics: Metrics::new().unwrap(),
        }
    }

    /// Opens the cache; its counts start anew.
    pub(super) fn open(&mut self) -> Cache {
        self.metrics = Metrics::new().unwrap();
        self.try_open().unwrap()
    }

    /// Opens the cache as soon as its last user is gone.
    pub(super) async fn reopen(&mut self) -> Cache {
        self.metrics = Metrics::new().unwrap();
        loop {
            match self.try_open() {
                Err(CacheError::InUse { .. }) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    }

    pub(super) fn try_open(&self) -> Result<Cache, CacheError> {
        Cache::open(&self.config, &self.metrics)
    }

    pub(super) fn file(&self, body: &Bytes) -> PathBuf {
        self.config.path.join(Expected::of(body).digest.to_string())
    }

    /// Names in the folder but the lock's.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.config.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }

    /// Blocks on disk of what is in the folder.
    pub(super) fn on_disk(&self) -> u64 {
        let sizes = self.names().into_iter().map(|name| {
            let metadata = fs::symlink_metadata(self.config.path.join(name));
            metadata.map_or(0, |metadata| metadata.len().div_ceil(4096) * 4096)
        });
        sizes.sum()
    }

    pub(super) fn damaged(&self) -> u64 {
        self.metrics.cache_damaged_total.get()
    }

    pub(super) fn fills(&self, outcome: &str) -> u64 {
        self.metrics.cache_fills_total.with_label_values(&[outcome]).get()
    }

    pub(super) fn hits(&self, place: &str) -> u64 {
        self.metrics.cache_hits_total.with_label_values(&[place]).get()
    }

    pub(super) fn bytes(&self, place: &str) -> i64 {
        self.metrics.cache_bytes.with_label_values(&[place]).get()
    }

    /// Until every file that was given up is gone: they lose their names beside the event loop.
    pub(super) async fn settled(&self) {
        until(|| !self.names().iter().any(|name| name.starts_with(".fill-"))).await;
    }
}

/// Waits for what other threads are about to do.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Bytes without a period that chunk sizes share.
pub(super) fn body(seed: u32, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(next).collect()
}

pub(super) async fn pour(fill: &mut Fill, body: &Bytes, chunk: usize) {
    for at in (0..body.len()).step_by(chunk) {
        fill.push(body.slice(at..body.len().min(at + chunk))).await.unwrap();
    }
}

/// Keeps a body, whole and right.
pub(super) async fn keep(cache: &Cache, body: &Bytes) -> Result<Bytes, FillError> {
    let mut fill = cache.fill(Expected::of(body)).unwrap();
    pour(&mut fill, body, 30_000).await;
    fill.finish(|| {}).await
}

/// Changes a file in place, by whatever mode it has (root may), until the change shows: the clock of a file system is coarse.
pub(super) fn tamper(file: &Path, change: impl Fn(&Path)) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let changed = || {
        let metadata = fs::symlink_metadata(file).unwrap();
        (metadata.ctime(), metadata.ctime_nsec(), metadata.ino())
    };
    let before = changed();
    let mode = fs::metadata(file).unwrap().permissions().mode();
    while changed() == before {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        change(file);
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
}
