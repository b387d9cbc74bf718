//! A program that leaves out one of the gate's hooks: it is noticed, and no upload is acknowledged that is not recorded
//! or going to be.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../support/gate.rs"]
mod gate;
#[path = "../../support/http.rs"]
mod http;
#[path = "../../support/nginx.rs"]
mod nginx;

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use nginx::Nginx;
use pingora::{
    Error, Result,
    apps::ServerApp,
    http::{RequestHeader, ResponseHeader},
    protocols::{Stream, l4::stream::Stream as Tcp},
    proxy::{FailToProxy, ProxyHttp, Session, http_proxy},
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tufgate::{Config, Gate, GateCtx, Outcome, Overrides, Running, SignerPlace, Stopped};

/// What is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hook {
    Nothing,
    RequestFilter,
    UpstreamRequestFilter,
    RequestBodyFilter,
    UpstreamResponseFilter,
    FailToProxy,
    Logging,
}

/// Forwards every hook to the gate but one.
struct Forgetful(Gate, Hook);

#[async_trait]
impl ProxyHttp for Forgetful {
    type CTX = GateCtx;

    fn new_ctx(&self) -> GateCtx {
        GateCtx::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<bool> {
        match self.1 {
            Hook::RequestFilter => Ok(false),
            _ => Ok(self.0.request_filter(session, ctx).await? == Outcome::Answered),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut GateCtx) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        match self.1 {
            Hook::UpstreamRequestFilter => Ok(()),
            _ => self.0.upstream_request_filter(session, request, ctx),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        match self.1 {
            Hook::RequestBodyFilter => Ok(()),
            _ => self.0.request_body_filter(session, body, end, ctx).await,
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        match self.1 {
            Hook::UpstreamResponseFilter => Ok(()),
            _ => self.0.upstream_response_filter(session, response, ctx).await,
        }
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut GateCtx) -> FailToProxy {
        if self.1 != Hook::FailToProxy {
            return self.0.fail_to_proxy(session, error, ctx).await;
        }
        // As Pingora's own does.
        let error_code = match error.etype() {
            pingora::ErrorType::HTTPStatus(code) => *code,
            _ => 502,
        };
        let _ = session.respond_error(error_code).await;
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut GateCtx) {
        if self.1 != Hook::Logging {
            self.0.logging(session, error, ctx).await;
        }
    }
}

/// A forgetful program in this process, in front of an nginx.
struct Scene {
    nginx: Nginx,
    addr: SocketAddr,
    running: Option<Running>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn without(hook: Hook) -> Self {
        let nginx = Nginx::start();
        let folder = tempfile::tempdir().unwrap();
        gate::Gate::prepare(&gate::Setup::learning(nginx.url()), folder.path().to_path_buf());
        let config = Config::load(folder.path().join("tufgate.toml")).unwrap();
        let runtime = Runtime::new().unwrap();
        let (addr, running) = runtime.block_on(async {
            let started = tufgate::embed(config, SignerPlace::Here, Overrides::default()).await;
            let (gate, running) = started.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            tokio::spawn(accept(listener, Forgetful(gate, hook)));
            (addr, running)
        });
        let scene = Self {
            nginx,
            addr,
            running: Some(running),
            runtime,
            _folder: folder,
        };
        gate::until("the gate", || scene.running.as_ref().unwrap().unready().is_empty());
        scene
    }

    /// How often the gate missed a hook, by name.
    fn missed(&self, hook: &str) -> u64 {
        let name = format!("tufgate_untapped_total{{hook=\"{hook}\"}} ");
        let metrics = self.running.as_ref().unwrap().metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        count.unwrap_or(0)
    }

    fn never_missed(&self) -> bool {
        !self
            .running
            .as_ref()
            .unwrap()
            .metrics()
            .contains("tufgate_untapped_total{")
    }

    /// Waits until a path is recorded and signed, and gives its bytes.
    fn until_signed(&self, path: &str) -> Vec<u8> {
        let signed = || {
            let response = http::get(self.addr, path);
            let status = response.header("tufgate-status").unwrap_or_default().to_owned();
            (status.starts_with("signed"), response.body)
        };
        gate::until("the signature", || signed().0);
        signed().1
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let stopped = self.runtime.block_on(running.stop());
            assert!(std::thread::panicking() || stopped == Stopped::Whole, "{stopped}");
        }
    }
}

async fn accept(listener: TcpListener, proxy: Forgetful) {
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), proxy));
    let (_never, shutdown) = watch::channel(false);
    while let Ok((tcp, _)) = listener.accept().await {
        let (proxy, shutdown) = (Arc::clone(&proxy), shutdown.clone());
        tokio::spawn(async move {
            let mut next: Option<Stream> = Some(Box::new(Tcp::from(tcp)));
            while let Some(stream) = next {
                next = proxy.process_new(stream, &shutdown).await;
            }
        });
    }
}

