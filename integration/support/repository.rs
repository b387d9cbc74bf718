//! A copy of what a gate serves, with the gate's own keys at hand: a test changes one thing, signs it again as an
//! operator's tools would, and serves the result.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer as _, SigningKey, pkcs8::DecodePrivateKey as _};
use serde_json::{Map, Value, json};
use tufgate::internals::{digest::Digest, tuf::canonical};

use super::{
    gate::Gate,
    site::{Reply, Table},
};

/// What both views share lies in both folders.
const FOLDERS: [&str; 2] = ["/metadata/", "/metadata/succinct/"];

/// A repository that can be changed and signed again.
#[derive(Clone)]
pub struct Repository {
    /// What is served, by request path.
    pub table: Table,
    /// What is answered elsewhere, if no 404.
    pub other: Option<Reply>,
    /// The root that trust begins with.
    pub root: Vec<u8>,
    /// Every key there is, by id.
    keys: HashMap<String, SigningKey>,
    /// Targets and their bytes.
    pub targets: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// Copies metadata from the gate's depot, and keys from wherever they lie below its folder.
    pub fn copy(gate: &Gate, targets: &[(&str, &[u8])]) -> Self {
        let mut copy = Self {
            table: Table::new(),
            other: None,
            root: fs::read(gate.root()).unwrap(),
            keys: HashMap::new(),
            targets: BTreeMap::new(),
        };
        let mut files = Vec::new();
        below(&gate.dir, &mut files);
        for file in &files {
            if file.extension().is_some_and(|kind| kind == "pem") {
                let pem = fs::read_to_string(file).unwrap();
                copy.add_key(SigningKey::from_pkcs8_pem(&pem).unwrap());
            }
        }
        let depot = gate.dir.join("metadata");
        let name = |file: &Path| Some(file.strip_prefix(&depot).ok()?.to_str().unwrap().to_owned());
        let mut names: Vec<String> = files.iter().filter_map(|file| name(file)).collect();
        names.retain(|name| name.ends_with(".json"));
        // What only one view has comes last, in place of what both share.
        names.sort_by_key(|name| name.contains('/'));
        for name in names {
            copy.put(&name, fs::read(depot.join(&name)).unwrap());
        }
        copy.put("root.json", copy.root.clone());
        for (path, bytes) in targets {
            copy.put_target(path, bytes);
        }
        copy
    }

    /// A key that signs when its id is asked for.
    pub fn add_key(&mut self, key: SigningKey) -> String {
        let id = Digest::of(canonical::to_vec(&public(&key)).unwrap()).to_string();
        self.add_key_as(&id, key);
        id
    }

    /// The same under any id.
    pub fn add_key_as(&mut self, id: &str, key: SigningKey) {
        self.keys.insert(id.to_owned(), key);
    }

    /// Keys that are nobody's here any more.
    pub fn forget_keys(&mut self, ids: &[String]) {
        self.keys.retain(|id, _| !ids.contains(id));
    }

    /// Serves a metadata file: below `succinct/` in that view, a `bins` delegator in the first, all else in both.
    pub fn put(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let age = match name.ends_with("timestamp.json") || name == "root.json" {
            true => "public, max-age=1, must-revalidate",
            false => "public, max-age=31536000, immutable",
        };
        let reply = Reply::of(bytes).header("Cache-Control", age);
        let folders = match name.starts_with("succinct/") || name.ends_with(".bins.json") {
            true => &FOLDERS[..1],
            false => &FOLDERS[..],
        };
        for folder in folders {
            self.table.insert(format!("{folder}{name}"), reply.clone());
        }
    }

    /// Changes how a metadata file is answered.
    pub fn answer(&mut self, name: &str, change: impl Fn(Reply) -> Reply) {
        for folder in FOLDERS {
            if let Some(reply) = self.table.remove(&format!("{folder}{name}")) {
                self.table.insert(format!("{folder}{name}"), change(reply));
            }
        }
    }

