//! A repository signed by hand, honest until told otherwise, and the real binary as its client.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Map, Value, json};

use crate::{
    fuzz::forge::{id, keys, metadata, role, sha256, sign},
    hostile_origin,
    support::{
        gate::binary,
        origin::{Behaviour, Origin},
    },
};

/// Which key signs what.
pub const ROOT: usize = 0;
pub const TIMESTAMP: usize = 1;
pub const SNAPSHOT: usize = 2;
pub const TARGETS: usize = 3;
pub const TEAM: usize = 4;

/// No honest answer is larger, and no refusal takes more.
const MOST_MEMORY: u64 = 200 << 20;

/// Runs a command and writes how much memory it had at most, in KiB; the kernel says so to the parent only.
const MEASURED: &str = "
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status if status >= 0 else 128 - status)
";

/// The repository, its client's folders, and what the client trusts.
pub struct Repository {
    pub origin: Origin,
    pub folder: tempfile::TempDir,
    /// Where the client keeps what it trusts.
    pub store: PathBuf,
    /// Further roles: their `signed`, without the version.
    pub roles: BTreeMap<String, Value>,
    /// `delegations` of targets.json.
    pub delegations: Option<Value>,
    version: u64,
    _runtime: tokio::runtime::Runtime,
}

/// How the client ended.
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said.
    pub said: String,
}

/// A delegation of everything to one role.
pub fn delegate(name: &str) -> Value {
    json!({"name": name, "keyids": [id(TEAM)], "threshold": 1, "terminating": false, "paths": ["*", "*/*"]})
}

impl Repository {
    /// Publishes version 1 and has the client trust it.
    pub fn new() -> Self {
        let (runtime, origin) = hostile_origin();
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let mut repository = Self {
            origin,
            store,
            folder,
            roles: BTreeMap::new(),
            delegations: None,
            version: 0,
            _runtime: runtime,
        };
        let online = |seed: usize| role(&[seed], 1);
        let roles = json!({
            "root": online(ROOT), "timestamp": online(TIMESTAMP), "snapshot": online(SNAPSHOT), "targets": online(TARGETS),
        });
        let keys = keys(&[ROOT, TIMESTAMP, SNAPSHOT, TARGETS]);
        let root = metadata(
            "root",
            1,
            &json!({"consistent_snapshot": true, "keys": keys, "roles": roles}),
        );
        let root = sign(&root, &[ROOT]);
        fs::write(repository.root(), &root).unwrap();
        repository.put("1.root.json", root);
        repository.publish();
        let first = repository.get("first");
        assert_eq!(first.code, Some(0), "{}", first.said);
        repository
    }

