use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    super::{
        conformance::{self, ask, read},
        memory::Script,
        pool::{IDLE_FOR, SWEEP},
        wire::{Reply, Wire, rendered},
    },
    *,
};
use crate::config::Secret;

fn config(url: &str) -> UpstreamConfig {
    UpstreamConfig {
        url: Url::parse(url).unwrap(),
        preserve_host: false,
        redirect_hosts: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        io_timeout: Duration::from_secs(20),
        max_reads: 4,
        credential_headers: Vec::new(),
        identity: Some(Secret("Bearer gate".to_owned().into())),
        ca: None,
    }
}

fn upstream(config: &UpstreamConfig) -> Result<HttpUpstream, UpstreamError> {
    HttpUpstream::new(config, &Authorities::default())
}

fn upstream_at(addr: SocketAddr) -> HttpUpstream {
    upstream(&config(&format!("http://{addr}/"))).unwrap()
}

fn keep(text: &str) -> Reply {
    Reply::Keep(text.as_bytes().to_vec())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn redirect(to: impl std::fmt::Display) -> Reply {
    Reply::Keep(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\ngone").into_bytes())
}

struct Loopback {
    wire: Wire,
    upstream: HttpUpstream,
}

impl conformance::Stage for Loopback {
    fn serve(&self, path: &str, script: Script) {
        self.wire.script(path, [rendered(&script, path == "/head")]);
    }

    fn upstream(&self) -> &dyn Upstream {
        &self.upstream
    }
}

#[tokio::test]
async fn conforms() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    conformance::run(&Loopback { wire, upstream }).await;
}

#[tokio::test]
async fn a_request_holds_what_the_gate_could_have_written() {
    let wire = Wire::start().await;
    let upstream = upstream(&config(&format!("http://{}/base/", wire.addr))).unwrap();
    wire.script("/base/a%20b?x=1", [keep(OK)]);
    let headers = [
        ("host", "evil.test"),
        ("accept-encoding", "gzip"),
        ("user-agent", "spy"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("content-length", "9"),
        ("if-none-match", "\"e\""),
    ];
    let headers = headers
        .iter()
        .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
        .collect();
    let ask = Ask {
        method: Method::GET,
        path: "/a%20b?x=1".to_owned(),
        headers,
        identity: true,
    };
    assert_eq!(read(upstream.ask(ask).await.unwrap()).await.0, b"ok");
    let head = wire.heads().remove(0);
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /base/a%20b?x=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", wire.addr);
    let agent = format!("user-agent: tufgate/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        "accept-encoding: identity",
        "accept: */*",
        "authorization: Bearer gate",
        &host,
        "if-none-match: \"e\"",
        &agent,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_clients_own_credential_wins_and_the_identity_needs_asking_for() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, "Basic client".parse().unwrap());
    for (headers, identity) in [(headers, true), (HeaderMap::new(), false)] {
        let ask = Ask {
            method: Method::GET,
            path: "/a".to_owned(),
            headers,
            identity,
        };
        upstream.ask(ask).await.unwrap();
    }
    let heads = wire.heads();
    assert!(heads[0].contains("authorization: Basic client\r\n"));
    assert!(!heads[1].contains("authorization"));
}

#[tokio::test]
async fn a_clients_host_passes_only_where_it_is_preserved() {
    let wire = Wire::start().await;
    let mut config = config(&format!("http://{}/", wire.addr));
    config.preserve_host = true;
    let upstream = upstream(&config).unwrap();
    wire.script("/a", [redirect("/b")]);
    let headers: HeaderMap = [(header::HOST, HeaderValue::from_static("public.test"))]
        .into_iter()
        .collect();
    upstream
        .ask(Ask {
            method: Method::GET,
            path: "/a".to_owned(),
            headers,
            identity: false,
        })
        .await
        .unwrap();
    ask(&upstream, Method::GET, "/c").await.unwrap();
    let heads = wire.heads();
    assert!(
        heads[..2].iter().all(|head| head.contains("host: public.test\r\n")),
        "{heads:?}"
    );
    assert!(heads[2].contains(&format!("host: {}\r\n", wire.addr)));
}

#[tokio::test]
async fn heads_that_are_not_http_or_not_clear_are_broken() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    let many = "X: 1\r\n".repeat(200);
    let long = "x".repeat(70_000);
    let endless = "x".repeat(1_000_000);
    for head in [
        "garbage\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        &format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok"),
        &format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 2\r\n\r\nok"),
        &format!("HTTP/1.1 200 OK\r\nX: {endless}"),
    ] {
        wire.script("/a", [Reply::Close(head.as_bytes().to_vec())]);
        let answer = ask(&upstream, Method::GET, "/a").await;
        let start: String = head.chars().take(90).collect();
        assert!(matches!(answer.err(), Some(UpstreamError::Broken(_))), "{start}");
    }
    assert_eq!(wire.heads().len(), 13, "a fresh connection's failure is not retried");
}

