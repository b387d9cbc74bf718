//! Every client at once, each going on with what it saw before: what readers of a repository notice of what is done to it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use tufgate::Digest;

use super::{
    ceremony::said,
    clients::{Client, Place},
    gate::{Gate, tufgate},
};

/// Every client, each with what it trusts: version 1 of the root, and what it saw since.
pub struct Readers {
    dir: TempDir,
    root: PathBuf,
}

impl Readers {
    /// Trusting the gate's first root.
    pub fn new(gate: &Gate) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            root: gate.root(),
        }
    }

    /// The same from another root, trusting nothing yet.
    pub fn from(root: &Path) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            root: root.to_owned(),
        }
    }

    /// Who could not download and verify a target; nobody, if all is well.
    pub fn failing(&self, url: &str, target: &str, bytes: &[u8]) -> Vec<String> {
        let mut failing = Vec::new();
        for client in Client::ALL {
            let place = Place {
                gate: url.to_owned(),
                root: self.root.clone(),
                dir: self.dir.path().join(client.name()),
                user_agent: "ceremony".to_owned(),
            };
            fs::create_dir_all(&place.dir).unwrap();
            let out = self.dir.path().join(format!("{}-out", client.name()));
            let said = client.get(&place, &[(target, &out)]);
            match &said[0].result {
                Ok(digest) => assert_eq!(*digest, Digest::of(bytes).to_string()),
                Err(why) => failing.push(format!("{}: {why}", client.name())),
            }
        }
        let (store, out) = (self.dir.path().join("store"), self.dir.path().join("out"));
        let _ = fs::remove_file(&out);
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let arguments = [
            "get",
            "--root",
            &path(&self.root),
            "--url",
            url,
            "--store",
            &path(&store),
            "-o",
            &path(&out),
        ];
        let output = tufgate(
            self.dir.path(),
            &[&arguments[..], &["--retries", "0", "--", target]].concat(),
        );
        match output.status.success() {
            true => assert_eq!(fs::read(out).unwrap(), bytes),
            false => failing.push(format!("tufgate get: {}", said(&output))),
        }
        failing
    }

    /// Everybody downloads and verifies, and `tufgate verify --all` and the audit find nothing: called before, during and
    /// after whatever is done to a gate.
    #[track_caller]
    pub fn all_read(&self, gate: &Gate, target: &str, bytes: &[u8]) {
        let failing = self.failing(&gate.url(), target, bytes);
        assert!(failing.is_empty(), "{}\n{}", failing.join("\n"), gate.log());
        sound(gate, &self.root);
    }
}

/// Nothing is wrong with what clients see, nor with ledger and depot.
#[track_caller]
pub fn sound(gate: &Gate, root: &Path) {
    let url = gate.url();
    let output = tufgate(
        &gate.dir,
        &["verify", "--all", "--url", &url, "--root", root.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", said(&output));
    let audit = gate.command(&["audit"]);
    assert!(matches!(audit.status.code(), Some(0 | 1)), "{}", said(&audit));
}

/// The versions that clients are shown: of timestamp, snapshot, and each role it lists.
pub fn versions(gate: &Gate) -> BTreeMap<String, u64> {
    let read = |name: &str| -> Value { serde_json::from_slice(&gate.get(&format!("/metadata/{name}")).body).unwrap() };
    let version = |value: &Value| value["version"].as_u64().unwrap();
    let timestamp = read("timestamp.json");
    let snapshot = version(&timestamp["signed"]["meta"]["snapshot.json"]);
    let listed = read(&format!("{snapshot}.snapshot.json"));
    let listed = listed["signed"]["meta"].as_object().unwrap();
    let mut versions: BTreeMap<_, _> = listed
        .iter()
        .map(|(name, listed)| (name.clone(), version(listed)))
        .collect();
    versions.insert("timestamp".to_owned(), version(&timestamp["signed"]));
    versions.insert("snapshot".to_owned(), snapshot);
    versions
}

/// No version went back, and nothing that was listed is gone.
#[track_caller]
pub fn follows(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) {
    for (role, version) in before {
        assert!(
            now.get(role) >= Some(version),
            "{role}: {version} → {:?}",
            now.get(role)
        );
    }
}
