//! The gate killed at random moments while it takes uploads: nothing acknowledged is lost, no version decreases, no
//! client sees more than a refused or reset connection.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    clients::{Loop, Place},
    gate::{Gate, Setup, until},
    http,
    nginx::Nginx,
};

/// xorshift64*: a seed is enough to repeat a run's choices.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn content(n: usize) -> Vec<u8> {
    format!("artifact {n}\n").repeat(1 + n % 50).into_bytes()
}

/// All versions the metadata names at this moment; `None` while the gate is down.
fn versions(addr: std::net::SocketAddr) -> Option<BTreeMap<String, u64>> {
    let fetch = |name: &str| -> Option<Value> {
        let mut stream = std::net::TcpStream::connect(addr).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let request = format!("GET /metadata/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let response = http::read(stream, false);
        (response.status == 200 && response.whole).then(|| serde_json::from_slice(&response.body).ok())?
    };
    let timestamp = fetch("timestamp.json")?;
    let mut found = BTreeMap::from([("timestamp".to_owned(), timestamp["signed"]["version"].as_u64()?)]);
    let snapshot = timestamp["signed"]["meta"]["snapshot.json"]["version"].as_u64()?;
    found.insert("snapshot".to_owned(), snapshot);
    for (name, meta) in fetch(&format!("{snapshot}.snapshot.json"))?["signed"]["meta"].as_object()? {
        found.insert(name.clone(), meta["version"].as_u64()?);
    }
    Some(found)
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    let puts: usize = std::env::var("TUFGATE_CRASH_PUTS").map_or(5_000, |n| n.parse().unwrap());
    let kills: usize = std::env::var("TUFGATE_CRASH_KILLS").map_or(20, |n| n.parse().unwrap());
    let seed =
        std::env::var("TUFGATE_SEED").map_or_else(|_| u64::from(std::process::id()) | 1 << 40, |n| n.parse().unwrap());
    let nginx = Nginx::start();
    let mut gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/seed.txt", b"seed");

    let addr = gate.addr;
    let next = AtomicUsize::new(0);
    let acknowledged: Mutex<Vec<usize>> = Mutex::default();
    let done = AtomicBool::new(false);
    let decreased: Mutex<Vec<String>> = Mutex::default();
    let scratch = tempfile::tempdir().unwrap();
    let place = Place {
        gate: gate.url(),
        root: gate.root(),
        dir: scratch.path().join("python"),
        user_agent: "crash".to_owned(),
    };
    std::fs::create_dir_all(&place.dir).unwrap();
    let seed_out = scratch.path().join("seed");
    let python = Loop::start(&place, 0.02, &[("seed.txt", &seed_out)]);
    let ours: Arc<Mutex<(usize, Vec<String>)>> = Arc::default();

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                for (name, version) in versions(addr).unwrap_or_default() {
                    let before = last.insert(name.clone(), version).unwrap_or(0);
                    if version < before {
                        decreased.lock().unwrap().push(format!("{name}: {before} → {version}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        scope.spawn(|| {
            let store = scratch.path().join("store");
            let out = scratch.path().join("ours");
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(&out);
                let said = std::process::Command::new(crate::support::gate::binary())
                    .args(["get", "--url", &format!("http://{addr}"), "--root"])
                    .arg(&place.root)
                    .arg("--store")
                    .arg(&store)
                    .arg("-o")
                    .arg(&out)
                    .arg("seed.txt")
                    .output()
                    .unwrap();
                let mut ours = ours.lock().unwrap();
                ours.0 += 1;
                let text = String::from_utf8_lossy(&said.stderr).to_lowercase();
                let lost = ["refused", "reset", "broken pipe", "closed", "connect", "eof"]
                    .iter()
                    .any(|word| text.contains(word));
                if !said.status.success() && !lost {
                    ours.1.push(text);
                }
            }
        });
        let uploads: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= puts {
                            return;
                        }
                        // As a publisher would: again until the gate says something.
                        loop {
                            let status = try_put(addr, &format!("/crash/{}/{n}.bin", n % 37), &content(n));
                            match status {
                                Some(200..=299) => {
                                    acknowledged.lock().unwrap().push(n);
                                    break;
                                }
                                Some(409) => panic!("{n}: 409 for its own bytes"),
                                _ => std::thread::sleep(Duration::from_millis(20)),
                            }
                        }
                    }
                })
            })
            .collect();
        let mut random = Random(seed);
        for kill in 0..kills {
            let at = (puts * kill + (random.next() as usize % puts.max(1))) / kills;
            until("the next kill", || {
                acknowledged.lock().unwrap().len() >= at.min(puts - 1)
            });
            std::thread::sleep(Duration::from_micros(random.next() % 30_000));
            gate.kill();
            gate.run();
        }
        for upload in uploads {
            upload.join().unwrap();
        }
        until("all to be signed", || gate.status()["pending"] == 0);
        done.store(true, Ordering::Relaxed);
    });
    let report = python.end();
    let acknowledged = acknowledged.into_inner().unwrap();
    let verified = verify_all(&gate, &acknowledged);
    let (ours_tries, ours_errors) = Arc::try_unwrap(ours).unwrap().into_inner().unwrap();
    crate::figure(&format!(
        "crash: seed {seed}, kills {kills}, acknowledged {}, verified {verified}, python-tuf {report:?}, \
         tufgate get: {ours_tries} runs, {} errors",
        acknowledged.len(),
        ours_errors.len(),
    ));
    assert_eq!(acknowledged.len(), puts);
    assert_eq!(verified, puts);
    assert_eq!(decreased.into_inner().unwrap(), Vec::<String>::new());
    assert_eq!(ours_errors, Vec::<String>::new());
    assert!(ours_tries > 0);
    assert!(report.refreshes > 0 && report.errors == 0, "{report:?}");
}

/// `None` when the connection broke before a final answer.
fn try_put(addr: std::net::SocketAddr, target: &str, body: &[u8]) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, &[head.as_bytes(), body].concat()).ok()?;
    Some(http::read(stream, false).status).filter(|status| *status != 0)
}

/// How many of these a TUF client finds, downloads and finds equal to what was uploaded.
fn verify_all(gate: &Gate, numbers: &[usize]) -> usize {
    use tufgate::Digest;
    let mut listed = BTreeMap::new();
    let names = versions(gate.addr).unwrap();
    for (name, version) in names.iter().filter(|(name, _)| name.starts_with("bins4-")) {
        let bin: Value = serde_json::from_slice(&gate.get(&format!("/metadata/{version}.{name}")).body).unwrap();
        for (path, file) in bin["signed"]["targets"].as_object().unwrap() {
            listed.insert(path.clone(), file["hashes"]["sha256"].as_str().unwrap().to_owned());
        }
    }
    let good = |n: &&usize| {
        let path = format!("crash/{}/{n}.bin", **n % 37);
        let digest = Digest::of(content(**n)).to_string();
        let (folder, name) = path.rsplit_once('/').unwrap();
        listed.get(&path) == Some(&digest) && gate.get(&format!("/{folder}/{digest}.{name}")).body == content(**n)
    };
    numbers.iter().filter(good).count()
}
