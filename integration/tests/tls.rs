//! The gate's own TLS: what clients see of it, and how its certificate is renewed while it runs.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::support::{
    certificates::{Authority, VALID},
    curl::{Got, curl},
    gate::{Gate, Setup, binary, signal, tufgate, until},
    http,
    nginx::Nginx,
};

const TLS: &str = "[gate.tls]\ncertificate = \"gate.pem\"\nkey = \"gate.key\"\n";
const RULES: &str = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";

/// A gate by TLS in front of nginx.
struct Secured {
    authority: Authority,
    nginx: Nginx,
    gate: Gate,
    _folder: tempfile::TempDir,
}

impl Secured {
    fn start() -> Self {
        let authority = Authority::new();
        let echo = "location /echo { return 200 \"$http_x_forwarded_proto $http_x_forwarded_host $http_host\"; }";
        let nginx = Nginx::start_with(echo);
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::learning(nginx.url()).rules(RULES).extra(TLS);
        let mut gate = Gate::prepare(&setup, folder.path().to_path_buf());
        authority.issue(folder.path(), "gate", &["localhost", "127.0.0.1"], VALID);
        gate.run();
        Self {
            authority,
            nginx,
            gate,
            _folder: folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gate.addr.port())
    }

    fn curl(&self, args: &[&str], input: &[u8]) -> Got {
        let ca = self.authority.file();
        curl(&[&["--cacert", ca.to_str().unwrap()], args].concat(), input)
    }

    /// A pair that takes the gate's place.
    fn issue(&self, valid: (i32, i32)) -> Vec<u8> {
        self.authority.issue(&self.gate.dir, "gate", &["localhost"], valid)
    }

    fn shown(&self) -> Option<Vec<u8>> {
        shown(self.gate.addr, &self.authority.file())
    }

    fn until_shown(&self, wanted: &[u8]) {
        until("the certificate to be shown", || {
            self.shown().as_deref() == Some(wanted)
        });
    }

    fn errors(&self) -> usize {
        self.gate.log().matches("the new certificate was not taken").count()
    }
}

/// The certificate that a server shows to a client that trusts `ca`; `None` when the handshake fails.
fn shown(addr: SocketAddr, ca: &Path) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = http::connect(addr);
    while client.is_handshaking() {
        client.complete_io(&mut tcp).ok()?;
    }
    Some(client.peer_certificates()?.first()?.to_vec())
}

#[test]
fn curl_publishes_and_reads_by_tls_with_http_1_and_2() {
    let site = Secured::start();
    for (version, flags) in [
        ("1.1", &["--http1.1"][..]),
        ("2", &["--http2"]),
        ("1.0", &["--http1.0", "--no-alpn"]),
    ] {
        let path = format!("/repo/{version}");
        let url = site.url(&path);
        let body = vec![7; 300_000];
        let file = site.gate.dir.join("upload");
        fs::write(&file, &body).unwrap();
        let put = site.curl(&[flags, &["-T", file.to_str().unwrap(), &url]].concat(), b"");
        assert_eq!((put.code, put.status), (0, 201), "{version}: {put:?}");
        assert_eq!(fs::read(site.nginx.file(&path[1..])).unwrap(), body);
        let got = site.curl(&[flags, &[&url]].concat(), b"");
        assert!(
            got.code == 0 && got.body == body,
            "{version}: {} {}",
            got.status,
            got.said
        );
        if version == "2" {
            assert_eq!(got.version, "2", "by ALPN");
        }
        let echo = site.curl(&[flags, &[&site.url("/echo")]].concat(), b"");
        let (host, upstream) = (format!("localhost:{}", site.gate.addr.port()), site.nginx.address());
        assert_eq!(
            String::from_utf8(echo.body).unwrap(),
            format!("https {host} {upstream}"),
            "{version}"
        );
    }
}

