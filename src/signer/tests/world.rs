//! A ledger, a depot with a root, keys and clocks; and what a client sees of them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tough::schema::{self, Root, Signed};

use super::super::*;
use crate::{
    clock::ManualClock,
    compat::Client,
    config::{Admin, Gate, KeyFile, KeyPlace, KeySource, Keys, Layout, Log, Tuf, UpstreamConfig},
    depot::{TIMESTAMP, memory::MemoryDepot},
    digest::Digest,
    keys::memory::MemoryKey,
    ledger::{Act, Observation, Provenance, memory::MemoryLedger},
    policy::{Kind, Learn, Policy, Rule},
    target::TargetPath,
    tuf::{
        build::{self, RoleKeys, TopLevel},
        layout,
        schema::Targets,
    },
};

pub(super) const DAY: u64 = 86_400;

/// The defaults of `[tuf]`.
pub(crate) fn tuf() -> Tuf {
    let days = |days| Duration::from_secs(days * DAY);
    Tuf {
        layout: Layout::Bins,
        bins: 16,
        max_bins: 4_096,
        grow_at: 1_000,
        targets_expiry: days(365),
        delegator_expiry: days(365),
        bin_expiry: days(90),
        snapshot_expiry: days(7),
        timestamp_expiry: days(1),
        max_bin_targets: 2_000,
        max_bin_bytes: 1_000_000,
        submissions_per_hour: 120,
        clients: Client::BINS.to_vec(),
    }
}

pub(crate) fn config() -> Config {
    let key = || KeySource {
        name: "test".to_owned(),
        place: KeyPlace::File(KeyFile {
            path: PathBuf::new(),
            passphrase: None,
        }),
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let second = Duration::from_secs(1);
    let mut everything = Rule::new("**", Kind::Immutable).unwrap();
    everything.learn = Learn::Fetch;
    Config {
        file: PathBuf::new(),
        gate: Gate {
            listen,
            threads: 1,
            grace: second,
            metadata_prefix: "/metadata/".to_owned(),
            metadata_access: None,
            timestamp_max_age: 1,
            verify_first: 0,
            max_body: 0,
            min_rate: 0,
            client_timeout: second,
            learn_rate: 0,
            max_waiters: 0,
            tls: None,
            http2_prior_knowledge: false,
        },
        upstream: UpstreamConfig {
            url: "http://127.0.0.1/".parse().unwrap(),
            preserve_host: false,
            redirect_hosts: vec![],
            connect_timeout: second,
            io_timeout: second,
            max_reads: 1,
            credential_headers: vec![],
            identity: None,
            ca: None,
        },
        cache: crate::config::Cache {
            memory: 0,
            memory_max_object: 0,
            path: PathBuf::new(),
            disk: 0,
            max_object: 0,
            fresh_for: second,
        },
        ledger: PathBuf::new(),
        depot: PathBuf::new(),
        signer: crate::config::Signer {
            socket: PathBuf::new(),
            min_interval: Duration::ZERO,
            batch: 1_000,
            retain: Duration::from_secs(DAY),
            public: None,
        },
        tuf: tuf(),
        keys: Keys {
            timestamp: key(),
            snapshot: key(),
            bins: None,
            targets: Some(key()),
            old: crate::config::OldKeys::default(),
        },
        admin: Admin { listen: None },
        policy: Policy::new(vec![everything]),
        log: Log {
            filter: String::new(),
            json: false,
            access: false,
        },
    }
}

pub(super) struct World {
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) depot: Arc<MemoryDepot>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) steady: Arc<AtomicU64>,
    pub(super) config: Config,
    pub(super) keys: OnlineKeys,
}

impl World {
    /// A depot with nothing but a root.
    pub(super) async fn new() -> Self {
        Self::with(config()).await
    }

    /// The same with another configuration.
    pub(super) async fn changed(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::with(config).await
    }

