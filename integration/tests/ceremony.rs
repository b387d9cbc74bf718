//! Ceremonies by file, with real clients that trusted version 1: root keys come and go, thresholds move, online keys are
//! rotated as planned and revoked at once, and other people's tools sign.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tufgate::Digest;

use crate::support::{
    ceremony::{ceremony, done, new_key, refused, said},
    clients::python,
    gate::{Gate, Setup, binary, signal, tufgate, until},
    nginx::Nginx,
    readers::Readers,
    repository::Repository,
    site::Site,
};

/// A gate with one target, and readers that have it.
pub fn gate(nginx: &Nginx) -> (Gate, Readers) {
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a/one.txt", b"one");
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");
    for name in ["alice", "bob", "carol", "dora", "eve"] {
        new_key(&gate.dir, name);
    }
    (gate, readers)
}

/// Version and bytes of the root that the gate says is the newest.
pub fn newest_root(gate: &Gate) -> (u64, Vec<u8>) {
    let body = gate.get("/metadata/root.json").body;
    let root: Value = serde_json::from_slice(&body).unwrap();
    (root["signed"]["version"].as_u64().unwrap(), body)
}

#[test]
fn root_keys_and_thresholds_change_under_running_gates_and_clients() {
    let nginx = Nginx::start();
    let (gate, readers) = gate(&nginx);
    let signer = gate.signer_pid();

    // One key becomes two of three.
    let edits = [
        "--add-key",
        "alice=alice.pub",
        "--add-key",
        "bob=bob.pub",
        "--add-key",
        "carol=carol.pub",
        "--remove-key",
        "root-1",
        "--threshold",
        "2",
        "--expires",
        "400d",
    ];
    let drafted = done(&gate, &[&["root", "draft", "--yes"], &edits[..]].concat());
    assert!(
        drafted.contains("root: threshold 1 of 1 → 2 of 3") && drafted.contains("root: + alice (key "),
        "{drafted}"
    );
    let draft = "2.root.draft.json";
    refused(
        &gate,
        &["root", "status", draft],
        1,
        "1 more of root 1's signers must sign: root-1",
    );
    refused(&gate, &["root", "publish", draft], 1, "must sign");
    refused(
        &gate,
        &["root", "sign", draft, "--key", "dora.pem", "--yes"],
        1,
        "none of those that sign",
    );
    refused(
        &gate,
        &["root", "sign", draft, "--key", "alice.pem"],
        2,
        "nobody is there to confirm it",
    );
    refused(
        &gate,
        &["targets", "sign", draft, "--key", "alice.pem"],
        2,
        "a draft of root",
    );
    refused(&gate, &["root", "draft", "--yes"], 1, "File exists");
    // Two sign copies of the draft, each at home; one signs what was left.
    fs::copy(gate.dir.join(draft), gate.dir.join("copy.json")).unwrap();
    done(&gate, &["root", "sign", draft, "--key", "root/root-1.pem", "--yes"]);
    done(&gate, &["root", "sign", draft, "--key", "alice.pem", "--yes"]);
    done(
        &gate,
        &[
            "root",
            "sign",
            "copy.json",
            "--key",
            "bob.pem",
            "--yes",
            "--trusted",
            "metadata/1.root.json",
        ],
    );
    refused(
        &gate,
        &["root", "publish", draft],
        1,
        "1 more of root 2's signers must sign: bob",
    );
    let published = done(&gate, &["root", "publish", draft, "copy.json"]);
    assert!(published.contains("the signer was told"), "{published}");

    until("the gate to serve root 2", || newest_root(&gate).0 == 2);
    assert_eq!(gate.signer_pid(), signer, "no restart");
    gate.publish("/a/two.txt", b"two");
    readers.all_read(&gate, "a/two.txt", b"two");
    Readers::new(&gate).all_read(&gate, "a/two.txt", b"two");
    Readers::from(&gate.dir.join("metadata/2.root.json")).all_read(&gate, "a/two.txt", b"two");

    // The record holds, and says what it is the record of.
    let record = done(&gate, &["root", "status", draft, "--published", "metadata/2.root.json"]);
    assert!(
        record.contains("published as 2.root.json") && record.contains("signature of bob"),
        "{record}"
    );
    refused(
        &gate,
        &["root", "status", draft, "--published", "metadata/1.root.json"],
        65,
        "the ceremony published",
    );
    refused(
        &gate,
        &["root", "sign", draft, "--key", "carol.pem", "--yes"],
        1,
        "published already",
    );
    done(&gate, &["root", "publish", draft]);

    // carol's key is lost: the other two go on without it. Thresholds go up and down.
    let replace = [
        "--remove-key",
        "carol",
        "--add-key",
        "dora=dora.pub",
        "--add-key",
        "eve=eve.pub",
        "--threshold",
        "3",
    ];
    ceremony(&gate, "root", "3.json", &replace, &["alice", "bob", "dora"], &[]);
    ceremony(
        &gate,
        "root",
        "4.json",
        &["--threshold", "1"],
        &["bob", "dora", "eve"],
        &[],
    );
    // Near its end, a root is only renewed.
    ceremony(&gate, "root", "5.json", &["--expires", "30d"], &["eve"], &[]);
    until("the gate to serve root 5", || newest_root(&gate).0 == 5);
    readers.all_read(&gate, "a/two.txt", b"two");
    Readers::new(&gate).all_read(&gate, "a/one.txt", b"one");

    // Two drafts after the same root: the second is too late.
    done(&gate, &["root", "draft", "--yes", "--out", "6a.json"]);
    done(
        &gate,
        &["root", "draft", "--yes", "--out", "6b.json", "--threshold", "2"],
    );
    for draft in ["6a.json", "6b.json"] {
        done(&gate, &["root", "sign", draft, "--yes", "--key", "alice.pem"]);
    }
    done(&gate, &["root", "sign", "6b.json", "--yes", "--key", "bob.pem"]);
    refused(
        &gate,
        &["root", "publish", "6a.json", "6b.json"],
        1,
        "different metadata",
    );
    done(&gate, &["root", "publish", "6a.json"]);
    refused(
        &gate,
        &["root", "publish", "6b.json"],
        1,
        "stands on root 5, and the one that is trusted is version 6",
    );
    readers.all_read(&gate, "a/one.txt", b"one");
}

