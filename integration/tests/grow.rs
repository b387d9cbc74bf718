//! Bins that grow from 16 to 4,096 under everybody's eyes: publishers go on publishing, and clients of every kind, new ones,
//! old ones and one that never starts again, go on finding what was published.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tufgate::Digest;

use crate::{
    figure,
    support::{
        clients::{Client, Place, python},
        gate::{Gate, Setup, tufgate},
        http,
        nginx::Nginx,
    },
};

/// Artifacts in the end: one to each of 1,024 bins, and some more.
const ARTIFACTS: usize = 1_024 + 10;
/// Least milliseconds between two runs of a client, unless `TUFGATE_GROW_PAUSE` says otherwise; 0 for no rest at all. Of
/// thousands of bins a run may take half a minute, and six clients that never rest leave the gate no time to grow.
const PAUSE: u64 = 2_000;

/// The Updater of python-tuf that lives as long as the test: it refreshed when there were 16 bins. It downloads what is named
/// on its standard input.
const HELD_OPEN: &str = r#"
import sys
from tuf.ngclient import Updater
gate, root, cache = sys.argv[1:]
updater = Updater(cache, gate + "/metadata/", cache, gate + "/", bootstrap=open(root, "rb").read())
updater.refresh()
for line in sys.stdin:
    try:
        info = updater.get_targetinfo(line.strip())
        updater.download_target(info)
        print("ok", flush=True)
    except Exception as error:
        print("err", type(error).__name__, error, flush=True)
"#;

struct HeldOpen(Child, ChildStdin, BufReader<ChildStdout>);

impl HeldOpen {
    fn start(gate: &Gate, cache: &Path) -> Self {
        let mut child = Command::new(python())
            .args(["-c", HELD_OPEN, &gate.url()])
            .arg(gate.root())
            .arg(cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let (ask, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self(child, ask, BufReader::new(answers))
    }

    fn get(&mut self, path: &str) -> Result<(), String> {
        writeln!(self.1, "{path}").unwrap();
        let mut said = String::new();
        self.2.read_line(&mut said).unwrap();
        if said == "ok\n" { Ok(()) } else { Err(said) }
    }
}

impl Drop for HeldOpen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn name(number: usize) -> String {
    format!("grown/{number}.bin")
}

fn body(number: usize) -> String {
    format!("artifact {number}\n")
}

/// One run of a client, new or old: an artifact that is signed.
fn run(gate: &Gate, client: Option<Client>, dir: &Path, number: usize) -> Result<(), String> {
    let (target, out) = (name(number), dir.join("out"));
    let wanted = Digest::of(body(number).as_bytes()).to_string();
    let Some(client) = client else {
        let root = gate.root();
        let got = Command::new(crate::support::gate::binary())
            .args([
                "get",
                "--root",
                root.to_str().unwrap(),
                "--url",
                &gate.url(),
                "--output",
            ])
            .arg(&out)
            .arg(&target)
            .env("XDG_DATA_HOME", dir)
            .output()
            .unwrap();
        return match got.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&got.stderr).into_owned()),
        };
    };
    let place = Place {
        gate: gate.url(),
        root: gate.root(),
        dir: dir.join("cache"),
        user_agent: "grow".to_owned(),
    };
    match client.get(&place, &[(&target, &out)]).remove(0).result {
        Ok(digest) if digest == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Until it holds: no step of this takes a moment on a machine that is busy. To ask for the status of thousands of bins is
/// work as well, so that it is not asked for all the time.
fn patiently(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(400);
    while !holds() {
        assert!(Instant::now() < end, "waited 400 s for {what}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// The version of `targets.json` that the newest snapshot lists.
fn targets_version(gate: &Gate) -> u64 {
    let file = |name: &str| -> Value { serde_json::from_slice(&gate.get(&format!("/metadata/{name}")).body).unwrap() };
    let version = &file("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"];
    file(&format!("{version}.snapshot.json"))["signed"]["meta"]["targets.json"]["version"]
        .as_u64()
        .unwrap()
}

#[test]
fn bins_grow_under_publishers_and_clients() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[tuf]\nbins = 16\ngrow_at = 1\n"));
    for number in 0..20 {
        gate.publish(&format!("/{}", name(number)), body(number).as_bytes());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut held = HeldOpen::start(&gate, folder.path());
    held.get(&name(0)).unwrap();
    let top = targets_version(&gate);

    // What is below `signed` is signed; what is below `sent` was accepted.
    let (sent, grown) = (AtomicUsize::new(20), AtomicBool::new(false));
    let signed = AtomicUsize::new(20);
    let runs = Mutex::new(BTreeMap::<&str, u64>::new());
    let pause = std::env::var("TUFGATE_GROW_PAUSE").map_or(PAUSE, |pause| pause.parse().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            while sent.load(Ordering::SeqCst) < ARTIFACTS {
                let number = sent.load(Ordering::SeqCst);
                let put = http::put(gate.addr, &format!("/{}", name(number)), body(number).as_bytes());
                assert_eq!(put.status, 201, "{number}");
                sent.store(number + 1, Ordering::SeqCst);
                if number % 8 == 0 && gate.status()["pending"] == 0 {
                    signed.store(number + 1, Ordering::SeqCst);
                }
            }
        });
        for client in Client::ALL.map(Some).into_iter().chain([None]) {
            let (grown, signed, runs, folder, gate) = (&grown, &signed, &runs, folder.path(), &gate);
            scope.spawn(move || {
                let shown = client.map_or("tufgate get", Client::name);
                let old = folder.join(shown.replace(' ', "-"));
                for round in 0_usize.. {
                    // The same client again, and a new one.
                    let dir = match round % 2 {
                        0 => old.clone(),
                        _ => folder.join(format!("{shown}-{round}")),
                    };
                    std::fs::create_dir_all(&dir).unwrap();
                    let last = grown.load(Ordering::SeqCst);
                    let number = signed.load(Ordering::SeqCst) * (round % 7 + 1) / 8;
                    let begun = Instant::now();
                    let ran = run(gate, client, &dir, number);
                    assert!(ran.is_ok(), "{shown}, round {round}, {number}: {}", ran.unwrap_err());
                    *runs.lock().unwrap().entry(shown).or_default() += 1;
                    if last && round > 1 {
                        return;
                    }
                    // Twice as long as it worked.
                    let rest = Instant::now() + begun.elapsed() * u32::from(pause > 0) * 2;
                    let rest = rest.max(Instant::now() + Duration::from_millis(pause));
                    while Instant::now() < rest && !grown.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        }
        let mut asked = 0;
        patiently("the bins to grow", || {
            // It knows the first 20, by bins that are gone from the delegator by now.
            asked += 1;
            let got = held.get(&name(asked % 20));
            assert!(got.is_ok(), "{got:?}");
            sent.load(Ordering::SeqCst) == ARTIFACTS
        });
        patiently("all to be signed in 4,096 bins", || {
            let status = gate.status();
            status["bins"] == 4_096 && status["pending"] == 0
        });
        signed.store(ARTIFACTS, Ordering::SeqCst);
        grown.store(true, Ordering::SeqCst);
    });
    held.get(&name(19)).unwrap();
    assert_eq!(targets_version(&gate), top, "targets.json is as it was");
    let (root, url) = (gate.root(), gate.url());
    let verify = ["verify", "--all", "--root", root.to_str().unwrap(), "--url", &url];
    for done in [gate.command(&["audit"]), tufgate(&gate.dir, &verify)] {
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    figure(&format!(
        "grow: 16 to 4,096 bins, {ARTIFACTS} artifacts; runs of clients: {:?}",
        runs.lock().unwrap()
    ));
}
