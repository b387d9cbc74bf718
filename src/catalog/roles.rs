//! The roles that others sign, as a depot lists them now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    delegated::{self, Files, Standing},
    depot::{Depot, DepotError, TIMESTAMP},
    target::TargetPath,
    tuf::{layout, schema::Delegations},
};

/// A role that others sign and that speaks for a path.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Speaker {
    /// Its name.
    pub role: String,
    /// Whether its file lists the path.
    pub lists: bool,
}

/// What one snapshot lists.
#[derive(Debug, Default)]
pub struct Listed {
    /// The snapshot's version.
    pub snapshot: u64,
    /// The version of every role.
    pub versions: BTreeMap<String, u64>,
    /// What targets.json delegates to.
    pub top: Option<Delegations>,
    /// The files of the roles that others sign. What is damaged or gone is left out.
    pub files: Files,
}

impl Listed {
    /// Who speaks for a path, in the order in which clients ask.
    pub fn speaking(&self, path: &TargetPath) -> Vec<Speaker> {
        let mut found = Vec::new();
        self.top.iter().for_each(|top| self.ask(top, path, &mut found));
        found
    }

    fn ask(&self, below: &Delegations, path: &TargetPath, found: &mut Vec<Speaker>) {
        for role in delegated::custom(below).filter(|role| delegated::speaks_for(role, path)) {
            if found.iter().any(|known| known.role == role.name) {
                continue;
            }
            let file = self.files.get(&role.name);
            found.push(Speaker {
                role: role.name.clone(),
                lists: file.is_some_and(|file| file.targets.contains_key(path)),
            });
            for below in file.iter().flat_map(|file| &file.delegations) {
                self.ask(below, path, found);
            }
        }
    }
}

/// Reads them, each file once.
pub struct Roles {
    depot: Arc<dyn Depot>,
    last: Mutex<Arc<Listed>>,
}

impl Roles {
    /// Of this depot.
    pub fn new(depot: Arc<dyn Depot>) -> Self {
        Self {
            depot,
            last: Mutex::default(),
        }
    }

    /// The depot.
    pub fn depot(&self) -> &dyn Depot {
        &*self.depot
    }

    /// What the depot's timestamp leads to.
    ///
    /// # Errors
    /// The depot failed.
    pub async fn newest(&self) -> Result<Arc<Listed>, DepotError> {
        let timestamp = self.signed(TIMESTAMP).await?;
        let snapshot = timestamp["meta"]["snapshot.json"]["version"].as_u64();
        self.at(snapshot.unwrap_or(0)).await
    }

    /// What a snapshot of this version leads to.
    ///
    /// # Errors
    /// The depot failed.
    pub async fn at(&self, snapshot: u64) -> Result<Arc<Listed>, DepotError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.snapshot == snapshot {
            return Ok(last);
        }
        let listed = Arc::new(self.read(snapshot, &last).await?);
        // Without targets there is no depot to speak of; it may be there the next time.
        if listed.versions.contains_key("targets") {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = listed.clone();
        }
        Ok(listed)
    }

    async fn read(&self, snapshot: u64, last: &Listed) -> Result<Listed, DepotError> {
        let signed = self.signed(&layout::file("snapshot", snapshot)).await?;
        let meta = signed["meta"].as_object().into_iter().flatten();
        let versions: BTreeMap<_, _> = meta
            .filter_map(|(file, meta)| Some((file.strip_suffix(".json")?.to_owned(), meta["version"].as_u64()?)))
            .collect();
        let version = |role: &str| versions.get(role).copied().unwrap_or(0);
        let top = self.below(version("targets")).await?;
        let mut standing = Standing::below(top.as_ref());
        while let Some(role) = standing.next() {
            let same = last.files.get(&role).filter(|file| file.version == version(&role));
            if let Some(file) = same {
                standing.keep(role, file.clone());
                continue;
            }
            let bytes = self.depot.read(&layout::file(&role, version(&role))).await?;
            standing = beside(move || {
                if let Err(why) = standing.read(role, bytes) {
                    tracing::debug!("a role's file in the depot is damaged: {why}");
                }
                standing
            })
            .await;
        }
        Ok(Listed {
            snapshot,
            top,
            files: standing.files(),
            versions,
        })
    }

    /// What the newest targets.json of the depot delegates to, where it is newer than what is listed and waits for files.
    ///
    /// # Errors
    /// The depot failed.
    pub async fn proposed(&self, listed: &Listed) -> Result<Option<(u64, Delegations)>, DepotError> {
        let mut version = listed.versions.get("targets").copied().unwrap_or(0);
        let mut newest = None;
        while let Some(bytes) = self.depot.read(&layout::file("targets", version + 1)).await? {
            version += 1;
            newest = delegated::below(&beside(move || signed(&bytes)).await).map(|below| (version, below));
        }
        Ok(newest)
    }

    async fn below(&self, targets: u64) -> Result<Option<Delegations>, DepotError> {
        Ok(delegated::below(&self.signed(&layout::file("targets", targets)).await?))
    }

    async fn signed(&self, name: &str) -> Result<Value, DepotError> {
        let bytes = self.depot.read(name).await?.unwrap_or_default();
        Ok(beside(move || signed(&bytes)).await)
    }
}

/// A snapshot of many bins and a role's file take milliseconds to read: not in the event loop.
async fn beside<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let worked = spawn_blocking(work).await;
    worked.unwrap_or_else(|error| {
        tracing::error!(%error, "reading roles failed");
        T::default()
    })
}

fn signed(bytes: &Bytes) -> Value {
    let mut envelope: Value = serde_json::from_slice(bytes).unwrap_or_default();
    envelope.get_mut("signed").map(Value::take).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::{
        delegated::tests::{delegations, envelope, role},
        depot::memory::MemoryDepot,
    };

    /// Puts a snapshot that lists targets 1 and these versions of two roles, with the files that are new.
    async fn list(depot: &MemoryDepot, snapshot: u64, versions: [u64; 2], files: &[(&str, u64)]) {
        let meta = json!({
            "targets.json": {"version": 1}, "one.json": {"version": versions[0]}, "two.json": {"version": versions[1]},
        });
        let roles = [role("one", &[1], 1, &["a/*"]), role("two", &[2], 1, &["b/*"])];
        let mut put = vec![
            (layout::file("snapshot", snapshot), json!({"signed": {"meta": meta}})),
            (
                layout::file("targets", 1),
                json!({"signed": {"delegations": delegations(&[1, 2], &roles)}}),
            ),
        ];
        for (role, version) in files {
            let signed = delegated::tests::signed(*version, &[]);
            put.push((layout::file(role, *version), envelope(&signed, &[1])));
        }
        let put = put.into_iter().map(|(name, file)| (name, file.to_string().into()));
        depot.put_all(put.collect()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_read_once_and_a_newer_one_in_its_place() {
        let depot = Arc::new(MemoryDepot::default());
        let roles = Roles::new(depot.clone());
        assert!(roles.at(1).await.unwrap().files.is_empty(), "nothing is there yet");
        list(&depot, 1, [1, 1], &[("one", 1), ("two", 1)]).await;
        let first = roles.at(1).await.unwrap();
        assert_eq!(first.files.keys().collect::<Vec<_>>(), ["one", "two"]);
        assert!(Arc::ptr_eq(&first, &roles.at(1).await.unwrap()));
        list(&depot, 2, [1, 2], &[("two", 2)]).await;
        let second = roles.at(2).await.unwrap();
        assert!(Arc::ptr_eq(&first.files["one"], &second.files["one"]), "kept");
        assert_eq!((second.files["two"].version, second.versions["two"]), (2, 2));
    }
}
