#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    cli::init::{InitOptions, init},
    clock::{Clock, ManualClock, SystemClock},
    depot::fs::FsDepot,
    digest::Digest,
    ledger::sqlite::SqliteLedger,
    upstream::memory::{MemoryUpstream, Script},
};

/// A folder that `init` has been over, with every port 0; its upstream refuses connections.
async fn prepared() -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path());
    let options = InitOptions {
        root_keys: 1,
        root_threshold: 1,
        root_dir: dir.path().join("root"),
        passphrase: None,
    };
    SqliteLedger::open(&config.ledger).unwrap();
    let depot = FsDepot::open(&config.depot).unwrap();
    init(&config, &depot, &options, SystemClock.now()).await.unwrap();
    (dir, config)
}

fn configured(dir: &Path) -> Config {
    let text = r#"
        [gate]
        listen = "127.0.0.1:0"
        [upstream]
        url = "http://127.0.0.1:1/"
        [admin]
        listen = "127.0.0.1:0"
        [metadata]
        access = "public"
        [[rule]]
        path = "**"
        kind = "immutable"
        learn = "fetch"
    "#;
    let file = dir.join("tufgate.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(file).unwrap()
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn refusal(config: Config) -> StartError {
    match start(config, Roles::here(), Overrides::default()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_roles_in_one_process_start_publish_and_end_at_once() {
    let (_dir, config) = prepared().await;
    let mut running = start(config, Roles::here(), Overrides::default()).await.unwrap();
    let (gate, admin) = (running.addr().unwrap(), running.admin_addr().unwrap());
    running.published.wait_for(|snapshot| *snapshot >= 1).await.unwrap();
    while !get(admin, "/readyz").await.starts_with("HTTP/1.1 200") {
        tokio::task::yield_now().await;
    }
    // The catalog hears of the publication over the socket.
    while !get(gate, "/metadata/timestamp.json").await.starts_with("HTTP/1.1 200") {
        tokio::task::yield_now().await;
    }
    let begun = std::time::Instant::now();
    assert_eq!(running.stop().await, Stopped::Whole);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "an idle gate waits for nothing"
    );
    TcpStream::connect(gate).await.unwrap_err();
    TcpStream::connect(admin).await.unwrap_err();
}

/// Waits for an answer.
async fn until(addr: SocketAddr, path: &str, told: impl Fn(&str) -> bool) -> String {
    let asked = async {
        loop {
            let answer = get(addr, path).await;
            if told(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn superseded_bytes_are_there_by_their_hash_until_the_grace_ends() {
    let (dir, _) = prepared().await;
    let file = dir.path().join("tufgate.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("immutable", "track");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(file).unwrap();
    let retain = i64::try_from(config.signer.retain.as_secs()).unwrap();
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let upstream = Arc::new(MemoryUpstream::default());
    let overrides = Overrides::default().clock(clock.clone()).upstream(upstream.clone());
    let running = start(config, Roles::here(), overrides).await.unwrap();
    let gate = running.addr().unwrap();
    let signed = |body: &'static str| move |answer: &str| answer.contains("signed") && answer.ends_with(body);
    for (body, tag) in [("one", "\"1\""), ("two", "\"2\"")] {
        upstream.serve("/t", Script::file(body).header("etag", tag));
        until(gate, "/t", signed(body)).await;
        // Kept once it is known what it is.
        until(gate, "/t", signed(body)).await;
    }
    let old = format!("/{}.t", Digest::of(b"one"));
    // A second less: the clock counts whole ones.
    clock.advance(retain - 1);
    let within = get(gate, &old).await;
    assert!(
        within.starts_with("HTTP/1.1 200") && within.ends_with("one"),
        "{within}"
    );
    clock.advance(1);
    let after = get(gate, &old).await;
    assert!(
        after.starts_with("HTTP/1.1 404") && after.contains("problem:superseded"),
        "{after}"
    );
    let now = get(gate, &format!("/{}.t", Digest::of(b"two"))).await;
    assert!(now.ends_with("two"), "{now}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_with_its_exit_code() {
    let (dir, config) = prepared().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut busy = config.clone();
    busy.gate.listen = taken.local_addr().unwrap();
    let error = refusal(busy).await;
    assert_eq!(error.exit_code(), 64, "{error}");
    assert!(error.hint().unwrap().contains("another process listens"));

    let mut open = config.clone();
    open.admin.listen = Some("0.0.0.0:0".parse().unwrap());
    assert_eq!(refusal(open).await.exit_code(), 64);

    let mut nowhere = config.clone();
    nowhere.ledger = dir.path().join("no-such.db");
    let error = refusal(nowhere).await;
    assert_eq!(error.exit_code(), 64);
    assert!(error.hint().unwrap().contains("tufgate init"));

    let key = config.keys.snapshot.file().unwrap().path.clone();
    std::fs::rename(&key, dir.path().join("moved")).unwrap();
    let error = refusal(config.clone()).await;
    assert_eq!(error.exit_code(), 64, "{error}");
    std::fs::rename(dir.path().join("moved"), &key).unwrap();

    let mut damaged = config.clone();
    damaged.ledger = dir.path().join("damaged.db");
    std::fs::write(&damaged.ledger, "not a ledger, whatever it says").unwrap();
    let error = refusal(damaged).await;
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(error.hint().unwrap().contains("tufgate audit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_a_file_that_was_changed_or_lost() {
    let (_dir, config) = prepared().await;
    check::check(&config).await.unwrap();
    let mut running = start(config.clone(), Roles::here(), Overrides::default())
        .await
        .unwrap();
    running.published.wait_for(|snapshot| *snapshot >= 1).await.unwrap();
    assert_eq!(running.stop().await, Stopped::Whole);
    check::check(&config).await.unwrap();

    let snapshot = config.depot.join("1.snapshot.json");
    let whole = std::fs::read_to_string(&snapshot).unwrap();
    std::fs::remove_file(&snapshot).unwrap();
    std::fs::write(&snapshot, whole.replacen("bins", "bims", 1)).unwrap();
    let error = check::check(&config).await.unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(
        error.to_string().contains("`1.snapshot.json` has another sha256"),
        "{error}"
    );
    std::fs::remove_file(&snapshot).unwrap();
    let error = check::check(&config).await.unwrap_err();
    assert!(error.to_string().contains("`1.snapshot.json` is missing"), "{error}");
}