/// Puts a key where the configuration has that of a role.
fn configure(gate: &Gate, role: &str, key: &str, old: Option<&str>) {
    let file = gate.dir.join("tufgate.toml");
    let mut text = fs::read_to_string(&file).unwrap();
    text += &format!("[keys.{role}]\npath = \"{key}\"\n");
    if let Some(old) = old {
        text += &format!("[keys.old.{role}]\npath = \"{old}\"\n");
    }
    fs::write(file, text).unwrap();
}

/// SIGHUP, and what the gate says to it once more than before.
fn hang_up(gate: &Gate, says: &str) {
    let said = |gate: &Gate| gate.log().matches(says).count();
    let before = said(gate);
    signal("HUP", gate.pid());
    until(says, || said(gate) > before);
}

#[test]
fn online_keys_are_rotated_as_planned() {
    let nginx = Nginx::start();
    let (gate, readers) = gate(&nginx);
    let before = fs::read_to_string(gate.dir.join("tufgate.toml")).unwrap();
    let signer = gate.signer_pid();
    // A key that no root lists, and nothing beside it: told, and not used.
    configure(&gate, "timestamp", "alice.pem", None);
    hang_up(&gate, "are not used; the last stay");
    assert!(gate.log().contains("the root does not list key"), "{}", gate.log());
    fs::write(gate.dir.join("tufgate.toml"), &before).unwrap();
    hang_up(&gate, "in use already");
    // The signer gets the new keys beside the old ones first: no root lists them yet.
    for (role, name) in [("timestamp", "alice"), ("snapshot", "bob"), ("targets", "carol")] {
        configure(&gate, role, &format!("{name}.pem"), Some(&format!("keys/{role}.pem")));
    }
    hang_up(&gate, "the keys that the configuration names now are in use");
    until("both to sign", || {
        let stamp: Value = serde_json::from_slice(&gate.get("/metadata/timestamp.json").body).unwrap();
        stamp["signatures"].as_array().unwrap().len() == 2
    });
    readers.all_read(&gate, "a/one.txt", b"one");

    let edits = [
        "--replace-key",
        "timestamp:timestamp-2=alice.pub",
        "--replace-key",
        "snapshot:snapshot-2=bob.pub",
        "--replace-key",
        "targets:targets-2=carol.pub",
    ];
    ceremony(&gate, "root", "2.json", &edits, &["root/root-1"], &[]);
    until("the gate to serve root 2", || newest_root(&gate).0 == 2);
    gate.publish("/a/three.txt", b"three");
    readers.all_read(&gate, "a/three.txt", b"three");

    // A cache told these that there is no root 2.
    let mut behind = Repository::copy(&gate, &[("a/three.txt", b"three")]);
    behind.remove("2.root.json");
    let site = Site::start();
    site.serve(behind.table, None);
    let failing = Readers::new(&gate).failing(&site.url(), "a/three.txt", b"three");
    assert!(failing.is_empty(), "{}", failing.join("\n"));

    // The grace is over: the old keys go.
    fs::write(gate.dir.join("tufgate.toml"), before).unwrap();
    for (role, name) in [("timestamp", "alice"), ("snapshot", "bob"), ("targets", "carol")] {
        configure(&gate, role, &format!("{name}.pem"), None);
    }
    hang_up(&gate, "the keys that the configuration names now are in use");
    assert_eq!(gate.signer_pid(), signer, "no restart");
    gate.publish("/a/four.txt", b"four");
    readers.all_read(&gate, "a/four.txt", b"four");
    Readers::new(&gate).all_read(&gate, "a/four.txt", b"four");
}

