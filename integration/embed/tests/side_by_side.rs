//! Their routes and the gate's, in one program.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../support/gate.rs"]
mod gate;
#[path = "../../support/http.rs"]
mod http;
#[path = "../../support/nginx.rs"]
mod nginx;

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use gate::{Gate, Setup, binary, signal, until};
use nginx::Nginx;

/// The application; killed when dropped.
struct Program(Child);

impl Program {
    /// Started over a gate's folder, with an upstream of its own.
    fn start(gate: &Gate, other: &Nginx) -> Self {
        let log = fs::File::create(gate.dir.join("gate.log")).unwrap();
        let child = Command::new(binary())
            .args(["serve", "--config", "tufgate.toml"])
            .env("SITE_OTHER", other.address().to_string())
            .current_dir(&gate.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let open = |addr| std::net::TcpStream::connect(addr).is_ok();
        until("the application", || {
            open(gate.admin) && http::get(gate.admin, "/readyz").status == 200 && open(gate.addr)
        });
        Self(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn their_routes_and_the_gates_stand_side_by_side() {
    let (artifacts, other) = (Nginx::start(), Nginx::start());
    fs::write(other.file("page.txt"), "a page of theirs").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::prepare(&Setup::learning(artifacts.url()), folder.path().to_path_buf());
    let mut program = Program::start(&gate, &other);

    let hello = gate.get("/internal/hello");
    assert_eq!((hello.status, hello.header("tufgate-status")), (200, None), "{hello:?}");
    assert!(hello.body.starts_with(b"hello from the application"));
    let page = gate.get("/other/page.txt");
    assert_eq!(
        (page.status, page.body.as_slice()),
        (200, b"a page of theirs".as_slice())
    );
    assert_eq!(
        (page.header("x-site"), page.header("tufgate-status")),
        (Some("embed"), None)
    );

    let text = "recorded\n".repeat(1000);
    gate.publish("/notes/a.txt", text.as_bytes());
    assert_eq!(gate.get("/notes/a.txt").body, text.as_bytes());
    assert_eq!(gate.put("/notes/a.txt", b"other bytes").status, 409);
    assert_eq!(gate.get("/metadata/1.root.json").status, 200);
    assert_eq!(gate.status()["targets"], 1, "their routes are not recorded");
    let seen = artifacts.access_log();
    assert!(!seen.contains("internal") && !seen.contains("other"), "{seen}");

    signal("TERM", program.0.id());
    assert_eq!(program.0.wait().unwrap().code(), Some(0), "{}", gate.log());
}

#[test]
fn their_compression_leaves_the_gates_answers_alone() {
    let (artifacts, other) = (Nginx::start(), Nginx::start());
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::prepare(&Setup::learning(artifacts.url()), folder.path().to_path_buf());
    let _program = Program::start(&gate, &other);
    let get = |path| http::request(gate.addr, "GET", path, &[("Accept-Encoding", "gzip")], b"");

    assert_eq!(get("/internal/hello").header("content-encoding"), Some("gzip"));
    let text = "recorded\n".repeat(1000);
    gate.publish("/notes/a.txt", text.as_bytes());
    let recorded = get("/notes/a.txt");
    assert_eq!(recorded.header("content-encoding"), None, "{recorded:?}");
    assert_eq!(recorded.header("content-length"), Some("9000"));
    assert_eq!(recorded.body, text.as_bytes());
}
