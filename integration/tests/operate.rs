//! Operating the gate: errors of configuration and data, signals, supervision, full disks, broken upstreams, slow clients.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    gate::{Gate, Setup, binary, free_addr, signal, tufgate, until},
    http,
    nginx::Nginx,
};

/// A folder with configuration and keys, nothing running.
fn prepared() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_path_buf();
    drop(Gate::prepare(
        &Setup::learning(format!("http://{}", free_addr())),
        dir.clone(),
    ));
    (folder, dir)
}

/// Exit code and standard error of `serve --check`.
fn check(dir: &Path) -> (Option<i32>, String) {
    let output = tufgate(dir, &["serve", "--config", "tufgate.toml", "--check"]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn edit(dir: &Path, from: &str, to: &str) {
    let file = dir.join("tufgate.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_good_configuration_passes_the_check() {
    let (_folder, dir) = prepared();
    assert_eq!(check(&dir).0, Some(0), "{:?}", check(&dir));
}

#[test]
fn bad_configuration_is_64_with_file_line_and_hint() {
    for (from, to, words) in [
        ("listen =", "lisen =", vec!["tufgate.toml:2:", "lisen", "hint:"]),
        ("path = \"**\"", "path = \"a{\"", vec!["tufgate.toml:", "hint:"]),
        ("url = \"http", "url = \"ftp", vec!["tufgate.toml:", "url"]),
    ] {
        let (_folder, dir) = prepared();
        edit(&dir, from, to);
        let (code, said) = check(&dir);
        assert_eq!(code, Some(64), "{to}: {said}");
        for word in words {
            assert!(said.contains(word), "{to}: no {word:?} in {said}");
        }
    }
}

#[test]
fn bad_keys_are_64_and_named() {
    let (_folder, dir) = prepared();
    let key = dir.join("keys/timestamp.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = check(&dir);
    assert!(
        code == Some(64) && said.contains("timestamp.pem") && said.contains("hint:"),
        "{said}"
    );
    fs::remove_file(&key).unwrap();
    let (code, said) = check(&dir);
    assert!(code == Some(64) && said.contains("timestamp.pem"), "{said}");
    assert!(said.contains("restore it from a backup"), "{said}");
}

#[test]
fn a_check_looks_at_the_cache_folder_and_leaves_it_alone() {
    let (_folder, dir) = prepared();
    assert_eq!(check(&dir).0, Some(0));
    let cache = dir.join("cache");
    assert!(!cache.exists(), "nothing is made");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    for more in [&["--check"][..], &[]] {
        let output = tufgate(&dir, &[&["serve", "--config", "tufgate.toml"], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            said.contains("it has mode 755") && said.contains("`chmod 700 "),
            "{said}"
        );
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(check(&dir).0, Some(0));
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "not even a lock");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a", b"a");
    for args in [
        &["audit"][..],
        &["audit", "--json"],
        &["status"],
        &["status", "--json"],
        &["drift", "list"],
        &["policy", "explain", "a"],
    ] {
        let mut child = Command::new(binary())
            .args(args)
            .args(["--config", "tufgate.toml"])
            .current_dir(&gate.dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Before it has anything to say.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{args:?}: {said}");
    }
}

#[test]
fn a_wrong_passphrase_is_64_and_the_right_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (addr, admin) = (free_addr(), free_addr());
    let key =
        |name: &str| format!("[keys.{name}]\npath = \"keys/{name}.pem\"\npassphrase_env = \"TUFGATE_TEST_PASS\"\n");
    let config = format!(
        "[gate]\nlisten = \"{addr}\"\n[upstream]\nurl = \"http://{}\"\n[admin]\nlisten = \"{admin}\"\n{}{}{}",
        free_addr(),
        key("timestamp"),
        key("snapshot"),
        key("targets"),
    );
    fs::write(dir.join("tufgate.toml"), config).unwrap();
    let run = |pass: &str, args: &[&str]| {
        let output = Command::new(binary())
            .args(args)
            .current_dir(dir)
            .env("TUFGATE_TEST_PASS", pass)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let init = [
        "init",
        "--config",
        "tufgate.toml",
        "--root-keys",
        "2",
        "--root-threshold",
        "2",
        "--root-dir",
        "root",
        "--passphrase-env",
        "TUFGATE_TEST_PASS",
    ];
    let (code, said) = run("right", &init);
    assert_eq!(code, Some(0), "{said}");
    let check = ["serve", "--config", "tufgate.toml", "--check"];
    assert_eq!(run("right", &check).0, Some(0));
    let (code, said) = run("wrong", &check);
    assert!(code == Some(64) && said.contains("passphrase"), "{said}");
    assert!(!said.contains("wrong"), "the passphrase itself is never shown: {said}");
    for entry in fs::read_dir(dir.join("keys"))
        .unwrap()
        .chain(fs::read_dir(dir.join("root")).unwrap())
    {
        let path = entry.unwrap().path();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o077,
            0,
            "{}",
            path.display()
        );
        if path.extension().is_some_and(|kind| kind == "pem") {
            assert!(
                fs::read_to_string(&path)
                    .unwrap()
                    .contains("BEGIN ENCRYPTED PRIVATE KEY")
            );
        }
    }
}

#[test]
fn damaged_or_newer_ledgers_are_65() {
    for (damage, word) in [("garbage", "damaged"), ("newer", "schema")] {
        let nginx = Nginx::start();
        let folder = tempfile::tempdir().unwrap();
        let mut gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
        gate.run();
        gate.publish("/x", b"x");
        gate.terminate();
        let ledger = folder.path().join("ledger.db");
        if damage == "garbage" {
            let mut bytes = fs::read(&ledger).unwrap();
            bytes[..100].fill(0x55);
            fs::write(&ledger, bytes).unwrap();
        } else {
            // The schema number is a big-endian word at offset 60 of an SQLite file.
            let mut bytes = fs::read(&ledger).unwrap();
            bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
            fs::write(&ledger, bytes).unwrap();
        }
        let (code, said) = check(folder.path());
        assert_eq!(code, Some(65), "{damage}: {said}");
        assert!(said.contains(word) && said.contains("hint:"), "{damage}: {said}");
    }
}

/// A folder whose gate has published and was stopped.
fn published() -> (Nginx, tempfile::TempDir, Gate) {
    let nginx = Nginx::start();
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
    gate.run();
    gate.publish("/x", b"x");
    assert_eq!(gate.terminate(), Some(0));
    (nginx, folder, gate)
}

/// Exit code and all that a command says.
fn says(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = tufgate(dir, args);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_check_refuses_what_a_start_refuses() {
    let (_nginx, folder, gate) = published();
    let dir = folder.path();
    let config = fs::read_to_string(dir.join("tufgate.toml")).unwrap();
    assert!(
        !config.contains("/metadata"),
        "the folders are where they are by default"
    );
    let (code, said) = says(dir, &["serve", "--check"]);
    assert!(code == Some(0) && said.contains("tufgate audit"), "{said}");

    fs::rename(dir.join("metadata"), dir.join("kept")).unwrap();
    let (code, said) = says(dir, &["serve", "--check"]);
    assert!(code == Some(65) && said.contains("gone from the depot"), "{said}");
    assert!(
        said.contains("of the same moment") && !said.contains("tufgate init"),
        "{said}"
    );
    assert_eq!(says(dir, &["serve"]).0, Some(65), "a start says the same");
    let (code, said) = says(dir, &["status"]);
    assert!(
        code == Some(0) && said.contains("although the ledger has published"),
        "{said}"
    );
    let (code, said) = says(dir, &["init", "--root-dir", "root2", "--unencrypted"]);
    assert!(code == Some(65) && said.contains("has published"), "{said}");
    fs::remove_dir_all(dir.join("metadata")).unwrap();
    fs::rename(dir.join("kept"), dir.join("metadata")).unwrap();

    // An empty ledger in place of the one that published: made by a gate of its own.
    let (_other, new) = prepared();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("ledger.db{suffix}")));
    }
    fs::copy(new.join("ledger.db"), dir.join("ledger.db")).unwrap();
    let (code, said) = says(dir, &["serve", "--check"]);
    assert!(
        code == Some(65) && said.contains("the ledger does not know the depot"),
        "{said}"
    );
    assert_eq!(says(dir, &["serve"]).0, Some(65), "a start says the same");
    drop(gate);
}

#[test]
fn a_lost_ledger_is_65_and_nothing_takes_its_place() {
    let (_nginx, folder, gate) = published();
    let dir = folder.path();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("ledger.db{suffix}")));
    }
    for args in [
        &["audit"][..],
        &["status"],
        &["serve"],
        &["serve", "--check"],
        &["drift", "list"],
        &["init", "--root-dir", "root", "--unencrypted"],
    ] {
        let (code, said) = says(dir, args);
        assert!(
            code == Some(65) && said.contains("is missing, but the depot"),
            "{args:?}: {said}"
        );
        assert!(
            said.contains("of the same moment") && !said.contains("tufgate init"),
            "{args:?}: {said}"
        );
        assert!(!dir.join("ledger.db").exists(), "{args:?}");
    }
    drop(gate);
}

