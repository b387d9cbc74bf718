//! When something went wrong: backups that were restored, clocks that are off, chains of roots that grew long, and roles
//! that nobody renewed. Real clients that trusted version 1 look on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    ceremony::newest_root,
    support::{
        ceremony::{ceremony, done, refused, said},
        clients::{Client, Place},
        gate::{Gate, Setup, binary, signal, tufgate, until},
        http,
        nginx::Nginx,
        readers::{Readers, follows, versions},
        repository::Repository,
        site::Site,
    },
};

/// Ledger and depot of a gate that does not run, as they were.
struct Backup {
    copy: TempDir,
    place: PathBuf,
}

impl Backup {
    fn of(gate: &Gate) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for part in ["ledger.db", "metadata"] {
            run(
                "cp",
                &[
                    "-a",
                    gate.dir.join(part).to_str().unwrap(),
                    copy.path().to_str().unwrap(),
                ],
            );
        }
        Self {
            copy,
            place: gate.dir.clone(),
        }
    }

    fn restore(&self, parts: &[&str]) {
        for part in parts {
            let old = self.copy.path().join(part);
            for file in [part.to_string(), format!("{part}-wal"), format!("{part}-shm")] {
                run("rm", &["-rf", self.place.join(file).to_str().unwrap()]);
            }
            if old.exists() {
                run("cp", &["-a", old.to_str().unwrap(), self.place.to_str().unwrap()]);
            }
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

/// A gate with a target, one that was withdrawn and one that came after the backup, its backup, and readers that saw it all.
fn restored(nginx: &Nginx, extra: &str) -> (Gate, Backup, Readers) {
    let mut gate = Gate::start(&Setup::learning(nginx.url()).extra(extra));
    gate.publish("/a/one.txt", b"one");
    gate.publish("/a/bad.txt", b"bad");
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");
    gate.terminate();
    let backup = Backup::of(&gate);
    gate.run();
    for number in 0..3 {
        gate.publish(&format!("/b/{number}.txt"), b"more");
    }
    done(&gate, &["retract", "a/bad.txt", "--reason", "malware"]);
    gate.publish("/a/two.txt", b"two");
    readers.all_read(&gate, "a/two.txt", b"two");
    (gate, backup, readers)
}

/// What the gate shows, on a server of its own.
fn mirror(gate: &Gate, site: &Site) -> String {
    site.serve(Repository::copy(gate, &[("a/two.txt", b"two")]).table, None);
    format!("{}/metadata/", site.url())
}

#[test]
fn a_restored_gate_goes_on_above_what_was_public() {
    let nginx = Nginx::start();
    let (mut gate, backup, readers) = restored(&nginx, "");
    let before = versions(&gate);
    let cdn = Site::start();
    let public = mirror(&gate, &cdn);
    gate.terminate();

    // Both restored: by itself it looks sound. Clients notice, and somebody publishes before anybody looks.
    backup.restore(&["ledger.db", "metadata"]);
    gate.run();
    gate.publish("/a/three.txt", b"three");
    let failing = readers.failing(&gate.url(), "a/one.txt", b"one");
    assert!(failing.len() >= 4, "old versions were taken: {failing:?}");
    refused(&gate, &["recover", "--from-public", &public], 1, "stop it first");
    gate.terminate();

    let told = done(&gate, &["recover", "--from-public", &public]);
    assert!(
        told.contains("learned again: 4") && told.contains("a/two.txt"),
        "{told}"
    );
    assert!(told.contains("retracted: 1\n  a/bad.txt"), "{told}");
    gate.run();
    follows(&versions(&gate), &before);
    for (target, bytes) in [
        ("a/two.txt", &b"two"[..]),
        ("a/three.txt", b"three"),
        ("a/one.txt", b"one"),
    ] {
        readers.all_read(&gate, target, bytes);
    }
    assert_eq!(gate.get("/a/bad.txt").status, 410, "what was withdrawn stays so");
    gate.publish("/a/four.txt", b"four");
    readers.all_read(&gate, "a/four.txt", b"four");
    Readers::new(&gate).all_read(&gate, "a/two.txt", b"two");
    // Once more changes nothing but versions.
    gate.terminate();
    let told = done(&gate, &["recover", "--from-public", &public, "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(
        told["learned"] == serde_json::json!([]) && told["withdrawn"] == serde_json::json!([]),
        "{told}"
    );
    gate.run();
    readers.all_read(&gate, "a/four.txt", b"four");
}

#[test]
fn a_gate_that_knows_where_it_is_public_notices_that_it_was_restored() {
    let nginx = Nginx::start();
    let cdn = Site::start();
    let (mut gate, backup, readers) = restored(&nginx, &format!("[signer]\npublic = \"{}/metadata\"\n", cdn.url()));
    mirror(&gate, &cdn);
    // A root that came after the backup is public, too.
    ceremony(&gate, "root", "2.json", &["--expires", "200d"], &["root/root-1"], &[]);
    until("the gate to serve root 2", || newest_root(&gate).0 == 2);
    gate.publish("/a/five.txt", b"five");
    mirror(&gate, &cdn);
    let before = versions(&gate);
    gate.terminate();
    backup.restore(&["ledger.db", "metadata"]);
    refused(&gate, &["serve"], 65, "ledger and depot are older copies");
    refused(&gate, &["serve"], 65, "tufgate recover");
    // Somebody else's metadata is nothing to go by.
    let other = Gate::start(&Setup::learning(nginx.url()));
    let other = format!("{}/metadata/", other.url());
    refused(&gate, &["recover", "--from-public", &other], 1, "needed signatures");
    done(&gate, &["recover"]);
    gate.run();
    assert_eq!(newest_root(&gate).0, 2);
    follows(&versions(&gate), &before);
    readers.all_read(&gate, "a/five.txt", b"five");
    readers.all_read(&gate, "a/two.txt", b"two");
}

#[test]
fn an_older_ledger_or_depot_is_refused_and_recovered_from() {
    let nginx = Nginx::start();
    let (mut gate, backup, readers) = restored(&nginx, "");
    refused(&gate, &["recover"], 2, "`--from-public URL`");
    refused(&gate, &["recover", "--at-least", "0"], 2, "--at-least");
    let two = ("a/two.txt", &b"two"[..]);
    for (part, why) in [
        ("ledger.db", Some("the ledger is an older copy")),
        ("metadata", Some("the depot is an older copy")),
        ("lost", Some("is missing")),
    ] {
        let before = versions(&gate);
        gate.terminate();
        match part {
            "lost" => run("rm", &[gate.dir.join("ledger.db").to_str().unwrap()]),
            part => backup.restore(&[part]),
        }
        if let Some(why) = why {
            refused(&gate, &["serve"], 65, why);
            refused(&gate, &["serve"], 65, "tufgate recover");
        }
        done(&gate, &["recover", "--at-least", "1"]);
        gate.run();
        follows(&versions(&gate), &before);
        // The ledger has all that an older depot lacks, and a newer depot tells an older ledger.
        readers.all_read(&gate, two.0, two.1);
    }
    // Both, and nobody knows what was public: above a number, without what came after the backup.
    let before = versions(&gate);
    gate.terminate();
    backup.restore(&["ledger.db", "metadata"]);
    done(&gate, &["recover", "--at-least", "100"]);
    gate.run();
    let now = versions(&gate);
    follows(&now, &before);
    assert!(now.values().all(|version| *version > 100), "{now:?}");
    readers.all_read(&gate, "a/one.txt", b"one");
    assert!(!readers.failing(&gate.url(), two.0, two.1).is_empty(), "it was lost");
    gate.publish("/a/two.txt", two.1);
    readers.all_read(&gate, two.0, two.1);
}

/// A clock that is off by as much as a file says, for every program that is started with its variables.
struct Clock {
    dir: TempDir,
}

impl Clock {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/support/clock.c");
        let library = dir.path().join("clock.so");
        run(
            "cc",
            &[
                "-shared",
                "-fPIC",
                "-o",
                library.to_str().unwrap(),
                source.to_str().unwrap(),
            ],
        );
        let clock = Self { dir };
        clock.set(0);
        clock
    }

    fn set(&self, seconds: i64) {
        fs::write(self.dir.path().join("offset.new"), seconds.to_string()).unwrap();
        fs::rename(self.dir.path().join("offset.new"), self.dir.path().join("offset")).unwrap();
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        let path = |name| self.dir.path().join(name).to_str().unwrap().to_owned();
        [("LD_PRELOAD", path("clock.so")), ("TEST_CLOCK", path("offset"))]
    }
}

#[test]
fn a_wrong_clock_stops_signing_and_nothing_else() {
    const DAY: i64 = 86_400;
    let nginx = Nginx::start();
    let clock = Clock::new();
    let [(preload, library), (file, offset)] = clock.variables();
    let setup = Setup::learning(nginx.url())
        .environment(preload, &library)
        .environment(file, &offset);
    let mut gate = Gate::start(&setup);
    gate.publish("/a/one.txt", b"one");
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");

    let failing = |gate: &Gate| gate.metric("tufgate_signing_failing_since_seconds") > 0.0;
    for (number, (off, restart)) in [(7_200, false), (-7_200, false), (-2 * DAY, true), (200 * DAY, true)]
        .iter()
        .enumerate()
    {
        let (name, before) = (format!("a/{number}.txt"), versions(&gate));
        if *restart {
            gate.terminate();
        }
        clock.set(*off);
        if *restart {
            gate.launch();
            let addr = gate.addr;
            until("the listener", || std::net::TcpStream::connect(addr).is_ok());
        }
        // Readers and publishers go on, and somebody is told.
        until("signing to stop", || {
            std::net::TcpStream::connect(gate.admin).is_ok() && failing(&gate)
        });
        assert!(gate.log().contains("the clock is off by"), "{}", gate.log());
        assert_eq!(gate.put(&format!("/{name}"), b"new").status, 201);
        assert_eq!(versions(&gate), before, "nothing is signed");
        if *restart {
            let none = readers.failing(&gate.url(), "a/one.txt", b"one");
            assert!(none.is_empty(), "{none:?}");
        }
        // The clock is right again: within the pause between tries, or at once.
        clock.set(0);
        signal("HUP", gate.pid());
        until("signing", || !failing(&gate) && gate.metric("tufgate_pending") == 0.0);
        readers.all_read(&gate, &name, b"new");
        follows(&versions(&gate), &before);
    }

    // It was right: the gate was off for so long. Whoever says so goes on.
    gate.terminate();
    clock.set(200 * DAY);
    let recovered = Command::new(binary())
        .args(["recover", "--at-least", "1"])
        .envs(clock.variables())
        .current_dir(&gate.dir)
        .output()
        .unwrap();
    assert!(recovered.status.success(), "{}", said(&recovered));
    gate.run();
    gate.publish("/a/late.txt", b"late");
    let none = readers.failing(&gate.url(), "a/late.txt", b"late");
    assert!(none.is_empty(), "{none:?}");
}

/// How often a client must run until it reads a target of a chain of roots that it knows the first of.
fn runs(client: Client, gate: &Gate, dir: &Path) -> usize {
    let place = Place {
        gate: gate.url(),
        root: gate.root(),
        dir: dir.join(client.name()),
        user_agent: "chain".to_owned(),
    };
    fs::create_dir_all(&place.dir).unwrap();
    let out = dir.join("out");
    let runs = 1..=3;
    let read = |_: &usize| client.get(&place, &[("a/one.txt", &out)])[0].result.is_ok();
    runs.into_iter()
        .find(read)
        .unwrap_or_else(|| panic!("{} does not follow", client.name()))
}

/// Adds roots that change nothing until there are so many.
fn lengthen(gate: &Gate, to: u64) {
    let mut tools = Repository::copy(gate, &[]);
    while tools.root_version() < to {
        tools.next_root(|_| {});
        let name = format!("{}.root.json", tools.root_version());
        fs::write(gate.dir.join("metadata").join(&name), tools.bytes(&name)).unwrap();
    }
    until("the roots", || newest_root(gate).0 == to);
}

#[test]
fn a_long_chain_of_roots_is_warned_of_and_followed() {
    let nginx = Nginx::start();
    let mut gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a/one.txt", b"one");
    let draft = |version: u64| {
        let name = format!("{version}.json");
        let drafted = done(&gate, &["root", "draft", "--yes", "--out", &name]);
        done(&gate, &["root", "sign", &name, "--yes", "--key", "root/root-1.pem"]);
        (drafted, done(&gate, &["root", "publish", &name]))
    };
    lengthen(&gate, 31);
    let (drafted, published) = draft(32);
    assert!(
        !drafted.contains("warning:") && !published.contains("warning:"),
        "{drafted}{published}"
    );
    until("root 32", || newest_root(&gate).0 == 32);
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");
    let (drafted, published) = draft(33);
    for told in [drafted, published] {
        assert!(told.contains("warning: 33 roots stand in the chain"), "{told}");
    }
    until("root 33", || newest_root(&gate).0 == 33);
    // From the first root that is a step too many for one of them.
    let dir = tempfile::tempdir().unwrap();
    let counts: Vec<_> = Client::ALL
        .iter()
        .map(|client| (client.name(), runs(*client, &gate, dir.path())))
        .collect();
    let expected = [
        ("python-tuf", 1),
        ("tuf-js", 1),
        ("go-tuf", 1),
        ("tough", 1),
        ("sigstore-tuf", 2),
    ];
    assert_eq!(counts, expected);
    let verified = |root: &str| {
        let root = gate.dir.join("metadata").join(root);
        said(&tufgate(
            &gate.dir,
            &["verify", "--url", &gate.url(), "--root", root.to_str().unwrap()],
        ))
    };
    assert!(verified("1.root.json").contains("root-chain-long"));
    // Who kept up, or was given a newer root, takes one.
    let none = readers.failing(&gate.url(), "a/one.txt", b"one");
    assert!(none.is_empty(), "{none:?}");
    Readers::from(&gate.dir.join("metadata/20.root.json")).all_read(&gate, "a/one.txt", b"one");
    assert_eq!(gate.metric("tufgate_root_version"), 33.0);
    let status = done(&gate, &["status"]);
    assert!(
        status.contains("root       version 33") && status.contains("a long chain"),
        "{status}"
    );
    gate.terminate();
    gate.run();
    until("the warning", || gate.log().contains("the chain of roots is long"));
}

/// When clients begin to refuse a role, as the metrics say.
fn expires(gate: &Gate, role: &str) -> i64 {
    let text = String::from_utf8(http::get(gate.admin, "/metrics").body).unwrap();
    let line = format!("tufgate_role_expires_seconds{{role=\"{role}\"}} ");
    let value = text.lines().find_map(|text| text.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("{role}: {text}")).parse().unwrap()
}

#[test]
fn roles_that_nobody_renewed_are_told_before_they_expire() {
    let nginx = Nginx::start();
    let setup = Setup::learning(nginx.url());
    let mut gate = Gate::start(&setup.extra("[keys.targets]\noffline = true\n[tuf]\ntargets_expiry = \"20d\"\n"));
    gate.publish("/a/one.txt", b"one");
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");
    let first = expires(&gate, "root");
    ceremony(&gate, "root", "2.json", &["--expires", "20d"], &["root/root-1"], &[]);
    until("root 2", || newest_root(&gate).0 == 2);
    assert!(expires(&gate, "root") < first);
    let root: Value = serde_json::from_slice(&newest_root(&gate).1).unwrap();
    let date = root["signed"]["expires"].as_str().unwrap();
    assert_eq!(
        expires(&gate, "root"),
        date.parse::<jiff::Timestamp>().unwrap().as_second()
    );
    for role in ["targets", "timestamp", "snapshot", "bins"] {
        assert!(expires(&gate, role) > 0);
    }
    assert!(!gate.log().contains("root expires at"), "{}", gate.log());
    gate.terminate();
    gate.run();
    for role in ["root", "targets"] {
        until("a warning", || gate.log().contains(&format!("{role} expires at")));
    }
    for role in ["timestamp", "snapshot", "bins"] {
        assert!(
            !gate.log().contains(&format!("{role} expires at")),
            "the signer renews it"
        );
    }
    let status = done(&gate, &["status"]);
    assert!(
        status.contains(&format!("root       version 2, expires {date}")),
        "{status}"
    );
    readers.all_read(&gate, "a/one.txt", b"one");
    // Renewed, and all is well again.
    ceremony(&gate, "root", "3.json", &["--expires", "300d"], &["root/root-1"], &[]);
    ceremony(
        &gate,
        "targets",
        "t2.json",
        &["--expires", "300d"],
        &["root/root-1"],
        &[],
    );
    until("root 3", || newest_root(&gate).0 == 3);
    until("targets 2", || expires(&gate, "targets") > first - 100 * 86_400);
    assert!(expires(&gate, "root") > first - 100 * 86_400);
    readers.all_read(&gate, "a/one.txt", b"one");
}
