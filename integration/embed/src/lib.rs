//! An application that was there before the gate: a small site on Pingora's own `Server`, with routes of its own, an
//! upstream of its own, compression, and a header of its own on what it proxies. What none of its routes takes is the
//! gate's.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::{
    Error, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::{HttpModules, compression::ResponseCompressionBuilder},
    proxy::{FailToProxy, ProxyHttp, Session, http_proxy_service},
    server::{RunArgs, Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use tufgate::{Config, Gate, GateCtx, Outcome, Overrides, SignerPlace};

/// How long Pingora lets requests in flight go on after SIGTERM: it always sleeps this long.
const GRACE_SECONDS: u64 = 4;

/// The application.
pub struct Site {
    /// The gate inside it.
    pub gate: Gate,
    /// Where `/other/` is proxied, without that prefix; `None`: no such route.
    pub other: Option<SocketAddr>,
}

/// What it keeps of a request.
#[derive(Default)]
pub struct Ctx {
    route: Route,
    gate: GateCtx,
}

/// Whose a request is.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Route {
    /// `/internal/`: answered here.
    #[default]
    Own,
    /// `/other/`: the application's own upstream.
    Other,
    /// Everything else.
    Gate,
}

impl Site {
    fn route(&self, path: &str) -> Route {
        match path {
            _ if path.starts_with("/internal/") => Route::Own,
            _ if path.starts_with("/other/") && self.other.is_some() => Route::Other,
            _ => Route::Gate,
        }
    }
}

/// Answers the application's own route.
async fn own(session: &mut Session) -> Result<()> {
    let (status, text) = match session.req_header().uri.path() {
        "/internal/hello" => (200, "hello from the application\n".repeat(40)),
        _ => (404, "no such page\n".to_owned()),
    };
    let mut response = ResponseHeader::build(status, Some(2))?;
    response.insert_header(header::CONTENT_TYPE, "text/plain")?;
    response.insert_header(header::CONTENT_LENGTH, text.len())?;
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(Bytes::from(text)), true).await
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(3));
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        ctx.route = self.route(session.req_header().uri.path());
        match ctx.route {
            Route::Own => own(session).await.map(|()| true),
            Route::Other => Ok(false),
            Route::Gate => Ok(self.gate.request_filter(session, &mut ctx.gate).await? == Outcome::Answered),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        match (ctx.route, self.other) {
            (Route::Other, Some(addr)) => Ok(Box::new(HttpPeer::new(addr, false, String::new()))),
            _ => self.gate.upstream_peer(&mut ctx.gate).await,
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if ctx.route == Route::Gate {
            return self.gate.upstream_request_filter(session, request, &mut ctx.gate);
        }
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let inner = target.strip_prefix("/other").unwrap_or(target).to_owned();
        request.set_raw_path(inner.as_bytes())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        match ctx.route {
            Route::Gate => self.gate.request_body_filter(session, body, end, &mut ctx.gate).await,
            _ => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        match ctx.route {
            Route::Gate => {
                self.gate
                    .upstream_response_filter(session, response, &mut ctx.gate)
                    .await
            }
            _ => Ok(()),
        }
    }

    async fn response_filter(&self, _: &mut Session, response: &mut ResponseHeader, _: &mut Ctx) -> Result<()> {
        response.insert_header("x-site", "embed")
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        if ctx.route == Route::Gate {
            return self.gate.fail_to_proxy(session, error, &mut ctx.gate).await;
        }
        let _ = session.respond_error(502).await;
        FailToProxy {
            error_code: 502,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _: &Session, ctx: &Ctx, _: &Error) -> bool {
        ctx.route == Route::Gate && self.gate.suppress_error_log(&ctx.gate)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        match ctx.route {
            Route::Gate => self.gate.logging(session, error, &mut ctx.gate).await,
            _ => log::info!("{} {}", session.req_header().method, session.req_header().uri.path()),
        }
    }
}

/// Serves until a signal ends it; the exit code.
pub fn serve(config: &Path, signer: SignerPlace, other: Option<SocketAddr>) -> ExitCode {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(error) => return failed(64, &error, None),
    };
    let listen = config.listen();
    // Pingora would try for half a minute and then go on without a listener.
    if let Err(error) = std::net::TcpListener::bind(listen) {
        return failed(64, &format_args!("cannot listen on {listen}: {error}"), None);
    }
    // Pingora's services have runtimes of their own, which end with it; the gate's outlives them.
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(1, &error, None),
    };
    let (gate, running) = match runtime.block_on(tufgate::embed(config, signer, Overrides::default())) {
        Ok(started) => started,
        Err(error) => return failed(error.exit_code(), &error, error.hint()),
    };
    let conf = ServerConf {
        threads: 2,
        grace_period_seconds: Some(GRACE_SECONDS),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut site = http_proxy_service(&server.configuration, Site { gate, other });
    site.add_tcp(&listen.to_string());
    server.add_service(site);
    server.run(RunArgs::default());
    match runtime.block_on(running.stop()) {
        tufgate::Stopped::Whole => ExitCode::SUCCESS,
        cut @ tufgate::Stopped::Cut(_) => failed(1, &cut, None),
    }
}

fn failed(code: u8, error: &dyn std::fmt::Display, hint: Option<String>) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}
