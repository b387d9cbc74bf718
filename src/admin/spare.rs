//! The admin listener's own descriptors. Clients may take all others that the process may have; whoever watches over it
//! must still get in.

use std::{fs::File, net::SocketAddr, time::Duration};

use axum::serve::Listener;
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Descriptors held back.
const SPARE: usize = 8;
/// Pause when none is left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that gives up a held descriptor when there is no other for a connection.
pub(super) struct Spared {
    listener: TcpListener,
    spare: Vec<File>,
}

impl Spared {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            spare: Vec::new(),
        }
    }

    /// Takes descriptors back, as far as there are any.
    fn refill(&mut self) {
        while self.spare.len() < SPARE
            && let Ok(file) = File::open("/dev/null")
        {
            self.spare.push(file);
        }
    }
}

impl Listener for Spared {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.refill();
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error)
                    if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE))
                        && self.spare.pop().is_some() => {}
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
