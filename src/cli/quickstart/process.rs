//! The gate as a process of its own, so that the round trip can kill it as a power cut would.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::server::child::READY;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that tells nobody when it is done.
const LOOK: Duration = Duration::from_millis(10);

/// A gate and its signer, in a process group of their own; both are killed when this is dropped.
pub struct GateProcess {
    child: Child,
    group: Pid,
    socket: PathBuf,
}

impl GateProcess {
    /// Starts `serve` with a configuration and waits until it serves. Its log is appended to `log`.
    pub async fn start(config: &Path, socket: &Path, log: &Path) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own file: {error}"))?;
        let log = File::options().append(true).create(true).open(log);
        let log = log.map_err(|error| format!("the gate's log: {error}"))?;
        let mut child = Command::new(&program)
            .args(["serve", "--supervised", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{}` could not be started: {error}", program.display()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let stdout = child.stdout.take();
        let (Some(group), Some(stdout)) = (id, stdout) else {
            return Err("the gate ended at once".to_owned());
        };
        let this = Self {
            child,
            group,
            socket: socket.to_owned(),
        };
        let mut lines = BufReader::new(stdout).lines();
        match timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == READY => Ok(this),
            Ok(_) => Err("the gate ended before it served".to_owned()),
            Err(_) => Err(format!("the gate did not serve within {PATIENCE:?}")),
        }
    }

    /// SIGKILL to gate and signer; returns when both are gone.
    pub async fn kill(mut self) -> Result<(), String> {
        kill_process_group(self.group, Signal::KILL).map_err(|error| format!("kill: {error}"))?;
        let status = self.child.wait().await.map_err(|error| error.to_string())?;
        if status.signal() != Some(Signal::KILL.as_raw()) {
            return Err(format!("the gate ended with {status} instead of being killed"));
        }
        // The signer is not our child; its socket refuses once it is gone.
        let begun = Instant::now();
        while UnixStream::connect(&self.socket).await.is_ok() {
            if begun.elapsed() > PATIENCE {
                return Err("the signer survived SIGKILL".to_owned());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// SIGTERM to the gate, which ends its signer; an exit code other than 0 is an error.
    pub async fn stop(mut self) -> Result<(), String> {
        kill_process(self.group, Signal::TERM).map_err(|error| format!("kill: {error}"))?;
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.map_err(|_| format!("the gate did not end within {PATIENCE:?}"))?;
        let status = status.map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the gate ended with {status}")),
        }
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        // Once it was waited for, its number may belong to somebody else.
        if self.child.id().is_some() {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
