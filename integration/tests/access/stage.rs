//! A gate before the upstream of many zones, and what lies in them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use tufgate::Digest;

use super::{
    case::{Case, Credential},
    oracle::Oracle,
    wire::{Answer, Line},
    zones::{Guard, Upstream, Zone},
};
use crate::support::gate::{Gate, Setup, until};

/// How long answers to anonymous readers may be given again (`[cache] fresh_for`), in whole seconds.
pub const FRESH_FOR: &str = "1";

/// An artifact. Every 16 bytes of it hold [`MARK`], by which a fragment is recognised anywhere.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    /// Its validators, or made-up ones where the upstream has none.
    pub etag: String,
    pub modified: String,
}

/// What no answer of a web server holds by itself.
pub const MARK: &[u8] = b"#QXZJ~";

/// Artifacts by zone and name.
pub type Artifacts = BTreeMap<(&'static str, &'static str), Artifact>;

/// Names, lengths, and whether the gate has a record of it: uploaded through it (`true`) or put there behind its back.
/// What is called `cold…` it never learns, what is called `new…` it learns when somebody fetches it.
pub const FILES: &[(&str, usize, bool)] = &[
    ("one", 1, true),
    ("kib", 1024, true),
    ("mid", 300 << 10, true),
    ("big", 2 << 20, true),
    ("cold", 1024, false),
    ("new", 1024, false),
];

/// The servers and what they have.
pub struct Stage {
    pub upstream: Upstream,
    pub gate: Gate,
    pub artifacts: Artifacts,
    pub oracle: Oracle,
    /// When the upstream changed who may read.
    pub changed: Option<Instant>,
}

