//! A team's own side: drafts as files, signed apart and by other tools, submitted to a running gate and read by every client.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use tufgate::Digest;

use crate::support::{
    ceremony::{done, new_key, refused, said},
    clients::python,
    gate::{Gate, Setup, tufgate, until},
    http,
    nginx::Nginx,
    readers::{Readers, sound},
};

const TOOL: (&str, &[u8]) = ("team-a/tool-1.tgz", b"a tool");

/// Signs plain metadata with python-tuf, as somebody would who has no tufgate.
const PYTHON: &str = "
import sys
from securesystemslib.signer import CryptoSigner
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tuf.api.metadata import Metadata, Targets
file, key, out = sys.argv[1:]
team = Metadata[Targets].from_file(file)
assert team.signed.targets['team-a/tool-1.tgz'].length == 6
team.sign(CryptoSigner(load_pem_private_key(open(key, 'rb').read(), None)), append=True)
team.to_file(out)
";

/// What every step that asks the gate needs.
fn site(gate: &Gate) -> Vec<String> {
    let text = |text: &str| text.to_owned();
    vec![
        text("--url"),
        gate.url(),
        text("--root"),
        text("metadata/1.root.json"),
        text("--store"),
        text("team-store"),
    ]
}

/// A step with the gate it asks.
fn asking<'a>(step: &[&'a str], site: &'a [String]) -> Vec<&'a str> {
    let mut all = vec!["delegation"];
    all.extend(step);
    all.extend(site.iter().map(String::as_str));
    all
}

/// A gate that delegates `team-a/*` to two of ann, bob and cid, whose first file is an empty one of theirs.
fn gate(nginx: &Nginx) -> (Gate, Readers, Vec<String>) {
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a/one.txt", b"one");
    for name in ["ann", "bob", "cid", "dan", "eve"] {
        new_key(&gate.dir, name);
    }
    let edits = [
        "--role",
        "team-a=team-a/*,team-a/*/*",
        "--add-key",
        "team-a:ann=ann.pub",
        "--add-key",
        "team-a:bob=bob.pub",
        "--add-key",
        "team-a:cid=cid.pub",
        "--threshold",
        "team-a=2",
    ];
    done(
        &gate,
        &[&["targets", "draft", "--yes", "--out", "t.json"], &edits[..]].concat(),
    );
    // The team signs its first file while the delegation is itself a draft.
    let first = [
        "delegation",
        "draft",
        "--role",
        "team-a",
        "--delegated-by",
        "t.json",
        "--out",
        "a1.json",
    ];
    let drafted = done(&gate, &first);
    assert!(
        drafted.contains("a draft itself") && drafted.contains("targets 2 asks for 2 of 3"),
        "{drafted}"
    );
    refused(&gate, &first, 1, "File exists");
    for name in ["ann", "bob"] {
        let key = format!("{name}.pem");
        done(&gate, &["delegation", "sign", "a1.json", "--yes", "--key", &key]);
    }
    done(&gate, &["delegation", "submit", "a1.json", "--out", "with.json"]);
    done(
        &gate,
        &["targets", "sign", "t.json", "--yes", "--key", "keys/targets.pem"],
    );
    done(&gate, &["targets", "publish", "t.json", "--with", "with.json"]);
    let site = site(&gate);
    until("the role to be listed", || {
        let listed = tufgate(&gate.dir, &asking(&["list"], &site));
        said(&listed).contains("team-a: 2 of 3 must sign: ann (key ")
    });
    let readers = Readers::new(&gate);
    (gate, readers, site)
}

