//! `tufgate get` as a user runs it: many targets, interruptions, mirrors, https, and servers that do what they should not.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tufgate::internals::digest::Digest;

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, binary, free_addr, until},
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

const BIG: usize = 1_000_000;
/// How much of it comes before an interruption.
const SOME: usize = 300_000;

/// A gate with targets, the web server behind it, and a user's folder.
struct Site {
    gate: Gate,
    nginx: Nginx,
    user: tempfile::TempDir,
    files: BTreeMap<String, Vec<u8>>,
}

impl Site {
    fn new() -> Self {
        let nginx = Nginx::start();
        let gate = Gate::start(&Setup::learning(nginx.url()));
        let big = (0..BIG as u32).map(|n| (n / 5) as u8).collect();
        let files: BTreeMap<String, Vec<u8>> = [
            ("a/one.txt", b"one".to_vec()),
            ("a/b c.txt", b"two".to_vec()),
            ("d/big.bin", big),
            ("top.txt", b"top".to_vec()),
        ]
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .into();
        for (path, bytes) in &files {
            gate.publish(&format!("/{}", path.replace(' ', "%20")), bytes);
        }
        let user = tempfile::Builder::new().prefix("tufgate-user-").tempdir().unwrap();
        Self {
            gate,
            nginx,
            user,
            files,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.user.path().join(path)
    }

    /// `tufgate get` with the gate's root, in the user's folder; it remembers what it trusts.
    fn get(&self) -> Command {
        self.get_with("0")
    }

    /// The same with so many retries.
    fn get_with(&self, retries: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .current_dir(self.user.path())
            .args(["get", "--retries", retries, "--store"])
            .arg(self.at("store"))
            .arg("--root")
            .arg(self.gate.root())
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null());
        command
    }

    /// The same, metadata and targets from the gate.
    fn here(&self) -> Command {
        let mut command = self.get();
        command.arg("--url").arg(self.gate.url());
        command
    }

    /// The same, metadata from the gate, targets under their bare names from these.
    fn from(&self, targets: &[&str]) -> Command {
        self.asking("0", targets)
    }

    /// The same with so many retries.
    fn asking(&self, retries: &str, targets: &[&str]) -> Command {
        let mut command = self.get_with(retries);
        command
            .args(["--naming", "bare", "--metadata-url"])
            .arg(format!("{}/metadata/", self.gate.url()));
        for url in targets {
            command.args(["--targets-url", url]);
        }
        command
    }

    /// Where a broken-off download of a target to the user's folder is kept.
    fn part(&self, path: &str) -> PathBuf {
        self.at(&format!(".tufgate-{}.part", Digest::of(&self.files[path])))
    }

    /// Status and bytes of each answer about a path, once there are `count`.
    fn answers(&self, path: &str, count: usize) -> Vec<String> {
        let read = || -> Vec<String> {
            let log = self.nginx.access_log();
            let ours = log.lines().filter(|line| line.contains("\"tufgate/"));
            let about = ours.filter_map(|line| line.strip_prefix(&format!("GET {path} ")));
            about.map(|rest| rest.split(" \"").next().unwrap().to_owned()).collect()
        };
        until("the access log", || read().len() >= count);
        read()
    }
}

/// What it said: exit code, standard output, standard error.
fn said(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap(), text(&stdout), text(&stderr))
}

#[track_caller]
fn succeeds(command: &mut Command) -> (String, String) {
    let (code, out, err) = said(command);
    assert_eq!(code, 0, "{out}{err}");
    (out, err)
}

/// It fails with this exit code, and what it says is lines of errors, hints and notes with these words.
#[track_caller]
fn fails(command: &mut Command, code: i32, words: &[&str]) -> String {
    let (said, out, err) = said(command);
    assert_eq!(said, code, "{out}{err}");
    let known = |line: &str| {
        ["error: ", "hint: ", "note: "]
            .iter()
            .any(|kind| line.starts_with(kind))
    };
    assert!(err.lines().all(known) && err.contains("error: "), "{err}");
    for word in words {
        assert!(err.contains(word), "`{word}` is missing: {err}");
    }
    err
}

