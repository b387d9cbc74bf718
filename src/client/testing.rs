//! A repository signed by hand and a server that serves it, or misbehaves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    clock::ManualClock,
    tuf::{
        layout::{self, Generation},
        verify::testing::{id, key, keys, role, sign},
    },
};

/// What the server does when asked.
#[derive(Clone)]
pub enum Reply {
    /// 200 with these bytes.
    Bytes(Vec<u8>),
    /// Another status, with an empty body.
    Status(u16),
    /// These bytes over and over, chunked, without end.
    Endless(Vec<u8>),
    /// A head that promises this many bytes, these bytes, and then silence.
    Stall(u64, Vec<u8>),
    /// A head that promises this many bytes, these bytes, and then the end of the connection.
    Cut(u64, Vec<u8>),
    /// 200 with a Content-Encoding.
    Encoded(Vec<u8>),
}

/// Files by request path; everything else is a 404.
#[derive(Clone, Default)]
pub struct Site {
    pub files: Arc<Mutex<HashMap<String, Reply>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub fn set(&self, path: &str, reply: Reply) {
        self.files.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.set(path, Reply::Bytes(bytes.into()));
    }

    pub fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path);
    }

    /// What was asked since the last call, roots left out: each update probes for the next one.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.retain(|path| !path.ends_with("root.json"));
        asked
    }

    /// Serves on a port of its own for as long as the test's runtime lives.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let site = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(site.clone().answer(connection));
            }
        });
        url
    }

    async fn answer(self, mut connection: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match connection.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let line = String::from_utf8(request).unwrap();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let reply = self.files.lock().unwrap().get(&path).cloned();
        self.asked.lock().unwrap().push(path);
        let head = |rest: String| format!("HTTP/1.1 {rest}\r\nConnection: close\r\n\r\n").into_bytes();
        let length = |length: u64| head(format!("200 OK\r\nContent-Length: {length}"));
        // A client that hangs up is none of the server's business.
        let _ = match reply.unwrap_or(Reply::Status(404)) {
            Reply::Bytes(body) => connection.write_all(&[length(body.len() as u64), body].concat()).await,
            Reply::Status(status) => {
                connection
                    .write_all(&head(format!("{status} X\r\nContent-Length: 0")))
                    .await
            }
            Reply::Cut(promised, body) => connection.write_all(&[length(promised), body].concat()).await,
            Reply::Encoded(body) => {
                let head = head(format!(
                    "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}",
                    body.len()
                ));
                connection.write_all(&[head, body].concat()).await
            }
            Reply::Endless(body) => {
                let mut sent = connection
                    .write_all(&head("200 OK\r\nTransfer-Encoding: chunked".into()))
                    .await;
                while sent.is_ok() {
                    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
                    sent = connection.write_all(&chunk).await;
                }
                sent
            }
            Reply::Stall(promised, body) => {
                let _ = connection.write_all(&[length(promised), body].concat()).await;
                // Until the client hangs up.
                connection.read_u8().await.map(drop)
            }
        };
    }
}

pub const EXPIRES: &str = "2030-01-01T00:00:00Z";
pub const NOW: &str = "2029-12-31T00:00:00Z";

/// Seeds of the keys.
pub const ROOT: u8 = 1;
pub const TIMESTAMP: u8 = 2;
pub const SNAPSHOT: u8 = 3;
pub const TARGETS: u8 = 4;
pub const BINS: u8 = 5;

/// A repository with four bins in both views.
pub struct Repo {
    pub site: Site,
    pub url: String,
    pub version: u64,
    pub generation: Generation,
    pub files: BTreeMap<String, Vec<u8>>,
    /// `signed` of the current root.
    pub root: Value,
    /// `delegations` of targets.json; its `bins` are added by `publish` unless it is set.
    pub delegations: Option<Value>,
    /// Further delegated roles: `targets` and `delegations`, and the key that signs.
    pub roles: BTreeMap<String, (Value, u8)>,
    pub signer: HashMap<&'static str, u8>,
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
}

/// A `signed` object.
pub fn signed(kind: &str, version: u64, rest: Value) -> Value {
    let mut signed = json!({"_type": kind, "spec_version": "1.0.0", "version": version, "expires": EXPIRES});
    signed
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    signed
}

/// `{length, hashes}`.
pub fn listing(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": Digest::of(bytes)}})
}

pub fn with_version(mut listing: Value, version: u64) -> Value {
    listing["version"] = version.into();
    listing
}