#[test]
fn a_team_drafts_signs_and_submits_and_every_client_reads_it() {
    let nginx = Nginx::start();
    let (gate, readers, site) = gate(&nginx);
    gate.publish(&format!("/{}", TOOL.0), TOOL.1);
    fs::write(gate.dir.join("tool.tgz"), TOOL.1).unwrap();
    fs::create_dir_all(gate.dir.join("tree/docs")).unwrap();
    fs::write(gate.dir.join("tree/docs/guide.txt"), "a guide").unwrap();
    fs::write(gate.dir.join("tree/lib.txt"), "a library").unwrap();
    gate.put("/team-a/docs/guide.txt", b"a guide");
    gate.put("/team-a/lib.txt", b"a library");

    let add = [
        "draft",
        "--role",
        "team-a",
        "--out",
        "a2.json",
        "--metadata",
        "plain.json",
    ];
    let add = [
        &add[..],
        &["--add", "tool.tgz=team-a/tool-1.tgz", "--add-tree", "tree=team-a"],
    ]
    .concat();
    let drafted = done(&gate, &asking(&add, &site));
    for line in [
        "version: 1 → 2",
        "target team-a/docs/guide.txt: + ",
        "ann (key ",
        "under targets 2",
    ] {
        assert!(drafted.contains(line), "{line}: {drafted}");
    }
    let submit = [
        "delegation",
        "submit",
        "a2.json",
        "--config",
        "tufgate.toml",
        "--wait",
        "20",
    ];
    refused(&gate, &submit, 1, "2 more of targets 2's signers must sign: ann");
    refused(&gate, &["delegation", "status", "a2.json"], 1, "missing ann (key ");
    let sign = |draft: &'static str, key: &'static str| ["delegation", "sign", draft, "--yes", "--key", key];
    refused(&gate, &sign("a2.json", "dan.pem"), 1, "none of those that sign");
    refused(
        &gate,
        &["delegation", "sign", "a2.json", "--key", "ann.pem"],
        2,
        "nobody is there to confirm it",
    );
    refused(
        &gate,
        &["targets", "sign", "a2.json", "--yes", "--key", "ann.pem"],
        65,
        "its `format` is not",
    );

    // Ann signs a copy at home, Bob with python-tuf.
    fs::copy(gate.dir.join("a2.json"), gate.dir.join("home.json")).unwrap();
    done(
        &gate,
        &[
            &sign("home.json", "ann.pem")[..],
            &["--trusted", "metadata/1.root.json"],
        ]
        .concat(),
    );
    let signed = Command::new(python())
        .args(["-c", PYTHON, "plain.json", "bob.pem", "bob.json"])
        .current_dir(&gate.dir)
        .output()
        .unwrap();
    assert!(signed.status.success(), "{}", said(&signed));
    let taken = done(
        &gate,
        &["delegation", "sign", "a2.json", "--yes", "--import", "bob.json"],
    );
    assert!(taken.contains("signed team-a as bob"), "{taken}");
    let mut other: Value = serde_json::from_slice(&fs::read(gate.dir.join("bob.json")).unwrap()).unwrap();
    other["signed"]["targets"][TOOL.0]["length"] = json!(7);
    fs::write(gate.dir.join("other.json"), other.to_string()).unwrap();
    let import = ["delegation", "sign", "a2.json", "--yes", "--import", "other.json"];
    refused(&gate, &import, 65, "what was signed is something else: ");

    let both = [&["delegation", "submit", "a2.json", "home.json"], &submit[3..]].concat();
    let sent = done(&gate, &both);
    assert!(sent.contains("accepted team-a 2, listed in snapshot"), "{sent}");
    for (target, bytes) in [
        TOOL,
        ("team-a/docs/guide.txt", b"a guide"),
        ("team-a/lib.txt", b"a library"),
    ] {
        readers.all_read(&gate, target, bytes);
    }
    Readers::new(&gate).all_read(&gate, "a/one.txt", b"one");
    sound(&gate, &gate.root());
    let record = done(&gate, &["delegation", "status", "a2.json"]);
    assert!(
        record.contains("submitted to http://") && record.contains("signature of bob"),
        "{record}"
    );
    refused(&gate, &sign("a2.json", "cid.pem"), 1, "submitted already");
    done(&gate, &submit);

    // Somebody drafts after version 1 still: the gate says what it wants.
    fs::copy(gate.dir.join("metadata/1.team-a.json"), gate.dir.join("old.json")).unwrap();
    let late = [
        "delegation",
        "draft",
        "--role",
        "team-a",
        "--delegated-by",
        "metadata/2.targets.json",
        "--from",
        "old.json",
    ];
    let late = [&late[..], &["--root", "metadata/1.root.json", "--out", "late.json"]].concat();
    done(&gate, &late);
    for key in ["ann.pem", "cid.pem"] {
        done(&gate, &["delegation", "sign", "late.json", "--yes", "--key", key]);
    }
    let late = ["delegation", "submit", "late.json", "--url", &gate.url()];
    refused(&gate, &late, 1, "after 2 comes 3");
    refused(
        &gate,
        &asking(&["status", "late.json"], &site),
        1,
        "version 2 is listed there",
    );
}