#[test]
fn with_every_hook_nothing_is_missed() {
    let scene = Scene::without(Hook::Nothing);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 201);
    assert_eq!(http::put(scene.addr, "/x", b"other").status, 409);
    assert_eq!(scene.until_signed("/x"), b"bytes");
    assert_eq!(http::get(scene.addr, "/folder/").status, 404);
    assert!(scene.never_missed());
}

#[test]
fn a_request_the_gate_was_not_asked_about_gets_no_upstream() {
    let scene = Scene::without(Hook::RequestFilter);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 500);
    assert_eq!(http::get(scene.addr, "/x").status, 500);
    assert!(!scene.nginx.file("x").exists());
    assert_eq!(scene.missed("request_filter"), 2);
}

#[test]
fn an_upload_whose_request_was_not_prepared_never_arrives() {
    let scene = Scene::without(Hook::UpstreamRequestFilter);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 500);
    assert!(!scene.nginx.file("x").exists());
    assert!(scene.missed("upstream_request_filter") >= 1);
}

#[test]
fn an_upload_that_passed_untapped_is_not_acknowledged_and_is_read_again() {
    let scene = Scene::without(Hook::RequestBodyFilter);
    let response = http::put(scene.addr, "/x", b"bytes");
    assert_eq!(response.status, 500, "{response:?}");
    assert_eq!(scene.missed("request_body_filter"), 1);
    // Too late to keep it from the upstream: it is recorded for what it is.
    assert_eq!(scene.until_signed("/x"), b"bytes");
}

#[test]
fn an_upload_whose_answer_was_not_seen_is_recorded_all_the_same() {
    let scene = Scene::without(Hook::UpstreamResponseFilter);
    let response = http::put(scene.addr, "/x", b"bytes");
    assert_eq!(
        (response.status, response.header("tufgate-status")),
        (201, None),
        "{response:?}"
    );
    assert_eq!(scene.until_signed("/x"), b"bytes");
    assert_eq!(http::put(scene.addr, "/x", b"other").status, 409);
    assert_eq!(scene.missed("upstream_response_filter"), 1);
}

#[test]
fn a_refusal_keeps_its_status_without_the_gates_words() {
    let scene = Scene::without(Hook::FailToProxy);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 201);
    let refused = http::put(scene.addr, "/x", b"other");
    assert_eq!((refused.status, refused.problem()), (409, None), "{refused:?}");
    assert_eq!(std::fs::read(scene.nginx.file("x")).unwrap(), b"bytes");
}

#[test]
fn an_upload_is_recorded_without_the_last_hook() {
    let scene = Scene::without(Hook::Logging);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 201);
    assert_eq!(scene.until_signed("/x"), b"bytes");
}

#[test]
fn a_stopping_gate_waits_for_its_requests_and_refuses_new_ones() {
    let mut scene = Scene::without(Hook::Nothing);
    assert_eq!(http::put(scene.addr, "/x", b"bytes").status, 201);
    let running = scene.running.take().unwrap();
    assert_eq!(scene.runtime.block_on(running.stop()), Stopped::Whole);
    let refused = http::put(scene.addr, "/y", b"bytes");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!scene.nginx.file("y").exists());
}
