//! `tufgate audit`: the real binary over what a real gate left, running and stopped.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use serde_json::Value;

use crate::support::{
    gate::{Gate, Setup},
    http,
    nginx::Nginx,
};

/// A gate with some history.
fn furnished(nginx: &Nginx) -> Gate {
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[tuf]\nbins = 4\n"));
    for name in ["/a", "/dir/b", "/dir/c d", "/gone"] {
        gate.publish(&name.replace(' ', "%20"), name.as_bytes());
    }
    let gone = http::request(gate.addr, "DELETE", "/gone", &[("Prefer", "wait=20")], b"");
    assert!((200..300).contains(&gone.status), "{gone:?}");
    gate.publish("/last", b"last");
    gate
}

fn audit(gate: &Gate) -> (Option<i32>, String) {
    let Output {
        status, stdout, stderr, ..
    } = gate.command(&["audit"]);
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code(), text)
}

fn findings(gate: &Gate) -> Vec<Value> {
    let output = gate.command(&["audit", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"].as_array().unwrap().clone()
}

/// Sets one bit of a byte in the middle.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_clean_gate_passes_running_and_stopped() {
    let nginx = Nginx::start();
    let mut gate = furnished(&nginx);
    let (code, said) = audit(&gate);
    assert_eq!(code, Some(0), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("checked ") && last.contains(" 4 targets (1 more deleted or retracted), "),
        "{said}"
    );
    gate.publish("/more", b"more");
    assert_eq!(gate.terminate(), Some(0));
    let (code, said) = audit(&gate);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 5 targets (1 more deleted or retracted), "), "{said}");
    for finding in findings(&gate) {
        assert_eq!(finding["severity"], "note", "{finding}");
    }
    // It left nothing that stops the gate from starting again.
    gate.run();
    assert_eq!(gate.get("/more").body, b"more");
}

#[test]
fn a_killed_gate_passes_and_so_does_its_successor() {
    let nginx = Nginx::start();
    let mut gate = furnished(&nginx);
    gate.kill();
    let (code, said) = audit(&gate);
    assert_eq!(code, Some(0), "{said}");
    gate.run();
    gate.publish("/after", b"after");
    assert_eq!(audit(&gate).0, Some(0), "{}", audit(&gate).1);
}

#[test]
fn a_changed_file_is_65_and_named() {
    let nginx = Nginx::start();
    let gate = furnished(&nginx);
    let folder = gate.dir.join("metadata");
    let mut files: Vec<_> = [folder.clone(), folder.join("succinct")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    assert!(files.len() > 10);
    // Beside the running gate; some listed, some superseded.
    for file in files.iter().step_by(3) {
        let whole = fs::read(file).unwrap();
        flip(file);
        let (code, said) = audit(&gate);
        assert_eq!(code, Some(65), "{}: {said}", file.display());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name) && said.contains("hint:"), "{name}: {said}");
        fs::write(file, whole).unwrap();
    }
    assert_eq!(audit(&gate).0, Some(0));
}

#[test]
fn a_changed_row_is_65_and_named() {
    let nginx = Nginx::start();
    let mut gate = furnished(&nginx);
    assert_eq!(gate.terminate(), Some(0));
    let ledger = gate.dir.join("ledger.db");
    let whole = fs::read(&ledger).unwrap();
    for (sql, code, named) in [
        (
            "UPDATE target SET length = length + 1 WHERE path = 'dir/b'",
            "row",
            "dir/b",
        ),
        ("UPDATE target SET state = 'live' WHERE path = 'gone'", "row", "gone"),
        (
            "UPDATE role SET published = 1 WHERE name = 'snapshot'",
            "row",
            "snapshot",
        ),
        (
            "UPDATE audit SET who = 'somebody' WHERE number = 2",
            "audit-chain",
            "line 2",
        ),
        ("DELETE FROM audit WHERE number = 1", "audit-chain", "line 2"),
        ("DELETE FROM publication WHERE number = 2", "row", "publication"),
        ("DELETE FROM target WHERE path = 'a'", "bin-differs", "target a"),
        ("DELETE FROM target WHERE path = 'gone'", "tombstone", "gone"),
    ] {
        let hand = rusqlite::Connection::open(&ledger).unwrap();
        assert_eq!(hand.execute(sql, []).unwrap(), 1, "{sql}");
        drop(hand);
        assert_eq!(audit(&gate).0, Some(65), "{sql}");
        let found = findings(&gate);
        let found = found.iter().any(|finding| {
            finding["severity"] == "error"
                && finding["code"] == code
                && finding["where"].as_str().unwrap().contains(named)
        });
        assert!(found, "{sql}: {:?}", findings(&gate));
        for beside in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = fs::remove_file(gate.dir.join(beside));
        }
        fs::write(&ledger, &whole).unwrap();
    }
    assert_eq!(audit(&gate).0, Some(0));
}

#[test]
fn loose_modes_and_foreign_files_are_1() {
    let nginx = Nginx::start();
    let gate = furnished(&nginx);
    let key = gate.dir.join("keys/timestamp.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(gate.dir.join("metadata/notes.txt"), "who put this here").unwrap();
    let (code, said) = audit(&gate);
    assert_eq!(code, Some(1), "{said}");
    for words in ["timestamp.pem", "644", "notes.txt", "warning[mode]", "warning[foreign]"] {
        assert!(said.contains(words), "no {words}: {said}");
    }
    let secret = fs::read_to_string(&key).unwrap();
    assert!(!said.contains(secret.lines().nth(1).unwrap()));
}

#[test]
fn what_cannot_be_audited_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::prepare(&Setup::learning("http://127.0.0.1:9"), folder.path().to_path_buf());
    assert_eq!(audit(&gate).0, Some(0), "nothing was published yet");
    fs::remove_file(gate.dir.join("ledger.db")).unwrap();
    let (code, said) = audit(&gate);
    assert!(
        code == Some(64) && said.contains("ledger.db") && said.contains("hint:"),
        "{said}"
    );
    fs::write(gate.dir.join("ledger.db"), "no ledger").unwrap();
    let (code, said) = audit(&gate);
    assert!(code == Some(65) && said.contains("error[ledger]"), "{said}");
    fs::write(gate.dir.join("tufgate.toml"), "nonsense").unwrap();
    assert_eq!(audit(&gate).0, Some(64));
}