    async fn with(config: Config) -> Self {
        let key = |seed| Arc::new(MemoryKey::from_seed(seed)) as Arc<dyn SigningKey>;
        let keys = OnlineKeys {
            timestamp: key(1),
            snapshot: key(2),
            bins: key(if config.keys.bins.is_some() { 5 } else { 2 }),
            targets: config.keys.targets.is_some().then(|| key(3)),
            old: OldKeys::default(),
        };
        let depot = Arc::new(MemoryDepot::new());
        let role = |key: &dyn SigningKey| RoleKeys {
            keys: vec![(key.key_id().clone(), key.public().clone())],
            threshold: 1,
        };
        let roles = TopLevel {
            names: BTreeMap::new(),
            root: role(&*key(4)),
            timestamp: role(&*keys.timestamp),
            snapshot: role(&*keys.snapshot),
            targets: role(&*key(3)),
        };
        let root = build::root(1, Timestamp::MAX, &roles).unwrap();
        let signature = key(4).sign(&root).await.unwrap();
        let root = build::envelope(&root, &[(key(4).key_id(), signature)]);
        depot.put_all(vec![("1.root.json".to_owned(), root)]).await.unwrap();
        Self {
            ledger: Arc::new(MemoryLedger::new()),
            depot,
            // The depot in memory dates its files by the system's clock.
            clock: Arc::new(ManualClock::at(Timestamp::now())),
            steady: Arc::new(AtomicU64::new(0)),
            config,
            keys,
        }
    }

    pub(super) fn parts(&self, holder: &str) -> Parts {
        Parts {
            config: Arc::new(self.config.clone()),
            ledger: self.ledger.clone(),
            depot: self.depot.clone(),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            metrics: Metrics::new().unwrap(),
            wake: Arc::new(Notify::new()),
            reload: Arc::new(Notify::new()),
            published: watch::Sender::new(0),
            holder: holder.to_owned(),
        }
    }

    pub(super) fn signer(&self, holder: &str) -> Signer {
        self.signer_of(self.parts(holder))
    }

    pub(super) fn signer_of(&self, parts: Parts) -> Signer {
        let steady = self.steady.clone();
        Signer::with_monotonic(
            parts,
            Arc::new(move || Duration::from_secs(steady.load(Ordering::SeqCst))),
        )
    }