impl Stage {
    /// Starts it and fills these zones; large files lie in a few.
    pub fn start(zones: &[&'static Zone], files: &[(&'static str, usize, bool)]) -> Self {
        let upstream = Upstream::start();
        let identity = upstream.first.dir().join("identity");
        fs::write(&identity, "Bearer token-gate").unwrap();
        fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
        let fresh = match FRESH_FOR {
            "" => String::new(),
            seconds => format!("[cache]\nfresh_for = \"{seconds}s\"\n"),
        };
        let gate = Gate::start(
            &Setup::learning(upstream.first.url())
                .rules(
                    "[[rule]]\npath = \"z/*/cold*\"\nkind = \"immutable\"\n[[rule]]\npath = \"**\"\nkind = \
                     \"immutable\"\nlearn = \"fetch\"\n",
                )
                .upstream_keys(&format!("redirect_hosts = [\"{}\"]", upstream.second.address()))
                .extra(&format!(
                    "[upstream.identity]\nauthorization_file = \"{}\"\n{fresh}",
                    identity.display()
                )),
        );
        let mut stage = Self {
            upstream,
            gate,
            artifacts: BTreeMap::new(),
            oracle: Oracle::default(),
            changed: None,
        };
        for zone in zones {
            for (name, length, recorded) in files {
                let large = matches!(zone.name, "open" | "basic" | "bearer" | "cookie" | "open-vary-any");
                if *length <= 300 << 10 || large {
                    stage.lay(zone, name, *length, *recorded);
                }
            }
        }
        stage
    }

    /// Puts an artifact where its zone's readers find it.
    pub fn lay(&mut self, zone: &'static Zone, name: &'static str, length: usize, recorded: bool) {
        let bytes = marked(zone.name, name, length);
        let target = format!("/z/{}/{name}", zone.name);
        if let Some(to) = zone.leads {
            let (server, folder) = match to.split_once("@/").unwrap() {
                ("@FIRST", folder) => (&self.upstream.first, folder),
                (_, folder) => (&self.upstream.second, folder),
            };
            // Folders that several zones lead to have one file of each name, from whichever came first.
            let file = server.file(&format!("{folder}{name}"));
            if !file.exists() {
                fs::write(&file, &bytes).unwrap();
            }
            self.keep(zone, name, fs::read(&file).unwrap());
            if recorded {
                // The gate's own read, where its identity opens the way.
                let wait = Case::plain(zone, name, false, Credential::None).with("Prefer", "wait=20");
                self.ask_gate(&wait);
            }
        } else if recorded {
            let mut put = format!("PUT {target} HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n");
            for (name, value) in Case::plain(zone, name, false, Credential::Alice).headers {
                put.push_str(&format!("{name}: {value}\r\n"));
            }
            let put = [put.as_bytes(), b"\r\n", &bytes].concat();
            let answer = Line::new(self.gate.addr).ask(&put, true);
            assert_eq!(answer.status, 201, "{target}: {}", answer.shown());
            self.keep(zone, name, bytes);
        } else {
            fs::write(self.upstream.first.file(&target[1..]), &bytes).unwrap();
            self.keep(zone, name, bytes);
        }
    }

    fn keep(&mut self, zone: &'static Zone, name: &'static str, bytes: Vec<u8>) {
        let artifact = Artifact {
            digest: Digest::of(&bytes),
            bytes,
            etag: "\"none\"".to_owned(),
            modified: "Sun, 22 Nov 2026 00:00:00 GMT".to_owned(),
        };
        self.artifacts.insert((zone.name, name), artifact.clone());
        let answer = self.ask_upstream(&Case::plain(zone, name, true, Credential::Alice)).1;
        let kept = Artifact {
            etag: answer.one("etag").unwrap_or(&artifact.etag).to_owned(),
            modified: answer.one("last-modified").unwrap_or(&artifact.modified).to_owned(),
            ..artifact
        };
        self.artifacts.insert((zone.name, name), kept);
    }

    /// What a request is about.
    pub fn artifact(&self, case: &Case) -> &Artifact {
        &self.artifacts[&(case.zone.name, case.artifact)]
    }

    /// Asks the gate on a connection of its own.
    pub fn ask_gate(&self, case: &Case) -> Answer {
        self.lines().gate(self, case)
    }

    /// Asks the upstream on a connection of its own: its first answer, and the one where its redirects lead.
    pub fn ask_upstream(&self, case: &Case) -> (Answer, Answer) {
        self.lines().upstream(self, case)
    }

    /// Asks both on connections of their own and judges.
    pub fn judge(&self, case: &Case) -> Result<super::oracle::Verdict, String> {
        let mut lines = self.lines();
        let truth = lines.upstream(self, case);
        let sent = Instant::now();
        let answer = lines.gate(self, case);
        self.oracle.judge(self, case, &truth, &answer, sent)
    }

    /// Connections of one client.
    pub fn lines(&self) -> Lines {
        Lines {
            first: Line::new(self.upstream.first.address()),
            second: Line::new(self.upstream.second.address()),
            gate: Line::new(self.gate.addr),
        }
    }

    /// Changes who may read, in the zones for that.
    pub fn change(&mut self) {
        self.upstream.change();
        self.changed = Some(Instant::now());
    }

    /// Whether an answer of before the change may still be given to somebody who says nothing of himself.
    pub fn may_be_stale(&self, case: &Case, sent: Instant) -> bool {
        let fresh_for = Duration::from_secs(FRESH_FOR.parse().unwrap_or(0));
        let guard = case.zone.guard == Guard::Closed && case.zone.reusable && !case.credentialed();
        guard && self.changed.is_some_and(|at| sent < at + fresh_for)
    }

    /// Waits until nobody is let in by an answer from before the change.
    pub fn until_fresh(&self) {
        let closed = Case::plain(super::zones::named("closed"), "kib", false, Credential::None);
        until("the end of answers from before", || {
            self.ask_gate(&closed).status == 401
        });
    }
}

/// The connections of one client.
pub struct Lines {
    first: Line,
    second: Line,
    gate: Line,
}

impl Lines {
    /// Asks the gate.
    pub fn gate(&mut self, stage: &Stage, case: &Case) -> Answer {
        let host = stage.gate.addr.to_string();
        self.gate
            .ask(&case.bytes(&host, stage.artifact(case), true), case.fresh)
    }

    /// Asks the upstream as this client would: its first answer, and the last. Credentials go to no other server.
    pub fn upstream(&mut self, stage: &Stage, case: &Case) -> (Answer, Answer) {
        let host = stage.upstream.first.address().to_string();
        let first = self
            .first
            .ask(&case.bytes(&host, stage.artifact(case), false), case.fresh);
        let location = first
            .one("location")
            .filter(|_| matches!(first.status, 301 | 302 | 303 | 307 | 308));
        let Some((authority, path)) = location.and_then(|to| to.strip_prefix("http://")?.split_once('/')) else {
            return (first.clone(), first);
        };
        let home = authority == host;
        let line = if home { &mut self.first } else { &mut self.second };
        let bytes = case.bytes_for(authority, &format!("/{path}"), home);
        let last = line.ask(&bytes, case.fresh);
        (first, last)
    }
}

/// Bytes that tell where they are from.
fn marked(zone: &str, name: &str, length: usize) -> Vec<u8> {
    let from = &Digest::of(format!("{zone}/{name}")).to_string()[..4];
    let cells = (0..length.div_ceil(16)).flat_map(|cell| format!("#QXZJ~{from}{cell:06x}").into_bytes());
    cells.take(length).collect()
}
