//! The trusted set: what an update has accepted so far. Pure; every check of the client workflow (TUF spec 5) that does
//! not need a disk or a network stands here.

use jiff::Timestamp;
use tough::schema::RoleType;

use super::{
    delegation,
    error::{Attack, ClientError, refused},
};
use crate::tuf::{
    hashes::Hashes,
    schema::{Listing, MetaFile, Root, Targets},
    verify::{Keys, Unverified, VerifyError},
};

/// Trusted metadata of one update, judged against one point in time.
#[derive(Debug)]
pub struct Trusted {
    now: Timestamp,
    root: Root,
    timestamp: Option<Listing>,
    snapshot: Option<Listing>,
}

/// What became of a timestamp.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// Newer than what was trusted.
    New,
    /// The version that was trusted already, which is kept.
    Same,
}

impl Trusted {
    /// Starts from a root that is trusted for reasons of its own. `now` holds for the whole update (5.1).
    pub fn start(root: &[u8], now: Timestamp) -> Result<Self, ClientError> {
        let root = Unverified::parse(root)
            .and_then(Unverified::self_signed_root)
            .map_err(|error| judged("root.json", error))?;
        Ok(Self {
            now,
            root,
            timestamp: None,
            snapshot: None,
        })
    }

    /// The newest trusted root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The only version that may come after the trusted root's; `None` at the end of all numbers.
    pub fn next_version(&self) -> Option<u64> {
        self.root.version.get().checked_add(1)
    }

    /// Takes the next root (5.3.4 to 5.3.6): signed by thresholds of the trusted one and of its own, and its very
    /// successor.
    pub fn next_root(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let Some(expected) = self.next_version() else {
            return Err(refused(
                "root.json",
                Attack::Rollback,
                "no version comes after the trusted one",
            ));
        };
        let name = format!("{expected}.root.json");
        let next = || {
            let next = Unverified::parse(bytes)?;
            next.check(&Keys::of_root(&self.root, RoleType::Root)?)?;
            next.self_signed_root()
        };
        let next = next().map_err(|error| judged(&name, error))?;
        if next.version.get() != expected {
            let why = format!("it has version {}", next.version);
            return Err(refused(name, Attack::Rollback, why));
        }
        self.root = next;
        Ok(())
    }

    /// Ends the walk along the roots (5.3.10).
    pub fn check_root_expiry(&self) -> Result<(), ClientError> {
        self.check_expiry(&format!("{}.root.json", self.root.version), self.root.expires)
    }

    /// Takes a timestamp (5.4.2, 5.4.3), from the store or from the repository.
    pub fn take_timestamp(&mut self, bytes: &[u8]) -> Result<Seen, ClientError> {
        const NAME: &str = "timestamp.json";
        let new = self.verify_top(bytes, RoleType::Timestamp, NAME)?;
        let listed = snapshot_of(&new)?.version;
        if let Some(old) = &self.timestamp {
            let trusted = snapshot_of(old)?.version;
            if new.version < old.version {
                let why = format!("it has version {}, but {} is trusted", new.version, old.version);
                return Err(refused(NAME, Attack::Rollback, why));
            }
            if new.version == old.version {
                return Ok(Seen::Same);
            }
            if listed < trusted {
                let why = format!("it lists snapshot {listed}, but {trusted} is trusted");
                return Err(refused(NAME, Attack::Rollback, why));
            }
        }
        self.timestamp = Some(new);
        Ok(Seen::New)
    }

    /// Ends the timestamp's part (5.4.4).
    pub fn check_timestamp_expiry(&self) -> Result<(), ClientError> {
        self.check_expiry("timestamp.json", self.timestamp()?.expires)
    }

    /// Timestamp and snapshot, once both were taken.
    pub fn seen(&self) -> Result<(&Listing, &Listing), ClientError> {
        Ok((self.timestamp()?, self.snapshot()?))
    }

    /// What the timestamp says of the snapshot.
    pub fn snapshot_listing(&self) -> Result<&MetaFile, ClientError> {
        snapshot_of(self.timestamp()?)
    }

    /// Takes the store's snapshot, for comparison; `true` when it is the one the timestamp lists.
    pub fn adopt_snapshot(&mut self, bytes: &[u8]) -> Result<bool, ClientError> {
        const NAME: &str = "snapshot.json";
        let stored = self.verify_top(bytes, RoleType::Snapshot, NAME)?;
        let listed = self.snapshot_listing()?;
        let current = stored.version == listed.version && check_bytes(NAME, bytes, listed).is_ok();
        self.snapshot = Some(stored);
        Ok(current)
    }

    /// Takes the repository's snapshot (5.5.2 to 5.5.5).
    pub fn take_snapshot(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        const NAME: &str = "snapshot.json";
        let listed = self.snapshot_listing()?;
        check_bytes(NAME, bytes, listed)?;
        let new = self.verify_top(bytes, RoleType::Snapshot, NAME)?;
        if new.version != listed.version {
            let why = format!(
                "it has version {}, but the timestamp lists {}",
                new.version, listed.version
            );
            return Err(refused(NAME, Attack::MixAndMatch, why));
        }
        for (role, old) in self.snapshot.iter().flat_map(|old| &old.meta) {
            match new.meta.get(role) {
                None => {
                    let why = format!("it drops `{role}`, which was listed before");
                    return Err(refused(NAME, Attack::Rollback, why));
                }
                Some(new) if new.version < old.version => {
                    let why = format!("it lists `{role}` {}, but {} is trusted", new.version, old.version);
                    return Err(refused(NAME, Attack::Rollback, why));
                }
                Some(_) => {}
            }
        }
        self.snapshot = Some(new);
        Ok(())
    }