#[test]
fn a_team_delegates_to_a_role_of_its_own() {
    let nginx = Nginx::start();
    let (gate, readers, site) = gate(&nginx);
    gate.put("/team-a/lib/x.txt", b"x");
    let below = [
        "draft",
        "--role",
        "team-a",
        "--out",
        "a2.json",
        "--delegate",
        "lib",
        "--paths",
        "team-a/lib/*",
    ];
    let below = [&below[..], &["--key", "dan=dan.pub", "--threshold", "1"]].concat();
    done(&gate, &asking(&below, &site));
    for key in ["ann.pem", "cid.pem"] {
        done(&gate, &["delegation", "sign", "a2.json", "--yes", "--key", key]);
    }
    let alone = ["delegation", "submit", "a2.json", "--url", &gate.url()];
    refused(&gate, &alone, 1, "it is delegated to, and has no file");
    let digest = format!("team-a/lib/x.txt={}:1", Digest::of("x"));
    let child = [
        "delegation",
        "draft",
        "--role",
        "team-a.lib",
        "--delegated-by",
        "a2.json",
        "--out",
        "lib1.json",
    ];
    let child = [&child[..], &["--add-digest", &digest]].concat();
    done(&gate, &child);
    refused(
        &gate,
        &["delegation", "sign", "lib1.json", "--yes", "--key", "ann.pem"],
        1,
        "none of those that sign this draft: dan (key ",
    );
    done(&gate, &["delegation", "sign", "lib1.json", "--yes", "--key", "dan.pem"]);
    let together = [
        "delegation",
        "submit",
        "lib1.json",
        "a2.json",
        "--wait",
        "20",
        "--url",
        &gate.url(),
    ];
    let sent = done(&gate, &together);
    assert!(sent.contains("accepted team-a 2, team-a.lib 1"), "{sent}");
    readers.all_read(&gate, "team-a/lib/x.txt", b"x");

    // The next version of the role below alone, found from the root on.
    let next = [
        "draft",
        "--role",
        "team-a.lib",
        "--out",
        "lib2.json",
        "--remove",
        "team-a/lib/x.txt",
    ];
    let drafted = done(&gate, &asking(&next, &site));
    assert!(
        drafted.contains("under team-a 2") && drafted.contains("target team-a/lib/x.txt: - "),
        "{drafted}"
    );
    sound(&gate, &gate.root());
}

/// A gate whose operator delegated `docs/*` to the gate and dora together; what the gate observes there waits for her.
fn observing(nginx: &Nginx, extra: &str) -> Gate {
    let gate = Gate::start(&Setup::learning(nginx.url()).extra(extra));
    new_key(&gate.dir, "dora");
    new_key(&gate.dir, "eve");
    let edits = [
        "--role",
        "docs=docs/*",
        "--observed",
        "docs",
        "--add-key",
        "docs:dora=dora.pub",
    ];
    done(
        &gate,
        &[&["targets", "draft", "--yes", "--out", "t.json"], &edits[..]].concat(),
    );
    done(
        &gate,
        &[
            "delegation",
            "draft",
            "--role",
            "docs",
            "--delegated-by",
            "t.json",
            "--out",
            "d1.json",
        ],
    );
    for key in ["keys/snapshot.pem", "dora.pem"] {
        done(&gate, &["delegation", "sign", "d1.json", "--yes", "--key", key]);
    }
    done(&gate, &["delegation", "submit", "d1.json", "--out", "with.json"]);
    done(
        &gate,
        &["targets", "sign", "t.json", "--yes", "--key", "keys/targets.pem"],
    );
    done(&gate, &["targets", "publish", "t.json", "--with", "with.json"]);
    gate
}

/// Drafts what waits for dora once it says all of this; what the draft shows.
fn prepared(gate: &Gate, site: &[String], out: &str, wanted: &[&str]) -> String {
    let observed = asking(&["draft", "--observed", "docs", "--out", out], site);
    let mut shown = String::new();
    until("the gate to offer what it observed", || {
        let _ = fs::remove_file(gate.dir.join(out));
        let output = tufgate(&gate.dir, &observed);
        shown = said(&output);
        output.status.success() && wanted.iter().all(|line| shown.contains(line))
    });
    shown
}

