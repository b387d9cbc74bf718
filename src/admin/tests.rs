#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{health::Role, *};
use crate::{catalog::roles::Roles, clock::ManualClock, depot::memory::MemoryDepot, ledger::memory::MemoryLedger};

struct Listening {
    addr: SocketAddr,
    admin: Admin,
    clock: Arc<ManualClock>,
    _shutdown: DropGuard,
}

impl Listening {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let admin = Admin {
            health: Arc::default(),
            metrics: Metrics::new().unwrap(),
            ledger: Arc::new(MemoryLedger::new()),
            roles: Arc::new(Roles::new(Arc::new(MemoryDepot::default()))),
            clock: clock.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve(admin.clone(), listener, shutdown.clone().cancelled_owned()));
        Self {
            addr,
            admin,
            clock,
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// Status line to body, as text.
    async fn ask(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn publish(&self, version: u64, expires: &str) {
        let old = self.admin.roles.depot().read(crate::depot::TIMESTAMP).await.unwrap();
        let new = format!(r#"{{"signatures":[],"signed":{{"version":{version},"expires":"{expires}"}}}}"#);
        self.admin
            .roles
            .depot()
            .swap_timestamp(old, Bytes::from(new))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn readiness_follows_roles_and_metadata() {
    let gate = Listening::start().await;
    let ready = async || gate.ask("/readyz", "localhost").await;
    assert!(ready().await.contains("nothing has been published yet"));
    gate.publish(1, "2030-01-02T00:00:00Z").await;
    let answer = ready().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(r#"{"ready":true,"reasons":[]}"#),
        "{answer}"
    );

    let error = "killed".to_owned();
    gate.admin.health.set("signer", Role::Down { error });
    let answer = ready().await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("signer is down: killed"),
        "{answer}"
    );
    gate.admin.health.set("signer", Role::Up);

    gate.clock.advance(86_400);
    let answer = ready().await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("version 1 of the timestamp expired"),
        "{answer}"
    );
    assert!(gate.ask("/livez", "localhost").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn status_and_metrics_tell_what_is_stored() {
    let gate = Listening::start().await;
    gate.publish(7, "2030-01-02T00:00:00Z").await;
    let answer = gate.ask("/status", "127.0.0.1:1").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let status: Status = serde_json::from_str(body).unwrap();
    assert_eq!(status.timestamp.unwrap().version, 7);
    assert_eq!(status.uptime, Some(0));
    let metrics = gate.ask("/metrics", "[::1]").await;
    assert!(metrics.contains("tufgate_timestamp_expires 1893542400"), "{metrics}");
}

#[tokio::test]
async fn a_rebound_name_is_refused_everywhere() {
    let gate = Listening::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/status", "/"] {
        let answer = gate.ask(path, "evil.example").await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{path}: {answer}");
    }
}
