//! The real server and the real clients without the gate: what a later test blames on the gate must not be theirs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::clients::{Client, Loop, Place, View};
use crate::support::nginx::Nginx;

#[path = "../support/mod.rs"]
mod support;

/// The artifacts that `selftest.py --write` makes, with the digests of their bytes.
const ARTIFACTS: [(&str, &str); 2] = [
    (
        "top.txt",
        "e73787811550e36eb116640e4a65497863483b49cf8a294237f9230fd46bcffc",
    ),
    (
        "generic/demo/1.0.0+build.7/demo tool@1.0.0.tar.gz",
        "eb91e84f03798267aec607a0c172ac6e4ed8ff382b42084fdbae5300b830244d",
    ),
];

/// An nginx with a signed repository, made by python-tuf.
fn repository() -> Nginx {
    let nginx = Nginx::start();
    let built =
        std::env::var("TUFGATE_CLIENTS").unwrap_or(format!("{}/target/integration", env!("CARGO_MANIFEST_DIR")));
    let made = Command::new(format!("{built}/venv/bin/python"))
        .arg(format!(
            "{}/integration/clients/selftest.py",
            env!("CARGO_MANIFEST_DIR")
        ))
        .arg("--write")
        .arg(nginx.www())
        .output()
        .expect("python; `integration/install tests` gets it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    nginx
}

fn place(nginx: &Nginx, dir: &Path) -> Place {
    Place {
        gate: nginx.url(),
        root: nginx.www().join("metadata/1.root.json"),
        dir: dir.to_owned(),
        user_agent: "real-parts".to_owned(),
    }
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error"])
        .args(arguments)
        .output()
        .expect("curl")
}

fn status(arguments: &[&str]) -> String {
    let output = curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], arguments].concat());
    String::from_utf8(output.stdout).expect("a status")
}

#[test]
fn nginx_stores_moves_and_deletes() {
    let mut nginx = Nginx::start();
    let file = nginx.www().with_extension("upload");
    fs::write(&file, "one").unwrap();
    let file = file.to_str().unwrap();
    let url = format!("{}/new/folder/a%20b+c@1.txt", nginx.url());
    assert_eq!(status(&["--upload-file", file, &url]), "201");
    assert_eq!(
        fs::read_to_string(nginx.www().join("new/folder/a b+c@1.txt")).unwrap(),
        "one"
    );
    assert_eq!(status(&["--upload-file", file, &url]), "204");
    assert_eq!(curl(&[&url]).stdout, b"one");

    let moved = format!("{}/new/moved", nginx.url());
    assert_eq!(
        status(&["--request", "MOVE", "--header", &format!("Destination: {moved}"), &url]),
        "204"
    );
    assert_eq!(status(&["--request", "DELETE", &moved]), "204");
    assert_eq!(status(&[&moved]), "404");
    assert!(
        nginx.access_log().contains("PUT /new/folder/a%20b+c@1.txt 201 "),
        "{}",
        nginx.access_log()
    );

    nginx.stop();
    TcpStream::connect(nginx.address()).expect_err("nobody listens after a stop");
    nginx.restart();
    assert_eq!(status(&[&moved]), "404");
}

#[test]
fn every_client_downloads_through_its_view_under_its_own_name() {
    let nginx = repository();
    for client in Client::ALL {
        let work = tempfile::tempdir().unwrap();
        let outs = [work.path().join("0"), work.path().join("deeper/1")];
        let targets: Vec<_> = ARTIFACTS
            .iter()
            .zip(&outs)
            .map(|((target, _), out)| (*target, out.as_path()))
            .collect();
        for said in client
            .get(&place(&nginx, &work.path().join("cache")), &targets)
            .iter()
            .zip(ARTIFACTS)
        {
            let (said, (target, digest)) = said;
            assert_eq!(
                (said.target.as_str(), said.result.as_deref()),
                (target, Ok(digest)),
                "{}",
                client.name()
            );
        }
        assert_eq!(fs::read_to_string(&outs[0]).unwrap(), "at the top\n");
        let asked = nginx.access_log();
        let by_client = |line: &&str| line.contains("\"real-parts ") && line.contains(client.name());
        assert!(
            asked.lines().filter(by_client).any(|line| line.contains("top.txt 200")),
            "{asked}"
        );
    }
    let agents: HashSet<_> = nginx
        .access_log()
        .lines()
        .map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(
        agents.len(),
        Client::ALL.len(),
        "each client has a name of its own: {agents:?}"
    );
}

