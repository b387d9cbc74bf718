//! A store that holds anything, and an honest repository: the client ends up with what the repository says or refuses,
//! goes back to nothing older, and touches nothing outside its folder.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    choices::Choices,
    forge::{keys, metadata, role, sha256, sign},
    gate::{
        client::{Client, ClientError, ClientOptions, Timeouts, Trust},
        clock::ManualClock,
    },
};

/// When the client looks.
const NOW: &str = "2030-01-01T00:00:00Z";
/// The version of everything but roots, and of the newest root.
const CURRENT: u64 = 5;
const ROOT: u64 = 3;
/// The newest root has another timestamp key.
const OLD_TIMESTAMP: usize = 1;
const TIMESTAMP: usize = 2;
const SNAPSHOT: usize = 3;
const TARGETS: usize = 4;
const TEAM: usize = 5;
const STRANGER: usize = 6;

/// What may stand in a store, with the versions that have meaning there.
const FILES: [&str; 8] = [
    "root.json",
    "root_history/2.root.json",
    "root_history/3.root.json",
    "root_history/4.root.json",
    "timestamp.json",
    "snapshot.json",
    "targets.json",
    "team.json",
];

/// What stands at a file's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    /// What the repository has now.
    Current,
    /// What it had before.
    Older,
    /// What it will have: so far the client alone knows.
    Newer,
    /// Current, and nobody's signature.
    Foreign,
    /// Older, and past its time.
    Expired,
    /// Current, with some bytes changed.
    Damaged,
    /// The first bytes of the current one.
    Cut,
    /// Some bytes.
    Noise,
    /// A folder with something in it.
    Folder,
}

const FOUND: [Found; 10] = [
    Found::Nothing,
    Found::Current,
    Found::Older,
    Found::Newer,
    Found::Foreign,
    Found::Expired,
    Found::Damaged,
    Found::Cut,
    Found::Noise,
    Found::Folder,
];

/// Where the repository is served.
struct Served {
    url: String,
    requests: Arc<AtomicUsize>,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let mut files = BTreeMap::new();
    for version in 2..=ROOT {
        files.insert(format!("/{version}.root.json"), root(version, false));
    }
    let version = CURRENT;
    files.insert("/timestamp.json".to_owned(), file("timestamp.json", version, false));
    for name in ["snapshot.json", "targets.json", "team.json"] {
        files.insert(format!("/{version}.{name}"), file(name, version, false));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|read| read > 0) {}
            counted.fetch_add(1, Ordering::SeqCst);
            let (status, body) = match head.split(' ').nth(1).and_then(|path| files.get(path)) {
                Some(body) => (200, &body[..]),
                None => (404, &[][..]),
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // The client may have gone.
            let _ = stream.get_mut().write_all(&[head.as_bytes(), body].concat());
        }
    });
    Served { url, requests }
});

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let scratch = tempfile::Builder::new().tempdir_in(memory()).unwrap();
    let store = scratch.path().join("store");
    fs::create_dir_all(store.join("root_history")).unwrap();
    fs::write(scratch.path().join("root.json"), root(1, false)).unwrap();
    fs::write(scratch.path().join("canary"), "untouched").unwrap();

    let stands = FILES.map(|name| {
        let found = choices.one(&FOUND);
        (name, found, put(&store.join(name), name, found, choices))
    });
    let found = |wanted: &str| {
        stands
            .iter()
            .find(|(name, ..)| *name == wanted)
            .map(|(_, found, _)| *found)
            .unwrap()
    };

    // Offline it believes at most what is there and good.
    let asked = SERVED.requests.load(Ordering::SeqCst);
    if let Ok((_, snapshot)) = update(scratch.path(), true) {
        let good = match found("snapshot.json") {
            Found::Older => CURRENT - 1,
            Found::Newer => CURRENT + 1,
            _ => CURRENT,
        };
        assert_eq!(snapshot, good, "{stands:?}");
    }
    assert_eq!(
        SERVED.requests.load(Ordering::SeqCst),
        asked,
        "{stands:?}: offline, a server was asked"
    );

    let online = update(scratch.path(), false);
    let ahead = |name: &str| found(name) == Found::Newer;
    // A file that says of itself that it is newer than the repository, or that cannot be replaced.
    let obstacle = stands.iter().any(|(name, found, _)| match found {
        Found::Folder => true,
        Found::Newer => *name != "targets.json" && *name != "team.json",
        Found::Foreign => *name == "root.json",
        _ => false,
    });
    match &online {
        Ok((root, snapshot)) => {
            let newest = if ahead("root_history/4.root.json") {
                ROOT + 1
            } else {
                ROOT
            };
            assert_eq!((*root, *snapshot), (newest, CURRENT), "{stands:?}");
            let again = update(scratch.path(), true).unwrap_or_else(|error| panic!("{error}: {stands:?}"));
            assert_eq!(again, (newest, CURRENT), "{stands:?}");
        }
        Err(error) => assert!(obstacle, "{error}: {stands:?}"),
    }

    for (name, found, before) in &stands {
        let after = fs::read(store.join(name)).ok();
        let kept = after.is_none() || after == *before;
        let current = after.as_deref() == Some(&right(name)[..]) || name.ends_with("root.json");
        assert!(
            kept || current,
            "{name} is neither what it was nor what it should be: {stands:?}"
        );
        // What was seen is not forgotten, but where the key changed that had signed it.
        if *found == Found::Newer && *name == "timestamp.json" && self::rotated(&stands) {
            assert!(kept && after.is_some(), "{name} was forgotten: {stands:?}");
        }
    }
    let mut outside: Vec<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    outside.sort();
    assert_eq!(outside, ["canary", "root.json", "store"]);
    assert_eq!(fs::read(scratch.path().join("canary")).unwrap(), b"untouched");
    for entry in fs::read_dir(&store).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = FILES.contains(&&*name) || ["lock", "root_history"].contains(&&*name);
        assert!(known, "{name} was left behind: {stands:?}");
    }
}