#[test]
fn many_targets_come_from_the_command_line_and_a_list() {
    let site = Site::new();
    fs::write(site.at("list"), "# what we need\n\na/b c.txt\r\nd/big.bin\n").unwrap();
    let mut many = site.here();
    many.args(["a/one.txt", "--from", "list", "--out", "in/here"]);
    let (out, err) = succeeds(&mut many);
    for path in ["a/one.txt", "a/b c.txt", "d/big.bin"] {
        assert_eq!(fs::read(site.at("in/here").join(path)).unwrap(), site.files[path]);
        assert!(out.contains(&format!("in/here/{path} verified: ")), "{out}");
    }
    assert!(!site.at("in/here/top.txt").exists());
    assert_eq!((out.lines().count(), &*err), (4, ""), "{out}");
    let again = succeeds(&mut many).0;
    assert_eq!(again.matches(" already there: ").count(), 3, "{again}");

    let mut listed = site
        .here()
        .args(["--from", "-", "-q"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    listed.stdin.take().unwrap().write_all(b"top.txt").unwrap();
    assert!(listed.wait().unwrap().success());
    assert_eq!(fs::read(site.at("top.txt")).unwrap(), b"top");

    // One that is not there does not keep the others from coming.
    let some = fails(
        site.here().args(["nowhere", "a/one.txt", "-o", "some"]),
        1,
        &["error: 1 of 2 targets failed"],
    );
    assert!(some.contains("error: `nowhere` is not in this repository\n"), "{some}");
    assert_eq!(fs::read(site.at("some/a/one.txt")).unwrap(), b"one");
}

#[test]
fn json_has_a_line_for_each_target_errors_too() {
    let site = Site::new();
    let lines = |command: &mut Command| -> (i32, Vec<Value>) {
        let (code, out, _) = said(command);
        let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
        (code, lines.collect())
    };
    let (code, found) = lines(site.here().args(["--json", "a/one.txt", "nowhere", "-o", "x/"]));
    assert_eq!((code, found.len()), (1, 2), "{found:?}");
    assert_eq!(found[0]["sha256"], Digest::of("one").to_string());
    assert_eq!((&found[0]["length"], &found[0]["present"]), (&json!(3), &json!(false)));
    assert!(found[1]["error"].as_str().unwrap().contains("nowhere"), "{found:?}");
    assert_eq!(
        (&found[1]["attack"], found[1]["hint"].is_string()),
        (&Value::Null, true)
    );

    let (_runtime, liar) = hostile_origin();
    liar.put_file("/top.txt", "pot");
    let (code, found) = lines(site.from(&[&liar.url()]).args(["--json", "--quiet", "top.txt"]));
    assert_eq!(
        (code, &found[0]["attack"]),
        (1, &json!("arbitrary software")),
        "{found:?}"
    );
    // Where nothing can be looked up, each has the same to say.
    let dead = format!("http://{}", free_addr());
    let (code, found) = lines(site.get().args(["--url", &dead, "--json", "top.txt", "a/one.txt"]));
    assert_eq!((code, found.len()), (1, 2));
    assert!(
        found.iter().all(|line| line["error"].as_str().unwrap().contains(&dead)),
        "{found:?}"
    );
}

#[test]
fn standard_output_gets_a_target_only_when_it_is_verified_whole() {
    let site = Site::new();
    let whole = site.here().args(["d/big.bin", "-o", "-"]).output().unwrap();
    assert!(whole.status.success() && whole.stdout == site.files["d/big.bin"]);
    assert!(String::from_utf8_lossy(&whole.stderr).starts_with("standard output verified: 1000000 bytes"));
    let (_runtime, origin) = hostile_origin();
    let mut wrong = site.files["d/big.bin"].clone();
    wrong[BIG - 1] ^= 1;
    origin.put_file("/d/big.bin", wrong);
    let refused = site
        .from(&[&origin.url()])
        .args(["d/big.bin", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    origin.script("/d/big.bin", Behaviour::Truncate(Framing::Length, SOME));
    let cut = site
        .from(&[&origin.url()])
        .args(["d/big.bin", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!((cut.status.code(), cut.stdout.len()), (Some(1), 0));
    fails(
        site.here().args(["a/one.txt", "top.txt", "-o", "-"]),
        2,
        &["takes one target"],
    );
    let left: Vec<_> = fs::read_dir(site.user.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the store: {left:?}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let site = Site::new();
    let whole = &site.files["d/big.bin"];
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/d/big.bin", whole.clone());
    origin.script("/d/big.bin", Behaviour::Stall(Framing::Length, SOME));
    let part = site.part("d/big.bin");

    // Killed in the middle.
    let mut killed = site.from(&[&origin.url()]).arg("d/big.bin").spawn().unwrap();
    let length = || fs::metadata(&part).map_or(0, |found| found.len() as usize);
    until("the first bytes", || length() == SOME);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!site.at("big.bin").exists());
    let (_, err) = succeeds(site.from(&[&site.nginx.url()]).arg("d/big.bin"));
    assert!(err.contains("goes on after 300000 bytes"), "{err}");
    assert_eq!(&fs::read(site.at("big.bin")).unwrap(), whole);
    assert!(!part.exists());
    assert_eq!(
        site.answers("/d/big.bin", 1),
        ["206 700000"],
        "no byte was fetched twice"
    );

    // Cut off, and continued at another mirror in the same run; then the gate continues one as well.
    fs::remove_file(site.at("big.bin")).unwrap();
    origin.script("/d/big.bin", Behaviour::Truncate(Framing::Length, SOME));
    let (_, err) = succeeds(site.from(&[&origin.url(), &site.nginx.url()]).arg("d/big.bin"));
    assert!(
        err.contains(&format!("mirror `{}/` is passed over", origin.url())),
        "{err}"
    );
    assert_eq!(&fs::read(site.at("big.bin")).unwrap(), whole);
    assert_eq!(site.answers("/d/big.bin", 2).last().unwrap(), "206 700000");
    fs::remove_file(site.at("big.bin")).unwrap();
    leave(&part, &whole[..SOME]);
    let (_, err) = succeeds(site.here().arg("d/big.bin"));
    assert!(err.contains("goes on after 300000 bytes"), "{err}");
    assert_eq!(&fs::read(site.at("big.bin")).unwrap(), whole);
}

/// A part as an interrupted run leaves it: nobody else's.
fn leave(part: &Path, bytes: &[u8]) {
    fs::write(part, bytes).unwrap();
    fs::set_permissions(part, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_cannot_be_continued_starts_over_once() {
    let site = Site::new();
    let whole = site.files["d/big.bin"].clone();
    let (part, out) = (site.part("d/big.bin"), site.at("big.bin"));
    // A beginning that is not its beginning: dropped, and everything fetched.
    leave(&part, &[b'x'; SOME]);
    let (_, err) = succeeds(site.from(&[&site.nginx.url()]).arg("d/big.bin"));
    assert!(
        err.contains("starts over: what was there of it is not its beginning"),
        "{err}"
    );
    assert_eq!(site.answers("/d/big.bin", 2), ["206 700000", "200 1000000"]);
    assert_eq!(fs::read(&out).unwrap(), whole);

    let (_runtime, origin) = hostile_origin();
    origin.put_file("/d/big.bin", whole.clone());
    // 206 for other parts than the one that is missing, and 416: asked once more for everything, which is the same.
    for (behaviour, answers) in [
        (Behaviour::Part(206, SOME - 1, BIG), 2),
        (Behaviour::Part(206, 0, BIG), 2),
        (Behaviour::Part(206, SOME, BIG - 1), 2),
        (Behaviour::Status(416), 2),
    ] {
        fs::remove_file(&out).ok();
        leave(&part, &whole[..SOME]);
        origin.script("/d/big.bin", behaviour.clone());
        let before = origin.count("/d/big.bin");
        fails(site.from(&[&origin.url()]).arg("d/big.bin"), 1, &["starts over"]);
        let asked: Vec<_> = origin.requests().into_iter().skip(before).collect();
        let ranges: Vec<_> = asked.iter().map(|seen| seen.header("range")).collect();
        assert_eq!(ranges, [Some("bytes=300000-"), None], "{behaviour:?}");
        assert_eq!(asked.len(), answers);
        assert!(!out.exists(), "{behaviour:?}");
    }
    // A server that knows no ranges: the one answer serves.
    leave(&part, &whole[..SOME]);
    origin.script("/d/big.bin", Behaviour::Serve(Framing::Chunked));
    let before = origin.count("/d/big.bin");
    succeeds(site.from(&[&origin.url()]).arg("d/big.bin"));
    assert_eq!(
        (origin.count("/d/big.bin"), fs::read(&out).unwrap()),
        (before + 1, whole)
    );
    assert!(!part.exists());
}

#[test]
fn what_may_pass_is_tried_again_and_a_lie_is_not() {
    let site = Site::new();
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/top.txt", "top");
    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    origin.script("/top.txt", Behaviour::Raw(busy.to_vec()));
    let again = |retries: &str| {
        let mut command = site.asking(retries, &[&origin.url()]);
        command.arg("top.txt");
        command
    };
    let begun = Instant::now();
    let running = again("20").stderr(Stdio::piped()).spawn().unwrap();
    until("the second try", || origin.count("/top.txt") >= 2);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "before the time the server named"
    );
    origin.script("/top.txt", Behaviour::Serve(Framing::Length));
    let ended = running.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        ended.status.success() && told.contains("503") && told.contains("trying again in"),
        "{told}"
    );

    for (behaviour, tries) in [
        (Behaviour::Status(404), 1),
        (Behaviour::Status(401), 1),
        (
            Behaviour::ServeWith(Framing::Length, "Content-Encoding: gzip\r\n".into()),
            1,
        ),
        (Behaviour::Status(500), 2),
        (Behaviour::Truncate(Framing::Length, 1), 2),
    ] {
        fs::remove_file(site.at("top.txt")).ok();
        origin.script("/top.txt", behaviour.clone());
        let before = origin.count("/top.txt");
        fails(&mut again("1"), 1, &[]);
        assert_eq!(origin.count("/top.txt") - before, tries, "{behaviour:?}");
    }
    fs::remove_file(site.part("top.txt")).ok();
    origin.put_file("/top.txt", "pot");
    origin.script("/top.txt", Behaviour::Serve(Framing::Length));
    let before = origin.count("/top.txt");
    fails(&mut again("5"), 1, &["arbitrary software attack", "hint: "]);
    assert_eq!(origin.count("/top.txt") - before, 1, "a lie is asked for once");
}

#[test]
fn mirrors_that_are_down_lie_or_sleep_are_passed_over() {
    let site = Site::new();
    let (_runtime, liar) = hostile_origin();
    let (_other_runtime, sleeper) = hostile_origin();
    let forged = r#"{"signed":{"_type":"timestamp","spec_version":"1.0.0","version":99,"expires":"2099-01-01T00:00:00Z","meta":{"snapshot.json":{"version":99}}},"signatures":[]}"#;
    liar.put_file("/metadata/timestamp.json", forged);
    liar.put_file("/top.txt", "pot");
    sleeper.script_all(Behaviour::Silent);
    let down = format!("http://{}", free_addr());
    let urls = [down.clone(), liar.url(), sleeper.url(), site.gate.url()];
    let from = |urls: &[String], out: &str| {
        let mut command = site.get();
        for url in urls {
            command.args(["--url", url]);
        }
        command.args(["--naming", "bare", "--timeout", "2", "top.txt", "-o", out]);
        command
    };
    let (_, err) = succeeds(&mut from(&urls, "out1"));
    assert_eq!(fs::read(site.at("out1")).unwrap(), b"top");
    for url in &urls[..3] {
        assert!(
            err.contains(&format!("note: mirror `{url}/metadata/` is passed over: ")),
            "{url}: {err}"
        );
    }
    let nobody = fails(&mut from(&urls[..3], "out2"), 1, &[&down, "not answered in time"]);
    let error = nobody.lines().find(|line| line.starts_with("error: ")).unwrap();
    let first = error.split(';').next().unwrap();
    assert!(
        first.contains("`timestamp.json` is refused"),
        "what looks like an attack comes first: {error}"
    );
    assert!(!site.at("out2").exists());

    // The same for targets, with metadata from the gate alone.
    let (_, err) = succeeds(
        site.from(&[&down, &liar.url(), &sleeper.url(), &site.gate.url()])
            .args(["--timeout", "2", "top.txt", "-o", "out3"]),
    );
    assert_eq!(err.matches("is passed over").count(), 3, "{err}");
    assert_eq!(fs::read(site.at("out3")).unwrap(), b"top");
}

#[test]
fn no_target_leaves_its_folder() {
    let site = Site::new();
    let (_runtime, origin) = hostile_origin();
    let refused = |args: &[&str], words: &str| {
        fails(
            site.get().args(["--url", &origin.url(), "-o", "in"]).args(args),
            2,
            &[words],
        );
    };
    fs::write(site.at("list"), "# nothing\n").unwrap();
    refused(&["--from", "list"], "names no target");
    refused(&["a", "a/b"], "cannot both be written");
    assert!(
        origin.requests().is_empty(),
        "it was refused before anything was fetched"
    );
    assert!(!site.at("in").exists());

    // A name that has no place there fails alone.
    let bad = ["../x", "a/../../x", "/etc/x", "a//b", "./x", "a/.", "demo/"];
    fs::write(site.at("list"), format!("{}\na\0b\ntop.txt\n", bad.join("\n"))).unwrap();
    let some = fails(
        site.here().args(["--from", "list", "d/big.bin", "-o", "kept"]),
        1,
        &["8 of 10 targets failed", "NUL"],
    );
    for bad in bad {
        let told = some
            .lines()
            .filter(|line| line.contains(&format!("`{bad}`")))
            .collect::<Vec<_>>();
        assert!(
            matches!(told[..], [line] if line.matches(bad).count() == 1),
            "{bad}: {some}"
        );
    }
    let mut kept = Vec::new();
    for entry in fs::read_dir(site.at("kept")).unwrap() {
        kept.push(entry.unwrap().file_name().into_string().unwrap());
    }
    kept.sort();
    assert_eq!(kept, ["d", "top.txt"]);

    let outside = site.at("outside");
    fs::create_dir_all(site.at("in/d")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "theirs").unwrap();
    symlink(&outside, site.at("in/a")).unwrap();
    symlink(outside.join("precious"), site.at("in/top.txt")).unwrap();
    let some = fails(
        site.here().args(["a/one.txt", "top.txt", "d/big.bin", "-o", "in"]),
        1,
        &["1 of 3 targets failed", "a link, which is not followed"],
    );
    assert!(some.contains("`a/one.txt`"), "{some}");
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(
        fs::read(site.at("in/top.txt")).unwrap(),
        b"top",
        "the link was replaced"
    );
    assert!(!site.at("in/top.txt").is_symlink());
}

/// A certificate authority, and a certificate of it for 127.0.0.1 with its key.
fn certificates(folder: &Path) {
    let openssl = |line: &str| {
        let made = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"
    ));
    openssl(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=server"
    ));
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names");
}

#[test]
fn https_is_judged_by_the_systems_authorities_and_those_that_are_given() {
    let site = Site::new();
    let tls = tempfile::tempdir().unwrap();
    certificates(tls.path());
    let (addr, folder) = (free_addr(), tls.path().display());
    let gate = site.gate.url();
    // On one line: the template's comment names the place where this goes, and is filled in too.
    let _front = Nginx::start_with(&format!(
        "listen {addr} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key; \
         location / {{ proxy_pass {gate}; }} \
         location /down/ {{ return 302 {gate}/top.txt; }} \
         location /up/ {{ rewrite ^/up/(.*)$ /$1 redirect; }}"
    ));
    let url = format!("https://{addr}");
    let ca = tls.path().join("ca.pem");
    let get = |out: &str| {
        let mut command = site.get();
        command.args(["--url", &url, "top.txt", "-o", out]);
        command
    };
    // Not of an authority this machine knows; known by the environment; known by the option.
    fails(&mut get("no"), 1, &["no TLS", "hint: ", "`--ca FILE`"]);
    succeeds(get("by-environment").env("SSL_CERT_FILE", &ca));
    succeeds(get("by-option").arg("--ca").arg(&ca));
    for out in ["by-environment", "by-option"] {
        assert_eq!(fs::read(site.at(out)).unwrap(), b"top");
    }
    // The right authority and the wrong name.
    let local = format!("https://localhost:{}", addr.port());
    let mut wrong = site.get();
    wrong.args(["--url", &local, "top.txt", "-o", "no", "--ca"]).arg(&ca);
    fails(&mut wrong, 1, &["no TLS"]);
    // A server without TLS, and a file without certificates.
    let plain = site.gate.url().replace("http:", "https:");
    fails(
        site.get().args(["--url", &plain, "top.txt", "-o", "no"]),
        1,
        &["hint: the server speaks no TLS there: use http://"],
    );
    fails(
        get("no").arg("--ca").arg(tls.path().join("names")),
        1,
        &["no certificate in PEM"],
    );
    // Redirects of a target: within https, and never out of it.
    let mut moved = get("moved");
    moved
        .args(["--naming", "bare", "--targets-url", &format!("{url}/up/"), "--ca"])
        .arg(&ca);
    succeeds(&mut moved);
    assert_eq!(fs::read(site.at("moved")).unwrap(), b"top");
    let mut fallen = get("no");
    fallen
        .args(["--naming", "bare", "--targets-url", &format!("{url}/down/"), "--ca"])
        .arg(&ca);
    fails(&mut fallen, 1, &["from https to http"]);
    assert!(!site.at("no").exists());
}

#[test]
fn targets_may_be_redirected_and_metadata_may_not() {
    let site = Site::new();
    let (_runtime, origin) = hostile_origin();
    origin.script("/top.txt", Behaviour::Redirect(format!("{}/top.txt", site.nginx.url())));
    succeeds(site.from(&[&origin.url()]).arg("top.txt"));
    assert_eq!(fs::read(site.at("top.txt")).unwrap(), b"top");
    origin.script("/a/one.txt", Behaviour::Redirect("/a/one.txt".into()));
    fails(
        site.from(&[&origin.url()]).arg("a/one.txt"),
        1,
        &["more than 5 in a row"],
    );
    assert_eq!(origin.count("/a/one.txt"), 6);
    origin.script("/d/big.bin", Behaviour::Redirect("ftp://127.0.0.1/x".into()));
    fails(site.from(&[&origin.url()]).arg("d/big.bin"), 1, &["`ftp:`"]);
    origin.script_all(Behaviour::Redirect(format!(
        "{}/metadata/timestamp.json",
        site.gate.url()
    )));
    fails(
        site.get().args(["--url", &origin.url(), "top.txt"]),
        1,
        &[
            "metadata must lie where it is asked for",
            "hint: give the URL where the files lie",
        ],
    );
}

#[test]
fn servers_that_misbehave_get_an_error_and_nothing_is_written() {
    let site = Site::new();
    let (_runtime, origin) = hostile_origin();
    let whole = site.files["d/big.bin"].clone();
    origin.put_file("/d/big.bin", whole.clone());
    let head = |lines: &str| Behaviour::Raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes());
    let longer = [whole.clone(), b"!".to_vec()].concat();
    origin.put_file("/longer", longer.clone());
    let raw_longer = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), longer].concat();
    for (behaviour, words) in [
        (Behaviour::Lie(1), ""),
        (Behaviour::Lie(-1), "999999 bytes came, but 1000000 are listed"),
        (Behaviour::Lie(BIG as i64), "endless data"),
        (Behaviour::Raw(raw_longer), "endless data"),
        (Behaviour::Truncate(Framing::Chunked, SOME), ""),
        (Behaviour::Truncate(Framing::Close, SOME), "300000 bytes came"),
        (Behaviour::Stall(Framing::Chunked, SOME), "stalled"),
        (Behaviour::Silent, "no answer"),
        (
            Behaviour::ServeWith(Framing::Length, "Content-Encoding: gzip\r\n".into()),
            "content encoding `gzip`",
        ),
        (Behaviour::Part(206, 0, BIG), "206"),
        (Behaviour::Status(204), "204"),
        (Behaviour::Raw(b"no HTTP at all".to_vec()), ""),
        (Behaviour::Raw(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000)), ""),
        (head(&format!("X-Filler: {}\r\n", "x".repeat(1_000_000))), ""),
        (head(&"X-Filler: x\r\n".repeat(10_000)), ""),
        (head("Transfer-Encoding: chunked\r\n\r\nzz"), ""),
    ] {
        origin.script("/d/big.bin", behaviour.clone());
        let begun = Instant::now();
        let err = fails(
            site.from(&[&origin.url()]).args(["--timeout", "2", "d/big.bin"]),
            1,
            &[words],
        );
        assert!(
            begun.elapsed() < Duration::from_secs(25),
            "{behaviour:?}: {:?}",
            begun.elapsed()
        );
        assert!(!site.at("big.bin").exists(), "{err}");
        // What came whole and was refused is not kept, what was cut off may be.
        if err.contains("attack") && !err.contains("slow retrieval") {
            assert!(!site.part("d/big.bin").exists(), "{err}");
        }
        fs::remove_file(site.part("d/big.bin")).ok();
    }
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let site = Site::new();
    for (name, text) in [
        ("no-json", "hello"),
        ("no-root", "{\"signed\":{},\"signatures\":[]}"),
        ("empty", ""),
    ] {
        fs::write(site.at(name), text).unwrap();
        let mut command = Command::new(binary());
        command.current_dir(site.user.path()).stdin(Stdio::null());
        command.args([
            "get",
            "--store",
            "other",
            "--root",
            name,
            "--url",
            &site.gate.url(),
            "top.txt",
        ]);
        let err = fails(
            &mut command,
            1,
            &[&format!("`{name}` is no root metadata: "), "hint: give `--root FILE`"],
        );
        assert!(!err.contains("attack"), "{err}");
    }
    // A server without TUF, and one that has a page for everything.
    let elsewhere = fails(
        site.get().args(["--url", &site.nginx.url(), "top.txt"]),
        1,
        &["404", "hint: there is no TUF repository at this URL"],
    );
    assert!(!elsewhere.contains("attack"), "{elsewhere}");
    let (_runtime, portal) = hostile_origin();
    let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    portal.script_all(Behaviour::Raw(head.into_bytes()));
    let web = fails(
        site.get().args(["--url", &portal.url(), "top.txt"]),
        1,
        &["is answered with a web page", "this network wants a login first"],
    );
    assert!(!web.contains("attack"), "{web}");
    for (url, words) in [
        ("ftp://h/", "only http:// and https://"),
        ("http://user:secret@h/", "credentials in a URL"),
        ("h", "`h` cannot be used"),
        ("127.0.0.1:18900", "is `http://127.0.0.1:18900` meant?"),
    ] {
        fails(site.get().args(["--url", url, "top.txt"]), 2, &[words]);
    }
    // Options and outputs that do not go together.
    fs::write(site.at("file"), "theirs").unwrap();
    for (args, words) in [
        (
            &["top.txt", "a/one.txt", "-o", "file"][..],
            ["`file` is a file, not a folder", "with `--output`"],
        ),
        (
            &["top.txt", "-o", "gone/x"],
            ["`gone` does not exist", "with `--output`"],
        ),
    ] {
        fails(site.here().args(args), 2, &words);
    }
    let bare = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.current_dir(site.user.path()).stdin(Stdio::null()).args(args);
        command
    };
    let root = site.gate.root().display().to_string();
    let url = site.gate.url();
    fails(
        &mut bare(&["get", "--store", "file", "--root", &root, "--url", &url, "top.txt"]),
        2,
        &["`file` is a file, not a folder", "with `--store`"],
    );
    for command in [&["get", "top.txt"][..], &["verify"]] {
        let metadata = ["--metadata-url", &url, "--root", &root];
        fails(
            bare(command).args(metadata),
            2,
            &["`--targets-url` is missing", "hint: "],
        );
    }
    fails(
        site.here().arg("na%20me"),
        1,
        &["`na%20me` is not in this repository", "decoded: `na me`"],
    );
    fails(
        &mut bare(&["tuf", "--metadata-dir", "tuf", "init", "file"]),
        1,
        &["`file` is no root metadata: ", "hint: give a repository's root file"],
    );
    let usage = said(site.here().args(["--root-sha256", "12", "top.txt"]));
    assert_eq!(usage.0, 2, "{usage:?}");
    assert!(!site.at("top.txt").exists());
}