    /// Ends the snapshot's part (5.5.6).
    pub fn check_snapshot_expiry(&self) -> Result<(), ClientError> {
        self.check_expiry("snapshot.json", self.snapshot()?.expires)
    }

    /// What the snapshot says of `targets` or a delegated role.
    pub fn targets_listing(&self, role: &str) -> Result<&MetaFile, ClientError> {
        let name = format!("{role}.json");
        match self.snapshot()?.meta.get(&name) {
            Some(listed) => Ok(listed),
            None => Err(refused(name, Attack::MixAndMatch, "the snapshot does not list it")),
        }
    }

    /// Reads `targets.json` or a delegated role (5.6.2 to 5.6.5).
    pub fn targets(&self, bytes: &[u8], role: &str, keys: &Keys) -> Result<Targets, ClientError> {
        let name = format!("{role}.json");
        let listed = self.targets_listing(role)?;
        check_bytes(&name, bytes, listed)?;
        let read = || {
            let targets: Targets = Unverified::parse(bytes)?.verify(keys, "targets")?;
            targets.delegations.as_ref().map_or(Ok(()), delegation::check)?;
            Ok(targets)
        };
        let targets = read().map_err(|error| judged(&name, error))?;
        if targets.version != listed.version.get() {
            let why = format!(
                "it has version {}, but the snapshot lists {}",
                targets.version, listed.version
            );
            return Err(refused(name, Attack::MixAndMatch, why));
        }
        self.check_expiry(&name, targets.expires)?;
        Ok(targets)
    }

    /// Whether bytes are those that the snapshot lists of a role, by length, hashes and version: neither its signatures nor
    /// its expiry count. For those who are to sign what comes next.
    pub fn pinned(&self, bytes: &[u8], role: &str) -> Result<(), ClientError> {
        let name = format!("{role}.json");
        let listed = self.targets_listing(role)?;
        check_bytes(&name, bytes, listed)?;
        let file = Unverified::parse(bytes).map_err(|error| judged(&name, error))?;
        let version = file.signed()["version"].as_u64();
        match version == Some(listed.version.get()) {
            true => Ok(()),
            false => Err(refused(
                name,
                Attack::MixAndMatch,
                "it has another version than the snapshot lists",
            )),
        }
    }

    /// The keys of the top-level targets role.
    pub fn targets_keys(&self) -> Result<Keys, ClientError> {
        Keys::of_root(&self.root, RoleType::Targets).map_err(|error| judged("root.json", error))
    }

    fn timestamp(&self) -> Result<&Listing, ClientError> {
        let missing = || refused("timestamp.json", Attack::MixAndMatch, "none is trusted yet");
        self.timestamp.as_ref().ok_or_else(missing)
    }

    fn snapshot(&self) -> Result<&Listing, ClientError> {
        let missing = || refused("snapshot.json", Attack::MixAndMatch, "none is trusted yet");
        self.snapshot.as_ref().ok_or_else(missing)
    }

    fn verify_top(&self, bytes: &[u8], role: RoleType, name: &str) -> Result<Listing, ClientError> {
        let verify = || {
            let keys = Keys::of_root(&self.root, role)?;
            Unverified::parse(bytes)?.verify(&keys, &role.to_string())
        };
        verify().map_err(|error| judged(name, error))
    }

    fn check_expiry(&self, name: &str, expires: Timestamp) -> Result<(), ClientError> {
        if expires <= self.now {
            let why = format!("it expired at {expires}, and it is {} now", self.now);
            return Err(refused(name, Attack::Freeze, why));
        }
        Ok(())
    }
}

fn snapshot_of(timestamp: &Listing) -> Result<&MetaFile, ClientError> {
    match timestamp.meta.get("snapshot.json") {
        Some(listed) => Ok(listed),
        None => Err(refused(
            "timestamp.json",
            Attack::ArbitrarySoftware,
            "it lists no snapshot",
        )),
    }
}

/// Length and hashes, where the listing has them.
fn check_bytes(name: &str, bytes: &[u8], listed: &MetaFile) -> Result<(), ClientError> {
    if let Some(length) = listed.length.filter(|length| *length != bytes.len() as u64) {
        let why = format!("it has {} bytes, but {length} are listed", bytes.len());
        return Err(refused(name, Attack::MixAndMatch, why));
    }
    if let Some(listed) = &listed.hashes {
        let hashes = Hashes::parse(listed).map_err(|error| {
            let why = format!("its listing cannot be checked: {error}");
            refused(name, Attack::ArbitrarySoftware, why)
        })?;
        let matches = hashes.matches(bytes);
        matches.map_err(|differs| refused(name, Attack::MixAndMatch, differs))?;
    }
    Ok(())
}

fn judged(name: &str, error: VerifyError) -> ClientError {
    refused(name, Attack::ArbitrarySoftware, error)
}

/// Whether other keys sign the role now: the sign of a recovery from a fast-forward attack (5.3.11).
pub fn rotated(old: &Root, new: &Root, role: RoleType) -> bool {
    let role = role.to_string();
    let keys = |root: &Root| {
        let listed = root.roles.get(&role)?;
        let mut keys: Vec<_> = listed
            .keyids
            .iter()
            .map(|id| (id.clone(), root.keys.get(id).cloned()))
            .collect();
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        Some(keys)
    };
    keys(old) != keys(new)
}