/// Stores: empty, current, older, newer, and mixed.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = (0..10).map(|found| vec![found; 12]).collect();
    for place in 0..FILES.len() {
        for found in 0..10 {
            let mut seed = vec![1; 12];
            seed[place] = found;
            seeds.push(seed);
        }
    }
    seeds
}

/// Whether the store's last root has the timestamp key of the newest already.
fn rotated(stands: &[(&str, Found, Option<Vec<u8>>)]) -> bool {
    let last = stands.iter().find(|(name, ..)| *name == "root.json");
    last.is_some_and(|(_, found, _)| *found == Found::Current)
}

/// Where writing costs nothing, if there is such a place.
fn memory() -> &'static Path {
    static PLACE: LazyLock<&Path> = LazyLock::new(|| {
        let shared = Path::new("/dev/shm");
        let usable = tempfile::tempdir_in(shared).is_ok();
        if usable {
            shared
        } else {
            Box::leak(std::env::temp_dir().into_boxed_path())
        }
    });
    &PLACE
}

/// One update with a look-up; versions of root and snapshot.
fn update(scratch: &Path, offline: bool) -> Result<(u64, u64), ClientError> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    });
    let trust = Trust::RootFile(scratch.join("root.json"));
    let mut options = ClientOptions::new(&SERVED.url, &SERVED.url, trust, scratch.join("store"));
    options.clock = Arc::new(ManualClock::at(NOW.parse().unwrap()));
    options.offline = offline;
    options.timeouts = Timeouts {
        idle: Duration::from_secs(5),
        ..Timeouts::default()
    };
    RUNTIME.block_on(async {
        let mut client = Client::open(options)?;
        client.refresh().await?;
        let versions = (client.root_version().unwrap(), client.snapshot_version().unwrap());
        let found = client.find("team/file").await?.unwrap();
        assert_eq!((found.length, &*found.role), (versions.1, "team"));
        assert_eq!(client.find("nothing").await?, None);
        Ok(versions)
    })
}