#[test]
fn tuf_clients_come_by_tls() {
    let site = Secured::start();
    let put = site.curl(
        &["--http2", "-T", "-", "-H", "Prefer: wait=20", &site.url("/repo/a")],
        b"bytes",
    );
    assert!(
        put.header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed")),
        "{put:?}"
    );
    let out = site.gate.dir.join("out");
    let root = site.gate.root();
    let (ca, url) = (site.authority.file(), site.url("/"));
    let args = [
        "get",
        "--root",
        root.to_str().unwrap(),
        "--url",
        url.trim_end_matches('/'),
        "--ca",
        ca.to_str().unwrap(),
        "repo/a",
        "-o",
        out.to_str().unwrap(),
    ];
    let got = Command::new(binary())
        .args(args)
        .env("XDG_STATE_HOME", &site.gate.dir)
        .env("HOME", &site.gate.dir)
        .output()
        .unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(fs::read(out).unwrap(), b"bytes");
}

#[test]
fn what_is_no_tls_or_too_old_is_turned_away_and_others_go_on() {
    let site = Secured::start();
    let plain = http::get(site.gate.addr, "/metadata/timestamp.json");
    assert_eq!(plain.status, 0, "{plain:?}");
    let old = site.curl(
        &["--tlsv1.0", "--tls-max", "1.1", &site.url("/metadata/timestamp.json")],
        b"",
    );
    assert_ne!(old.code, 0, "{old:?}");
    let stranger = curl(&[&site.url("/metadata/timestamp.json")], b"");
    assert_eq!(
        stranger.code, 60,
        "not of an authority this machine knows: {stranger:?}"
    );
    let good = site.curl(&[&site.url("/metadata/timestamp.json")], b"");
    assert_eq!((good.status, good.version.as_str()), (200, "2"), "{good:?}");
    assert!(site.gate.metric("tufgate_tls_failures_total") >= 3.0);
    assert!(
        !site.gate.log().contains("ERROR"),
        "a stranger is no error of ours: {}",
        site.gate.log()
    );
}

#[test]
fn a_renewed_certificate_is_taken_while_connections_go_on() {
    let site = Secured::start();
    let first = site.shown().unwrap();
    let expires = |gate: &Gate| gate.metric("tufgate_certificate_expires_seconds");
    assert_eq!(expires(&site.gate), 4_102_444_800.0, "2100-01-01");
    let next = site.issue((2020, 2090));
    assert_ne!(first, next);
    site.until_shown(&next);
    assert_eq!(expires(&site.gate), 3_786_912_000.0, "2090-01-01");

    // As ACME clients do it: links whose targets change.
    let archive = tempfile::tempdir_in(&site.gate.dir).unwrap();
    let linked = |year: i32| {
        let name = format!("gate{year}");
        let der = site
            .authority
            .issue(archive.path(), &name, &["localhost"], (2020, year));
        for kind in ["key", "pem"] {
            let (link, new) = (
                site.gate.dir.join(format!("gate.{kind}")),
                archive.path().join(format!("new.{kind}")),
            );
            std::os::unix::fs::symlink(archive.path().join(format!("{name}.{kind}")), &new).unwrap();
            fs::rename(new, link).unwrap();
        }
        der
    };
    for year in [2080, 2081] {
        let next = linked(year);
        site.until_shown(&next);
    }
    assert_eq!(site.errors(), 0, "{}", site.gate.log());
}