#[test]
fn stolen_online_keys_are_revoked_at_once_and_a_fast_forward_is_undone() {
    let nginx = Nginx::start();
    let (gate, readers) = gate(&nginx);
    // The thief shows the clients versions far ahead, signed by the stolen keys: they refuse the gate's afterwards.
    let mut stolen = Repository::copy(&gate, &[("a/one.txt", b"one")]);
    let snapshot = stolen.file("snapshot");
    let (mut signed, by) = (stolen.signed(&snapshot), stolen.signers(&snapshot));
    signed["version"] = json!(1_000_000);
    stolen.write("1000000.snapshot.json", &signed, &by);
    let bytes = stolen.bytes("1000000.snapshot.json");
    stolen.edit("timestamp.json", |signed| {
        signed["version"] = json!(1_000_000);
        signed["meta"]["snapshot.json"] =
            json!({"version": 1_000_000, "length": bytes.len(), "hashes": {"sha256": Digest::of(&bytes)}});
    });
    let site = Site::start();
    site.serve(stolen.table, None);
    let failing = readers.failing(&site.url(), "a/one.txt", b"one");
    assert!(failing.is_empty(), "{}", failing.join("\n"));
    let failing = readers.failing(&gate.url(), "a/one.txt", b"one");
    assert!(failing.len() >= 4, "clients were led ahead: {failing:?}");

    let edits = [
        "--replace-key",
        "timestamp:new timestamp=alice.pub",
        "--replace-key",
        "snapshot:new snapshot=bob.pub",
    ];
    done(
        &gate,
        &[&["root", "draft", "--yes", "--out", "2.json"], &edits[..]].concat(),
    );
    done(&gate, &["root", "sign", "2.json", "--yes", "--key", "root/root-1.pem"]);
    refused(
        &gate,
        &["root", "publish", "2.json"],
        1,
        "does not accept the timestamp",
    );
    assert!(!gate.dir.join("metadata/2.root.json").exists());
    configure(&gate, "timestamp", "alice.pem", None);
    configure(&gate, "snapshot", "bob.pem", None);
    done(&gate, &["root", "publish", "2.json", "--revoke"]);

    // The signer takes the root up, and with it the keys that are configured now.
    until("metadata by the new keys", || {
        let root: Value = serde_json::from_slice(&newest_root(&gate).1).unwrap();
        let id = root["signed"]["roles"]["timestamp"]["keyids"][0].clone();
        let stamp: Value = serde_json::from_slice(&gate.get("/metadata/timestamp.json").body).unwrap();
        stamp["signatures"][0]["keyid"] == id
    });
    gate.publish("/a/two.txt", b"two");
    readers.all_read(&gate, "a/two.txt", b"two");
    Readers::new(&gate).all_read(&gate, "a/one.txt", b"one");
}