/// Puts something at a file's place; its bytes, if it has any.
fn put(path: &Path, name: &str, found: Found, choices: &mut Choices<'_>) -> Option<Vec<u8>> {
    let bytes = match found {
        Found::Nothing => return None,
        Found::Folder => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("something"), "in it").unwrap();
            return None;
        }
        Found::Current => right(name),
        Found::Older => file(name, version(name) - 1, false),
        Found::Newer => file(name, version(name) + 1, false),
        Found::Expired => file(name, version(name) - 1, true),
        Found::Foreign => foreign(name),
        Found::Damaged => {
            let mut bytes = right(name);
            for _ in 0..1 + choices.below(3) {
                let at = (choices.below(256) << 8 | choices.below(256)) % bytes.len();
                bytes[at] ^= choices.byte();
            }
            bytes
        }
        Found::Cut => {
            let bytes = right(name);
            bytes[..(choices.below(256) << 4) % bytes.len()].to_vec()
        }
        Found::Noise => (0..choices.below(64)).map(|_| choices.byte()).collect(),
    };
    fs::write(path, &bytes).unwrap();
    Some(bytes)
}

/// The version that the repository has of a file.
fn version(name: &str) -> u64 {
    match name {
        "root.json" => ROOT,
        "root_history/2.root.json" => 2,
        "root_history/3.root.json" => 3,
        "root_history/4.root.json" => 3,
        _ => CURRENT,
    }
}

/// What the repository has.
fn right(name: &str) -> Vec<u8> {
    file(name, version(name), false)
}

/// A good file of this version.
fn file(name: &str, version: u64, expired: bool) -> Vec<u8> {
    if name.ends_with("root.json") {
        return root(version, expired);
    }
    let (mut signed, key) = content(name, version);
    if expired {
        signed["expires"] = "2020-01-01T00:00:00Z".into();
    }
    // What is older was signed before the key changed.
    let key = if key == TIMESTAMP && version < CURRENT {
        OLD_TIMESTAMP
    } else {
        key
    };
    sign(&signed, &[key])
}

/// The same signed by a key that nobody trusts.
fn foreign(name: &str) -> Vec<u8> {
    if name.ends_with("root.json") {
        let online = |seed: usize| role(&[seed], 1);
        let roles = json!({
            "root": online(STRANGER), "timestamp": online(STRANGER), "snapshot": online(STRANGER),
            "targets": online(STRANGER),
        });
        let root = json!({"consistent_snapshot": true, "keys": keys(&[STRANGER]), "roles": roles});
        return sign(&metadata("root", 99, &root), &[STRANGER]);
    }
    sign(&content(name, CURRENT).0, &[STRANGER])
}

fn root(version: u64, expired: bool) -> Vec<u8> {
    let timestamp = if version < ROOT { OLD_TIMESTAMP } else { TIMESTAMP };
    let roles = json!({
        "root": role(&[0], 1), "timestamp": role(&[timestamp], 1), "snapshot": role(&[SNAPSHOT], 1),
        "targets": role(&[TARGETS], 1),
    });
    let keys = keys(&[0, timestamp, SNAPSHOT, TARGETS]);
    let mut signed = metadata(
        "root",
        version,
        &json!({"consistent_snapshot": true, "keys": keys, "roles": roles}),
    );
    if expired {
        signed["expires"] = "2020-01-01T00:00:00Z".into();
    }
    sign(&signed, &[0])
}

fn content(name: &str, version: u64) -> (Value, usize) {
    let listed = |name: &str, version: u64| json!({"meta": {name: {"version": version}}});
    match name {
        "timestamp.json" => (
            metadata("timestamp", version, &listed("snapshot.json", version)),
            TIMESTAMP,
        ),
        "snapshot.json" => {
            let mut all = listed("targets.json", version);
            all["meta"]["team.json"] = json!({"version": version});
            (metadata("snapshot", version, &all), SNAPSHOT)
        }
        "targets.json" => {
            let mut team = role(&[TEAM], 1);
            for (field, value) in [
                ("name", json!("team")),
                ("terminating", true.into()),
                ("paths", json!(["team/*"])),
            ] {
                team[field] = value;
            }
            let delegations = json!({"keys": keys(&[TEAM]), "roles": [team]});
            (
                metadata("targets", version, &json!({"targets": {}, "delegations": delegations})),
                TARGETS,
            )
        }
        _ => {
            let listed = json!({"length": version, "hashes": {"sha256": sha256(&version.to_be_bytes())}});
            (
                metadata("targets", version, &json!({"targets": {"team/file": listed}})),
                TEAM,
            )
        }
    }
}
