//! `quickstart --once`: one round trip on the real parts, each step checked by what a user would see. The gate is a
//! process of its own with its signer as child, as in production; the upstream is quickstart's own web server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    artifacts::ARTIFACTS,
    bind_origin,
    folder::{Folder, Wanted},
    origin,
    process::{GateProcess, free_address},
    steps::Steps,
    web::{Reply, Web},
};
use crate::{
    cli::{CliError, block_on, print, say},
    digest::Digest,
    target::TargetPath,
};

/// Larger than what a gate verifies before its first byte leaves (256 KiB).
const LARGE: usize = 1 << 20;
/// Longest wait for something to become so.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the round trip.
pub fn run(dir: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<(), CliError> {
    let temporary = tempfile::Builder::new().prefix("tufgate-").tempdir();
    let temporary = temporary.map_err(|error| CliError::failed(format_args!("no temporary folder: {error}")))?;
    let free = || free_address().map_err(|error| CliError::failed(format_args!("no free port: {error}")));
    let listen = listen.map_or_else(free, Ok)?;
    let dir = dir.unwrap_or_else(|| temporary.path().join("gate"));
    let begun = Instant::now();
    let log = dir.join("gate.log");
    let trip = block_on(async {
        let mut steps = Steps::default();
        let trip = Trip::prepare(&mut steps, &dir, listen, temporary.path()).await?;
        trip.make(&mut steps)
            .await
            .map_err(|why| CliError::failed(format_args!("{}: {why}", steps.next)))
    })?;
    match trip {
        Ok(()) => {
            let seconds = begun.elapsed().as_secs_f64();
            print(format_args!("ok: every step held, {seconds:.1} s in all"))
        }
        Err(error) => {
            // A temporary folder goes away with its log.
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(20)) {
                say(format_args!("gate: {line}"));
            }
            Err(error)
        }
    }
}

/// An artifact that went through the gate.
pub(super) struct Artifact {
    pub(super) path: TargetPath,
    pub(super) bytes: Bytes,
}

/// The parts of a trip.
pub(super) struct Trip {
    pub(super) folder: Folder,
    www: PathBuf,
    /// Where clients keep what they trust and download.
    pub(super) scratch: PathBuf,
    web: Web,
    /// Without a slash at the end.
    pub(super) gate_url: String,
    admin: Web,
    _origin: tokio_util::sync::DropGuard,
}

impl Trip {
    async fn prepare(steps: &mut Steps, dir: &Path, listen: SocketAddr, scratch: &Path) -> Result<Self, CliError> {
        steps.begin("set up");
        let folder = Folder::open(&Wanted {
            dir,
            listen,
            upstream: None,
        })
        .await?;
        let Some((www, addr)) = folder.www() else {
            let message = format!(
                "`{}` has an upstream of its own; --once needs quickstart's",
                dir.display()
            );
            return Err(CliError::usage(message));
        };
        let ended = CancellationToken::new();
        tokio::spawn(origin::serve(www.clone(), bind_origin(addr).await?, ended.clone()));
        let gate_url = format!("http://{}", folder.config.gate.listen);
        let admin = folder
            .config
            .admin
            .listen
            .map_or_else(String::new, |addr| format!("http://{addr}"));
        steps.done(format_args!("root sha256 {}", folder.fingerprint));
        Ok(Self {
            web: Web::new(&gate_url),
            admin: Web::new(&admin),
            scratch: scratch.to_owned(),
            _origin: ended.drop_guard(),
            folder,
            www,
            gate_url,
        })
    }

