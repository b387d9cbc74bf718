//! Timestamp and snapshot of one update (TUF spec 5.4, 5.5), and the turn that a client takes for it in the store.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Client, MAX_LISTED, MAX_SNAPSHOT, MAX_TIMESTAMP,
    error::ClientError,
    store::Lock,
    trusted::{Seen, Trusted},
};
use crate::digest::Digest;

/// How often a lock that another process holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

impl Client {
    /// Takes the timestamp (5.4); the caller holds the lock.
    pub(super) async fn update_timestamp(&self, trusted: &mut Trusted) -> Result<(), ClientError> {
        const NAME: &str = "timestamp.json";
        // What does not verify any more (rotated keys, a damaged file) is as good as absent. An expired one still tells
        // which versions were seen.
        let stored = self.store.read(NAME, MAX_TIMESTAMP)?;
        let stored = stored.map(|stored| trusted.take_timestamp(&stored));
        if self.options.offline {
            stored.unwrap_or_else(|| Err(ClientError::Offline(NAME.to_owned())))?;
            return trusted.check_timestamp_expiry();
        }
        let url = self.metadata.current().metadata("timestamp", None);
        let bytes = self.metadata(NAME, &url, MAX_TIMESTAMP).await?;
        let seen = trusted.take_timestamp(&bytes)?;
        trusted.check_timestamp_expiry()?;
        match seen {
            Seen::New => self.store.write(NAME, &bytes),
            Seen::Same => Ok(()),
        }
    }

    /// Takes the snapshot (5.5) and says its digest; the caller holds the lock.
    pub(super) async fn update_snapshot(&self, trusted: &mut Trusted) -> Result<Digest, ClientError> {
        const NAME: &str = "snapshot.json";
        let listed = trusted.snapshot_listing()?.clone();
        if let Some(stored) = self.store.read(NAME, MAX_LISTED)?
            && trusted.adopt_snapshot(&stored).unwrap_or(false)
        {
            trusted.check_snapshot_expiry()?;
            return Ok(Digest::of(&stored));
        }
        let consistent = trusted.root().consistent_snapshot;
        let take = |bytes: &[u8]| trusted.take_snapshot(bytes);
        let (bytes, ()) = self
            .versioned(consistent, "snapshot", &listed, MAX_SNAPSHOT, take)
            .await?;
        trusted.check_snapshot_expiry()?;
        self.store.write(NAME, &bytes)?;
        Ok(Digest::of(&bytes))
    }

    /// The digest of the snapshot that the store holds now.
    pub(super) fn stored_snapshot(&self) -> Result<Option<Digest>, ClientError> {
        Ok(self.store.read("snapshot.json", MAX_LISTED)?.map(Digest::of))
    }

    /// Waits until no other process and no other client works in the store, but not longer than five answers may take.
    pub(super) async fn lock(&self) -> Result<Lock, ClientError> {
        let deadline = Instant::now() + 5 * self.options.timeouts.total;
        loop {
            if let Some(lock) = self.store.try_lock()? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(ClientError::Busy(self.store.folder().to_owned()));
            }
            // Nothing tells when a file lock is given back.
            tokio::time::sleep(LOCK_POLL).await;
        }
    }
}
