//! An upstream behind TLS, with an authority of its own: what the gate reads itself, what streams through it, and where
//! redirects lead.

use std::{fs, net::SocketAddr};

use crate::{
    hostile_origin,
    support::{
        certificates::{Authority, VALID},
        gate::{Gate, Setup, free_addr, tufgate, until},
        http,
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

const PUBLISHED: &str = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";

/// For gates whose upstream can never say who may read.
const EVERYBODYS: &str = "[metadata]\naccess = \"public\"\n";

/// nginx, with and without TLS, and where it listens by TLS.
fn secured(authority: &Authority, names: &[&str], more: &str) -> (Nginx, SocketAddr) {
    let addr = free_addr();
    let nginx = Nginx::start_with(&format!("{} {more}", authority.nginx(addr, names)));
    (nginx, addr)
}

fn ca(authority: &Authority) -> String {
    format!("ca = \"{}\"", authority.file().display())
}

fn body(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}

#[test]
fn reads_uploads_and_what_passes_go_to_an_upstream_of_a_private_authority() {
    let authority = Authority::new();
    let echo =
        "location /echo { return 200 \"$https $ssl_server_name $host $server_protocol $http_x_forwarded_proto\"; }";
    let (nginx, addr) = secured(&authority, &["localhost", "127.0.0.1"], echo);
    // A name is sent along as SNI; an address is not a name, and is verified all the same.
    for (host, sni) in [("localhost", "localhost"), ("127.0.0.1", "")] {
        let url = format!("https://{host}:{}", addr.port());
        let gate = Gate::start(&Setup::learning(&url).rules(PUBLISHED).upstream_keys(&ca(&authority)));
        let place = |name: &str| format!("/repo/{host}/{name}");

        let large = body(700_000, 1);
        assert_eq!(gate.put(&place("large"), &large).status, 201);
        assert_eq!(
            http::put_chunked(gate.addr, &place("chunked"), &large, 9_000).status,
            201
        );
        assert_eq!(gate.put(&place("large"), b"other").status, 409);
        assert_eq!(fs::read(nginx.file(&place("large")[1..])).unwrap(), large);
        gate.publish(&place("small"), b"small");
        for (name, wanted) in [("large", &large[..]), ("chunked", &large), ("small", b"small")] {
            let got = gate.get(&place(name));
            assert!(got.whole && got.body == wanted, "{name}: {}", got.status);
        }
        // Fetched first through the gate.
        fs::write(nginx.file(&place("fetched")[1..]), &large).unwrap();
        assert_eq!(gate.get(&place("fetched")).body, large);
        until("it to be signed", || {
            let status = gate.get(&place("fetched"));
            status
                .header("tufgate-status")
                .is_some_and(|status| status.starts_with("signed"))
        });
        // Untracked: through Pingora, by HTTP/1.1, on pooled connections.
        for _ in 0..3 {
            let echoed = String::from_utf8(gate.get("/echo").body).unwrap();
            assert_eq!(echoed, format!("on {sni} {host} HTTP/1.1 http"));
        }
    }
}

#[test]
fn an_upstream_that_cannot_prove_itself_gets_nothing() {
    let (known, other) = (Authority::new(), Authority::new());
    let (right, wrong_name) = (&["localhost", "127.0.0.1"][..], &["elsewhere.test"][..]);
    for (authority, names) in [(&other, right), (&known, wrong_name)] {
        let (nginx, addr) = secured(authority, names, "location /plain { return 200 seen; }");
        fs::write(nginx.file("repo/file"), "theirs").unwrap();
        let url = format!("https://localhost:{}", addr.port());
        let setup = Setup::learning(&url).rules(PUBLISHED).extra(EVERYBODYS);
        let gate = Gate::start(&setup.upstream_keys(&ca(&known)));
        for (method, path, body) in [
            ("GET", "/repo/file", &b""[..]),
            ("PUT", "/repo/new", b"mine"),
            ("PUT", "/repo/empty", b""),
            ("GET", "/plain", b""),
        ] {
            let answer = http::request(gate.addr, method, path, &[], body);
            assert_eq!(answer.status, 502, "{method} {path}: {answer:?}");
            assert_eq!(
                answer.problem().as_deref(),
                Some("upstream-unreachable"),
                "{method} {path}"
            );
        }
        assert!(!nginx.file("repo/new").exists() && !nginx.file("repo/empty").exists());
        assert_eq!(nginx.access_log(), "", "nothing was asked");
        assert!(gate.log().contains("invalid peer certificate"), "{}", gate.log());
    }
}

#[test]
fn a_private_authority_stands_in_place_of_the_systems() {
    let (known, other) = (Authority::new(), Authority::new());
    let (nginx, addr) = secured(&known, &["localhost"], "");
    fs::write(nginx.file("repo/file"), "bytes").unwrap();
    let url = format!("https://localhost:{}", addr.port());
    let systems = |setup: Setup| setup.environment("SSL_CERT_FILE", known.file().to_str().unwrap());
    let setup = Setup::learning(&url).rules(PUBLISHED);

    let gate = Gate::start(&systems(setup.clone()));
    assert_eq!(gate.get("/repo/file").body, b"bytes", "{}", gate.log());
    assert_eq!(gate.put("/repo/new", b"bytes").status, 201);
    let gate = Gate::start(&systems(setup.extra(EVERYBODYS).upstream_keys(&ca(&other))));
    assert_eq!(gate.get("/repo/file").status, 502);
    assert_eq!(gate.put("/repo/newer", b"bytes").status, 502);
}

#[test]
fn authorities_that_cannot_be_read_keep_the_gate_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_path_buf();
    let setup = Setup::learning("https://localhost:9/").upstream_keys("ca = \"ca.pem\"");
    Gate::prepare(&setup, dir.clone());
    for (text, said) in [
        (None, "cannot read the authorities"),
        (Some("no certificate"), "no certificate in PEM"),
    ] {
        if let Some(text) = text {
            fs::write(dir.join("ca.pem"), text).unwrap();
        }
        for more in [&["--check"][..], &[]] {
            let args = [&["serve", "--config", "tufgate.toml"], more].concat();
            let refused = tufgate(&dir, &args);
            let told = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(64), "{told}");
            assert!(told.contains(said) && told.contains("hint: "), "{told}");
        }
    }
}

