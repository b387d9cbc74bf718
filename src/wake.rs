//! The Unix socket between proxies and the signer: a byte from a proxy says "something is pending", a byte from the
//! signer says "there is a new publication". Bytes carry no data; what happened stands in the ledger and the depot, so
//! a lost byte costs time and never a target.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often a proxy without connection looks at the depot by itself.
const SAFETY_POLL: Duration = Duration::from_secs(1);
/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Longest wait for a peer to take one byte.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// Another signer answers on it.
    #[error("another signer listens on `{}`", .0.display())]
    Taken(PathBuf),
    /// It cannot be created.
    #[error("signer socket `{}`: {source}", path.display())]
    Bind {
        /// The socket file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The signer's end.
pub struct WakeListener {
    path: PathBuf,
    socket: UnixListener,
    _lock: File,
}

impl WakeListener {
    /// Listens on `path` (mode 0600). A file left behind by a dead signer is removed, but only once a connection to it
    /// has failed.
    pub async fn bind(path: &Path) -> Result<Self, WakeError> {
        let failed = |source| WakeError::Bind {
            path: path.to_owned(),
            source,
        };
        // Two signers that start at once both find a stale file; the lock, which ends with its process, lets one take it.
        let lock = File::create(path.with_added_extension("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WakeError::Taken(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        match UnixStream::connect(path).await {
            Ok(_) => return Err(WakeError::Taken(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let socket = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            socket,
            _lock: lock,
        })
    }

    /// Serves proxies until `shutdown`: a byte from any of them notifies `wake`; each change of `published` is told to
    /// all of them.
    pub async fn serve(self, wake: Arc<Notify>, published: watch::Receiver<u64>, shutdown: CancellationToken) {
        let proxies = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a proxy could not connect to the signer");
                        // Out of descriptors, most likely: accepting again at once would spin.
                        sleep(BACKOFF.1).await;
                        continue;
                    }
                },
            };
            let (wake, published, shutdown) = (Arc::clone(&wake), published.clone(), shutdown.clone());
            proxies.spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    // A proxy that went away reconnects; there is nothing to report.
                    _ = attend(stream, &wake, published) => {}
                }
            });
        }
        proxies.close();
        proxies.wait().await;
    }
}

impl Drop for WakeListener {
    fn drop(&mut self) {
        // A file that stays is recognised as stale by the next signer.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One proxy's connection, from the signer's side.
async fn attend(mut stream: UnixStream, wake: &Notify, mut published: watch::Receiver<u64>) -> io::Result<()> {
    let mut bytes = [0; 256];
    loop {
        tokio::select! {
            read = stream.read(&mut bytes) => match read? {
                0 => return Ok(()),
                _ => wake.notify_one(),
            },
            changed = published.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                timeout(PATIENCE, stream.write_all(b"p")).await??;
            }
        }
    }
}

/// A proxy's end, until `shutdown`: sends a byte whenever `wake` fires and calls `on_published` for bytes received.
///
/// Connects again with backoff. As bytes may have been missed while there was no connection, each new connection
/// starts with a byte to the signer and a call of `on_published`; without connection it is called once a second.
pub async fn run(socket: PathBuf, wake: Arc<Notify>, on_published: impl Fn() + Send, shutdown: CancellationToken) {
    let mut pause = BACKOFF.0;
    let mut polled = Instant::now();
    let mut told = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = converse(&socket, &wake, &on_published) => {
                match ended {
                    Ended::Lost => {
                        pause = BACKOFF.0;
                        told = false;
                        on_published();
                    }
                    Ended::Unconnected(error) if !told => {
                        told = true;
                        tracing::warn!(socket = %socket.display(), %error, "no connection to the signer; trying again");
                    }
                    Ended::Unconnected(_) => {}
                }
                if polled.elapsed() >= SAFETY_POLL {
                    polled = Instant::now();
                    on_published();
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(BACKOFF.1),
        }
    }
}

/// Why a conversation ended.
enum Ended {
    /// The connection broke.
    Lost,
    /// There was none.
    Unconnected(io::Error),
}

async fn converse(socket: &Path, wake: &Notify, on_published: &(impl Fn() + Send)) -> Ended {
    let mut stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => return Ended::Unconnected(error),
    };
    if !send_wake(&mut stream).await {
        return Ended::Lost;
    }
    on_published();
    let mut bytes = [0; 256];
    loop {
        tokio::select! {
            read = stream.read(&mut bytes) => match read {
                Ok(1..) => on_published(),
                _ => return Ended::Lost,
            },
            () = wake.notified() => if !send_wake(&mut stream).await {
                return Ended::Lost;
            },
        }
    }
}

async fn send_wake(stream: &mut UnixStream) -> bool {
    matches!(timeout(PATIENCE, stream.write_all(b"w")).await, Ok(Ok(())))
}

/// Wakes the signer once, for commands that wrote to the ledger by themselves; bytes read from the stream are
/// publications. An error says that no signer listens; it will find the work when it starts.
pub async fn nudge(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"w").await?;
    Ok(stream)
}

#[cfg(test)]
#[path = "wake_tests.rs"]
mod tests;