/// A delegation to one role signed by `seed`.
pub fn delegate(name: &str, seed: u8, terminating: bool, paths: &[&str]) -> Value {
    json!({
        "name": name, "keyids": [id(&key(seed))], "threshold": 1, "terminating": terminating, "paths": paths,
    })
}

impl Repo {
    /// A published repository with a few targets.
    pub async fn new() -> Self {
        let site = Site::default();
        let url = site.serve().await;
        let files = ["a/one.txt", "a/two b.txt", "é.bin", "top.txt"];
        let mut repo = Self {
            url,
            site,
            version: 0,
            generation: Generation::of(4).unwrap(),
            files: files
                .map(|name| (name.to_owned(), format!("bytes of {name}").into_bytes()))
                .into(),
            root: signed("root", 1, root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS)),
            delegations: None,
            roles: BTreeMap::new(),
            signer: [
                ("timestamp", TIMESTAMP),
                ("snapshot", SNAPSHOT),
                ("targets", TARGETS),
                ("bins", BINS),
            ]
            .into(),
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(NOW.parse().unwrap())),
        };
        let first = sign(&repo.root, &[&key(ROOT)]);
        std::fs::write(repo.root_file(), &first).unwrap();
        repo.put_metadata("1.root.json", first);
        repo.publish();
        repo
    }

    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("trusted-root.json")
    }

    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    pub fn key(&self, role: &str) -> SigningKey {
        key(self.signer[role])
    }

    /// Serves a metadata file in both views.
    pub fn put_metadata(&self, name: &str, bytes: Vec<u8>) {
        self.site.put(&format!("/metadata/succinct/{name}"), bytes.clone());
        self.site.put(&format!("/metadata/{name}"), bytes);
    }

    pub fn bin_of(&self, path: &str) -> String {
        self.generation.name(self.generation.bin_of(&Digest::of(path)))
    }

    /// Publishes everything anew at the next version.
    pub fn publish(&mut self) {
        self.version += 1;
        let version = self.version;
        let mut meta = serde_json::Map::new();
        let generation = self.generation;
        for bin in 0..generation.count() {
            let name = generation.name(bin);
            let in_bin = |(path, _): &(&String, &Vec<u8>)| self.bin_of(path) == name;
            let listed: serde_json::Map<_, _> = self
                .files
                .iter()
                .filter(in_bin)
                .map(|(path, bytes)| (path.clone(), listing(bytes)))
                .collect();
            let signed = signed("targets", version, json!({"targets": listed}));
            self.put_metadata(&layout::file(&name, version), sign(&signed, &[&self.key("bins")]));
            meta.insert(format!("{name}.json"), json!({"version": version}));
        }
        let (prefixes, succinct) = self.delegators();
        self.site.put(&format!("/metadata/{version}.bins.json"), prefixes);
        self.site
            .put(&format!("/metadata/succinct/{version}.bins.json"), succinct);
        meta.insert("bins.json".into(), json!({"version": version}));
        for (name, (rest, seed)) in &self.roles {
            let bytes = sign(&signed("targets", version, rest.clone()), &[&key(*seed)]);
            meta.insert(format!("{name}.json"), with_version(listing(&bytes), version));
            self.put_metadata(&layout::file(name, version), bytes);
        }
        let delegations = self.delegations.clone().unwrap_or_else(|| {
            let mut bins = delegate("bins", self.signer["bins"], true, &[]);
            bins.as_object_mut().unwrap().remove("paths");
            bins["path_hash_prefixes"] = json!([""]);
            json!({"keys": keys(&[&self.key("bins")]), "roles": [bins]})
        });
        let targets = signed("targets", version, json!({"targets": {}, "delegations": delegations}));
        let targets = sign(&targets, &[&self.key("targets")]);
        meta.insert("targets.json".into(), with_version(listing(&targets), version));
        self.put_metadata(&layout::file("targets", version), targets);
        self.put_snapshot(&signed("snapshot", version, json!({"meta": meta})));
        for (path, bytes) in &self.files {
            let base = Base::parse(&self.url).unwrap();
            for naming in [TargetNaming::Bare, TargetNaming::HashedFolder, TargetNaming::HashedName] {
                let url = base.target(path, &Digest::of(bytes).to_string(), naming);
                self.site.put(&url[self.url.len() - 1..], bytes.clone());
            }
        }
    }

    fn delegators(&self) -> (Vec<u8>, Vec<u8>) {
        let by = self.key("bins");
        let bins: Vec<_> = (0..self.generation.count())
            .map(|bin| {
                let mut role = delegate(&self.generation.name(bin), self.signer["bins"], false, &[]);
                role.as_object_mut().unwrap().remove("paths");
                role["path_hash_prefixes"] = json!(self.generation.hash_prefixes(bin));
                role
            })
            .collect();
        let mut succinct = role(&[&by], 1);
        succinct["bit_length"] = self.generation.bits().into();
        succinct["name_prefix"] = self.generation.prefix().into();
        let delegator = |delegations: Value| {
            sign(
                &signed(
                    "targets",
                    self.version,
                    json!({"targets": {}, "delegations": delegations}),
                ),
                &[&by],
            )
        };
        (
            delegator(json!({"keys": keys(&[&by]), "roles": bins})),
            delegator(json!({"keys": keys(&[&by]), "succinct_roles": succinct})),
        )
    }

    /// `signed` of a metadata file as it is served.
    pub fn served(&self, name: &str) -> Value {
        let files = self.site.files.lock().unwrap();
        let Reply::Bytes(bytes) = &files[&format!("/metadata/{name}")] else {
            panic!("{name}")
        };
        serde_json::from_slice::<Value>(bytes).unwrap()["signed"].clone()
    }

    /// Serves this snapshot under its version, and a timestamp of the same version that lists it.
    pub fn put_snapshot(&self, snapshot: &Value) {
        let version = snapshot["version"].as_u64().unwrap();
        let bytes = sign(snapshot, &[&self.key("snapshot")]);
        let meta = json!({"snapshot.json": with_version(listing(&bytes), version)});
        self.put_metadata(&layout::file("snapshot", version), bytes);
        self.put_timestamp(&signed("timestamp", version, json!({"meta": meta})));
    }

    pub fn put_timestamp(&self, timestamp: &Value) {
        self.put_metadata("timestamp.json", sign(timestamp, &[&self.key("timestamp")]));
    }

    /// Changes the root's `signed` and serves it as the next version, signed by these seeds.
    pub fn next_root(&mut self, rest: Value, by: &[u8]) {
        let version = self.root["version"].as_u64().unwrap() + 1;
        self.root = signed("root", version, rest);
        let by: Vec<_> = by.iter().map(|seed| key(*seed)).collect();
        let bytes = sign(&self.root, &by.iter().collect::<Vec<_>>());
        self.put_metadata(&layout::file("root", version), bytes);
    }

    pub fn options(&self) -> ClientOptions {
        ClientOptions {
            metadata_urls: vec![format!("{}metadata/", self.url)],
            targets_urls: vec![self.url.clone()],
            trust: Trust::RootFile(self.root_file()),
            store: self.folder.path().join("store"),
            naming: TargetNaming::default(),
            clock: self.clock.clone(),
            timeouts: Timeouts {
                idle: Duration::from_secs(20),
                ..Timeouts::default()
            },
            offline: false,
        }
    }

    /// A client over the same store as every other one of this repository.
    pub fn client(&self) -> Client {
        Client::open(self.options()).unwrap()
    }

    /// Refreshes with a new client.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        self.client().refresh().await
    }

    /// Downloads with a new client.
    pub async fn download(&self, path: &str) -> Result<Downloaded, ClientError> {
        self.client().download(path, &self.output(), |_, _| {}).await
    }

    pub fn stored(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.path().join("store").join(name)).ok()
    }
}

/// The rest of a root with these keys, threshold 1 but for root, where all must sign.
pub fn root_of(root: &[u8], timestamp: u8, snapshot: u8, targets: u8) -> Value {
    let root: Vec<_> = root.iter().map(|seed| key(*seed)).collect();
    let root: Vec<_> = root.iter().collect();
    let (timestamp, snapshot, targets) = (key(timestamp), key(snapshot), key(targets));
    let mut all = root.clone();
    all.extend([&timestamp, &snapshot, &targets]);
    json!({
        "consistent_snapshot": true, "keys": keys(&all),
        "roles": {
            "root": role(&root, root.len() as u64), "timestamp": role(&[&timestamp], 1),
            "snapshot": role(&[&snapshot], 1), "targets": role(&[&targets], 1),
        },
    })
}

/// The attack a refused file looks like.
#[track_caller]
pub fn attack<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> (String, Attack) {
    match outcome {
        Err(ClientError::Refused { name, attack, .. }) => (name, attack),
        other => panic!("not refused: {other:?}"),
    }
}

/// What lies in a folder, hidden files too.
pub fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
