//! `tufgate verify` against a live gate, and against a copy of what it serves with one thing wrong at a time.

mod faults;

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use serde_json::{Value, json};
use tufgate::internals::inspect::Code;

use self::faults::{Fault, faults};
use crate::support::{
    gate::{Gate, Setup, tufgate},
    nginx::Nginx,
    repository::{Repository, names_of},
    site::{Reply, Site, Table},
};

const TARGETS: [(&str, &[u8]); 5] = [
    ("a/one.txt", b"one"),
    ("a/two.txt", b"two"),
    ("b/c/three+four@1.0.bin", b"three and four"),
    ("b/sp ace.txt", b"with a space"),
    ("top.txt", b"top"),
];

/// A gate with a few targets, each in a publication of its own.
fn gate(nginx: &Nginx) -> Gate {
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for (path, bytes) in TARGETS {
        gate.publish(&format!("/{}", path.replace(' ', "%20")), bytes);
    }
    gate
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

/// Verdict of a client in a view.
fn verdict<'a>(report: &'a Value, client: &str, view: &str) -> &'a str {
    let clients = report["clients"].as_array().unwrap();
    let named = |told: &&Value| told["client"].as_str().unwrap().starts_with(client) && told["view"] == view;
    clients.iter().find(named).unwrap()["verdict"].as_str().unwrap()
}

#[test]
fn a_live_gate_is_clean_and_every_client_has_a_verdict() {
    let nginx = Nginx::start();
    let gate = gate(&nginx);
    let root = gate.root();
    let args = ["verify", "--url", &gate.url(), "--root", root.to_str().unwrap()];
    for all in [true, false] {
        let more: &[&str] = if all { &["--all", "--json"] } else { &["--json"] };
        let output = tufgate(&gate.dir, &[&args[..], more].concat());
        let told = report(&output);
        assert_eq!(told["findings"], json!([]), "{told:#}");
        assert_eq!(output.status.code(), Some(0));
        let counts = &told["counts"];
        assert_eq!(
            (&counts["downloaded"], &counts["roles"]),
            (&json!(5), &json!(18)),
            "{counts}"
        );
        for (client, prefixes, succinct) in [
            ("python-tuf", "works", "works"),
            ("go-tuf 2", "fails", "works"),
            ("tuf-js", "works", "works"),
            ("tough", "works", "fails"),
            ("sigstore-tuf", "works", "fails"),
            ("rust-tuf", "fails", "fails"),
            ("sigstore-java", "fails", "fails"),
            ("php-tuf", "works", "fails"),
            ("go-tuf 0", "works", "fails"),
        ] {
            let found = (verdict(&told, client, "prefixes"), verdict(&told, client, "succinct"));
            assert_eq!(found, (prefixes, succinct), "{client}");
        }
    }
    let output = tufgate(&gate.dir, &args);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("python-tuf 7.0.1") && text.contains("18 of 18 roles, 5 targets in them, 5 downloaded"),
        "{text}"
    );
    for line in [
        "python-tuf 7.0.1       works in both\n",
        "go-tuf 2.4.2           works: use `succinct`\n",
        "tough 0.24.0           works: use `prefixes`\n",
        "rust-tuf 0.3.0-beta14  fails in both\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("\nsound: no errors, no warnings\n"), "{text}");
}

#[test]
fn what_cannot_be_walked_is_an_error_with_a_hint() {
    let nginx = Nginx::start();
    let gate = gate(&nginx);
    fs::write(gate.dir.join("no-root"), "{}").unwrap();
    let refused = tufgate(&gate.dir, &["verify", "--url", &gate.url(), "--root", "no-root"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.starts_with("error: the root") && told.contains("\nhint: "),
        "{told}"
    );
    let missing = tufgate(&gate.dir, &["verify", "--url", &gate.url(), "--root", "nowhere"]);
    assert_eq!(missing.status.code(), Some(2));
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        told.starts_with("error: the root `nowhere`") && told.contains("\nhint: "),
        "{told}"
    );
    let url = tufgate(&gate.dir, &["verify", "--url", "ftp://h", "--root", "no-root"]);
    assert!(String::from_utf8_lossy(&url.stderr).contains("`ftp://h` cannot be used"));
}

