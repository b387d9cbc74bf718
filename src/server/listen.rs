//! The public listener: bound by us, so that a taken port is an error at once and port 0 is known, then handed to
//! Pingora with its descriptor.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    sync::Arc,
};

use pingora::{
    listeners::{L4BufferSettings, ListenerConfig},
    proxy::{ProxyHttp, http_proxy},
    server::{Fds, ListenFds, configuration::ServerConf},
    services::{Service as _, listening::Service},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::accept::{Accepting, Speech};

/// What Pingora holds below a connection: a head with a small body leaves in one write. Who reads has a buffer already, but
/// for rustls, which reads a record in small pieces; for 10,000 idle connections another one is 160 MB.
fn buffers(tls: bool) -> L4BufferSettings {
    L4BufferSettings::new(if tls { 16 << 10 } else { 0 }, 8 << 10)
}

/// A bound listener. It is kept beside the descriptor that Pingora owns, so that the proxy can be started again without
/// a moment in which the port is free.
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Bound {
    /// Binds `addr`; port 0 takes a free one.
    pub fn to(addr: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            addr: listener.local_addr()?,
            listener,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Another descriptor of the same listener.
    pub fn another(&self) -> std::io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// Accepts connections for `proxy` until `shutdown`; connections accepted are counted in `open` until they end.
    /// Returns when no more are accepted and idle ones were told to close.
    pub async fn serve<P>(
        &self,
        conf: &Arc<ServerConf>,
        proxy: P,
        speech: Speech,
        open: TaskTracker,
        shutdown: CancellationToken,
    ) -> std::io::Result<()>
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync,
    {
        let name = self.addr.to_string();
        let mut fds = Fds::new();
        fds.add(name.clone(), self.another()?.into_raw_fd());
        let fds: ListenFds = Arc::new(fds.into());
        let buffers = buffers(speech.tls.is_some());
        let app = Accepting::new(http_proxy(conf, proxy), speech, open);
        let mut service = Service::new("gate".to_owned(), app);
        service.add_listener(ListenerConfig::tcp(&name).l4_buffer(buffers));
        let (stop, stopping) = watch::channel(false);
        let serving = service.start_service(Some(fds), stopping, 1);
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return Ok(()),
            () = shutdown.cancelled() => {}
        }
        stop.send_replace(true);
        serving.await;
        Ok(())
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