#[test]
fn a_bad_certificate_leaves_the_last_good_one_and_is_told_once() {
    let site = Secured::start();
    let first = site.shown().unwrap();
    let (chain, key) = (site.gate.dir.join("gate.pem"), site.gate.dir.join("gate.key"));
    let good = (fs::read(&chain).unwrap(), fs::read(&key).unwrap());
    let back = || {
        fs::write(&chain, &good.0).unwrap();
        fs::write(&key, &good.1).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let breaks: [(&str, &dyn Fn()); 5] = [
        ("cannot read the certificate", &|| fs::remove_file(&chain).unwrap()),
        ("expired at", &|| drop(site.issue((2020, 2021)))),
        ("does not belong", &|| {
            site.issue(VALID);
            fs::write(&key, &good.1).unwrap();
        }),
        ("no certificate in PEM", &|| fs::write(&chain, "").unwrap()),
        ("everybody may read it", &|| {
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap()
        }),
    ];
    for (nth, (said, spoil)) in breaks.iter().enumerate() {
        spoil();
        until(said, || site.gate.log().contains(said));
        assert_eq!(site.shown().as_deref(), Some(&first[..]), "{said}");
        // Asked for twice by a signal, it is said twice more; looked at again without one, never.
        let before = site.errors();
        assert_eq!(before, 3 * nth + 1, "{said}: {}", site.gate.log());
        for asked in 1..=2 {
            signal("HUP", site.gate.pid());
            until("the answer to a signal", || site.errors() == before + asked);
        }
        back();
        let taken = site.gate.log().matches("into use").count();
        until("the good one", || site.gate.log().matches("into use").count() > taken);
    }
    assert_eq!(site.shown().as_deref(), Some(&first[..]));
    assert_eq!(site.gate.metric("tufgate_certificate_failures_total"), 15.0);
}

#[test]
fn a_signal_takes_the_certificate_at_once() {
    let site = Secured::start();
    let next = site.issue((2020, 2070));
    signal("HUP", site.gate.pid());
    site.until_shown(&next);
    assert_eq!(site.errors(), 0);
}

#[test]
fn an_authoritys_certificate_is_told_to_operator_and_client() {
    let nginx = Nginx::start();
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::learning(nginx.url()).extra(TLS);
    let mut gate = Gate::prepare(&setup, folder.path().to_path_buf());
    Authority::self_signed(folder.path(), "gate", &["localhost"]);
    gate.run();
    assert!(gate.log().contains("is an authority's (CA:TRUE)"), "{}", gate.log());
    let url = format!("https://localhost:{}", gate.addr.port());
    for command in ["get", "verify"] {
        let mut args = vec![
            command,
            "--url",
            &url,
            "--root",
            "metadata/1.root.json",
            "--ca",
            "gate.pem",
        ];
        if command == "get" {
            args.extend(["--store", "store", "a"]);
        }
        let output = tufgate(folder.path(), &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("(CA:TRUE)"), "{said}");
        assert!(!said.contains("CaUsedAsEndEntity"), "{said}");
        if command == "get" {
            assert!(said.contains("-addext basicConstraints=CA:FALSE"), "{said}");
        }
    }
}

#[test]
fn verify_takes_an_authority() {
    let site = Secured::start();
    let (url, ca) = (site.url(""), site.authority.file());
    let verify = [
        "verify",
        "--url",
        url.trim_end_matches('/'),
        "--root",
        "metadata/1.root.json",
    ];
    assert!(!tufgate(&site.gate.dir, &verify).status.success());
    let output = tufgate(&site.gate.dir, &[&verify[..], &["--ca", ca.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_the_gate_from_starting() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let dir: PathBuf = folder.path().to_path_buf();
    Gate::prepare(&Setup::learning("http://127.0.0.1:9/").extra(TLS), dir.clone());
    let refused = |said: &str| {
        for more in [&["--check"][..], &[]] {
            let output = tufgate(&dir, &[&["serve", "--config", "tufgate.toml"], more].concat());
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{said}: {told}");
            assert!(told.contains(said) && told.contains("hint: "), "{told}");
        }
    };
    refused("cannot read the certificate");
    authority.issue(&dir, "gate", &["localhost"], (2020, 2021));
    refused("expired at 2021-01-01T00:00:00Z");
    authority.issue(&dir, "gate", &["localhost"], VALID);
    fs::set_permissions(dir.join("gate.key"), fs::Permissions::from_mode(0o604)).unwrap();
    refused("has mode 604: everybody may read it");
    authority.issue(&dir, "other", &["localhost"], VALID);
    fs::copy(dir.join("other.key"), dir.join("gate.key")).unwrap();
    fs::set_permissions(dir.join("gate.key"), fs::Permissions::from_mode(0o600)).unwrap();
    refused("does not belong to the certificate");
}