#[test]
fn targets_signed_offline_change_by_ceremony() {
    let nginx = Nginx::start();
    let setup = Setup::learning(nginx.url()).extra("[keys.targets]\noffline = true\n");
    let gate = Gate::start(&setup);
    gate.publish("/a/one.txt", b"one");
    let readers = Readers::new(&gate);
    readers.all_read(&gate, "a/one.txt", b"one");
    new_key(&gate.dir, "bins");
    let edits = ["--add-key", "bins:next=bins.pub", "--expires", "2040-01-01"];
    ceremony(&gate, "targets", "2.json", &edits, &["root/root-1"], &[]);
    until("targets 2 to be listed", || {
        let listed = |name: &str, of: &str| -> Value {
            let file: Value = serde_json::from_slice(&gate.get(&format!("/metadata/{name}")).body).unwrap();
            file["signed"]["meta"][of]["version"].clone()
        };
        listed(
            &format!("{}.snapshot.json", listed("timestamp.json", "snapshot.json")),
            "targets.json",
        ) == 2
    });
    gate.publish("/a/two.txt", b"two");
    readers.all_read(&gate, "a/two.txt", b"two");
    refused(
        &gate,
        &[
            "targets",
            "draft",
            "--yes",
            "--remove-key",
            "snapshot",
            "--threshold",
            "2",
        ],
        1,
        "cannot be met",
    );
}

/// Signs what a draft proposes with python-tuf, as its owner would on a machine of theirs.
const PYTHON: &str = "
import json, sys
from securesystemslib.signer import CryptoSigner
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tuf.api.metadata import Metadata, Root
draft, key, out = sys.argv[1:]
root = Metadata[Root].from_dict(json.load(open(draft))['proposed'])
assert root.signed.unrecognized_fields['x-tufgate-key-names'], 'names are kept'
signer = CryptoSigner(load_pem_private_key(open(key, 'rb').read(), None))
assert signer.public_key.keyid in root.signed.keys, 'key ids agree'
root.sign(signer, append=True)
root.to_file(out)
";