#[test]
fn a_root_of_another_repository_is_the_first_suspect() {
    let site = Site::new();
    let other = Gate::start(&Setup::learning(site.nginx.url()));
    let with = |gate: &Gate, store: &str| {
        let mut command = Command::new(binary());
        command.current_dir(site.user.path()).stdin(Stdio::null());
        command.args([
            "get",
            "--retries",
            "0",
            "--url",
            &site.gate.url(),
            "--store",
            store,
            "top.txt",
        ]);
        command.arg("--root").arg(gate.root());
        command
    };
    let hint = format!("hint: `{}` may be another repository's root", other.root().display());
    fails(&mut with(&other, "new"), 1, &["arbitrary software", &hint]);
    fails(&mut with(&other, "new"), 1, &[&hint]);
    // Where signatures were right before, it is not the root that is wrong.
    let lied_to = || {
        let (_runtime, liar) = hostile_origin();
        liar.put_file("/metadata/timestamp.json", r#"{"signed":{},"signatures":[]}"#);
        let mut command = site.get();
        command.args(["--url", &liar.url(), "top.txt"]);
        said(&mut command).2
    };
    assert!(lied_to().contains("may be another repository's root"));
    succeeds(site.here().arg("top.txt"));
    let known = lied_to();
    assert!(
        known.contains("hint: nothing was written; try another network"),
        "{known}"
    );
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let site = Site::new();
    let (_runtime, origin) = hostile_origin();
    let problem = |kind: &str, detail: &str| {
        let body = json!({ "type": format!("urn:tufgate:problem:{kind}"), "title": "Bad Gateway", "detail": detail });
        let (body, media) = (body.to_string(), "application/problem+json");
        let head = format!(
            "HTTP/1.1 502 Bad Gateway\r\nContent-Type: {media}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Behaviour::Raw([head, body].concat().into_bytes())
    };
    for (kind, tries) in [
        ("drift", 1),
        ("mismatch", 1),
        ("unverifiable", 1),
        ("upstream-broken", 2),
    ] {
        origin.script("/top.txt", problem(kind, "one\u{1b}[2Jtwo"));
        let before = origin.count("/top.txt");
        let words = ["502 Bad Gateway: one\\u{1b}[2Jtwo"];
        let err = fails(site.asking("1", &[&origin.url()]).arg("top.txt"), 1, &words);
        assert_eq!(
            err.contains("hint: ") && err.contains("`tufgate drift list`"),
            ["drift", "mismatch"].contains(&kind),
            "{err}"
        );
        assert_eq!(origin.count("/top.txt") - before, tries, "{kind}");
        // Nothing came, so nothing is kept.
        assert!(!err.contains("is kept"), "{err}");
    }
    origin.script("/top.txt", problem("drift", &"x".repeat(100_000)));
    let long = fails(site.from(&[&origin.url()]).arg("top.txt"), 1, &["502"]);
    assert!(long.len() < 2_000, "{} bytes", long.len());

    // The gate's own words.
    fs::write(site.nginx.file("top.txt"), "pot").unwrap();
    fails(
        site.here().arg("top.txt"),
        1,
        &[
            "502 Bad Gateway: the upstream's bytes are not those recorded",
            "`tufgate drift list`",
        ],
    );
    // What is kept is spoken of where something is.
    origin.put_file("/d/big.bin", site.files["d/big.bin"].clone());
    origin.script("/d/big.bin", Behaviour::Truncate(Framing::Length, SOME));
    fails(site.from(&[&origin.url()]).arg("d/big.bin"), 1, &["so far is kept"]);
    let down = format!("http://{}", free_addr());
    fails(site.from(&[&down]).arg("d/big.bin"), 1, &["so far is kept"]);
    let none = fails(site.from(&[&down]).args(["a/one.txt"]), 1, &["is the server up"]);
    assert!(!none.contains("is kept"), "{none}");
}

#[test]
fn offline_a_target_must_be_there_as_it_was_verified() {
    let site = Site::new();
    succeeds(site.here().arg("top.txt"));
    let nowhere = format!("http://{}", free_addr());
    let offline = || {
        let mut command = site.get();
        command.args(["--offline", "--url", &nowhere, "top.txt"]);
        command
    };
    assert!(succeeds(&mut offline()).0.contains("top.txt already there"));
    fs::write(site.at("top.txt"), "pot").unwrap();
    fails(&mut offline(), 1, &["`top.txt` differs from what was verified"]);
    assert_eq!(fs::read(site.at("top.txt")).unwrap(), b"pot", "nothing was written");
    fs::remove_file(site.at("top.txt")).unwrap();
    fails(&mut offline(), 1, &["`top.txt` is not there"]);
}

#[test]
fn two_at_once_get_the_same_target_whole() {
    let site = Site::new();
    let runs: Vec<_> = (0..4)
        .map(|_| site.here().args(["d/big.bin", "-q"]).spawn().unwrap())
        .collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(fs::read(site.at("big.bin")).unwrap(), site.files["d/big.bin"]);
    let mut left: Vec<_> = fs::read_dir(site.user.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["big.bin", "store"]);
}