#[tokio::test]
async fn bodies_that_are_not_chunks_are_broken() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    for body in [
        "2\r\nok\r\n",
        "2\r\nok",
        "zz\r\nok\r\n0\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        wire.script("/a", [Reply::Close(text.into_bytes())]);
        let (_, end) = read(ask(&upstream, Method::GET, "/a").await.unwrap()).await;
        assert!(matches!(end, Err(UpstreamError::Broken(_))), "{body:?}: {end:?}");
    }
}

#[tokio::test]
async fn old_and_chatty_servers_are_understood() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    for (text, framing) in [
        ("HTTP/1.0 200 OK\r\n\r\nok", Framing::Close),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Framing::Length(2)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
            Framing::Close,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nok\r\n0\r\nX: t\r\n\r\n",
            Framing::Chunked,
        ),
    ] {
        wire.script("/a", [Reply::Close(text.as_bytes().to_vec())]);
        let answer = ask(&upstream, Method::GET, "/a").await.unwrap();
        assert_eq!(answer.framing, framing, "{text}");
        assert!(!answer.headers.contains_key(header::TRANSFER_ENCODING));
        let (bytes, end) = read(answer).await;
        assert!(end.is_ok() && bytes == b"ok", "{text}: {end:?}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_that_says_where() {
    let wire = Wire::start().await;
    let mut config = config(&format!("http://{}/", wire.addr));
    config.io_timeout = Duration::from_millis(50);
    let upstream = upstream(&config).unwrap();
    wire.script("/head", [Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec())]);
    assert!(matches!(
        ask(&upstream, Method::GET, "/head").await.err(),
        Some(UpstreamError::Timeout("header"))
    ));
    wire.script(
        "/body",
        [Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok".to_vec())],
    );
    let (bytes, end) = read(ask(&upstream, Method::GET, "/body").await.unwrap()).await;
    assert_eq!(bytes, b"ok");
    assert!(matches!(end, Err(UpstreamError::Timeout("body"))), "{end:?}");
}

/// Waits until the connection of the last answer is back in the pool.
async fn settled(upstream: &HttpUpstream) {
    while upstream.pool.idle_count() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_are_used_again_and_a_stale_one_costs_nothing() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    // The third request on a connection meets its end, as when a keep-alive timer fires meanwhile.
    wire.script("/a", [keep(OK), keep(OK), Reply::Close(Vec::new()), keep(OK)]);
    for _ in 0..3 {
        let (bytes, end) = read(ask(&upstream, Method::GET, "/a").await.unwrap()).await;
        assert!(end.is_ok() && bytes == b"ok");
        settled(&upstream).await;
    }
    assert_eq!((wire.connections(), wire.heads().len()), (2, 4));

    // Once only: a server that closes on every request is broken.
    wire.script("/b", [Reply::Close(Vec::new())]);
    assert!(matches!(
        ask(&upstream, Method::GET, "/b").await.err(),
        Some(UpstreamError::Broken(_))
    ));
    assert_eq!(wire.heads().len(), 6);
}

/// A connection that has been used once and is idle, as its server has it. The clock stands from now on, and jumps where
/// everything waits for it.
async fn idle() -> (HttpUpstream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream_at(listener.local_addr().unwrap());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream
    };
    let asked = async { read(ask(&upstream, Method::GET, "/").await.unwrap()).await };
    let (stream, _) = tokio::join!(serve, asked);
    settled(&upstream).await;
    tokio::time::pause();
    (upstream, stream)
}

#[tokio::test]
async fn an_idle_connection_ends_with_its_server() {
    let (upstream, stream) = idle().await;
    tokio::time::sleep(2 * SWEEP).await;
    assert_eq!(upstream.pool.idle_count(), 1);
    drop(stream);
    // Sooner than its time would end it.
    tokio::time::sleep(IDLE_FOR - 3 * SWEEP).await;
    assert_eq!(upstream.pool.idle_count(), 0);
}