#[test]
fn what_the_gate_observed_is_countersigned_by_the_same_steps() {
    let nginx = Nginx::start();
    let gate = observing(&nginx, "");
    gate.publish("/docs/guide.txt", b"a guide");

    let site = site(&gate);
    let shown = prepared(&gate, &site, "d2.json", &["target docs/guide.txt: + "]);
    assert!(shown.contains("missing dora (key "), "{shown}");
    let submit = ["delegation", "submit", "d2.json", "--wait", "20", "--url", &gate.url()];
    refused(&gate, &submit, 1, "1 more of targets 2's signers must sign: dora");
    refused(
        &gate,
        &["delegation", "sign", "d2.json", "--yes", "--key", "eve.pem"],
        1,
        "none of those that sign",
    );
    done(&gate, &["delegation", "sign", "d2.json", "--yes", "--key", "dora.pem"]);
    done(&gate, &submit);
    Readers::new(&gate).all_read(&gate, "docs/guide.txt", b"a guide");
    let again = asking(&["draft", "--observed", "docs", "--out", "d3.json"], &site);
    until("nothing to wait", || {
        let output = tufgate(&gate.dir, &again);
        let _ = fs::remove_file(gate.dir.join("d3.json"));
        said(&output).contains("nothing of `docs` waits for a signature there")
    });
    sound(&gate, &gate.root());
}

#[test]
fn an_observed_role_gets_bins_of_its_own_in_both_views() {
    let nginx = Nginx::start();
    let mut gate = observing(&nginx, "[tuf]\ngrow_at = 2\n");
    let readers = Readers::new(&gate);
    let site = site(&gate);
    let pages = ["docs/a.txt", "docs/b.txt", "docs/c.txt", "docs/d.txt"];
    // Two targets stand in the role's own file.
    for page in &pages[..2] {
        gate.publish(&format!("/{page}"), page.as_bytes());
    }
    let few = prepared(&gate, &site, "few.json", &["docs/a.txt: +", "docs/b.txt: +"]);
    assert!(!few.contains("docs.bins"), "{few}");
    countersign(&gate, "few.json");
    readers.all_read(&gate, pages[0], pages[0].as_bytes());

    let backup = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        for part in ["ledger.db", "metadata"] {
            let _ = fs::remove_dir_all(to.join(part));
            for rest in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(to.join(format!("{part}{rest}")));
            }
            let copied = Command::new("cp")
                .arg("-a")
                .args([from.join(part), to.to_owned()])
                .status();
            assert!(copied.unwrap().success());
        }
    };
    gate.terminate();
    copy(&gate.dir, backup.path());
    gate.run();

    // Three do not: sixteen bins, and what leads to them in each view, are one draft, signed and taken together.
    gate.publish(&format!("/{}", pages[2]), pages[2].as_bytes());
    let many = prepared(
        &gate,
        &site,
        "many.json",
        &["docs.bins.4-f 1", "succinct/docs.bins 1", "docs/c.txt: +"],
    );
    assert!(
        many.contains("target docs/a.txt: - ") && many.contains("target docs/a.txt: + "),
        "{many}"
    );
    let status = asking(&["status", "many.json"], &site);
    refused(&gate, &status, 1, "must sign: dora");
    countersign(&gate, "many.json");
    for page in &pages[..3] {
        readers.all_read(&gate, page, page.as_bytes());
    }
    Readers::new(&gate).all_read(&gate, pages[1], pages[1].as_bytes());
    sound(&gate, &gate.root());

    // A release is one bin's matter then; what is deleted is countersigned like what comes.
    gate.publish(&format!("/{}", pages[3]), pages[3].as_bytes());
    let one = prepared(&gate, &site, "one.json", &["docs/d.txt: +"]);
    assert!(one.contains("under docs.bins 1") && !one.contains("succinct/"), "{one}");
    assert_eq!(one.matches("fingerprint").count(), 1, "{one}");
    countersign(&gate, "one.json");
    readers.all_read(&gate, pages[3], pages[3].as_bytes());
    Readers::new(&gate).all_read(&gate, pages[3], pages[3].as_bytes());
    sound(&gate, &gate.root());

    // Restored from before there were bins, they come back in both views.
    gate.terminate();
    let mirror = |folder: &str| {
        for file in fs::read_dir(gate.dir.join("metadata").join(folder))
            .unwrap()
            .map(Result::unwrap)
        {
            if file.file_type().unwrap().is_file() {
                let name = format!("/mirror/{folder}{}", file.file_name().to_str().unwrap());
                let put = http::request(nginx.address(), "PUT", &name, &[], &fs::read(file.path()).unwrap());
                assert!(put.status < 300, "{name}: {}", put.status);
            }
        }
    };
    mirror("");
    mirror("succinct/");
    copy(backup.path(), &gate.dir);
    done(
        &gate,
        &[
            "recover",
            "--from-public",
            &format!("http://{}/mirror/", nginx.address()),
        ],
    );
    gate.run();
    for page in pages {
        readers.all_read(&gate, page, page.as_bytes());
    }
    sound(&gate, &gate.root());
}