    /// The root that the client is given.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.json")
    }

    /// Stores a metadata file.
    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.origin.put_file(&format!("/metadata/{name}"), bytes);
    }

    /// The version that is published next.
    pub fn next(&self) -> u64 {
        self.version + 1
    }

    /// Publishes everything at the next version: honest, complete, and with targets `first` and `second`.
    pub fn publish(&mut self) {
        let mut targets = Map::new();
        for name in ["first", "second"] {
            let bytes = format!("bytes of {name}");
            let hash = sha256(bytes.as_bytes());
            targets.insert(
                name.to_owned(),
                json!({"length": bytes.len(), "hashes": {"sha256": hash}}),
            );
            self.origin.put_file(&format!("/{hash}.{name}"), bytes);
        }
        let mut rest = json!({"targets": targets});
        if let Some(delegations) = &self.delegations {
            rest["delegations"] = delegations.clone();
        }
        let targets = metadata("targets", self.next(), &rest);
        self.publish_targets(sign(&targets, &[TARGETS]));
    }

    /// Publishes these bytes as targets.json, and whatever lists them.
    pub fn publish_targets(&mut self, targets: Vec<u8>) {
        let version = self.next();
        let mut meta = json!({"targets.json": {"version": version}});
        for (name, rest) in &self.roles {
            meta[format!("{name}.json")] = json!({"version": version});
            self.put(&file(name, version), sign(&metadata("targets", version, rest), &[TEAM]));
        }
        self.put(&file("targets", version), targets);
        let snapshot = metadata("snapshot", version, &json!({"meta": meta}));
        self.publish_snapshot(sign(&snapshot, &[SNAPSHOT]));
    }

    /// Publishes these bytes as snapshot.json, and the timestamp that lists them.
    pub fn publish_snapshot(&mut self, snapshot: Vec<u8>) {
        let version = self.next();
        self.put(&file("snapshot", version), snapshot);
        let timestamp = metadata(
            "timestamp",
            version,
            &json!({"meta": {"snapshot.json": {"version": version}}}),
        );
        self.publish_timestamp(sign(&timestamp, &[TIMESTAMP]));
    }

    /// Publishes these bytes as timestamp.json.
    pub fn publish_timestamp(&mut self, timestamp: Vec<u8>) {
        self.put("timestamp.json", timestamp);
        self.version += 1;
    }

    /// Misbehaves at a metadata file.
    pub fn script(&self, name: &str, behaviour: Behaviour) {
        self.origin.script(&format!("/metadata/{name}"), behaviour);
    }

    /// The client's folder for downloads.
    pub fn downloads(&self) -> PathBuf {
        let folder = self.folder.path().join("downloads");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// `tufgate get TARGET`, to a file of its name in `downloads`.
    pub fn get(&self, target: &str) -> Ended {
        let base = self.origin.url();
        let store = self.store.to_str().unwrap();
        let root = self.root();
        self.tufgate(&[
            "get",
            "--url",
            &base,
            "--root",
            root.to_str().unwrap(),
            "--store",
            store,
            "--",
            target,
        ])
    }

    /// The binary, in `downloads`. It never takes more memory than a client needs.
    pub fn tufgate(&self, args: &[&str]) -> Ended {
        let peak = self.folder.path().join("peak");
        let output = Command::new("python3")
            .args(["-c", MEASURED])
            .arg(&peak)
            .arg(binary())
            .args(args)
            .current_dir(self.downloads())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let peak: u64 = fs::read_to_string(peak).unwrap().parse().unwrap();
        assert!(peak << 10 < MOST_MEMORY, "{peak} KiB: {said}");
        Ended {
            code: output.status.code(),
            said,
        }
    }

    /// Asks for `second`, which must fail with this reason, write nothing, and leave the store as it is but for `news`:
    /// files that were good.
    #[track_caller]
    pub fn refused(&self, why: &str, news: &[&str]) {
        let before = self.state();
        let ended = self.get("second");
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        let said = ended.said.to_lowercase();
        assert!(said.contains(why), "says nothing of `{why}`: {said}");
        assert!(!said.contains("panicked"), "{said}");
        let mut after = self.state();
        for name in news {
            let name = format!("store/{name}");
            let bytes = after.remove(&name).filter(|bytes| before.get(&name) != Some(bytes));
            assert!(bytes.is_some(), "`{name}` should be new");
            if let Some(bytes) = before.get(&name) {
                after.insert(name, bytes.clone());
            }
        }
        assert_eq!(shown(&after), shown(&before));
    }

    /// Every file that the client may write, with its bytes.
    pub fn state(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (name, folder) in [("store", self.store.clone()), ("downloads", self.downloads())] {
            read_all(&folder, name, &mut files);
        }
        // Only where somebody holds a lock.
        files.retain(|name, bytes| !(bytes.is_empty() && name.contains("lock")));
        files
    }
}

/// `VERSION.NAME.json`, the name as clients ask for it.
pub fn file(name: &str, version: u64) -> String {
    format!("{version}.{}.json", name.replace('/', "%2F"))
}

fn read_all(folder: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        match path.is_dir() {
            true => read_all(&path, &name, files),
            false => drop(files.insert(name, fs::read(&path).unwrap())),
        }
    }
}

fn shown(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, String)> {
    files.iter().map(|(name, bytes)| (&**name, sha256(bytes))).collect()
}