    /// Lets time pass on both clocks.
    pub(super) fn pass(&self, seconds: u64) {
        self.clock.advance(seconds as i64);
        self.steady.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(super) async fn observe(&self, path: &str, act: Act) {
        let observation = Observation {
            seq: 0,
            path: TargetPath::new(path).unwrap(),
            act,
            who: "client".to_owned(),
            at: self.clock.now(),
        };
        self.ledger.observe(observation).await.unwrap();
    }

    pub(super) async fn put(&self, path: &str, bytes: &str) {
        let act = Act::Record {
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
            provenance: Provenance::Published,
        };
        self.observe(path, act).await;
    }

    /// Turns until there is nothing left to do.
    pub(super) async fn settle(&self, signer: &mut Signer) {
        while let Turn::Published { .. } = signer.turn().await.unwrap() {}
    }

    pub(super) async fn view(&self) -> View {
        View::of(&*self.depot).await.expect("nothing was published")
    }
}

/// What a client that starts now ends with: every file it is led to, verified by tough.
#[derive(Debug)]
pub(super) struct View {
    pub(super) timestamp: u64,
    pub(super) snapshot: u64,
    pub(super) roles: BTreeMap<String, u64>,
    pub(super) targets: BTreeMap<String, (Digest, u64)>,
}

impl View {
    pub(super) async fn of(depot: &dyn Depot) -> Option<Self> {
        let stamp = depot.read(TIMESTAMP).await.unwrap()?;
        let root: Signed<Root> = read(depot, "1.root.json").await;
        let stamp: Signed<schema::Timestamp> = serde_json::from_slice(&stamp).unwrap();
        root.signed.verify_role(&stamp).unwrap();
        let named = &stamp.signed.meta["snapshot.json"];
        let name = layout::file("snapshot", named.version.get());
        let bytes = depot
            .read(&name)
            .await
            .unwrap()
            .expect("the snapshot that timestamp names");
        assert_eq!(named.length, Some(bytes.len() as u64));
        assert_eq!(*named.hashes.as_ref().unwrap().sha256, *Digest::of(&bytes).as_bytes());
        let snapshot: Signed<schema::Snapshot> = serde_json::from_slice(&bytes).unwrap();
        root.signed.verify_role(&snapshot).unwrap();
        assert_eq!(snapshot.signed.version, named.version);
        let meta = &snapshot.signed.meta;
        let roles: BTreeMap<String, u64> = meta
            .iter()
            .map(|(file, meta)| (file.strip_suffix(".json").unwrap().to_owned(), meta.version.get()))
            .collect();

        let top: Signed<schema::Targets> = read(depot, &layout::file("targets", roles["targets"])).await;
        root.signed.verify_role(&top).unwrap();
        let pinned = &meta["targets.json"];
        assert!(pinned.length.is_some() && pinned.hashes.is_some());
        let mut targets = BTreeMap::new();
        let mut add = |listed: &schema::Targets| {
            for (path, target) in &listed.targets {
                let digest = Digest(target.hashes.sha256.to_vec().try_into().unwrap());
                let before = targets.insert(path.raw().to_owned(), (digest, target.length));
                assert_eq!(before, None, "one role lists a path");
            }
        };
        add(&top.signed);
        if let Some(below) = &top.signed.delegations {
            assert!(meta["bins.json"].length.is_none() && meta["bins.json"].hashes.is_none());
            let mut theirs = vec![below.clone()];
            while let Some(below) = theirs.pop() {
                for role in below.roles.iter().filter(|role| role.name != "bins") {
                    let name = layout::file(&role.name, roles[&role.name]);
                    let bytes = depot.read(&name).await.unwrap().expect("a role that is delegated to");
                    let pinned = &meta[&format!("{}.json", role.name)];
                    if layout::is_twofold(&role.name) {
                        assert!(pinned.length.is_none() && pinned.hashes.is_none());
                        let short: Signed<Targets> =
                            read(depot, &layout::succinct(&role.name, roles[&role.name])).await;
                        let short = short.signed.delegations.unwrap().succinct_roles.unwrap();
                        assert_eq!(
                            (&short.keyids, short.threshold),
                            (&role_ids(role), role.threshold.get())
                        );
                    } else {
                        assert_eq!(pinned.length, Some(bytes.len() as u64));
                        assert_eq!(*pinned.hashes.as_ref().unwrap().sha256, *Digest::of(&bytes).as_bytes());
                    }
                    let file: Signed<schema::Targets> = serde_json::from_slice(&bytes).unwrap();
                    below.verify_role(&file, &role.name).unwrap();
                    assert_eq!(file.signed.version.get(), roles[&role.name]);
                    add(&file.signed);
                    theirs.extend(file.signed.delegations);
                }
            }
            let bins: Signed<schema::Targets> = read(depot, &layout::file("bins", roles["bins"])).await;
            below.verify_role(&bins, "bins").unwrap();
            let below = bins.signed.delegations.unwrap();
            for role in &below.roles {
                let bin: Signed<schema::Targets> = read(depot, &layout::file(&role.name, roles[&role.name])).await;
                below.verify_role(&bin, &role.name).unwrap();
                assert_eq!(bin.signed.version.get(), roles[&role.name]);
                add(&bin.signed);
            }
            let short: Signed<Targets> = read(depot, &layout::succinct("bins", roles["bins"])).await;
            let short = short.signed.delegations.unwrap().succinct_roles.unwrap();
            assert_eq!(1 << short.bit_length, below.roles.len());
        }
        Some(Self {
            timestamp: stamp.signed.version.get(),
            snapshot: snapshot.signed.version.get(),
            roles,
            targets,
        })
    }

    pub(super) fn paths(&self) -> Vec<&str> {
        self.targets.keys().map(String::as_str).collect()
    }

    /// Fails when any version is lower than in `old`, or a role is listed no more.
    pub(super) fn follows(&self, old: &Self) {
        assert!(self.timestamp >= old.timestamp, "timestamp went back");
        assert!(self.snapshot >= old.snapshot, "snapshot went back");
        for (role, version) in &old.roles {
            assert!(self.roles[role] >= *version, "{role} went back");
        }
    }
}

fn role_ids(role: &schema::DelegatedRole) -> Vec<String> {
    role.keyids.iter().map(hex::encode).collect()
}

async fn read<T: DeserializeOwned>(depot: &dyn Depot, name: &str) -> T {
    let bytes: Bytes = depot
        .read(name)
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("{name} is missing"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}
