//! Keys where operators keep them: each kind signs what every client accepts, and none that fails stops a read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tufgate::Digest;

use crate::{
    matrix::fetch_with_tufgate,
    support::{
        clients::{Client, Place, python},
        gate::{Gate, Setup, binary, tufgate, until},
        nginx::Nginx,
        vault::{Kms, Program, SoftHsm, make_key, openssl, write_private},
    },
};

fn started(upstream: &Nginx, keys: &str, environment: &[(&str, &str)]) -> Gate {
    let mut setup = Setup::learning(upstream.url()).extra(keys);
    for (name, value) in environment {
        setup = setup.environment(name, value);
    }
    Gate::start(&setup)
}

/// Every client of other people, and ours, downloads a target; `tufgate verify --all` finds nothing.
fn everybody_accepts(gate: &Gate, target: &str, bytes: &[u8]) {
    let scratch = tempfile::tempdir().unwrap();
    for client in Client::ALL {
        let place = Place {
            gate: gate.url(),
            root: gate.root(),
            dir: scratch.path().join(client.name()),
            user_agent: "keys".to_owned(),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let out = scratch.path().join("out");
        let said = client.get(&place, &[(target, &out)]);
        assert!(said[0].result.is_ok(), "{}: {said:?}", client.name());
        assert_eq!(fs::read(out).unwrap(), bytes, "{}", client.name());
    }
    assert_eq!(fetch_with_tufgate(gate, target), Ok(Digest::of(bytes)));
    let root = gate.root();
    let verify = tufgate(
        &gate.dir,
        &[
            "verify",
            "--all",
            "--url",
            &gate.url(),
            "--root",
            root.to_str().unwrap(),
        ],
    );
    assert!(
        verify.status.success(),
        "{}{}",
        text(&verify.stdout),
        text(&verify.stderr)
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a file of the depot says of its keys: `keytype`s of those that a role has in root, or in a delegation.
fn keytypes(gate: &Gate, file: &str, role: &str) -> Vec<String> {
    let bytes = fs::read(gate.dir.join("metadata").join(file)).unwrap();
    let signed = serde_json::from_slice::<Value>(&bytes).unwrap()["signed"].clone();
    let (keys, ids) = match signed["_type"] == "root" {
        true => (&signed["keys"], &signed["roles"][role]["keyids"]),
        false => {
            let below = &signed["delegations"];
            let roles = below["roles"].as_array().unwrap();
            let found = roles.iter().find(|listed| listed["name"] == role).unwrap();
            (&below["keys"], &found["keyids"])
        }
    };
    let ids = ids.as_array().unwrap().iter();
    ids.map(|id| keys[id.as_str().unwrap()]["keytype"].as_str().unwrap().to_owned())
        .collect()
}

/// Publishes so much that files are larger than any message a service hashes itself.
fn publish_many(gate: &Gate) -> (String, Vec<u8>) {
    let name = |number| format!("many/a-name-of-some-length-{number}.tar.gz");
    for number in 0..80 {
        let put = gate.put(&format!("/{}", name(number)), name(number).as_bytes());
        assert_eq!(put.status, 201);
    }
    let last = name(80);
    gate.publish(&format!("/{last}"), last.as_bytes());
    let bytes = last.clone().into_bytes();
    (last, bytes)
}

const TWO_BINS: &str = "[tuf]\nbins = 2\n";

#[test]
fn softhsm_signs_what_every_client_accepts() {
    let hsm = SoftHsm::start(&[
        ("stamp", "ecdsa"),
        ("shot", "rsa"),
        ("bins", "ed25519"),
        ("top", "ecdsa"),
    ]);
    let tables = [
        TWO_BINS.to_owned(),
        hsm.table("timestamp", "stamp", "pin"),
        hsm.table("snapshot", "shot", "pin"),
        hsm.table("bins", "bins", "pin"),
        hsm.table("targets", "top", "pin"),
    ];
    let nginx = Nginx::start();
    let gate = started(&nginx, &tables.concat(), &[("SOFTHSM2_CONF", &hsm.conf())]);
    let (target, bytes) = publish_many(&gate);
    everybody_accepts(&gate, &target, &bytes);
    for (role, keytype) in [("timestamp", "ecdsa"), ("snapshot", "rsa"), ("targets", "ecdsa")] {
        assert_eq!(keytypes(&gate, "1.root.json", role), [keytype]);
    }
    assert_eq!(keytypes(&gate, "1.targets.json", "bins"), ["ed25519"]);
}

#[test]
fn kms_signs_what_every_client_accepts() {
    let kms = Kms::start(&[("stamp", "ECC_NIST_P256"), ("shot", "RSA_2048"), ("top", "RSA_3072")]);
    let tables = [
        TWO_BINS.to_owned(),
        kms.table("timestamp", "stamp"),
        kms.table("snapshot", "shot"),
        kms.table("bins", "stamp"),
        kms.table("targets", "top"),
    ];
    let nginx = Nginx::start();
    let gate = started(&nginx, &tables.concat(), &CREDENTIALS);
    let (target, bytes) = publish_many(&gate);
    let bin = fs::read_dir(gate.dir.join("metadata"))
        .unwrap()
        .map(|entry| entry.unwrap());
    let largest = bin.map(|entry| entry.metadata().unwrap().len()).max().unwrap();
    assert!(largest > 4096, "every file is small: KMS hashed them all itself");
    everybody_accepts(&gate, &target, &bytes);
    assert_eq!(keytypes(&gate, "1.root.json", "snapshot"), ["rsa"]);
    assert_eq!(keytypes(&gate, "1.targets.json", "bins"), ["ecdsa"]);
}

const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

#[test]
fn a_program_signs_what_every_client_accepts() {
    let program = Program::start(&[("stamp", "ed25519"), ("shot", "ecdsa"), ("top", "rsa")]);
    let tables = [
        TWO_BINS.to_owned(),
        program.table("timestamp", "stamp", "ed25519", "raw"),
        program.table("snapshot", "shot", "ecdsa", "base64"),
        program.table("targets", "top", "rsa", "raw"),
    ];
    let nginx = Nginx::start();
    let gate = started(&nginx, &tables.concat(), &[]);
    let (target, bytes) = publish_many(&gate);
    everybody_accepts(&gate, &target, &bytes);
    assert_eq!(keytypes(&gate, "1.root.json", "targets"), ["rsa"]);
    // Without a key of their own, the bins have the snapshot's.
    assert_eq!(keytypes(&gate, "1.targets.json", "bins"), ["ecdsa"]);
}

fn depot(gate: &Gate) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(gate.dir.join("metadata"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A signer that stops signing: uploads are taken and wait, reads and clients go on, nothing of what was published
/// changes and nothing more is written; then it signs again.
fn outage(gate: &mut Gate, stop: impl FnOnce(), mend: impl FnOnce()) {
    gate.publish("/before.txt", b"before");
    let stamp = gate.get("/metadata/timestamp.json").body;
    assert_eq!(gate.metric("tufgate_signing_failing_since_seconds"), 0.0);
    stop();
    assert_eq!(gate.put("/during.txt", b"during").status, 201);
    let failures = |gate: &Gate| gate.metric("tufgate_signing_failures_total");
    until("signing to fail", || failures(gate) >= 2.0);
    assert!(gate.metric("tufgate_signing_failing_since_seconds") > 1e9);
    let (files, count) = (depot(gate), failures(gate));
    until("signing to fail again", || failures(gate) >= count + 2.0);
    assert_eq!(depot(gate), files, "attempts that failed left files");
    assert_eq!(gate.get("/before.txt").body, b"before");
    assert_eq!(gate.get("/during.txt").body, b"during");
    assert_eq!(gate.get("/metadata/timestamp.json").body, stamp);
    assert_eq!(fetch_with_tufgate(gate, "before.txt"), Ok(Digest::of(b"before")));
    assert_eq!(gate.status()["pending"], 1);
    // Whoever starts it now gets a gate that reads.
    gate.kill();
    gate.run();
    assert_eq!(gate.get("/before.txt").body, b"before");
    assert_eq!(gate.get("/metadata/timestamp.json").body, stamp);
    until("the new signer to fail, too", || failures(gate) >= 1.0);
    mend();
    until("what waited to be signed", || gate.status()["pending"] == 0);
    until("the metric to fall", || {
        gate.metric("tufgate_signing_failing_since_seconds") == 0.0
    });
    everybody_accepts(gate, "during.txt", b"during");
    let log = gate.log();
    assert!(
        log.contains("signing stopped; reads go on") && log.contains("signing again"),
        "{log}"
    );
}

#[test]
fn a_token_that_is_pulled_out_delays_publishing_alone() {
    let hsm = SoftHsm::start(&[("stamp", "ecdsa"), ("shot", "ecdsa")]);
    let tables = [
        hsm.table("timestamp", "stamp", "pin"),
        hsm.table("snapshot", "shot", "pin"),
    ];
    let nginx = Nginx::start();
    let mut gate = started(&nginx, &tables.concat(), &[("SOFTHSM2_CONF", &hsm.conf())]);
    outage(&mut gate, || hsm.unplug(), || hsm.plug());
}

#[test]
fn a_kms_that_throttles_delays_publishing_alone() {
    let kms = Kms::start(&[("stamp", "ECC_NIST_P256")]);
    let nginx = Nginx::start();
    let mut gate = started(&nginx, &kms.table("timestamp", "stamp"), &CREDENTIALS);
    outage(&mut gate, || kms.trouble("ThrottlingException"), || kms.mend());
}

#[test]
fn a_program_that_fails_delays_publishing_alone() {
    let program = Program::start(&[("stamp", "ecdsa")]);
    let nginx = Nginx::start();
    let mut gate = started(&nginx, &program.table("timestamp", "stamp", "ecdsa", "raw"), &[]);
    outage(&mut gate, || program.break_down(), || program.mend());
    assert!(gate.log().contains("the vault is sealed"), "{}", gate.log());
}

/// Runs a command with an environment; nobody is at a terminal.
fn run(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(binary())
        .args(args)
        .current_dir(dir)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn refused(output: &Output, code: i32, why: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(why) && said.contains("hint: "), "{said}");
}

#[test]
fn keys_that_cannot_sign_are_refused_before_anything_is_written() {
    let hsm = SoftHsm::start(&[("stamp", "ecdsa")]);
    let kms = Kms::start(&[
        ("stamp", "ECC_NIST_P256"),
        ("p384", "ECC_NIST_P384"),
        ("aes", "SYMMETRIC_DEFAULT"),
    ]);
    let program = Program::start(&[("stamp", "ecdsa"), ("other", "ecdsa")]);
    let conf = hsm.conf();
    let environment = [CREDENTIALS[0], CREDENTIALS[1], ("SOFTHSM2_CONF", &conf)];
    let wrong_public = program
        .table("timestamp", "stamp", "ecdsa", "raw")
        .replace("stamp.pub", "other.pub");
    let sealed = "[keys.timestamp]\npath = \"sealed.pem\"\npassphrase_env = \"WRONG\"\n".to_owned();
    for (code, why, table) in [
        (64, "refuses the PIN", hsm.table("timestamp", "stamp", "wrong-pin")),
        (64, "holds no private key", hsm.table("timestamp", "nobody", "pin")),
        (
            1,
            "it is not there, but `tufgate`",
            hsm.table("timestamp", "stamp", "pin").replace("\"tufgate\"", "\"x\""),
        ),
        (
            64,
            "cannot be loaded",
            hsm.table("timestamp", "stamp", "pin").replace("libsofthsm2", "none"),
        ),
        (64, "NotFoundException", kms.table("timestamp", "nobody")),
        (64, "another curve than P-256", kms.table("timestamp", "p384")),
        (64, "KMS", kms.table("timestamp", "aes")),
        (1, "is no signature by", wrong_public),
        (
            1,
            "could not be started",
            program
                .table("timestamp", "stamp", "ecdsa", "raw")
                .replace("/sign", "/none"),
        ),
        (64, "does not open key file", sealed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let config = format!("[upstream]\nurl = \"http://127.0.0.1:9\"\n{table}");
        fs::write(dir.join("tufgate.toml"), config).unwrap();
        let right = [("RIGHT", "right"), ("WRONG", "wrong")];
        let made = run(dir, &["key", "new", "sealed.pem", "--passphrase-env", "RIGHT"], &right);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let init = ["init", "--root-dir", "root", "--unencrypted"];
        let all: Vec<_> = environment.iter().chain(&right).copied().collect();
        refused(&run(dir, &init, &all), code, why);
        assert!(!dir.join("metadata/1.root.json").exists());
        refused(&run(dir, &["key", "check", "--role", "timestamp"], &all), code, why);
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn keys_are_made_shown_taken_over_and_tried() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let environment = [("PASS", "secret")];
    let key = |args: &[&str]| run(dir, &[&["key"], args].concat(), &environment);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (file, plain) = (format!("{kind}.pem"), format!("{kind}-plain.pem"));
        let made = json(&key(&[
            "new",
            &file,
            "--type",
            kind,
            "--name",
            "Alice",
            "--passphrase-env",
            "PASS",
            "--json",
        ]));
        assert_eq!(made["name"], "Alice");
        let shown = json(&key(&["show", &file, "--passphrase-env", "PASS", "--json"]));
        assert_eq!(shown, made);
        let checked = json(&key(&["check", &file, "--passphrase-env", "PASS", "--json"]));
        assert_eq!(checked["keyid"], made["keyid"]);
        // The public half alone shows the same key.
        fs::write(dir.join("public.pem"), made["pem"].as_str().unwrap()).unwrap();
        assert_eq!(json(&key(&["show", "public.pem", "--json"]))["keyid"], made["keyid"]);
        fs::write(dir.join("public.json"), made["key"].to_string()).unwrap();
        assert_eq!(json(&key(&["show", "public.json", "--json"]))["keyid"], made["keyid"]);
        // Taken over without a passphrase, the name stays.
        let import = [
            "import",
            &file,
            &plain,
            "--from-passphrase-env",
            "PASS",
            "--unencrypted",
            "--json",
        ];
        assert_eq!(json(&key(&import)), made);
        // None is overwritten, and none appears that is not wanted.
        let before = fs::read(dir.join(&plain)).unwrap();
        refused(&key(&import), 64, "File exists");
        assert_eq!(fs::read(dir.join(&plain)).unwrap(), before);
        refused(&key(&["new", "x.pem"]), 2, "needs a passphrase");
        assert!(!dir.join("x.pem").exists());
        refused(&key(&["show", &file]), 64, "no passphrase was given");
        // Other people's tools read both.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/keys.py");
        let read = Command::new(python())
            .arg(script)
            .args(["read", &file, &plain])
            .current_dir(dir)
            .output()
            .unwrap();
        let pem = made["pem"].as_str().unwrap();
        assert_eq!(text(&read.stdout), pem.repeat(2), "{}", text(&read.stderr));
        openssl(dir, &format!("pkey -in {file} -passin pass:secret -noout"));
    }
    let human = key(&["show", "ecdsa-plain.pem"]);
    let shown = text(&human.stdout);
    for line in [
        "name:        Alice\n",
        "scheme:      ecdsa-sha2-nistp256\n",
        "-----BEGIN PUBLIC KEY-----\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("PRIVATE"));
}

#[test]
fn keys_of_other_tools_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/keys.py");
    let wrote = Command::new(python())
        .arg(script)
        .arg("write")
        .arg(dir)
        .output()
        .unwrap();
    assert!(wrote.status.success(), "{}", text(&wrote.stderr));
    let environment = [("PASS", "secret")];
    for kind in ["ed25519", "ecdsa", "rsa"] {
        for file in [format!("{kind}.pem"), format!("{kind}-sealed.pem")] {
            let out = format!("ours-{file}");
            let import = [
                "key",
                "import",
                &file,
                &out,
                "--from-passphrase-env",
                "PASS",
                "--passphrase-env",
                "PASS",
            ];
            let taken = json(&run(dir, &[&import[..], &["--json"]].concat(), &environment));
            let public = fs::read_to_string(dir.join(format!("{file}.pub"))).unwrap();
            assert_eq!(taken["pem"], public);
            json(&run(
                dir,
                &["key", "check", &out, "--passphrase-env", "PASS", "--json"],
                &environment,
            ));
        }
    }
}

/// The timestamp moves from a token to a file; beside it, a key in another token signs the root.
#[test]
fn tokens_sign_roots_and_sign_on_while_they_are_rotated() {
    let hsm = SoftHsm::start(&[("stamp", "ecdsa"), ("alice", "ecdsa")]);
    let conf = hsm.conf();
    let environment = [("SOFTHSM2_CONF", conf.as_str())];
    let nginx = Nginx::start();
    let table = hsm.table("timestamp", "stamp", "pin");
    let mut gate = started(&nginx, &table, &environment);
    gate.publish("/one.txt", b"one");
    let described = hsm.table("x", "alice", "pin").replace("[keys.x.pkcs11]", "[pkcs11]");
    fs::write(gate.dir.join("alice.toml"), described).unwrap();
    let done = |gate: &Gate, args: &[&str]| {
        let output = run(&gate.dir, args, &environment);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    for name in ["alice.toml", "new.pem"] {
        if name == "new.pem" {
            done(&gate, &["key", "new", name, "--type", "rsa", "--unencrypted"]);
        }
        fs::write(
            gate.dir.join(format!("{name}.pub")),
            done(&gate, &["key", "show", name]),
        )
        .unwrap();
    }

    // Both sign; root lists the old one.
    let file = gate.dir.join("tufgate.toml");
    let config = fs::read_to_string(&file).unwrap();
    let both = format!(
        "[keys.timestamp]\npath = \"new.pem\"\n{}",
        hsm.table("old.timestamp", "stamp", "pin")
    );
    let rotated = config.replace(&table, &both);
    assert_ne!(rotated, config);
    fs::write(&file, rotated).unwrap();
    done(&gate, &["key", "check", "--role", "old.timestamp"]);
    gate.terminate();
    gate.run();
    gate.publish("/two.txt", b"two");
    everybody_accepts(&gate, "two.txt", b"two");

    let draft = [
        "root",
        "draft",
        "--yes",
        "--out",
        "2.json",
        "--add-key",
        "alice=alice.toml.pub",
        "--threshold",
        "2",
        "--replace-key",
        "timestamp:timestamp-2=new.pem.pub",
    ];
    done(&gate, &draft);
    let sign = ["root", "sign", "2.json", "--yes", "--key"];
    done(&gate, &[&sign[..], &["root/root-1.pem"]].concat());
    let signed = done(&gate, &[&sign[..], &["alice.toml"]].concat());
    assert!(signed.contains("signed as alice"), "{signed}");
    done(&gate, &["root", "publish", "2.json"]);
    until("the gate to serve root 2", || {
        gate.get("/metadata/2.root.json").status == 200
    });
    gate.publish("/three.txt", b"three");
    // From root 1, which they still are handed, over root 2.
    everybody_accepts(&gate, "three.txt", b"three");
    assert_eq!(keytypes(&gate, "1.root.json", "timestamp"), ["ecdsa"]);
    assert_eq!(keytypes(&gate, "2.root.json", "timestamp"), ["rsa"]);
    let audit = run(&gate.dir, &["audit"], &environment);
    assert!(audit.status.success(), "{}{}", text(&audit.stdout), text(&audit.stderr));
}

#[test]
fn keys_that_no_ceremony_can_use_are_told() {
    let nginx = Nginx::start();
    let gate = started(&nginx, "", &[]);
    let dir = &gate.dir;
    let pass = [("PASS", "secret"), ("WRONG", "wrong")];
    let new = run(dir, &["key", "new", "a.pem", "--passphrase-env", "PASS"], &pass);
    assert!(new.status.success(), "{}", text(&new.stderr));
    let draft = ["root", "draft", "--yes", "--out", "2.json"];
    assert!(run(dir, &draft, &[]).status.success());
    let before = fs::read(dir.join("2.json")).unwrap();
    let sign = ["root", "sign", "2.json", "--yes"];
    for (args, code, why) in [
        (&["--key", "a.pem"][..], 64, "no passphrase was given"),
        (
            &["--key", "a.pem", "--passphrase-env", "WRONG"],
            64,
            "hint: name its passphrase with `--passphrase-env`",
        ),
        (&["--key", "none.pem"], 64, "none.pem"),
        (
            &["--import", "x.json", "--passphrase-env", "PASS"],
            2,
            "cannot be used with",
        ),
        (
            &["--key", "a.pem", "--passphrase-env", "PASS"],
            1,
            "is none of those that sign this draft",
        ),
    ] {
        let output = run(dir, &[&sign[..], args].concat(), &pass);
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(code) && said.contains(why),
            "{args:?}: {said}"
        );
        assert_eq!(fs::read(dir.join("2.json")).unwrap(), before);
    }
    // A private key is no public one, in whatever form.
    let secret = r#"{"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "PUB", "private": "PRIV"}}"#;
    let (public, private) = (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    );
    let listed = secret.replace("PUB", public).replace("PRIV", private);
    write_private(&dir.join("b.json"), &listed);
    let shown = run(dir, &["key", "show", "b.json", "--json"], &[]);
    assert!(
        shown.status.success() && !text(&shown.stdout).contains(private),
        "{shown:?}"
    );
    for key in ["x=b.json", "x=a.pem"] {
        let drafted = run(
            dir,
            &["root", "draft", "--yes", "--out", "3.json", "--add-key", key],
            &[],
        );
        let said = text(&drafted.stderr);
        assert!(
            !drafted.status.success() && said.contains("a private key"),
            "{key}: {said}"
        );
        assert!(!dir.join("3.json").exists());
    }
}

#[test]
fn a_file_that_describes_a_key_stands_for_it() {
    let hsm = SoftHsm::start(&[("alice", "ecdsa")]);
    let conf = hsm.conf();
    let table = hsm
        .table("x", "alice", "pin")
        .replace("[keys.x.pkcs11]", "name = \"Alice's token\"\n[pkcs11]");
    fs::write(hsm.dir().join("alice.toml"), table).unwrap();
    let environment = [("SOFTHSM2_CONF", conf.as_str())];
    let shown = json(&run(hsm.dir(), &["key", "check", "alice.toml", "--json"], &environment));
    assert_eq!(shown["name"], "Alice's token");
    let public = fs::read_to_string(hsm.dir().join("alice.pub")).unwrap();
    assert_eq!(shown["pem"], public);
    fs::write(hsm.dir().join("bad.toml"), "[pkcs11]\nmodules = \"x\"\n").unwrap();
    refused(
        &run(hsm.dir(), &["key", "check", "bad.toml"], &environment),
        64,
        "bad.toml:2:1: unknown key `modules`",
    );
    fs::write(hsm.dir().join("empty.toml"), "").unwrap();
    refused(
        &run(hsm.dir(), &["key", "check", "empty.toml"], &environment),
        64,
        "says not where the key is",
    );
}

#[test]
fn passphrases_come_from_a_descriptor_or_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_private(&dir.join("pass"), "secret\n");
    make_key(dir, "plain", "ecdsa");
    let made = run(dir, &["key", "new", "key.pem", "--passphrase-file", "pass"], &[]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let credentials = [("CREDENTIALS_DIRECTORY", dir.to_str().unwrap())];
    let check = run(
        dir,
        &["key", "check", "key.pem", "--passphrase-credential", "pass"],
        &credentials,
    );
    assert!(check.status.success(), "{}", text(&check.stderr));
    let script = format!("{} key check key.pem --passphrase-fd 3 3<pass", binary().display());
    let check = Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", text(&check.stderr));
    let script = format!(
        "echo secret | {} key check key.pem --passphrase-fd 0",
        binary().display()
    );
    let check = Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", text(&check.stderr));
}
