//! `metadata.access = "probe"`: the metadata is for those whose credentials open a path of the upstream's.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::support::{
    clients,
    gate::{Gate, Setup, tufgate, until},
    http::{self, Response},
    nginx::Nginx,
};

const ALICE: &str = "Basic YWxpY2U6c2VjcmV0LWE=";
const BOB: &str = "Basic Ym9iOnNlY3JldC1i";
const NOBODY: &str = "Basic bm9ib2R5Og==";
const TOKEN: &str = "Bearer token-carol";

const PASSWORDS: &str = "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\n";

const MAPS: &str = "map $http_authorization $bearer { default \"\"; include @DIR@/tokens; }";

/// Everything asks for a password, but for what asks for a token, sends readers to log in, or is broken.
const SERVER: &str = "
    auth_basic \"r\"; auth_basic_user_file @DIR@/passwords;
    add_header Set-Cookie seen=1 always;
    location /open/ { auth_basic off; }
    location /token/ { auth_basic off; if ($bearer = \"\") { return 403; } }
    location /login/ { auth_basic off; rewrite ^ /open/login.html redirect; }
    location /busy/ { auth_basic off; add_header Retry-After 9 always; return 503; }
    location /read/ { auth_basic off; limit_except HEAD { auth_basic \"r\"; auth_basic_user_file @DIR@/passwords; } }
";

struct Guarded {
    nginx: Nginx,
    gate: Gate,
}

/// An upstream as above, and a gate that probes `path` there.
fn probing(path: &str) -> Guarded {
    let nginx = upstream();
    let access = format!("[metadata]\naccess = \"probe\"\nprobe = \"{path}\"\n");
    let gate = Gate::start(&Setup::learning(nginx.url()).extra(&access));
    Guarded { nginx, gate }
}

fn upstream() -> Nginx {
    let tokens = "\"Bearer token-carol\" carol;";
    let nginx = Nginx::start_as(MAPS, SERVER, &[("passwords", PASSWORDS), ("tokens", tokens)]);
    for file in [
        "guarded.txt",
        "open/login.html",
        "token/x",
        "login/x",
        "busy/x",
        "read/x",
    ] {
        fs::write(nginx.file(file), b"probed").unwrap();
    }
    nginx
}

impl Guarded {
    fn ask(&self, method: &str, file: &str, headers: &[(&str, &str)]) -> Response {
        http::request(self.gate.addr, method, &format!("/metadata/{file}"), headers, b"")
    }

    fn get(&self, file: &str, authorization: &str) -> Response {
        self.ask("GET", file, &[("Authorization", authorization)])
    }

    /// How often the upstream was asked for a path, once that was so often: it writes its log after it answers.
    fn asked_at_least(&self, path: &str, times: usize) -> usize {
        until("the upstream's log", || self.asked(path) >= times);
        self.asked(path)
    }

    /// How often the upstream was asked for a path.
    fn asked(&self, path: &str) -> usize {
        let line = format!("GET {path} ");
        self.nginx
            .access_log()
            .lines()
            .filter(|other| other.starts_with(&line))
            .count()
    }
}

/// Nothing of the metadata, and nothing of the path that was probed.
fn refused(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"), "{response:?}");
    assert_eq!(response.header("set-cookie"), None, "{response:?}");
    assert_eq!(response.header("etag"), None, "{response:?}");
    let body = String::from_utf8_lossy(&response.body).into_owned();
    assert!(!body.contains("signed") && !body.contains("probed"), "{body}");
}

#[test]
fn only_credentials_that_open_the_path_open_the_metadata() {
    let at = probing("/guarded.txt");
    for file in [
        "timestamp.json",
        "1.root.json",
        "root.json",
        "succinct/timestamp.json",
        "no-such.json",
        "",
    ] {
        for credentials in [
            &[][..],
            &[("Authorization", NOBODY)],
            &[("Cookie", "session=1")],
            &[("Authorization", "")],
        ] {
            let response = at.ask("GET", file, credentials);
            refused(&response, 401);
            assert_eq!(response.problem().as_deref(), Some("metadata-access"), "{response:?}");
            assert_eq!(
                response.header("www-authenticate"),
                Some("Basic realm=\"r\""),
                "{response:?}"
            );
            let head = at.ask("HEAD", file, credentials);
            refused(&head, 401);
            assert_eq!(head.header("www-authenticate"), Some("Basic realm=\"r\""), "{head:?}");
        }
    }
    for credential in [ALICE, BOB] {
        for file in ["timestamp.json", "1.root.json", "root.json", "succinct/timestamp.json"] {
            let response = at.get(file, credential);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.header("cache-control"), Some("private, no-store"), "{file}");
            assert_eq!(
                response.header("surrogate-key"),
                None,
                "no cache is told how to find it"
            );
            serde_json::from_slice::<serde_json::Value>(&response.body).unwrap();
            let etag = response.header("etag").unwrap();
            let condition = [("Authorization", credential), ("If-None-Match", etag)];
            let known = at.ask("GET", file, &condition);
            assert_eq!((known.status, known.body.len()), (304, 0), "{file}");
            assert_eq!(known.header("cache-control"), Some("private, no-store"), "{file}");
            refused(&at.ask("GET", file, &condition[1..]), 401);
            let head = at.ask("HEAD", file, &condition[..1]);
            assert_eq!(head.header("cache-control"), Some("private, no-store"), "{file}");
            assert_eq!(head.header("content-length").unwrap(), response.body.len().to_string());
        }
        let missing = at.get("99.root.json", credential);
        assert_eq!(
            (missing.status, missing.header("cache-control")),
            (404, Some("private, no-store"))
        );
    }
    let log = at.gate.log();
    for secret in ["YWxpY2U6", "secret-a", "Ym9iOnN"] {
        assert!(!log.contains(secret), "the log holds `{secret}`");
    }
}

#[test]
fn clients_that_cannot_send_credentials_are_told_so() {
    let at = probing("/guarded.txt");
    let url = at.gate.url();
    for args in [&["verify"][..], &["get", "a", "--store", "store"]] {
        let rest = ["--url", &url, "--root", "metadata/1.root.json"];
        let output = tufgate(&at.gate.dir, &[args, &rest].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("401") && said.contains("cannot send credentials"),
            "{said}"
        );
    }
}

#[test]
fn a_yes_is_remembered_for_a_moment_and_a_no_never() {
    let at = probing("/token/x");
    // The gate's own question at its start.
    let before = at.asked_at_least("/token/x", 1);
    for _ in 0..20 {
        refused(&at.get("timestamp.json", NOBODY), 403);
    }
    assert_eq!(
        at.asked_at_least("/token/x", before + 20),
        before + 20,
        "each refusal is the upstream's own, at that moment"
    );
    assert_eq!(at.get("timestamp.json", TOKEN).status, 200);
    let once = at.asked_at_least("/token/x", before + 21);
    // However slow this machine is: the yes is asked for again every few seconds at most, not for each request.
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(at.get("timestamp.json", TOKEN).status, 200);
        refused(&at.get("timestamp.json", "Bearer token-caro"), 403);
    }
    let yes = at.asked_at_least("/token/x", once + 200) - once - 200;
    assert!(
        yes as f64 <= begun.elapsed().as_secs_f64() + 1.0,
        "asked {yes} times for one client's yes"
    );
    // A token that is given or taken away counts within that time.
    fs::write(at.nginx.dir().join("tokens"), "\"Bearer token-dora\" dora;").unwrap();
    at.nginx.reload();
    assert_eq!(
        at.get("timestamp.json", "Bearer token-dora").status,
        200,
        "nobody waits for access"
    );
    until("the end of what carol may", || {
        at.get("timestamp.json", TOKEN).status == 403
    });
    refused(&at.get("1.root.json", TOKEN), 403);
}

#[test]
fn what_is_no_yes_opens_nothing() {
    // A page to log in is 200 to everybody: where the path redirects there, it must not count.
    let at = probing("/login/x");
    refused(&at.get("timestamp.json", ALICE), 403);
    let at = probing("/busy/x");
    let busy = at.get("timestamp.json", ALICE);
    refused(&busy, 503);
    assert_eq!(busy.header("retry-after"), Some("9"));
    // HEAD is open to everybody there: only GET says who may read.
    let at = probing("/read/x");
    refused(&at.ask("HEAD", "timestamp.json", &[]), 401);
    refused(&at.get("timestamp.json", NOBODY), 401);
    assert_eq!(at.get("timestamp.json", ALICE).status, 200);
    // An upstream that is away says nobody may.
    let mut at = probing("/guarded.txt");
    at.nginx.stop();
    let away = at.get("timestamp.json", ALICE);
    refused(&away, 502);
    assert_eq!(away.problem().as_deref(), Some("upstream-unreachable"));
    at.nginx.restart();
    assert_eq!(at.get("timestamp.json", ALICE).status, 200);
}

#[test]
fn a_gate_before_a_guarded_upstream_wants_to_be_told() {
    let nginx = upstream();
    let folder = tempfile::Builder::new().prefix("tufgate-test-").tempdir().unwrap();
    let gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
    let refused = tufgate(&gate.dir, &["serve", "--config", "tufgate.toml"]);
    assert_eq!(refused.status.code(), Some(64));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("access = \"probe\"") && said.contains("access = \"public\""),
        "{said}"
    );
    // A path that anybody may read is said to be one, and so is one that is not there.
    for (path, words) in [
        ("/open/login.html", "anybody may read"),
        ("/open/none", "the upstream has no"),
    ] {
        let at = probing(path);
        assert!(at.gate.log().contains(words), "{}", at.gate.log());
    }
}

/// A gate that is told nothing of who may read the metadata, started while its upstream is away.
fn started_alone(nginx: &mut Nginx) -> (tempfile::TempDir, Gate) {
    nginx.stop();
    let folder = tempfile::Builder::new().prefix("tufgate-test-").tempdir().unwrap();
    let mut gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
    gate.launch();
    let (addr, admin) = (gate.addr, gate.admin);
    until("it to listen", || {
        [addr, admin]
            .iter()
            .all(|addr| std::net::TcpStream::connect(addr).is_ok())
    });
    for file in ["timestamp.json", "1.root.json", "root.json", "none.json"] {
        let closed = gate.get(&format!("/metadata/{file}"));
        refused(&closed, 503);
        assert_eq!(closed.problem().as_deref(), Some("metadata-access"), "{closed:?}");
    }
    until("the signer", || gate.dir.join("metadata/timestamp.json").exists());
    let ready = http::get(admin, "/readyz");
    let said = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(
        ready.status == 503 && said.contains("whether it asks anonymous readers for credentials"),
        "{said}"
    );
    (folder, gate)
}

#[test]
fn nobody_reads_the_metadata_before_the_upstream_was_asked() {
    let mut open = Nginx::start();
    let (_folder, gate) = started_alone(&mut open);
    open.restart();
    until("the metadata", || gate.get("/metadata/timestamp.json").status == 200);
    assert_eq!(http::get(gate.admin, "/readyz").status, 200);

    let mut guarded = upstream();
    let (_folder, gate) = started_alone(&mut guarded);
    guarded.restart();
    until("the answer", || gate.log().contains("the metadata stays closed"));
    assert!(gate.log().contains("access = \\\"probe\\\""), "{}", gate.log());
    let closed = gate.get("/metadata/timestamp.json");
    refused(&closed, 503);
    assert_eq!(http::get(gate.admin, "/readyz").status, 503);
    assert_eq!(
        gate.get("/guarded.txt").status,
        401,
        "paths are the upstream's to guard"
    );
}

#[test]
fn a_folder_below_a_rule_is_asked_about_too() {
    let server = "
        location /releases/ { auth_basic \"r\"; auth_basic_user_file @DIR@/passwords; }
        location /token/ { if ($http_authorization = \"\") { return 403; } }
    ";
    let nginx = Nginx::start_as("", server, &[("passwords", PASSWORDS)]);
    for (rule, status) in [("releases/**", "401"), ("a/**", ""), ("token/*.txt", "403")] {
        let folder = tempfile::Builder::new().prefix("tufgate-test-").tempdir().unwrap();
        let rules = format!("[[rule]]\npath = \"{rule}\"\nkind = \"immutable\"\n");
        let setup = Setup::learning(nginx.url()).rules(&rules);
        let mut gate = Gate::prepare(&setup, folder.path().to_path_buf());
        if status.is_empty() {
            gate.run();
            continue;
        }
        let refused = tufgate(&gate.dir, &["serve", "--config", "tufgate.toml"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(64), "{said}");
        assert!(said.contains(status) && said.contains("access = \"public\""), "{said}");
    }
}

#[test]
fn reads_of_the_gates_own_that_are_refused_are_told_once() {
    let server = "location /deep/er/ { auth_basic \"r\"; auth_basic_user_file @DIR@/passwords; }";
    let nginx = Nginx::start_as("", server, &[("passwords", PASSWORDS)]);
    for name in ["a", "b"] {
        fs::write(nginx.file(&format!("deep/er/{name}")), name).unwrap();
    }
    let warning = "to the gate's own read of `/deep/er/";
    for (identity, words) in [("", "is everybody's"), (NOBODY, "in spite of `[upstream.identity]`")] {
        let mut setup = Setup::learning(nginx.url());
        if !identity.is_empty() {
            let file = nginx.dir().join("identity");
            fs::write(&file, identity).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            setup = setup.extra(&format!(
                "[upstream.identity]\nauthorization_file = \"{}\"\n",
                file.display()
            ));
        }
        let gate = Gate::start(&setup);
        assert!(!gate.log().contains(warning));
        for (name, count) in [("a", 1.0), ("b", 2.0)] {
            let credentials = [("Authorization", ALICE)];
            let read = http::request(gate.addr, "GET", &format!("/deep/er/{name}"), &credentials, b"");
            assert_eq!(read.status, 200);
            until("the gate's own read", || {
                gate.metric("tufgate_neutral_refusals_total") >= count
            });
        }
        let log = gate.log();
        assert_eq!(log.matches(warning).count(), 1, "{log}");
        assert!(log.contains(words) && !log.contains(NOBODY), "{log}");
    }
}

#[test]
fn python_tuf_updates_with_credentials_and_not_without() {
    let at = probing("/guarded.txt");
    let put = http::request(
        at.gate.addr,
        "PUT",
        "/a.txt",
        &[("Authorization", ALICE), ("Prefer", "wait=20")],
        b"a",
    );
    assert_eq!(put.status, 201, "{put:?}");
    assert!(put.header("tufgate-status").unwrap().starts_with("signed"), "{put:?}");
    let user = tempfile::Builder::new().prefix("tufgate-user-").tempdir().unwrap();
    let python = |name: &str, authorization: Option<&str>| -> Output {
        let mut command = Command::new(clients::python());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/python_tuf.py"));
        command.args(["--metadata-url", &format!("{}/metadata/", at.gate.url())]);
        command
            .args(["--targets-url", &format!("{}/", at.gate.url()), "--root"])
            .arg(at.gate.root());
        command.arg("--dir").arg(user.path().join(name));
        if let Some(authorization) = authorization {
            command.args(["--authorization", authorization]);
        }
        command.arg("a.txt").arg(user.path().join(format!("{name}.txt")));
        command.stdin(Stdio::null()).output().unwrap()
    };
    let good = python("alice", Some(ALICE));
    assert!(good.status.success(), "{good:?}");
    assert_eq!(fs::read(user.path().join("alice.txt")).unwrap(), b"a");
    for (name, authorization) in [("nobody", Some(NOBODY)), ("none", None)] {
        let bad = python(name, authorization);
        let said = String::from_utf8_lossy(&bad.stdout).into_owned();
        assert!(!bad.status.success() && said.contains("401"), "{bad:?}");
        assert!(!user.path().join(format!("{name}.txt")).exists());
    }
}