/// What a walk for people ends with: exit code, standard output, standard error.
fn said(folder: &Path, url: &str, root: &str) -> (Option<i32>, String, String) {
    let output = tufgate(folder, &["verify", "--url", url, "--root", root]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_wrong_url_or_root_is_told_with_a_hint() {
    let nginx = Nginx::start();
    let (gate, other) = (gate(&nginx), Gate::start(&Setup::learning(nginx.url())));
    let root = gate.root().to_str().unwrap().to_owned();

    // Nobody listens there any more.
    let dead = Site::start().url();
    let (exit, out, err) = said(&gate.dir, &dead, &root);
    assert_eq!((exit, &*out), (Some(1), ""));
    let lines: Vec<_> = err.lines().collect();
    assert!(lines[0].starts_with("error: the server does not answer: "), "{err}");
    assert!(lines[1].starts_with("hint: ") && lines.len() == 2, "{err}");
    let told = report(&tufgate(
        &gate.dir,
        &["verify", "--json", "--url", &dead, "--root", &root],
    ));
    assert_eq!(
        (codes(&told), &told["clients"]),
        (vec!["unreachable"], &json!([])),
        "{told:#}"
    );

    let (exit, _, err) = said(&gate.dir, &format!("{}/metadata/", gate.url()), &root);
    assert_eq!(exit, Some(1));
    assert!(
        err.contains("hint: no TUF metadata lies at") && err.contains("`--url` is the URL above `metadata/`"),
        "{err}"
    );

    let site = Site::start();
    site.serve(
        Table::default(),
        Some(Reply::of("<!DOCTYPE html>\n<title>Welcome</title>")),
    );
    let (exit, out, err) = said(&gate.dir, &site.url(), &root);
    assert_eq!(exit, Some(1));
    assert!(
        out.contains("timestamp.json: it is a web page (HTML), not TUF metadata"),
        "{out}"
    );
    assert!(err.contains("hint: no TUF metadata lies at"), "{err}");

    let (exit, out, err) = said(&gate.dir, &gate.url(), other.root().to_str().unwrap());
    assert_eq!(exit, Some(1));
    assert!(
        out.contains("root-differs") && !out.contains("root-alias-stale"),
        "{out}"
    );
    assert!(err.contains("may be the root of another repository"), "{err}");
}

#[test]
fn a_target_that_fails_is_no_download() {
    let nginx = Nginx::start();
    let gate = gate(&nginx);
    let mut copy = Repository::copy(&gate, &[]);
    for (path, bytes) in TARGETS {
        copy.put_target(&path.replace(' ', "%20"), bytes);
    }
    for name in names_of("a/one.txt", b"one") {
        copy.table.insert(name, Reply::status(502));
    }
    let site = Site::start();
    site.serve(copy.table.clone(), copy.other.clone());
    let (exit, out, err) = said(&gate.dir, &site.url(), gate.root().to_str().unwrap());
    println!("{out}{err}");
    assert_eq!(exit, Some(1));
    assert!(out.contains(" 5 targets in them, 4 downloaded ("), "{out}");
    assert!(out.contains(" bytes), 1 failed; "), "{out}");
    let whys = out.matches("the answer is 502").count();
    assert_eq!(whys, 2, "once as a finding, once for every client: {out}");
    assert!(
        !out.contains("sound") && err.starts_with("error: found 1 error and 0 warnings\n"),
        "{out}{err}"
    );
}

/// Walks a copy and gives exit code and report.
fn walk(site: &Site, folder: &Path, copy: &Repository) -> (Option<i32>, Value) {
    site.serve(copy.table.clone(), copy.other.clone());
    fs::write(folder.join("given.json"), &copy.root).unwrap();
    let args = [
        "verify",
        "--all",
        "--json",
        "--url",
        &site.url(),
        "--root",
        "given.json",
    ];
    let output = tufgate(folder, &args);
    (output.status.code(), report(&output))
}

#[test]
fn every_fault_is_found_and_nothing_in_a_clean_repository() {
    let nginx = Nginx::start();
    let gate = gate(&nginx);
    let mut good = Repository::copy(&gate, &[]);
    for (path, bytes) in TARGETS {
        good.put_target(&path.replace(' ', "%20"), bytes);
    }
    let site = Site::start();
    let (exit, clean) = walk(&site, &gate.dir, &good);
    assert_eq!((exit, &clean["findings"]), (Some(0), &json!([])), "{clean:#}");

    let (mut missed, mut found) = (Vec::new(), BTreeSet::new());
    let faults = faults();
    for Fault {
        name,
        code,
        place,
        plant,
    } in &faults
    {
        let mut copy = good.clone();
        plant(&mut copy);
        let (exit, told) = walk(&site, &gate.dir, &copy);
        let findings = told["findings"].as_array().unwrap();
        let at =
            |finding: &&Value| finding["code"] == code.text() && finding["where"].as_str().unwrap().contains(place);
        let hit = findings.iter().find(at);
        println!(
            "{name} → {code}: {}",
            hit.map_or("MISSED", |hit| hit["message"].as_str().unwrap())
        );
        let serious = findings.iter().any(|finding| finding["severity"] != "note");
        if hit.is_none() || exit != Some(i32::from(serious)) {
            missed.push(format!(
                "{name}: {code} expected at `{place}`, exit {exit:?}: {:?}",
                codes(&told)
            ));
        }
        found.insert(code.text());
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let untried: Vec<_> = Code::ALL.iter().filter(|code| !found.contains(code.text())).collect();
    assert!(untried.is_empty(), "no fault shows {untried:?}");
    crate::figure(&format!(
        "verify: {} faults planted, {} codes, all found",
        faults.len(),
        found.len()
    ));
}
