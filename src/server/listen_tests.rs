#![allow(clippy::unwrap_used)]

use std::time::Duration;

use async_trait::async_trait;
use pingora::{Result, proxy::Session, upstreams::peer::HttpPeer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

use super::*;

/// Answers 204, `/slow` only once it is told to.
struct Answering {
    asked: Arc<Notify>,
    go: Arc<Notify>,
}

#[async_trait]
impl ProxyHttp for Answering {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        if session.req_header().uri.path() == "/slow" {
            self.asked.notify_one();
            self.go.notified().await;
        }
        session.respond_error_with_body(204, "".into()).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        pingora::Error::e_explain(pingora::ErrorType::InternalError, "there is no upstream")
    }
}

fn speech() -> Speech {
    Speech {
        tls: None,
        prior_knowledge: false,
        patience: LONG,
        metrics: crate::telemetry::Metrics::new().unwrap(),
        express: None,
    }
}

struct Serving {
    addr: SocketAddr,
    asked: Arc<Notify>,
    go: Arc<Notify>,
    open: TaskTracker,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

fn serve() -> Serving {
    let bound = Bound::to("127.0.0.1:0".parse().unwrap()).unwrap();
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let proxy = Answering {
        asked: Arc::clone(&asked),
        go: Arc::clone(&go),
    };
    let (open, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (addr, tracker, stop) = (bound.addr(), open.clone(), shutdown.clone());
    let task = tokio::spawn(async move { bound.serve(&Arc::default(), proxy, speech(), tracker, stop).await });
    Serving {
        addr,
        asked,
        go,
        open,
        shutdown,
        task,
    }
}

async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let serving = serve();
    let mut idle = ask(serving.addr, "/").await;
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 204");
    serving.shutdown.cancel();
    timeout(LONG, serving.task).await.unwrap().unwrap().unwrap();
    serving.open.close();
    timeout(LONG, serving.open.wait()).await.unwrap();
    TcpStream::connect(serving.addr).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_answered_after_the_listener_closed() {
    let serving = serve();
    let mut slow = ask(serving.addr, "/slow").await;
    timeout(LONG, serving.asked.notified()).await.unwrap();
    serving.shutdown.cancel();
    timeout(LONG, serving.task).await.unwrap().unwrap().unwrap();
    TcpStream::connect(serving.addr).await.unwrap_err();
    assert_eq!(serving.open.len(), 1);

    serving.go.notify_one();
    let mut answer = String::new();
    timeout(LONG, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    serving.open.close();
    timeout(LONG, serving.open.wait()).await.unwrap();
}

#[test]
fn a_taken_port_is_an_error_at_once() {
    let first = Bound::to("127.0.0.1:0".parse().unwrap()).unwrap();
    let second = Bound::to(first.addr()).err().unwrap();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
}