#[test]
fn other_tools_sign_our_drafts_and_read_our_roots() {
    let nginx = Nginx::start();
    let (gate, readers) = gate(&nginx);
    let edits = [
        "--add-key",
        "alice=alice.pub",
        "--add-key",
        "bob=bob.pub",
        "--threshold",
        "3",
    ];
    done(
        &gate,
        &[&["root", "draft", "--yes", "--out", "2.json"], &edits[..]].concat(),
    );
    done(&gate, &["root", "sign", "2.json", "--yes", "--key", "root/root-1.pem"]);
    for name in ["alice", "bob"] {
        let signed = Command::new(python())
            .args(["-c", PYTHON, "2.json", &format!("{name}.pem"), &format!("{name}.json")])
            .current_dir(&gate.dir)
            .output()
            .unwrap();
        assert!(signed.status.success(), "{}", said(&signed));
        let file = format!("{name}.json");
        let taken = done(&gate, &["root", "sign", "2.json", "--yes", "--import", &file]);
        assert!(
            taken.contains(&format!("signed as {name}")) && taken.contains("had signed already: root-1"),
            "{taken}"
        );
    }
    // What python-tuf signed must be what the draft proposes.
    let mut other: Value = serde_json::from_slice(&fs::read(gate.dir.join("bob.json")).unwrap()).unwrap();
    other["signed"]["roles"]["root"]["threshold"] = json!(1);
    fs::write(gate.dir.join("other.json"), other.to_string()).unwrap();
    refused(
        &gate,
        &["root", "sign", "2.json", "--yes", "--import", "other.json"],
        65,
        "threshold 3 of 3 → 1 of 3",
    );
    done(&gate, &["root", "publish", "2.json"]);
    until("the gate to serve root 2", || newest_root(&gate).0 == 2);
    readers.all_read(&gate, "a/one.txt", b"one");

    // A root that python-tuf wrote from the first line on, with RSA and ECDSA keys, is one to draft from.
    let foreign = "
import sys
from datetime import datetime, timezone
from securesystemslib.signer import CryptoSigner
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, NoEncryption
from tuf.api.metadata import Metadata, Root
ed, ec, rsa = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()
root = Root(expires=datetime(2040, 1, 1, tzinfo=timezone.utc), consistent_snapshot=True)
for signer in (ed, ec, rsa):
    root.add_key(signer.public_key, 'root')
for role in ('timestamp', 'snapshot', 'targets'):
    root.add_key(ed.public_key, role)
root.roles['root'].threshold = 3
metadata = Metadata(root)
for signer in (ed, ec, rsa):
    metadata.sign(signer, append=True)
metadata.to_file('foreign.json')
open('ed.pem', 'wb').write(ed._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
";
    let made = Command::new(python())
        .args(["-c", foreign])
        .current_dir(&gate.dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let drafted = done(
        &gate,
        &[
            "root",
            "draft",
            "--from",
            "foreign.json",
            "--out",
            "f.json",
            "--yes",
            "--json",
        ],
    );
    let start = drafted.find('{').unwrap();
    let drafted: Value = serde_json::Deserializer::from_str(&drafted[start..])
        .into_iter()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        drafted["authorities"][0]["signers"].as_array().unwrap().len(),
        3,
        "{drafted:#}"
    );
}

/// Runs a command on a terminal of its own and types the answers.
fn typed(gate: &Gate, command: &str, answers: &str) -> String {
    let mut child = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &format!("{} {command}", binary().display()),
            "/dev/null",
        ])
        .current_dir(&gate.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    format!("{} {}", output.status.code().unwrap(), said(&output))
}

#[test]
fn on_a_terminal_the_steps_ask() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    new_key(&gate.dir, "alice");
    let draft = "root draft --out 2.json";
    let told = typed(
        &gate,
        draft,
        "frobnicate\nadd\nroot\nalice\nalice.pub\nthreshold\n\n2\n\nno\n",
    );
    assert!(
        told.starts_with("1 ") && told.contains("is none of these") && told.contains("nothing is written"),
        "{told}"
    );
    assert!(!gate.dir.join("2.json").exists());
    let told = typed(&gate, draft, "add\n\nalice\nalice.pub\nremove\n\nroot-1\n\nyes\n");
    assert!(
        told.starts_with("0 ") && told.contains("root: - root-1") && told.contains("wrote `2.json`"),
        "{told}"
    );
    let told = typed(&gate, "root sign 2.json --key root/root-1.pem", "maybe\nno\n");
    assert!(
        told.starts_with("1 ") && told.contains("sign it as root-1") && told.contains("not signed"),
        "{told}"
    );
    for key in ["root/root-1.pem", "alice.pem"] {
        let told = typed(&gate, &format!("root sign 2.json --key {key}"), "yes\n");
        assert!(told.starts_with("0 ") && told.contains("signed as"), "{told}");
    }
    done(&gate, &["root", "publish", "2.json"]);
}