#[test]
fn hints_name_what_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for place in ["nowhere.toml", "."] {
        let (code, said) = says(folder.path(), &["status", "--config", place]);
        assert!(code == Some(64) && said.contains("`--config FILE`"), "{said}");
        assert!(said.contains(".tufgate/tufgate.toml"), "{said}");
    }
    let (code, said) = says(folder.path(), &["init", "--root-dir", "root"]);
    assert!(code == Some(2), "{said}");
    assert!(
        said.contains("--passphrase-env") && said.contains("--unencrypted"),
        "{said}"
    );
    let (_folder, dir) = prepared();
    let (code, said) = says(&dir, &["drift", "list"]);
    assert_eq!((code, said.trim()), (Some(0), "no drift"));
}

#[test]
fn a_changed_layout_is_64_before_anything_is_served() {
    let nginx = Nginx::start();
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
    gate.run();
    gate.terminate();
    edit(folder.path(), "[[rule]]", "[tuf]\nlayout = \"flat\"\n[[rule]]");
    let (code, said) = check(folder.path());
    assert!(code == Some(64) && said.contains("hint:"), "{said}");
}

#[test]
fn a_listen_address_in_use_is_64_at_once() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let begun = Instant::now();
    let second = tufgate(&gate.dir, &["serve", "--config", "tufgate.toml"]);
    assert_eq!(second.status.code(), Some(64), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains(&gate.addr.to_string()));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("`listen` under `[gate]`") && said.contains("--listen"),
        "{said}"
    );
    // The admin listener's is another setting.
    edit(&gate.dir, &gate.addr.to_string(), &free_addr().to_string());
    let third = tufgate(&gate.dir, &["serve", "--config", "tufgate.toml"]);
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(64), "{said}");
    assert!(
        said.contains("`listen` under `[admin]`") && !said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn sighup_ends_nothing_and_says_what_it_did() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let signer = gate.signer_pid().unwrap();
    for (pid, lines) in [(gate.pid(), 1), (signer, 2)] {
        signal("HUP", pid);
        until("its line", || gate.log().matches("in use already").count() == lines);
    }
    assert_eq!(gate.log().matches("SIGHUP: `[keys]` and the certificate").count(), 1);
    gate.publish("/a", b"a");
    assert_eq!(gate.signer_pid(), Some(signer), "the same process");
}