    /// Removes a metadata file.
    pub fn remove(&mut self, name: &str) {
        for folder in FOLDERS {
            self.table.remove(&format!("{folder}{name}"));
        }
    }

    /// Serves a target under its three names; it is listed nowhere by that.
    pub fn put_target(&mut self, path: &str, bytes: &[u8]) {
        self.targets.insert(path.to_owned(), bytes.to_vec());
        for name in names_of(path, bytes) {
            self.table.insert(name, Reply::of(bytes));
        }
    }

    /// A metadata file's bytes.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.table[&format!("/metadata/{name}")].body.clone()
    }

    /// A metadata file's `signed`.
    pub fn signed(&self, name: &str) -> Value {
        let file: Value = serde_json::from_slice(&self.bytes(name)).unwrap();
        file["signed"].clone()
    }

    /// Who signed it.
    pub fn signers(&self, name: &str) -> Vec<String> {
        let file: Value = serde_json::from_slice(&self.bytes(name)).unwrap();
        let lines = file["signatures"].as_array().unwrap();
        lines
            .iter()
            .map(|line| line["keyid"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A line of `signatures`.
    pub fn signature(&self, signed: &Value, by: &str) -> Value {
        let message = canonical::to_vec(signed).unwrap();
        json!({"keyid": by, "sig": hex::encode(self.keys[by].sign(&message).to_bytes())})
    }

    /// Signs and serves a file.
    pub fn write(&mut self, name: &str, signed: &Value, by: &[String]) {
        let lines: Vec<_> = by.iter().map(|id| self.signature(signed, id)).collect();
        self.put(name, json!({"signatures": lines, "signed": signed}).to_string());
    }

    /// Changes a file's `signed` and signs it again by the same keys.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let (mut signed, by) = (self.signed(name), self.signers(name));
        change(&mut signed);
        self.write(name, &signed, &by);
    }

    /// Changes a file's outer JSON, signatures and all, and signs nothing.
    pub fn edit_file(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut file: Value = serde_json::from_slice(&self.bytes(name)).unwrap();
        change(&mut file);
        self.put(name, file.to_string());
    }

    /// The file of a role's listed version: `7.bins4-a.json`.
    pub fn file(&self, role: &str) -> String {
        let version = match role {
            "timestamp" => return "timestamp.json".to_owned(),
            "snapshot" => self.signed("timestamp.json")["meta"]["snapshot.json"]["version"].clone(),
            role => self.signed(&self.file("snapshot"))["meta"][format!("{role}.json")]["version"].clone(),
        };
        format!("{version}.{role}.json")
    }

    /// Lists a role in the snapshot, or another version of it; [`Self::publish`] makes it good.
    pub fn list(&mut self, role: &str, version: u64) {
        let snapshot = self.file("snapshot");
        self.edit(&snapshot, |signed| {
            signed["meta"][format!("{role}.json")] = json!({"version": version});
        });
    }

    /// Makes snapshot and timestamp list the files as they are now.
    pub fn publish(&mut self) {
        let (targets, snapshot) = (self.file("targets"), self.file("snapshot"));
        let bytes = self.bytes(&targets);
        self.edit(&snapshot, |signed| pin(&mut signed["meta"]["targets.json"], &bytes));
        let bytes = self.bytes(&snapshot);
        self.edit("timestamp.json", |signed| {
            pin(&mut signed["meta"]["snapshot.json"], &bytes)
        });
    }

    /// A delegated role of version 1, signed by the key of the bins, listed and published; `delegations` may be null.
    pub fn add_role(&mut self, name: &str, targets: Value, delegations: Value) {
        let mut signed = json!({
            "_type": "targets", "spec_version": "1.0.0", "version": 1, "expires": "2040-01-01T00:00:00Z",
            "targets": targets,
        });
        if !delegations.is_null() {
            signed["delegations"] = delegations;
        }
        let by = self.signers(&self.file("bins"));
        self.write(&format!("1.{name}.json"), &signed, &by);
        self.list(name, 1);
        self.publish();
    }

    /// `delegations` to roles for patterns, all under the key of the bins.
    pub fn delegations(&self, roles: &[(&str, &str)]) -> Value {
        let id = &self.signers(&self.file("bins"))[0];
        let roles: Vec<_> = roles
            .iter()
            .map(|(name, paths)| {
                json!({
                    "name": name, "keyids": [id], "threshold": 1, "terminating": false, "paths": [paths],
                })
            })
            .collect();
        json!({"keys": {id: public(&self.keys[id])}, "roles": roles})
    }

    /// Lets targets.json delegate a pattern to a role, before it does to the bins.
    pub fn delegate(&mut self, name: &str, paths: &str) {
        let role = self.delegations(&[(name, paths)])["roles"][0].clone();
        let file = self.file("targets");
        self.edit(&file, |signed| {
            signed["delegations"]["roles"].as_array_mut().unwrap().insert(0, role);
        });
        self.publish();
    }

    /// The newest root's version.
    pub fn root_version(&self) -> u64 {
        let known = |version: &u64| self.table.contains_key(&format!("/metadata/{version}.root.json"));
        (1..).take_while(known).last().unwrap()
    }

    /// Publishes a root after the newest, signed by the newest's root keys and its own; its alias too.
    pub fn next_root(&mut self, change: impl FnOnce(&mut Value)) {
        let newest = self.root_version();
        let mut signed = self.signed(&format!("{newest}.root.json"));
        let ids = |signed: &Value| -> Vec<String> {
            let ids = signed["roles"]["root"]["keyids"].as_array().unwrap();
            ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        let mut by = ids(&signed);
        signed["version"] = (newest + 1).into();
        change(&mut signed);
        by.extend(ids(&signed));
        by.sort();
        by.dedup();
        by.retain(|id| self.keys.contains_key(id));
        let name = format!("{}.root.json", newest + 1);
        self.write(&name, &signed, &by);
        let bytes = self.bytes(&name);
        self.put("root.json", bytes);
    }

    /// A bin that lists a target, and that target.
    pub fn full_bin(&self) -> (String, String) {
        let snapshot = self.signed(&self.file("snapshot"));
        let names = snapshot["meta"].as_object().unwrap().keys();
        let bins = names.filter_map(|name| name.strip_suffix(".json").filter(|name| name.starts_with("bins4-")));
        let first = |bin: &str| {
            let signed = self.signed(&self.file(bin));
            Some(signed["targets"].as_object().unwrap().keys().next()?.clone())
        };
        bins.filter_map(|bin| Some((bin.to_owned(), first(bin)?)))
            .next()
            .unwrap()
    }

    /// A bin that lists nothing.
    pub fn empty_bin(&self) -> String {
        let empty = |bin: &String| self.signed(&self.file(bin))["targets"] == json!({});
        (0..16).map(|bin| format!("bins4-{bin:x}")).find(empty).unwrap()
    }
}

/// What metadata says of these bytes.
pub fn listing(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": Digest::of(bytes)}})
}

/// Request paths of a target: `dir/H.name`, `H.dir/name`, `dir/name`.
pub fn names_of(path: &str, bytes: &[u8]) -> [String; 3] {
    let hash = Digest::of(bytes);
    let named = match path.rsplit_once('/') {
        Some((folder, name)) => format!("/{folder}/{hash}.{name}"),
        None => format!("/{hash}.{path}"),
    };
    [named, format!("/{hash}.{path}"), format!("/{path}")]
}

/// The public half as metadata lists it.
pub fn public(key: &SigningKey) -> Value {
    let public = hex::encode(key.verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

fn pin(listed: &mut Value, bytes: &[u8]) {
    let listed: &mut Map<_, _> = listed.as_object_mut().unwrap();
    listed.insert("length".to_owned(), bytes.len().into());
    listed.insert("hashes".to_owned(), json!({"sha256": Digest::of(bytes)}));
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => below(&path, found),
            false => found.push(path),
        }
    }
}
