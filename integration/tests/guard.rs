//! The compatibility guard with real clients: what would break one is not published, everything else is; `lint` finds what
//! breaks whom; and `plan` says beforehand what was measured afterwards.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tufgate::{
    Digest, TargetPath,
    internals::{
        compat::{Client as Known, File, LIMITS, Limit},
        ledger::{Act, Ledger as _, Observation, Provenance, sqlite::SqliteLedger},
    },
};

use crate::{
    figure,
    support::{
        ceremony::{ceremony, done, new_key, refused, said},
        clients::{Client, Place, View, python},
        gate::{Gate, Setup, tufgate, until},
        http,
        nginx::Nginx,
    },
};

/// Every client and our own, each a new one: who cannot download and verify a target.
pub fn failing(gate: &Gate, target: &str, bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut failing = Vec::new();
    for client in Client::ALL {
        let place = Place {
            gate: gate.url(),
            root: gate.root(),
            dir: folder.path().join(client.name()),
            user_agent: "guard".to_owned(),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let out = folder.path().join(format!("{}-out", client.name()));
        match client.get(&place, &[(target, &out)]).remove(0).result {
            Ok(digest) => assert_eq!(digest, Digest::of(bytes).to_string()),
            Err(why) => failing.push(format!("{}: {why}", client.name())),
        }
    }
    let (root, url) = (gate.root(), gate.url());
    let (store, out) = (folder.path().join("store"), folder.path().join("out"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "get",
        "--root",
        &path(&root),
        "--url",
        &url,
        "--store",
        &path(&store),
        "-o",
        &path(&out),
    ];
    let output = tufgate(
        folder.path(),
        &[&arguments[..], &["--retries", "0", "--", target]].concat(),
    );
    if !output.status.success() {
        failing.push(format!("tufgate get: {}", said(&output)));
    }
    failing
}

/// What stands in `tufgate lint --json`.
fn linted(gate: &Gate, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = tufgate(&gate.dir, &[&["lint", "--json"], arguments].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (output.status.code(), told)
}

#[test]
fn a_hostile_publisher_breaks_nobody() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/app/good.txt", b"good");
    // Names that some client somewhere reads otherwise, and lengths that nobody can count.
    for name in [
        "/app/%5c..%5cgood.txt",
        "/app/e%CC%81",
        "/%EF%BC%81",
        "/%F0%9F%98%80",
        "/app/good.txt%20",
        "/app/good.txt!",
        "/__proto__",
        "/constructor",
        "/app/nul.txt",
        "/app/a%22b",
        "/c:/windows",
        "/app/%E2%80%AE.txt",
    ] {
        http::put(gate.addr, name, b"odd");
    }
    for length in ["9007199254740993", "9223372036854775808", "18446744073709551615"] {
        let head = format!(
            "PUT /app/long-{length} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nshort"
        );
        http::connect(gate.addr).write_all(head.as_bytes()).unwrap();
    }
    // A gate process in somebody's hands writes what it likes into the ledger that it shares with the signer.
    let ledger = SqliteLedger::open(&gate.dir.join("ledger.db")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (path, length) in [("app/large", 1_u64 << 53), ("app/largest", u64::MAX)] {
        let act = Act::Record {
            digest: Digest::of("x"),
            length,
            provenance: Provenance::Published,
        };
        let observation = Observation {
            seq: 0,
            path: TargetPath::new(path).unwrap(),
            act,
            who: "client 127.0.0.1".to_owned(),
            at: jiff::Timestamp::now(),
        };
        runtime.block_on(ledger.observe(observation)).unwrap();
    }
    gate.publish("/app/later.txt", b"later");
    until("everything to be settled", || gate.status()["pending"] == 0);
    for (target, bytes) in [("app/good.txt", &b"good"[..]), ("app/later.txt", b"later")] {
        assert_eq!(failing(&gate, target, bytes), Vec::<String>::new(), "{target}");
    }
    // It says what was stopped, and for whom.
    let status = gate.status();
    let guarded = status["guarded"].as_array().unwrap();
    let told = |path: &str| guarded.iter().find(|line| line["path"] == path).unwrap()["why"].to_string();
    assert!(told("app/large").contains("tuf-js 6.0.2"), "{status:#}");
    assert!(told("app/largest").contains("go-tuf 2.4.2"), "{status:#}");
    assert!(said(&gate.command(&["status"])).contains("guarded"));
    until("the signer's word", || gate.metric("tufgate_guarded_total") >= 3.0);
    assert!(gate.log().contains("would break clients"), "{}", gate.log());
    let (exit, told) = linted(&gate, &["--config", "tufgate.toml"]);
    // `__proto__` is there for all but tuf-js, which alone never finds it.
    let rules: Vec<_> = told["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["rule"])
        .collect();
    assert_eq!((exit, rules), (Some(1), vec![&json!("name")]), "{told:#}");
}

/// A depot with one thing changed in one of its files; signatures are not what `lint` looks at.
fn changed(depot: &Path, name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(depot, folder.path());
    let file = folder.path().join(name);
    let mut envelope: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut envelope["signed"]);
    fs::write(file, envelope.to_string()).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// The newest version of a role's file in a folder.
fn newest(folder: &Path, role: &str) -> String {
    let versions = fs::read_dir(folder).unwrap().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(&format!(".{role}.json"))?.parse::<u64>().ok()
    });
    format!("{}.{role}.json", versions.max().unwrap())
}

#[test]
fn lint_finds_what_breaks_whom() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/app/one.txt", b"one");
    gate.publish("/app/two.txt", b"two");
    let depot = gate.dir.join("metadata");
    let dir = |folder: &Path| folder.to_str().unwrap().to_owned();
    // The same from the configuration, the folder and the server.
    let metadata = format!("{}/metadata/", gate.url());
    for source in [
        ["--config", "tufgate.toml"],
        ["--dir", &dir(&depot)],
        ["--url", &gate.url()],
        ["--metadata-url", &metadata],
    ] {
        let (exit, told) = linted(&gate, &source);
        assert_eq!((exit, &told["violations"]), (Some(0), &json!([])), "{told:#}");
        assert_eq!(
            (&told["files"], &told["targets"]),
            (&json!(22), &json!(2)),
            "{source:?}: {told:#}"
        );
    }
    // Everybody: the two that read no bins fail, each for a reason with its source.
    let (exit, told) = linted(&gate, &["--dir", &dir(&depot), "--client", "all"]);
    assert_eq!(exit, Some(1));
    let broken: Vec<_> = told["violations"].as_array().unwrap().iter().collect();
    assert!(
        broken
            .iter()
            .all(|one| one["rule"] == "delegation-form" && one["sources"][0] != ""),
        "{told:#}"
    );
    let text = said(&tufgate(
        &gate.dir,
        &["lint", "--dir", &dir(&depot), "--client", "rust-tuf"],
    ));
    assert!(text.contains("rust-tuf 0.3.0-beta14: src/metadata.rs"), "{text}");

    let bin = |folder: &Path| -> String {
        let bins = (0..16).map(|bin| newest(folder, &format!("bins4-{bin:x}")));
        bins.max_by_key(|name| fs::metadata(folder.join(name)).unwrap().len())
            .unwrap()
    };
    let snapshot = newest(&depot, "snapshot");
    let row = |length: u64| json!({"length": length, "hashes": {"sha256": "0".repeat(64)}});
    type Change<'a> = Box<dyn FnOnce(&mut Value) + 'a>;
    let cases: Vec<(&str, String, Change, &str, &[&str])> = vec![
        (
            "a length beyond JavaScript's",
            bin(&depot),
            Box::new(|signed| signed["targets"]["x"] = row(1 << 53)),
            "integer-size",
            &["tuf-js 6.0.2"],
        ),
        (
            "names that two sort differently",
            bin(&depot),
            Box::new(|signed| {
                signed["targets"]["z"] = row(1);
                signed["targets"]["z "] = row(1);
            }),
            "name-order",
            &["tough 0.24.0"],
        ),
        (
            "a name that is not NFC",
            bin(&depot),
            Box::new(|signed| signed["targets"]["e\u{301}"] = row(1)),
            "name",
            &["tough 0.24.0"],
        ),
        (
            "no sha256",
            bin(&depot),
            Box::new(|signed| signed["targets"]["x"] = json!({"length": 1, "hashes": {"sha512": "0".repeat(128)}})),
            "hash-list",
            &["tough 0.24.0"],
        ),
        (
            "an empty object",
            snapshot.clone(),
            Box::new(|signed| signed["meta"]["bins.json"]["hashes"] = json!({})),
            "empty-field",
            &["go-tuf 2.4.2"],
        ),
        (
            "a key of an unknown kind",
            newest(&depot, "targets"),
            Box::new(|signed| {
                let keys = signed["delegations"]["keys"].as_object_mut().unwrap();
                keys.values_mut().for_each(|key| key["keytype"] = "sphincs".into());
            }),
            "key-kind",
            &["python-tuf 7.0.1", "tough 0.24.0"],
        ),
        (
            "a key id that is not computed",
            newest(&depot, "targets"),
            Box::new(|signed| {
                let keys = signed["delegations"]["keys"].as_object_mut().unwrap();
                let key = keys.values().next().unwrap().clone();
                keys.insert("opaque".to_owned(), key);
            }),
            "key-id",
            &["tough 0.24.0"],
        ),
        (
            "a role beyond every limit",
            bin(&depot),
            Box::new(|signed| signed["x-long"] = "x".repeat(5_000_001).into()),
            "file-size",
            &[
                "python-tuf 7.0.1",
                "go-tuf 2.4.2",
                "tuf-js 6.0.2",
                "sigstore-tuf 0.15.1",
            ],
        ),
        (
            "succinct roles below the views",
            bin(&depot),
            Box::new(|signed| {
                signed["delegations"] = json!({"keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 1, "name_prefix": "x"}});
            }),
            "delegation-form",
            &["tough 0.24.0", "sigstore-tuf 0.15.1"],
        ),
    ];
    for (what, file, change, rule, clients) in cases {
        let folder = changed(&depot, &file, change);
        let (exit, told) = linted(&gate, &["--dir", &dir(folder.path())]);
        assert_eq!(exit, Some(1), "{what}: {told:#}");
        let found = told["violations"].as_array().unwrap();
        let mut broken: Vec<&str> = found
            .iter()
            .filter(|one| one["rule"] == rule)
            .flat_map(|one| one["clients"].as_array().unwrap())
            .map(|client| client.as_str().unwrap())
            .collect();
        broken.sort_by_key(|name| Known::ALL.iter().position(|client| client.name() == *name));
        broken.dedup();
        assert_eq!(broken, clients, "{what}: {told:#}");
        let (exit, told) = linted(&gate, &["--dir", &dir(folder.path()), "--client", "php-tuf"]);
        assert!(
            told["clients"] == json!(["php-tuf 0.1.7"]) && exit.is_some(),
            "{told:#}"
        );
    }
    // Thirty-three roots that follow the first.
    let folder = tempfile::tempdir().unwrap();
    copy(&depot, folder.path());
    for version in 2..=34 {
        fs::copy(
            depot.join("1.root.json"),
            folder.path().join(format!("{version}.root.json")),
        )
        .unwrap();
    }
    let (exit, told) = linted(&gate, &["--dir", &dir(folder.path())]);
    assert_eq!(exit, Some(1));
    assert_eq!(told["violations"][0]["rule"], "root-chain");
    assert_eq!(told["violations"][0]["clients"], json!(["sigstore-tuf 0.15.1"]));
    // What makes no sense, or is not there.
    for (arguments, code, why) in [
        (&["--dir", "nowhere"][..], 1, "holds no timestamp.json"),
        (&["--url", "http://127.0.0.1:9"], 1, "hint:"),
        (&["--url", "ftp://x"], 2, "`ftp://x/metadata/`"),
        (&["--dir", "metadata", "--client", "vi"], 2, "no known client"),
    ] {
        refused(&gate, &[&["lint"], arguments].concat(), code, why);
    }
    // Without a word, the gate whose configuration lies here, as for other commands.
    assert_eq!(
        done(&gate, &["lint"]),
        done(&gate, &["lint", "--config", "tufgate.toml"])
    );
    let elsewhere = tufgate(folder.path(), &["lint"]);
    assert_eq!(elsewhere.status.code(), Some(64), "{}", said(&elsewhere));
    assert!(said(&elsewhere).contains("tufgate.toml"), "{}", said(&elsewhere));
}

#[test]
fn a_root_that_would_break_clients_is_not_published() {
    let nginx = Nginx::start();
    let setup = Setup::learning(nginx.url());
    let gate = Gate::start(&setup.extra("[tuf]\nclients = [\"python-tuf\", \"tough\", \"php-tuf\"]\n"));
    gate.publish("/app/one.txt", b"one");
    for arguments in [
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "ec.pem",
        ][..],
        &["pkey", "-in", "ec.pem", "-pubout", "-out", "ec.pub"],
    ] {
        let made = Command::new("openssl").args(arguments).current_dir(&gate.dir).status();
        assert!(made.unwrap().success());
    }
    fs::copy(gate.dir.join("root/root-1.pem"), gate.dir.join("root-1.pem")).unwrap();
    let draft = [
        "root",
        "draft",
        "--out",
        "draft.json",
        "--yes",
        "--add-key",
        "carol=ec.pub",
    ];
    done(&gate, &draft);
    for key in ["root-1.pem", "ec.pem"] {
        done(&gate, &["root", "sign", "draft.json", "--yes", "--key", key]);
    }
    refused(&gate, &["root", "publish", "draft.json"], 1, "php-tuf 0.1.7");
    assert!(
        !gate.dir.join("metadata/2.root.json").exists(),
        "nothing is half-written"
    );
    // One that everybody reads goes through, and publishing goes on.
    new_key(&gate.dir, "dora");
    ceremony(
        &gate,
        "root",
        "next.json",
        &["--add-key", "dora=dora.pub"],
        &["root-1", "dora"],
        &[],
    );
    gate.publish("/app/two.txt", b"two");
    assert_eq!(failing(&gate, "app/two.txt", b"two"), Vec::<String>::new());
    // A client that reads no bins cannot be promised them.
    let config = fs::read_to_string(gate.dir.join("tufgate.toml")).unwrap();
    fs::write(gate.dir.join("other.toml"), config.replace("php-tuf", "rust-tuf")).unwrap();
    refused(
        &gate,
        &["serve", "--check", "--config", "other.toml"],
        64,
        "reads no bins",
    );
}

/// What a limit is in a table of the installed clients themselves.
fn installed(limits: &Value, names: [&str; 6]) -> [u64; 6] {
    names.map(|name| limits[name].as_u64().unwrap_or_else(|| panic!("{name}: {limits}")))
}

#[test]
fn the_installed_clients_have_the_limits_of_the_table() {
    let json = |output: std::process::Output| -> Value {
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    };
    let script = "import json; from tuf.ngclient import UpdaterConfig as C; c = C(); \
                  print(json.dumps({k: v for k, v in vars(c).items() if type(v) is int}))";
    let theirs = json(Command::new(python()).args(["-c", script]).output().unwrap());
    let snake = [
        "max_delegations",
        "root_max_length",
        "timestamp_max_length",
        "snapshot_max_length",
        "targets_max_length",
        "max_root_rotations",
    ];
    assert_eq!(installed(&theirs, snake), table(Known::PythonTuf));
    let built = std::env::var_os("TUFGATE_CLIENTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/integration"),
        PathBuf::from,
    );
    let script = "console.log(JSON.stringify(require('tuf-js/dist/config').defaultConfig))";
    let node = Command::new("node")
        .args(["-e", script])
        .env("NODE_PATH", built.join("node/node_modules"))
        .output();
    let camel = [
        "maxDelegations",
        "rootMaxLength",
        "timestampMaxLength",
        "snapshotMaxLength",
        "targetsMaxLength",
        "maxRootRotations",
    ];
    assert_eq!(installed(&json(node.unwrap()), camel), table(Known::TufJs));
}

/// Visits, bytes of the four kinds of files, and roots, as our table has them.
fn table(client: Known) -> [u64; 6] {
    let of = |wanted: fn(Limit) -> Option<u64>| {
        let mut lines = LIMITS.iter().filter(|line| line.client == client);
        lines.find_map(|line| wanted(line.limit)).unwrap()
    };
    [
        of(|limit| {
            if let Limit::Visits(most) = limit {
                Some(most)
            } else {
                None
            }
        }),
        of(|limit| {
            if let Limit::Bytes(File::Root, most) = limit {
                Some(most)
            } else {
                None
            }
        }),
        of(|limit| {
            if let Limit::Bytes(File::Timestamp, most) = limit {
                Some(most)
            } else {
                None
            }
        }),
        of(|limit| {
            if let Limit::Bytes(File::Snapshot, most) = limit {
                Some(most)
            } else {
                None
            }
        }),
        of(|limit| {
            if let Limit::Bytes(File::Targets, most) = limit {
                Some(most)
            } else {
                None
            }
        }),
        of(|limit| {
            if let Limit::Roots(most) = limit {
                Some(most)
            } else {
                None
            }
        }),
    ]
}

/// Targets of the repository that is planned for.
const TARGETS: usize = 2_000;

fn name(number: usize) -> String {
    format!(
        "team-{:02}/package-{number:04}/1.{}.0/package-{number:04}.tar.gz",
        number % 23,
        number % 7
    )
}

/// Bytes of metadata bodies and requests, by `User-Agent`, since the log had so many bytes.
fn asked(front: &Nginx, from: usize, client: &str) -> (f64, f64) {
    let log = front.access_log();
    let mut traffic = (0.0, 0.0);
    for line in log[from..]
        .lines()
        .filter(|line| line.contains(&format!(" {client}/")) && line.contains(" /metadata/"))
    {
        let fields: Vec<_> = line.split(' ').collect();
        traffic.0 += 1.0;
        if fields[2] == "200" {
            traffic.1 += fields[3].parse::<f64>().unwrap();
        }
    }
    traffic
}

/// Fails unless the numbers are within so many per cent.
fn near(what: &str, planned: f64, real: f64, percent: f64) {
    let off = (planned - real).abs() / real.max(1.0) * 100.0;
    assert!(
        off <= percent,
        "{what}: planned {planned:.0}, was {real:.0}, {off:.1} % off"
    );
}

#[test]
fn what_is_planned_is_what_comes() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[tuf]\nbins = 16\nmax_bins = 64\ngrow_at = 100\n"));
    let put = |number: usize| {
        let put = http::put(gate.addr, &format!("/{}", name(number)), name(number).as_bytes());
        assert_eq!(put.status, 201);
    };
    // Eight publishers, who share commits.
    std::thread::scope(|scope| {
        for lane in 0..8 {
            scope.spawn(move || (lane..TARGETS).step_by(8).for_each(put));
        }
    });
    until("64 bins", || {
        let status = gate.status();
        status["bins"] == 64 && status["pending"] == 0
    });
    let front = Nginx::start_with(&format!(
        "location /metadata/ {{ proxy_pass {0}; proxy_set_header Accept-Encoding $http_accept_encoding; }} \
         location / {{ proxy_pass {0}; }}",
        gate.url()
    ));

    let count = TARGETS.to_string();
    let arguments = [
        "plan",
        "--json",
        "--targets",
        &count,
        "--rate",
        "0",
        "--bins",
        "64",
        "--config",
        "tufgate.toml",
    ];
    let planned: Value = serde_json::from_slice(&tufgate(&gate.dir, &arguments).stdout).unwrap();
    assert_eq!(planned["chosen"], 64, "the rule by which the gate has grown");
    let options = planned["options"].as_array().unwrap();
    let choice = options.iter().find(|choice| choice["bins"] == 64).unwrap();

    // Files, by their bytes.
    let depot = gate.dir.join("metadata");
    let size = |file: PathBuf| fs::metadata(file).unwrap().len() as f64;
    let plain = |file: &str| choice["files"][file]["plain"].as_f64().unwrap();
    near("timestamp", plain("timestamp"), size(depot.join("timestamp.json")), 2.0);
    near(
        "snapshot",
        plain("snapshot"),
        size(depot.join(newest(&depot, "snapshot"))),
        4.0,
    );
    near(
        "targets",
        plain("targets"),
        size(depot.join(newest(&depot, "targets"))),
        0.5,
    );
    near(
        "prefixes",
        plain("prefixes"),
        size(depot.join(newest(&depot, "bins"))),
        0.5,
    );
    near(
        "succinct",
        plain("succinct"),
        size(depot.join("succinct").join(newest(&depot, "bins"))),
        0.5,
    );
    let bins: Vec<f64> = (0..64)
        .map(|bin| size(depot.join(newest(&depot, &format!("bins6-{bin:02x}")))))
        .collect();
    near(
        "all bins",
        choice["files"]["all"].as_f64().unwrap(),
        bins.iter().sum(),
        0.5,
    );

    // Requests and bytes of real clients: a new one, and the same after one release.
    let folder = tempfile::tempdir().unwrap();
    let wanted: Vec<usize> = (0..8).map(|number| number * 211).collect();
    for client in Client::ALL {
        let costs = choice["clients"].as_array().unwrap();
        let costs = costs.iter().find(|costs| costs["client"] == client.name()).unwrap();
        let view = match costs["view"].as_str() {
            Some("succinct") => View::Succinct,
            _ => View::Prefixes,
        };
        let real = |round: usize, target: &str| {
            let place = Place {
                gate: front.url(),
                root: gate.root(),
                dir: folder.path().join(format!("{}-{round}", client.name())),
                user_agent: "plan".to_owned(),
            };
            fs::create_dir_all(&place.dir).unwrap();
            let from = front.access_log().len();
            let out = folder.path().join("out");
            let said = client.get_through(view, &place, &[], &[(target, &out)]);
            assert!(said[0].result.is_ok(), "{said:?}");
            asked(&front, from, client.name())
        };
        // A bin is as large as chance has it: some are asked for, and the mean is what is planned.
        let new: Vec<_> = wanted
            .iter()
            .enumerate()
            .map(|(round, number)| real(round, &name(*number)))
            .collect();
        let mean = |of: fn(&(f64, f64)) -> f64| new.iter().map(of).sum::<f64>() / new.len() as f64;
        let plan = |when: &str, what: &str| costs[when][what].as_f64().unwrap();
        let (requests, bytes) = (mean(|one| one.0), mean(|one| one.1));
        assert_eq!(plan("new_user", "requests"), requests, "{}", client.name());
        near(
            &format!("{}, new", client.name()),
            plan("new_user", "bytes"),
            bytes,
            8.0,
        );
        // The same client again, for one release more.
        let release = format!("{}-{}", name(wanted[0]), client.name());
        gate.publish(&format!("/{release}"), b"one release more");
        let (requests, bytes) = real(0, &release);
        assert_eq!(plan("release", "requests"), requests, "{}, one release", client.name());
        figure(&format!(
            "plan: {} at 64 bins, new user: planned {:.0}, was {:.0}; one release: planned {:.0}, was {bytes:.0}",
            client.name(),
            plan("new_user", "bytes"),
            mean(|one| one.1),
            plan("release", "bytes"),
        ));
    }
    let text = said(&tufgate(
        &gate.dir,
        &["plan", "--targets", "1000000", "--rate", "1000", "--bins", "1024"],
    ));
    assert!(
        text.contains("the gate would have 1024 bins") && text.contains("tough"),
        "{text}"
    );
    for (arguments, why) in [
        (&["plan", "--targets", "x"][..], "invalid value"),
        (&["plan", "--targets", "1", "--bins", "24"], "no power of two"),
        (&["plan", "--targets", "1", "--rate=-1"], "0 or more"),
    ] {
        refused(&gate, arguments, 2, why);
    }
}