#[test]
fn a_client_that_cannot_read_a_view_says_so_for_each_target() {
    let nginx = repository();
    for client in Client::ALL {
        for view in [View::Prefixes, View::Succinct] {
            let work = tempfile::tempdir().unwrap();
            let out = work.path().join("out");
            let said = client.get_through(view, &place(&nginx, work.path()), &[], &[("top.txt", &out)]);
            assert_eq!(
                said[0].result.is_ok(),
                client.reads(view),
                "{} {view:?}: {said:?}",
                client.name()
            );
            assert_eq!(out.exists(), client.reads(view));
        }
    }
}

#[test]
fn clients_that_can_ask_for_bare_names() {
    let nginx = repository();
    for client in [Client::PythonTuf, Client::TufJs, Client::GoTuf] {
        let work = tempfile::tempdir().unwrap();
        let out = work.path().join("out");
        let said = client.get_through(
            client.view(),
            &place(&nginx, work.path()),
            &["--bare"],
            &[("top.txt", &out)],
        );
        assert_eq!(said[0].result.as_deref(), Ok(ARTIFACTS[0].1), "{}", client.name());
        let asked = nginx.access_log();
        assert!(
            asked
                .lines()
                .any(|line| line.contains("GET /top.txt 200") && line.contains(client.name())),
            "{asked}"
        );
    }
}

#[test]
fn a_client_refuses_changed_bytes() {
    let nginx = repository();
    for entry in fs::read_dir(nginx.www()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("top.txt") {
            fs::write(path, "at the pot\n").unwrap();
        }
    }
    for client in Client::ALL {
        let work = tempfile::tempdir().unwrap();
        let out = work.path().join("out");
        let said = client.get(&place(&nginx, work.path()), &[("top.txt", &out)]);
        assert!(said[0].result.is_err(), "{}: {said:?}", client.name());
        assert!(!out.exists(), "{} left bytes it did not verify", client.name());
    }
}

#[test]
fn a_refresh_loop_tells_a_server_that_is_away_from_one_that_is_wrong() {
    let mut nginx = repository();
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("out");
    let place = place(&nginx, work.path());
    let asked = |nginx: &Nginx| nginx.access_log().matches("GET /metadata/timestamp.json").count();

    let rounds = Loop::start(&place, 0.01, &[("top.txt", &out)]);
    until(|| asked(&nginx) >= 3);
    nginx.stop();
    // Somebody who hangs up at once is seen to have been asked. python-tuf tries a request four times, so that eight
    // are more than a round; before and after it nobody listens at all.
    let hangs_up = TcpListener::bind(nginx.address()).unwrap();
    for _ in 0..8 {
        hangs_up.accept().unwrap();
    }
    drop(hangs_up);
    nginx.restart();
    let before = asked(&nginx);
    until(|| asked(&nginx) >= before + 2);
    fs::write(nginx.www().join("metadata/timestamp.json"), "{}").unwrap();
    let before = asked(&nginx);
    until(|| asked(&nginx) >= before + 2);

    let rounds = rounds.end();
    assert!(rounds.refreshes >= 4 && rounds.downloads >= 3, "{rounds:?}");
    assert!(rounds.cut >= 1, "{rounds:?}");
    assert!(rounds.errors >= 1 && !rounds.samples.is_empty(), "{rounds:?}");
}

/// Waits for a condition, at most half a minute.
fn until(condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 30, "the condition did not come true");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
