//! Five clients of other people, and ours, over every recordable name of `fixtures/names.jsonl`, published and fetched.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tufgate::Digest;

use crate::support::{
    clients::{Client, Place},
    gate::{Gate, Setup, binary, until},
    http,
    nginx::Nginx,
};

struct Case {
    raw: String,
    path: String,
}

fn recordable() -> Vec<Case> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/names.jsonl");
    let mut seen = HashSet::new();
    fs::read_to_string(table)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        // A request target in absolute form names another host; clients of a gate send none.
        .filter(|case| case["verdict"] == "recorded" && case["raw"].as_str().is_some_and(|raw| raw.starts_with('/')))
        .map(|case| Case {
            raw: case["raw"].as_str().unwrap().to_owned(),
            path: case["canonical"].as_str().unwrap().to_owned(),
        })
        .filter(|case| seen.insert(case.path.clone()))
        .collect()
}

/// A name that is also a folder of another cannot be both on one file system: such names go first and alone.
fn storable(cases: Vec<Case>) -> Vec<Case> {
    let folders: HashSet<String> = cases
        .iter()
        .flat_map(|case| {
            case.path
                .match_indices('/')
                .map(|(at, _)| case.path[..at].to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    cases.into_iter().filter(|case| !folders.contains(&case.path)).collect()
}

fn content(path: &str) -> Vec<u8> {
    format!("the bytes of {path}\n").into_bytes()
}

/// Downloads with `tufgate get`; the digest, or what it said.
pub fn fetch_with_tufgate(gate: &Gate, target: &str) -> Result<Digest, String> {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let output = std::process::Command::new(binary())
        .args(["get", "--url", &gate.url(), "--root"])
        .arg(gate.root())
        .arg("--store")
        .arg(scratch.path().join("store"))
        .arg("-o")
        .arg(&out)
        .arg("--")
        .arg(target)
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(Digest::of(fs::read(out).unwrap())),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn run_matrix(publish: bool) {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let cases = storable(recordable());
    assert!(cases.len() >= 50, "{} recordable names", cases.len());
    for case in &cases {
        if publish {
            let put = http::put(gate.addr, &case.raw, &content(&case.path));
            assert_eq!(put.status, 201, "PUT {}: {put:?}", case.raw);
        } else {
            let file = nginx.www().join(std::ffi::OsStr::from_bytes(case.path.as_bytes()));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content(&case.path)).unwrap();
            let get = gate.get(&case.raw);
            assert_eq!((get.status, get.body), (200, content(&case.path)), "GET {}", case.raw);
        }
    }
    until("all to be signed", || {
        let last = gate.get(&cases.last().unwrap().raw);
        last.header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
            && gate.status()["pending"] == 0
    });
    let scratch = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for client in Client::ALL {
        let place = Place {
            gate: gate.url(),
            root: gate.root(),
            dir: scratch.path().join(client.name()),
            user_agent: "matrix".to_owned(),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let outs: Vec<PathBuf> = (0..cases.len())
            .map(|n| scratch.path().join(format!("{}-{n}", client.name())))
            .collect();
        let wanted: Vec<(&str, &Path)> = cases
            .iter()
            .zip(&outs)
            .map(|(case, out)| (case.path.as_str(), out.as_path()))
            .collect();
        for ((case, said), out) in cases.iter().zip(client.get(&place, &wanted)).zip(&outs) {
            let excused = client.cannot(&case.path);
            let good = said.result.is_ok() && fs::read(out).is_ok_and(|bytes| bytes == content(&case.path));
            match (good, excused) {
                (true, None) | (false, Some(_)) => {}
                (true, Some(why)) => wrong.push(format!("{} can do {:?} after all ({why})", client.name(), case.path)),
                (false, None) => wrong.push(format!("{}: {:?}: {:?}", client.name(), case.path, said.result)),
            }
        }
    }
    for case in &cases {
        if let Err(error) = fetch_with_tufgate(&gate, &case.path) {
            wrong.push(format!("tufgate get: {:?}: {error}", case.path));
        }
    }
    let log = gate.log();
    let mut counts = BTreeMap::new();
    for client in Client::ALL {
        let artifacts = log
            .lines()
            .filter(|line| line.contains(client.name()) && line.contains("GET") && !line.contains("/metadata/"))
            .count();
        counts.insert(client.name(), artifacts);
    }
    let mode = if publish { "PUT" } else { "first fetch" };
    crate::figure(&format!(
        "matrix, {mode}: {} names; artifact requests by User-Agent in the access log: {counts:?}",
        cases.len()
    ));
    assert!(
        wrong.is_empty(),
        "{} of the matrix' cells are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for (client, count) in counts {
        assert!(
            count >= cases.len() * 9 / 10,
            "{client} asked the gate for {count} artifacts only"
        );
    }
}

#[test]
fn every_client_verifies_every_published_name() {
    run_matrix(true);
}

#[test]
fn every_client_verifies_every_fetched_name() {
    run_matrix(false);
}

#[test]
fn no_client_gets_bytes_written_behind_the_gate() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let large = vec![1_u8; 1_000_000];
    gate.publish("/d/small.bin", b"recorded");
    gate.publish("/d/large.bin", &large);
    fs::write(nginx.file("d/small.bin"), b"replaced").unwrap();
    let mut other = large;
    other[999_999] = 2;
    fs::write(nginx.file("d/large.bin"), other).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for client in Client::ALL {
        let place = Place {
            gate: gate.url(),
            root: gate.root(),
            dir: scratch.path().join(client.name()),
            user_agent: "tamper".to_owned(),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let outs = [scratch.path().join("small"), scratch.path().join("large")];
        let said = client.get(&place, &[("d/small.bin", &outs[0]), ("d/large.bin", &outs[1])]);
        assert!(
            said.iter().all(|said| said.result.is_err()),
            "{}: {said:?}",
            client.name()
        );
    }
}