#[test]
fn redirects_lead_to_https_and_never_back() {
    let authority = Authority::new();
    let (_runtime, origin) = hostile_origin();
    let plain = origin.url();
    let (store, addr) = secured(
        &authority,
        &["localhost"],
        &format!("location /repo/down {{ return 302 {plain}/repo/down; }}"),
    );
    let store_url = format!("https://localhost:{}", addr.port());
    fs::write(store.file("repo/moved"), "moved").unwrap();
    origin.script("/repo/moved", Behaviour::Redirect(format!("{store_url}/repo/moved")));
    origin.put_file("/repo/down", b"down".to_vec());

    // From http to https, to a listed host, without credentials.
    let hosts = format!("redirect_hosts = [\"localhost:{}\"]\n{}", addr.port(), ca(&authority));
    let gate = Gate::start(&Setup::learning(&plain).rules(PUBLISHED).upstream_keys(&hosts));
    assert_eq!(gate.get("/repo/moved").body, b"moved", "{}", gate.log());
    assert_eq!(gate.get("/repo/moved").status, 200);

    // From https to http: not even to a listed host.
    let hosts = format!("redirect_hosts = [\"{}\"]\n{}", origin.addr, ca(&authority));
    let gate = Gate::start(&Setup::learning(&store_url).rules(PUBLISHED).upstream_keys(&hosts));
    let refused = gate.get("/repo/down");
    assert_eq!(
        (refused.status, refused.problem().as_deref()),
        (502, Some("upstream-redirect")),
        "{refused:?}"
    );
    assert_eq!(origin.count("/repo/down"), 0);
}

#[test]
fn a_body_that_tls_cuts_is_neither_learned_nor_whole() {
    // nginx ends its answers by TLS; an attacker who can cut TCP cannot. The origin here is behind a TLS that forwards
    // bytes and ends without a word.
    let authority = Authority::new();
    let (runtime, origin) = hostile_origin();
    let folder = tempfile::tempdir().unwrap();
    authority.issue(folder.path(), "front", &["localhost"], VALID);
    let addr = runtime.block_on(front(folder.path(), origin.addr));
    origin.put_file("/repo/cut", body(300_000, 3));
    origin.script("/repo/cut", Behaviour::Truncate(Framing::Close, 200_000));
    let url = format!("https://localhost:{}", addr.port());
    let gate = Gate::start(&Setup::learning(&url).rules(PUBLISHED).upstream_keys(&ca(&authority)));
    let cut = gate.get("/repo/cut");
    assert!(cut.status == 502 || !cut.whole, "{}", cut.status);
    origin.script("/repo/cut", Behaviour::Serve(Framing::Length));
    assert_eq!(gate.get("/repo/cut").body, body(300_000, 3));
}

/// TLS in front of `to`, ended without `close_notify`.
async fn front(folder: &std::path::Path, to: SocketAddr) -> SocketAddr {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = vec![CertificateDer::from_pem_file(folder.join("front.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("front.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(client) = acceptor.accept(tcp).await else { return };
                let server = tokio::net::TcpStream::connect(to).await.unwrap();
                let (mut from_client, mut to_client) = tokio::io::split(client);
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::io::copy(&mut from_client, &mut to_server);
                let down = tokio::io::copy(&mut from_server, &mut to_client);
                tokio::select! { _ = up => {}, _ = down => {} }
                let _ = tokio::io::AsyncWriteExt::flush(&mut to_client).await;
            });
        }
    });
    addr
}