#[tokio::test]
async fn an_idle_connection_ends_with_its_time() {
    let (upstream, mut stream) = idle().await;
    tokio::time::sleep(IDLE_FOR - 2 * SWEEP).await;
    assert_eq!(upstream.pool.idle_count(), 1);
    tokio::time::sleep(3 * SWEEP).await;
    assert_eq!(upstream.pool.idle_count(), 0);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the server hears of it");
}

#[tokio::test]
async fn a_body_left_unread_or_longer_than_said_poisons_no_later_answer() {
    let wire = Wire::start().await;
    let upstream = upstream_at(wire.addr);
    let big = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n{}",
        "x".repeat(900_000)
    );
    wire.script("/big", [keep(&big)]);
    wire.script(
        "/liar",
        [keep(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        )],
    );
    wire.script("/a", [keep(OK)]);
    drop(ask(&upstream, Method::GET, "/big").await.unwrap());
    assert_eq!(read(ask(&upstream, Method::GET, "/liar").await.unwrap()).await.0, b"ok");
    for _ in 0..3 {
        assert_eq!(read(ask(&upstream, Method::GET, "/a").await.unwrap()).await.0, b"ok");
    }
}

#[tokio::test]
async fn redirects_at_home_keep_the_credentials_and_those_away_lose_them() {
    let (home, away) = (Wire::start().await, Wire::start().await);
    let mut config = config(&format!("http://{}/repo", home.addr));
    config.redirect_hosts = vec![away.addr.to_string()];
    let upstream = upstream(&config).unwrap();
    home.script("/repo/a", [redirect("b?sig=1")]);
    home.script("/repo/b?sig=1", [redirect(format!("http://{}/c", away.addr))]);
    away.script("/c", [redirect(format!("http://{}/repo/d", home.addr))]);
    home.script("/repo/d", [keep(OK)]);
    let headers = [("cookie", "s=1"), ("x-jfrog-art-api", "k"), ("if-none-match", "\"e\"")];
    let headers = headers
        .iter()
        .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
        .collect();
    let ask = Ask {
        method: Method::GET,
        path: "/a".to_owned(),
        headers,
        identity: true,
    };
    assert_eq!(read(upstream.ask(ask).await.unwrap()).await.0, b"ok");

    let secret = |head: &str| ["cookie", "x-jfrog-art-api", "authorization"].map(|name| head.contains(name));
    let heads = home.heads();
    assert_eq!(
        heads.iter().map(|head| secret(head)).collect::<Vec<_>>(),
        [[true; 3], [true; 3], [false; 3]]
    );
    assert_eq!(secret(&away.heads()[0]), [false; 3]);
    let away_head = away.heads().remove(0);
    assert!(away_head.contains("if-none-match") && away_head.contains("accept-encoding: identity"));
    assert!(away_head.contains(&format!("host: {}\r\n", away.addr)));
}

#[tokio::test]
async fn redirects_end_where_they_may_not_go() {
    let (home, away) = (Wire::start().await, Wire::start().await);
    let upstream = upstream_at(home.addr);
    home.script("/away", [redirect(format!("http://{}/c?t=s3cret", away.addr))]);
    let error = ask(&upstream, Method::GET, "/away").await.err().unwrap();
    assert!(
        matches!(error, UpstreamError::Redirect { .. }) && !error.to_string().contains("s3cret"),
        "{error}"
    );
    assert_eq!(away.connections(), 0);

    home.script("/loop", [redirect("/loop")]);
    let error = ask(&upstream, Method::GET, "/loop").await.err().unwrap();
    assert!(matches!(error, UpstreamError::Redirect { .. }), "{error}");
    assert_eq!(home.heads().len(), 1 + 1 + MAX_REDIRECTS);

    home.script("/nowhere", [keep("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")]);
    assert_eq!(ask(&upstream, Method::GET, "/nowhere").await.unwrap().status, 302);
}

#[test]
fn what_cannot_be_used_is_said_at_the_start() {
    for url in ["https://u:p@h/", "http://u:p@h/", "http://h/?q", "ftp://h/"] {
        assert!(upstream(&config(url)).is_err(), "{url}");
    }
    let mut bad = config("http://h/");
    bad.identity = Some(Secret("a\nb".to_owned().into()));
    assert!(upstream(&bad).is_err());
    bad = config("http://h/");
    bad.redirect_hosts = vec!["a/b".to_owned()];
    assert!(upstream(&bad).is_err());
}
