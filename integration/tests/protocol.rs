//! `tufgate tuf`, as the public suites for TUF clients drive it: options before the verb, exit 0 or 1, and a folder that
//! holds what is trusted and nothing else.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::support::{
    gate::{Gate, Setup, binary},
    nginx::Nginx,
};

/// A client under test, in folders of its own.
struct Driven<'a> {
    gate: &'a Gate,
    folder: tempfile::TempDir,
}

impl<'a> Driven<'a> {
    fn new(gate: &'a Gate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driven = Self { gate, folder };
        let init = driven.tuf(&["init", driven.gate.root().to_str().unwrap()]);
        assert_eq!(init.status.code(), Some(0), "{init:?}");
        assert_eq!(driven.trusted(), ["root.json"]);
        driven
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, before: &[&str], rest: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(before)
            .arg("tuf")
            .arg("--metadata-dir")
            .arg(self.path("metadata"));
        command.args(rest).stdin(Stdio::null());
        command
    }

    fn tuf(&self, rest: &[&str]) -> Output {
        self.command(binary().to_str().unwrap(), &[], rest).output().unwrap()
    }

    fn refresh(&self) -> Output {
        self.tuf(&["--metadata-url", &format!("{}/metadata", self.gate.url()), "refresh"])
    }

    fn download(&self, targets: &[&str]) -> Output {
        let (metadata, output) = (format!("{}/metadata", self.gate.url()), self.path("targets"));
        let mut args = vec!["--metadata-url", &metadata];
        args.extend(targets.iter().flat_map(|target| ["--target-name", target]));
        let base = self.gate.url();
        args.extend([
            "--target-base-url",
            &base,
            "--target-dir",
            output.to_str().unwrap(),
            "download",
        ]);
        self.tuf(&args)
    }

    /// The roles in the folder, sorted.
    fn trusted(&self) -> Vec<String> {
        let mut names = files(&self.path("metadata"));
        names.retain(|name| name.ends_with(".json"));
        names
    }

    fn version(&self, role: &str) -> u64 {
        let bytes = fs::read(self.path("metadata").join(role)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        value["signed"]["version"].as_u64().unwrap()
    }
}

fn files(folder: &Path) -> Vec<String> {
    let listed = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn gate() -> (Nginx, Gate) {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    (nginx, gate)
}

#[test]
fn a_suite_sees_what_is_trusted_and_what_was_downloaded() {
    let (_nginx, gate) = gate();
    gate.publish("/dir/a%20b.txt", b"one");
    gate.publish("/top", b"two");
    let driven = Driven::new(&gate);
    assert_eq!(driven.refresh().status.code(), Some(0));
    let top_level = ["root.json", "snapshot.json", "targets.json", "timestamp.json"];
    assert_eq!(driven.trusted(), top_level);

    let both = driven.download(&["dir/a b.txt", "top"]);
    assert_eq!(both.status.code(), Some(0), "{both:?}");
    let targets = driven.path("targets");
    assert_eq!(files(&targets), ["dir%2Fa%20b.txt", "top"]);
    assert_eq!(fs::read(targets.join("dir%2Fa%20b.txt")).unwrap(), b"one");
    let inode = fs::metadata(targets.join("top")).unwrap().ino();
    assert_eq!(driven.download(&["top"]).status.code(), Some(0));
    assert_eq!(fs::metadata(targets.join("top")).unwrap().ino(), inode, "fetched again");

    // The first target that fails ends it.
    fs::remove_file(targets.join("top")).unwrap();
    let missing = driven.download(&["dir/a b.txt", "nowhere", "top"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("`nowhere`"),
        "{missing:?}"
    );
    assert_eq!(files(&targets), ["dir%2Fa%20b.txt"]);
}

#[test]
fn every_failure_is_1_and_leaves_what_was_trusted() {
    let (_nginx, gate) = gate();
    gate.publish("/x", b"one");
    let driven = Driven::new(&gate);
    for wrong in [
        &["refresh"][..],
        &["--metadata-url", "http://127.0.0.1:9/", "refresh"],
        &["--metadata-url", "ftp://x/", "refresh"],
        &["init"],
        &["init", "/dev/null"],
        &["init", "/dev/zero"],
        &["init", "missing.json"],
        &["download"],
        &["--no-such-option", "refresh"],
        &["no-such-verb"],
        &[],
    ] {
        let failed = driven.tuf(wrong);
        assert_eq!(failed.status.code(), Some(1), "{wrong:?}: {failed:?}");
        assert!(!failed.stderr.is_empty(), "{wrong:?}");
        assert_eq!(driven.trusted(), ["root.json"], "{wrong:?}");
    }
    let usage = Command::new(binary()).args(["get"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "other subcommands keep their own code");
    assert_eq!(driven.tuf(&["--help"]).status.code(), Some(0));
    assert_eq!(driven.refresh().status.code(), Some(0));
}

#[test]
fn a_full_disk_leaves_what_was_trusted() {
    let (_nginx, gate) = gate();
    let driven = Driven::new(&gate);
    assert_eq!(driven.refresh().status.code(), Some(0));
    let metadata = driven.path("metadata");
    let state = || -> Vec<_> {
        let names = driven.trusted();
        names
            .iter()
            .map(|name| fs::read(metadata.join(name)).unwrap())
            .collect()
    };
    let (before, names) = (state(), files(&metadata));
    gate.publish("/x", b"one");
    // No file may grow beyond 0 bytes: writes fail as on a full disk, without a disk to fill.
    let full = [
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"",
        binary().to_str().unwrap(),
    ]
    .map(str::to_owned);
    let full: Vec<_> = full.iter().map(String::as_str).collect();
    let url = format!("{}/metadata", gate.url());
    let failed = driven
        .command("sh", &full, &["--metadata-url", &url, "refresh"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("timestamp.json"), "{said}");
    assert_eq!((state(), files(&metadata)), (before, names));
    assert_eq!(driven.refresh().status.code(), Some(0));
}

#[test]
fn processes_that_share_a_folder_take_turns() {
    let (_nginx, gate) = gate();
    gate.publish("/x0", b"zero");
    let driven = Driven::new(&gate);
    let mut last = [0; 3];
    for round in 1..4 {
        gate.publish(&format!("/x{round}"), b"more");
        let url = format!("{}/metadata", gate.url());
        let running: Vec<_> = (0..4)
            .map(|_| {
                let mut command = driven.command(binary().to_str().unwrap(), &[], &["--metadata-url", &url, "refresh"]);
                command.stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for process in running {
            let done = process.wait_with_output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        let now = ["timestamp.json", "snapshot.json", "targets.json"].map(|role| driven.version(role));
        assert!(now.iter().zip(last).all(|(now, last)| *now >= last), "{last:?} {now:?}");
        assert!(now[0] > last[0]);
        last = now;
    }
    assert_eq!(driven.download(&["x3"]).status.code(), Some(0));
}