/// Signs a draft as dora and hands it in.
fn countersign(gate: &Gate, draft: &str) {
    done(gate, &["delegation", "sign", draft, "--yes", "--key", "dora.pem"]);
    let submit = ["delegation", "submit", draft, "--wait", "20", "--url", &gate.url()];
    done(gate, &submit);
}

#[test]
fn bad_drafts_are_refused_with_the_reason_and_write_nothing() {
    let nginx = Nginx::start();
    let (gate, _readers, site) = gate(&nginx);
    fs::write(gate.dir.join("x"), "x").unwrap();
    let before = gate.get("/metadata/timestamp.json").body;
    let mut many: Vec<String> = Vec::new();
    for number in 0..2_001 {
        many.push("--add-digest".to_owned());
        many.push(format!("team-a/{number}={}:1", Digest::of("x")));
    }
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let below = ["--delegate", "lib", "--key", "dan=dan.pub", "--paths"];
    for (role, edits, code, why) in [
        ("team-a", &["--add", "x=team-b/x"][..], 1, "not inside the paths"),
        ("team-a", &["--add", "x=team-a/../x"], 1, "is no target path"),
        ("team-a", &["--add", "x=team-a/.x"], 1, "takes no leading dot"),
        ("team-a", &["--add", "nothing=team-a/x"], 1, "No such file"),
        ("team-a", &["--remove", "team-a/x"], 1, "is not listed"),
        ("team-a", &["--expires", "2020-01-01"], 1, "expired"),
        ("team-a", &many, 1, "more than 2000 targets"),
        ("team-a", &[&below[..], &["b/*"]].concat(), 1, "is not inside those"),
        (
            "team-a",
            &[&below[..], &["team-a/*", "--threshold", "2"]].concat(),
            1,
            "cannot be met with 1 keys",
        ),
        (
            "team-a",
            &[&below[..], &["team-a/*", "--threshold", "0"]].concat(),
            1,
            "let anybody sign",
        ),
        (
            "team-a",
            &[&below[..], &["team-a/*", "--key", "too=dan.pub"]].concat(),
            1,
            "given twice",
        ),
        ("team-a", &["--undelegate", "lib"], 1, "does not delegate"),
        ("team-b", &[], 1, "nobody delegates to a role"),
        ("../x", &[], 1, "nobody delegates to a role"),
        ("2foo", &[], 1, "nobody delegates to a role"),
    ] {
        let step = [&["draft", "--role", role, "--out", "never.json"], edits].concat();
        refused(&gate, &asking(&step, &site), code, why);
        assert!(!gate.dir.join("never.json").exists(), "{why}");
    }

    // A key whose passphrase is wrong, and a draft that somebody altered on its way.
    done(
        &gate,
        &asking(
            &["draft", "--role", "team-a", "--out", "a2.json", "--add", "x=team-a/x"],
            &site,
        ),
    );
    fs::write(gate.dir.join("right"), "right").unwrap();
    fs::write(gate.dir.join("wrong"), "wrong").unwrap();
    for secret in ["right", "wrong"] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(gate.dir.join(secret), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let sealed = ["key", "import", "ann.pem", "sealed.pem", "--passphrase-file", "right"];
    done(&gate, &sealed);
    let draft = fs::read(gate.dir.join("a2.json")).unwrap();
    let sign = [
        "delegation",
        "sign",
        "a2.json",
        "--yes",
        "--key",
        "sealed.pem",
        "--passphrase-file",
    ];
    refused(&gate, &[&sign[..], &["wrong"]].concat(), 64, "hint:");
    assert_eq!(fs::read(gate.dir.join("a2.json")).unwrap(), draft);
    done(&gate, &[&sign[..], &["right"]].concat());
    let mut altered: Value = serde_json::from_slice(&fs::read(gate.dir.join("a2.json")).unwrap()).unwrap();
    altered["roles"]["team-a"]["proposed"]["signed"]["targets"]["team-a/x"]["length"] = json!(2);
    fs::write(gate.dir.join("altered.json"), altered.to_string()).unwrap();
    for step in [
        &["sign", "altered.json", "--yes", "--key", "bob.pem"][..],
        &["status", "altered.json"],
    ] {
        refused(&gate, &[&["delegation"], step].concat(), 65, "the draft was altered");
    }
    assert_eq!(
        gate.get("/metadata/timestamp.json").body,
        before,
        "nothing was published"
    );
}