#[test]
fn what_comes_by_mail_is_judged_before_it_is_shown() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    new_key(&gate.dir, "alice");
    done(
        &gate,
        &[
            "root",
            "draft",
            "--yes",
            "--out",
            "good.json",
            "--add-key",
            "alice=alice.pub",
        ],
    );
    done(
        &gate,
        &["root", "sign", "good.json", "--yes", "--key", "root/root-1.pem"],
    );
    let good: Value = serde_json::from_slice(&fs::read(gate.dir.join("good.json")).unwrap()).unwrap();
    let bad = |change: &dyn Fn(&mut Value), why: &str| {
        let mut file = good.clone();
        change(&mut file);
        fs::write(gate.dir.join("bad.json"), file.to_string()).unwrap();
        for command in [
            &["root", "status", "bad.json"][..],
            &["root", "sign", "bad.json", "--yes", "--key", "alice.pem"],
            &["root", "publish", "bad.json"],
        ] {
            let output = tufgate(&gate.dir, command);
            assert_eq!(output.status.code(), Some(65), "{}", said(&output));
            let told = said(&output);
            assert!(told.contains(why), "{told}");
            assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told:?}");
        }
        assert_eq!(
            fs::read(gate.dir.join("bad.json")).unwrap(),
            file.to_string().as_bytes()
        );
    };
    bad(
        &|file| file["proposed"]["signed"]["roles"]["root"]["threshold"] = json!(2),
        "root: threshold 1 of 1 → 2 of 2",
    );
    bad(
        &|file| file["drafted"]["at"] = json!("\u{1b}]0;you are safe\u{7}"),
        "no draft",
    );
    bad(
        &|file| file["changes"][0] = json!("\u{1b}[2Kversion: 1 → \u{202e}2"),
        "\\u{1b}[2K",
    );
    bad(
        &|file| file["proposed"]["signatures"][0]["sig"] = json!("00".repeat(64)),
        "the signature of root-1",
    );
    bad(&|file| file["current"]["signed"]["version"] = json!(7), "altered");
    fs::write(gate.dir.join("bad.json"), vec![b'['; 5 << 20]).unwrap();
    refused(&gate, &["root", "status", "bad.json"], 65, "bytes");

    // What nobody checks is shown harmless: the name of the machine's user.
    let mut file = good.clone();
    file["drafted"]["by"] = json!("\u{1b}[2Joperator \u{202e}mallory");
    fs::write(gate.dir.join("odd.json"), file.to_string()).unwrap();
    let output = tufgate(&gate.dir, &["root", "status", "odd.json"]);
    let told = said(&output);
    assert!(
        told.contains("\\u{1b}[2Joperator") && !told.contains('\u{1b}'),
        "{told:?}"
    );

    for (edits, why) in [
        (
            &["--threshold", "3"][..],
            "a threshold of 3 for `root` cannot be met with 1 keys",
        ),
        (&["--threshold", "timestamp=0"], "a threshold of 0"),
        (&["--expires", "2020-01-01"], "expired"),
        (&["--remove-key", "mallory"], "no key `mallory`"),
        (&["--add-key", "alice=alice.pem"], "private key"),
        (&["--add-key", "root-1=alice.pub"], "called `root-1` already"),
        (&["--from", "metadata/timestamp.json"], "the root it carries"),
    ] {
        let code = if edits[0] == "--from" { 65 } else { 1 };
        refused(
            &gate,
            &[&["root", "draft", "--yes", "--out", "never.json"], edits].concat(),
            code,
            why,
        );
        assert!(!gate.dir.join("never.json").exists());
    }
    assert!(!gate.dir.join("metadata/2.root.json").exists());
}