    async fn make(&self, steps: &mut Steps) -> Result<(), String> {
        steps.begin("start gate and signer");
        let gate = self.start().await?;
        steps.done(format_args!("{}/ is ready", self.gate_url));

        steps.begin("publish by PUT");
        let [small, large] = [self.artifact("small.bin", 1024)?, self.artifact("large.bin", LARGE)?];
        // Not read before they are overwritten: nothing is kept of them.
        let unread = [
            self.artifact("unread-small.bin", 1024)?,
            self.artifact("unread-large.bin", LARGE)?,
        ];
        for artifact in [&small, &large].into_iter().chain(&unread) {
            let reply = self.web.put(&artifact.path.encoded(), artifact.bytes.clone()).await?;
            expect(reply.status.is_success(), || {
                format!("PUT {}: {}", artifact.path, shown(&reply))
            })?;
            expect(self.upstream_has(&artifact.path, &artifact.bytes), || {
                "the upstream has other bytes".to_owned()
            })?;
        }
        steps.done("4 artifacts, 1 KiB and 1 MiB, stored upstream");

        steps.begin("first fetch");
        let mut artifacts = Vec::new();
        for (name, bytes) in ARTIFACTS {
            let path = TargetPath::new(name).map_err(|error| error.to_string())?;
            let reply = self.web.get(&path.encoded()).await?;
            expect(whole(&reply, bytes), || format!("GET {path}: {}", shown(&reply)))?;
            artifacts.push(Artifact {
                path,
                bytes: Bytes::from_static(bytes),
            });
        }
        steps.done(format_args!("{} artifacts came whole", artifacts.len()));
        artifacts.extend([small, large]);

        steps.begin("wait for the snapshot");
        let mut snapshot = String::new();
        for artifact in &artifacts {
            let reply = self.web.get_signed(&artifact.path.encoded()).await?;
            reply.tufgate_status().clone_into(&mut snapshot);
            let signed = snapshot.starts_with("signed") && whole(&reply, &artifact.bytes);
            expect(signed, || format!("GET {}: {}", artifact.path, shown(&reply)))?;
        }
        steps.done(format_args!("all {} are {snapshot}", artifacts.len()));

        steps.begin("download by the TUF client");
        self.download_all(&artifacts, "first").await?;
        steps.done("each verified, by its bare and both hash-prefixed names");

        let [small, large] = &unread;
        steps.begin("overwrite a small file behind the gate");
        self.overwrite(small)?;
        let reply = self.web.get(&small.path.encoded()).await?;
        expect(reply.status == StatusCode::BAD_GATEWAY, || shown(&reply))?;
        steps.done("502, not a byte of it");

        steps.begin("overwrite a large file behind the gate");
        let new = self.overwrite(large)?;
        let reply = self.web.get(&large.path.encoded()).await?;
        let refused = reply.status == StatusCode::BAD_GATEWAY || (reply.cut && reply.body.len() < new.len());
        expect(refused, || shown(&reply))?;
        steps.done(match reply.cut {
            true => format!("cut short, {} of {} bytes", reply.body.len(), new.len()),
            false => "502, not a byte of it".to_owned(),
        });
        for artifact in &unread {
            self.refused_to_client(artifact).await?;
        }

        steps.begin("overwrite a file that was read before");
        let (read, others) = artifacts.split_last().ok_or("nothing was published")?;
        self.overwrite(read)?;
        let reply = self.web.get(&read.path.encoded()).await?;
        expect(whole(&reply, &read.bytes), || shown(&reply))?;
        steps.done("the recorded bytes, which are kept");

        steps.begin("kill both processes");
        gate.kill().await?;
        expect(self.web.get("/").await.is_err(), || {
            "something still answers".to_owned()
        })?;
        steps.done("SIGKILL, nothing listens");

        steps.begin("restart");
        let gate = self.start().await?;
        // The first client has seen versions before the kill: none may have decreased. The second has seen nothing.
        self.download_all(others, "first").await?;
        self.download_all(others, "second").await?;
        // A gate that has just started does not know yet whether what it keeps is for everybody.
        for artifact in unread.iter().chain([read]) {
            self.refused_to_client(artifact).await?;
        }
        steps.done("all still there and verified, overwritten ones refused");

        steps.begin("put the old bytes back upstream");
        for artifact in unread.iter().chain([read]) {
            self.restore(artifact)?;
            self.come_back(artifact).await?;
        }
        self.download_all(&artifacts, "first").await?;
        self.download_all(&unread, "first").await?;
        steps.done("all are delivered again");

        steps.begin("stop");
        gate.stop().await?;
        expect(self.web.get("/").await.is_err(), || {
            "something still answers".to_owned()
        })?;
        steps.done("SIGTERM, exit code 0, nothing left running");
        Ok(())
    }

    async fn start(&self) -> Result<GateProcess, String> {
        let config = &self.folder.config;
        let log = self.folder.dir.join("gate.log");
        let gate = GateProcess::start(&config.file, &config.signer.socket, &log).await?;
        // It serves at once; it is ready when there is metadata to serve.
        let ready = timeout(PATIENCE, async {
            loop {
                match self.admin.get("/readyz").await {
                    Ok(reply) if reply.status == StatusCode::OK => return,
                    _ => sleep(LOOK).await,
                }
            }
        });
        match ready.await {
            Ok(()) => Ok(gate),
            Err(_) => Err(format!("the gate was not ready within {PATIENCE:?}")),
        }
    }

    /// Random bytes under a name of their own, so that a folder can be used again.
    fn artifact(&self, name: &str, length: usize) -> Result<Artifact, String> {
        let mut bytes = vec![0; length];
        rand::rng().fill_bytes(&mut bytes);
        let path = format!("once/{}/{name}", &Digest::of(&bytes).to_string()[..12]);
        Ok(Artifact {
            path: TargetPath::new(&path).map_err(|error| error.to_string())?,
            bytes: bytes.into(),
        })
    }

    fn upstream_has(&self, path: &TargetPath, bytes: &[u8]) -> bool {
        std::fs::read(self.www.join(path.as_str())).is_ok_and(|stored| stored == bytes)
    }

    /// Other bytes of the same length, so that only the digest tells them apart.
    fn overwrite(&self, artifact: &Artifact) -> Result<Vec<u8>, String> {
        let new: Vec<u8> = artifact.bytes.iter().map(|byte| !byte).collect();
        std::fs::write(self.www.join(artifact.path.as_str()), &new).map_err(|error| error.to_string())?;
        Ok(new)
    }

    fn restore(&self, artifact: &Artifact) -> Result<(), String> {
        let place = self.www.join(artifact.path.as_str());
        std::fs::write(place, &artifact.bytes).map_err(|error| error.to_string())
    }

    /// A path whose upstream bytes are right again is answered again, once a neutral read has seen them.
    async fn come_back(&self, artifact: &Artifact) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let reply = self.web.get(&artifact.path.encoded()).await?;
            if whole(&reply, &artifact.bytes) {
                return Ok(());
            }
            expect(begun.elapsed() < PATIENCE, || {
                format!("{} stays refused: {}", artifact.path, shown(&reply))
            })?;
            sleep(LOOK).await;
        }
    }
}

fn whole(reply: &Reply, bytes: &[u8]) -> bool {
    reply.status == StatusCode::OK && !reply.cut && reply.body == bytes
}

fn shown(reply: &Reply) -> String {
    let cut = if reply.cut { ", cut" } else { "" };
    let status = reply.tufgate_status();
    format!(
        "{}, {} bytes{cut}, Tufgate-Status `{status}`",
        reply.status,
        reply.body.len()
    )
}

/// An error unless it is good.
pub(super) fn expect(good: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(otherwise()) }
}