#[test]
fn an_init_that_makes_no_sense_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[upstream]\nurl = \"http://127.0.0.1:9\"\n";
    fs::write(folder.path().join("tufgate.toml"), config).unwrap();
    let (code, said) = check(folder.path());
    assert!(code == Some(64) && said.contains("run `tufgate init"), "{said}");
    let common = ["init", "--root-dir", "root", "--unencrypted"];
    for (more, words) in [
        (&["--root-keys", "1", "--root-threshold", "2"][..], "cannot be met"),
        (&["--bins", "17"], "not a power of two"),
    ] {
        let output = tufgate(folder.path(), &[&common[..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
        assert!(!said.contains("write `bins"), "{said}");
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the configuration alone"
    );
}

#[test]
fn a_dead_upstream_is_told_once_and_so_is_its_return() {
    let mut nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let told = |words: &str| gate.log().matches(words).count();
    assert_eq!(
        (gate.metric("tufgate_upstream_down"), told("does not answer")),
        (0.0, 0)
    );
    nginx.stop();
    for method in ["GET", "PUT", "GET"] {
        assert_eq!(http::request(gate.addr, method, "/x", &[], b"x").status, 502);
    }
    assert_eq!(
        (gate.metric("tufgate_upstream_down"), told("does not answer")),
        (1.0, 1)
    );
    let status = String::from_utf8_lossy(&gate.command(&["status"]).stdout).into_owned();
    assert!(status.contains("upstream   does not answer"), "{status}");
    nginx.restart();
    assert_eq!(gate.put("/x", b"x").status, 201);
    assert_eq!((gate.metric("tufgate_upstream_down"), told("answers again")), (0.0, 1));
}

#[test]
fn a_second_gate_over_a_ledger_hears_of_the_first_at_once() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let text = fs::read_to_string(gate.dir.join("tufgate.toml")).unwrap();
    let text = text.replace(&gate.addr.to_string(), &free_addr().to_string());
    let text = text.replace(&gate.admin.to_string(), &free_addr().to_string());
    fs::write(gate.dir.join("second.toml"), text).unwrap();
    let output = tufgate(&gate.dir, &["serve", "--config", "second.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    for words in [
        "another gate runs over this ledger",
        "in use by another gate",
        "hint: is this gate running already?",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_head_is_no_error() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let mut client = http::connect(gate.addr);
    client.write_all(b"G").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(gate.get("/none").status, 404);
    assert!(!gate.log().contains("ERROR"), "{}", gate.log());
}

#[test]
fn sigterm_lets_requests_in_flight_end_and_exits_0() {
    let nginx = Nginx::start_with("location /slow/ { limit_rate 400k; }");
    let mut gate = Gate::start(&Setup::learning(nginx.url()));
    let body = vec![3_u8; 1_000_000];
    fs::create_dir_all(nginx.file("slow")).unwrap();
    fs::write(nginx.file("slow/file"), &body).unwrap();
    let addr = gate.addr;
    let reader = std::thread::spawn(move || http::get(addr, "/slow/file"));
    until("the transfer to begin", || {
        nginx.access_log().contains("slow") || gate.log().contains("slow") || {
            std::thread::sleep(Duration::from_millis(500));
            true
        }
    });
    assert_eq!(gate.terminate(), Some(0), "{}", gate.log());
    let response = reader.join().unwrap();
    assert!(
        response.whole && response.body == body,
        "{} of {} bytes",
        response.body.len(),
        body.len()
    );
}

#[test]
fn a_transfer_that_outlasts_the_grace_is_cut_and_the_signer_is_not() {
    let nginx = Nginx::start_with("location /slow/ { limit_rate 100k; }");
    let mut gate = Gate::start(&Setup::learning(nginx.url()).gate("grace = \"1s\"\n"));
    fs::write(nginx.file("slow/file"), vec![3_u8; 10_000_000]).unwrap();
    let mut reader = http::connect(gate.addr);
    reader.write_all(b"GET /slow/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    reader.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(gate.terminate(), Some(1), "{}", gate.log());
    let log = gate.log();
    assert!(log.contains("error: stopped, but cut a request in flight\n"), "{log}");
    assert_eq!(log.matches("shutting down").count(), 1, "{log}");
    assert!(
        log.contains("stopped; cut a request in flight") && !log.contains("role "),
        "{log}"
    );
}

#[test]
fn idle_gates_exit_at_once_on_both_signals() {
    let nginx = Nginx::start();
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = Gate::prepare(&Setup::learning(nginx.url()), folder.path().to_path_buf());
        gate.run();
        let signer = gate.signer_pid().unwrap();
        // A connection that is kept alive and idle is no request in flight.
        let mut idle = http::connect(gate.addr);
        idle.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let _ = idle.read(&mut [0; 1024]).unwrap();
        signal(name, gate.pid());
        until("the gate's end", || {
            !Path::new(&format!("/proc/{}/exe", gate.pid())).exists() || {
                fs::read_to_string(format!("/proc/{}/stat", gate.pid()))
                    .unwrap()
                    .contains(") Z ")
            }
        });
        assert!(!gate.log().contains("cut"), "{}", gate.log());
        until("the signer's end", || !Path::new(&format!("/proc/{signer}")).exists());
    }
}

#[test]
fn a_dead_signer_is_started_again_and_reads_go_on() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/before", b"1");
    let signer = gate.signer_pid().unwrap();
    signal("KILL", signer);
    assert_eq!(gate.get("/before").status, 200);
    assert_eq!(gate.get("/metadata/timestamp.json").status, 200);
    until("another signer", || gate.signer_pid().is_some_and(|pid| pid != signer));
    gate.publish("/after", b"2");
    assert!(gate.metric("tufgate_role_failures_total") >= 1.0);
}

#[test]
fn the_gate_process_holds_no_key() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/x", b"x");
    // Key material as it stands in the file, and the seed it encodes, must not be in the gate's memory.
    let pem = fs::read_to_string(gate.dir.join("keys/snapshot.pem")).unwrap();
    let secret = pem
        .lines()
        .find(|line| !line.starts_with('-'))
        .unwrap()
        .as_bytes()
        .to_vec();
    assert!(
        !memory_holds(gate.pid(), &secret),
        "the gate's memory holds a key file's text"
    );
}

/// Whether a process' writable memory holds these bytes.
fn memory_holds(pid: u32, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().filter(|line| line.contains(" rw-p ")).any(|line| {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (
            u64::from_str_radix(start, 16).unwrap(),
            u64::from_str_radix(end, 16).unwrap(),
        );
        if end - start > 1 << 28 {
            return false;
        }
        let mut part = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut part, start).is_ok() && part.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn fdatasync_returns_before_the_2xx_is_written() {
    let nginx = Nginx::start();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let gate = Gate::prepare(&Setup::learning(nginx.url()), dir.to_path_buf());
    let trace = dir.join("trace");
    let mut strace = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-s",
            "24",
            "-e",
            "trace=fdatasync,fsync,write,writev,sendto,sendmsg",
            "-o",
        ])
        .arg(&trace)
        .arg(binary())
        // Without a signer beside it, every fdatasync is the gate's own.
        .args(["serve", "--role", "proxy", "--config", "tufgate.toml"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the traced gate", || std::net::TcpStream::connect(gate.addr).is_ok());
    // The first commit syncs the journal's header in any mode; the second one only for its own sake.
    assert_eq!(gate.put("/first", b"first").status, 201);
    until("the first answer in the trace", || {
        fs::read_to_string(&trace).unwrap().contains("HTTP/1.1 201")
    });
    let before = fs::read_to_string(&trace).unwrap().lines().count();
    let body = vec![9_u8; 100_000];
    assert_eq!(gate.put("/traced", &body).status, 201);
    until("the trace", || {
        fs::read_to_string(&trace)
            .unwrap()
            .lines()
            .skip(before)
            .any(|line| line.contains("HTTP/1.1 201"))
    });
    // Ended before anything is asserted, so that a failure leaves nothing running.
    let _ = signal_children(strace.id());
    let _ = strace.wait();
    let text = fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = text.lines().skip(before).collect();
    let answer = lines.iter().position(|line| line.contains("HTTP/1.1 201")).unwrap();
    let synced = |line: &&str| line.contains("fdatasync") && line.ends_with("= 0");
    assert!(
        lines[..answer].iter().any(synced),
        "no fdatasync returned before the answer:\n{}",
        lines[..=answer].join("\n")
    );
}

/// SIGTERM to what a process started.
fn signal_children(pid: u32) -> std::io::Result<()> {
    for id in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace() {
        signal("TERM", id.parse().unwrap());
    }
    Ok(())
}

/// A small file system of its own; unmounted when dropped.
pub struct Tmpfs(pub tempfile::TempDir);

impl Tmpfs {
    pub fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting a tmpfs needs root");
        Self(folder)
    }

    /// Leaves no byte free.
    pub fn fill(&self) -> PathBuf {
        let file = self.0.path().join("filler");
        let mut filler = fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
        for size in [65_536, 4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
        file
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_writes_not_reads_and_heals() {
    let nginx = Nginx::start();
    let disk = Tmpfs::new("24m");
    let dir = disk.0.path().join("gate");
    fs::create_dir(&dir).unwrap();
    let mut gate = Gate::prepare(&Setup::learning(nginx.url()), dir);
    gate.run();
    gate.publish("/before", b"recorded");
    let filler = disk.fill();
    let (mut refused, mut stored) = (0, Vec::new());
    // The ledger may have some room of its own left in its files.
    for n in 0..3_000 {
        let status = gate.put(&format!("/full/{n}"), format!("{n}").as_bytes()).status;
        assert!([201, 503, 507].contains(&status), "{status}");
        if status == 201 {
            stored.push(n);
        } else {
            refused += 1;
            if refused == 20 {
                break;
            }
        }
    }
    assert_eq!(refused, 20, "a full disk never refused a write");
    assert_eq!(gate.get("/before").body, b"recorded");
    assert_eq!(gate.get("/metadata/timestamp.json").status, 200);
    assert!(
        crate::matrix::fetch_with_tufgate(&gate, "before").is_ok(),
        "what is published stays whole"
    );
    let range = http::request(gate.addr, "GET", "/before", &[("Range", "bytes=0-3")], b"");
    assert!([206, 507, 503].contains(&range.status), "{range:?}");
    fs::remove_file(filler).unwrap();
    until("the gate to heal", || gate.put("/after", b"healed").status == 201);
    until("the signer to heal", || gate.status()["pending"] == 0);
    assert!(crate::matrix::fetch_with_tufgate(&gate, "after").is_ok());
    for n in stored {
        let response = gate.get(&format!("/full/{n}"));
        let signed = response
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"));
        assert!(signed, "{n} was acknowledged: {response:?}");
    }
}

#[test]
fn an_upstream_that_is_down_is_502_as_a_problem() {
    let down = format!("http://{}", free_addr());
    let gate = Gate::start(&Setup::learning(down).extra("[metadata]\naccess = \"public\"\n"));
    for response in [
        gate.get("/x"),
        gate.put("/x", b"x"),
        http::request(gate.addr, "GET", "/y/", &[], b""),
    ] {
        assert_eq!(response.status, 502, "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert!(response.problem().is_some());
    }
    assert_eq!(gate.get("/metadata/timestamp.json").status, 200);
}

#[test]
fn slow_and_oversized_requests_are_bounded() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).gate("client_timeout = \"2s\"\n"));
    let begun = Instant::now();
    let mut slow = http::connect(gate.addr);
    slow.write_all(b"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        .unwrap();
    let response = http::read(slow, false);
    assert!([0, 408].contains(&response.status), "{response:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let huge = format!("GET /x HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "a".repeat(2_000_000));
    let response = http::raw(gate.addr, huge.as_bytes());
    assert!(
        response.status == 0 || (400..500).contains(&response.status),
        "{}",
        response.status
    );
    for malformed in [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET /x HTTP/1.1\r\nBad Header\r\n\r\n",
    ] {
        let response = http::raw(gate.addr, malformed.as_bytes());
        assert!(
            response.status == 0 || (400..600).contains(&response.status),
            "{malformed:?}: {response:?}"
        );
    }
    assert_eq!(gate.put("/fine", b"x").status, 201);
}

#[test]
fn quickstart_once_passes() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binary())
        .args(["quickstart", "--once"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.lines().count() >= 7, "a line a step: {said}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

#[test]
fn quickstart_starts_and_picks_up_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let addr = free_addr();
    let mut fingerprints = Vec::new();
    for round in 0..2 {
        let mut child = Command::new(binary())
            .args(["quickstart", "--listen", &addr.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::from(fs::File::create(folder.path().join("said")).unwrap()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("quickstart to serve", || {
            std::net::TcpStream::connect(addr).is_ok() && http::get(addr, "/metadata/timestamp.json").status == 200
        });
        if round == 0 {
            let put = http::request(addr, "PUT", "/kept.txt", &[("Prefer", "wait=20")], b"kept");
            assert_eq!(put.status, 201, "{put:?}");
        } else {
            assert_eq!(http::get(addr, "/kept.txt").body, b"kept");
            assert_eq!(http::put(addr, "/kept.txt", b"other").status, 409);
        }
        fingerprints.push(tufgate::Digest::of(
            fs::read(folder.path().join(".tufgate/1.root.json")).unwrap(),
        ));
        until("its words", || {
            fs::read_to_string(folder.path().join("said"))
                .unwrap()
                .contains("curl -T")
        });
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        assert!(
            said.contains(&fingerprints[0].to_string()) && said.contains("tufgate get"),
            "{said}"
        );
        signal("TERM", child.id());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
}

#[test]
fn status_and_policy_explain_speak() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a/b", b"1");
    let status = gate.command(&["status", "--json"]);
    assert!(status.status.success(), "{status:?}");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["targets"], 1, "{status}");
    let explain = gate.command(&["policy", "explain", "a/b"]);
    let said = String::from_utf8_lossy(&explain.stdout).into_owned();
    assert!(
        explain.status.success() && said.contains("immutable") && said.contains("**"),
        "{said}"
    );
}

#[test]
fn the_admin_listener_answers_and_checks_host() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/a", b"1");
    assert_eq!(http::get(gate.admin, "/livez").status, 200);
    assert_eq!(http::get(gate.admin, "/readyz").status, 200);
    assert!(gate.metric("tufgate_observations_total") >= 1.0);
    let foreign = http::raw(
        gate.admin,
        b"GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!((400..500).contains(&foreign.status), "{foreign:?}");
}
