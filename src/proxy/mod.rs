//! The proxy: Pingora's `ProxyHttp` as a thin shell. Reads of tracked paths are answered here, through `upstream/`;
//! uploads and everything else stream through Pingora. The proxy appends observations and reads the catalog; it never
//! opens a key.
//!
//! As a plugin: [`Gate`] is `Clone` and offers one method for each hook it needs over a [`GateCtx`] that is a field of
//! the host's `CTX`; [`GateProxy`] is one line a hook.

mod answer;
mod client;
pub(crate) mod express;
mod fetching;
mod framing;
mod headers;
mod host;
mod hot;
mod kept;
mod log;
mod memory;
mod metadata;
mod passing;
mod peer;
mod probe;
pub mod problem;
mod read;
mod recorded;
mod route;
mod tap;
mod teaching;
mod write;

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};
use tokio::sync::Semaphore;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::{
    client::client_ip, express::LastDocument, fetching::Fetches, host::Passed, hot::Special, memory::Memory,
    probe::Opened, problem::Problem, route::Route, write::Write,
};
pub use self::{headers::Status, host::Host};
use crate::{
    cache::Cache,
    catalog::Catalog,
    config::Config,
    intake::Intake,
    target::split_target,
    telemetry::Metrics,
    upstream::{Upstream, anybody::Anybody, reach::Reach, secure::Authorities},
};

/// What a gate is made of.
pub struct GateParts {
    /// Limits, rules, the upstream's address.
    pub config: Arc<Config>,
    /// Looks, learns, reserves.
    pub intake: Arc<Intake>,
    /// What `/metadata` serves.
    pub catalog: Arc<Catalog>,
    /// Reads of tracked paths.
    pub upstream: Arc<dyn Upstream>,
    /// Whether anybody may read the metadata, where the configuration does not say.
    pub anybody: Arc<Anybody>,
    /// Whether the upstream answers, told by what streams through Pingora too.
    pub reach: Reach,
    /// Verified artifacts.
    pub cache: Cache,
    /// Whom to trust as the upstream.
    pub authorities: Authorities,
    /// Counters.
    pub metrics: Metrics,
}

struct State {
    parts: GateParts,
    peer: peer::Upstream,
    waiters: Semaphore,
    memory: Memory,
    special: Special,
    fetches: Fetches,
    opened: Opened,
    last_document: ArcSwapOption<LastDocument>,
    host: Host,
}

/// The gate: cheap to clone, one for all requests. [`crate::embed`] makes it.
///
/// Each method is called from the `ProxyHttp` filter of its name, in every request that [`Gate::request_filter`] was
/// asked about. What a program that leaves one out gets stands on the front page.
#[derive(Clone)]
pub struct Gate(Arc<State>);

/// What the gate keeps of one request: a field of the `CTX` of the program it is in, made by `Default`.
#[derive(Default)]
pub struct GateCtx {
    passed: Passed,
    /// Held while the request is in flight.
    _open: Option<TaskTrackerToken>,
    started: Option<Instant>,
    write: Option<Write>,
    /// An untaught read passes: worth a neutral read if the upstream has it.
    wanted: Option<crate::target::TargetPath>,
    problem: Option<Problem>,
    status: Option<Status>,
    /// The path as it goes upstream, when it has a canonical form.
    canonical: Option<String>,
    /// The gate's hooks apply to this request.
    ours: bool,
    /// Bytes of the request's body so far.
    received: u64,
    /// The upstream was asked for another protocol.
    upgrade: bool,
}

/// What [`Gate::request_filter`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The response has been written: `request_filter` answers `Ok(true)`.
    Answered,
    /// No rule tracks the path. The program may answer the request itself or send it elsewhere, then without the gate's
    /// other hooks; or go on as with `ToUpstream`.
    NotOurs,
    /// The request is to be proxied to the gate's upstream, the gate's other hooks called.
    ToUpstream,
}

impl Gate {
    /// A gate with a listener of its own.
    pub(crate) fn new(parts: GateParts) -> Self {
        Self::in_host(parts, Host::default())
    }

    /// A gate in another program.
    pub(crate) fn in_host(parts: GateParts, host: Host) -> Self {
        let waiters = Semaphore::new(parts.config.gate.max_waiters);
        let peer = peer::Upstream::new(&parts.config.upstream, &parts.authorities);
        let memory = Memory::new(parts.config.cache.memory / 2);
        let special = Special::new(&parts.config.upstream);
        let fetches = Fetches::new(parts.cache.clone());
        Self(Arc::new(State {
            parts,
            peer,
            waiters,
            memory,
            special,
            fetches,
            opened: Opened::default(),
            last_document: ArcSwapOption::empty(),
            host,
        }))
    }

    fn memory(&self) -> &Memory {
        &self.0.memory
    }

    fn parts(&self) -> &GateParts {
        &self.0.parts
    }

    fn config(&self) -> &Config {
        &self.0.parts.config
    }

    fn intake(&self) -> &Intake {
        &self.0.parts.intake
    }

    /// Routes the request; answers it or lets it through.
    pub async fn request_filter(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<Outcome> {
        ctx.started = Some(Instant::now());
        ctx.ours = true;
        ctx._open = Some(self.0.host.requests.token());
        self.limit(session);
        client::name_host(session)?;
        let outcome = self.decide(session, ctx).await?;
        ctx.passed.routed = outcome != Outcome::Answered;
        Ok(outcome)
    }

    async fn decide(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<Outcome> {
        if let Err(problem) = self.at_work().and_then(|()| framing::judge_request(session)) {
            self.answer_unread(session, &problem).await?;
            return Ok(Outcome::Answered);
        }
        if self.serve_hot(session).await? {
            return Ok(Outcome::Answered);
        }
        let request = session.req_header();
        let method = request.method.clone();
        let target = request.raw_path().to_vec();
        let config = self.0.parts.config.clone();
        let route = route::route(&config.policy, &config.gate.metadata_prefix, &method, &target);
        ctx.canonical = route.canonical();
        let done = match route {
            Route::Metadata(file) => return self.serve_metadata(session, &file).await.map(|()| Outcome::Answered),
            Route::Pass => Ok(Outcome::ToUpstream),
            Route::Untracked => Ok(Outcome::NotOurs),
            Route::Refuse(problem) => Err(problem),
            Route::Read(read) => return self.serve_read(session, ctx, read).await,
            Route::Put(at) => self.start_put(session, ctx, at).await,
            Route::Delete(at) => self.start_delete(session, ctx, at).await,
            Route::Transfer(at) => self.start_transfer(session, ctx, at).await,
            Route::Change(at, query) => self.start_change(ctx, at, query).await,
        };
        match done {
            Ok(outcome) => Ok(outcome),
            Err(problem) => {
                self.answer_problem(session, &problem).await?;
                Ok(Outcome::Answered)
            }
        }
    }

    /// The upstream, for what streams through Pingora.
    pub async fn upstream_peer(&self, ctx: &mut GateCtx) -> Result<Box<HttpPeer>> {
        self.routed(ctx)?;
        Ok(Box::new(self.0.peer.peer(ctx.write.is_some()).await?))
    }

    /// Fixes what the upstream sees of a proxied request: Host, path, forwarding headers.
    pub fn upstream_request_filter(
        &self,
        session: &Session,
        request: &mut RequestHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        ctx.passed.prepared = true;
        let upstream = &self.config().upstream;
        let target = self.upstream_target(ctx, request.raw_path());
        request.set_raw_path(&target)?;
        ctx.upgrade = framing::tidy_request(session.req_header().version, ctx.canonical.is_some(), request)?;
        if !upstream.preserve_host {
            request.insert_header(header::HOST, authority(&upstream.url))?;
        }
        // An upgrade to HTTP/2 goes by `Upgrade: h2c`, which Pingora drops, and this.
        for name in ["http2-settings", "forwarded"] {
            request.remove_header(name);
        }
        if let Some(ip) = client_ip(session) {
            request.insert_header("x-forwarded-for", ip.to_string())?;
        }
        if let Some(host) = session.req_header().headers.get(header::HOST) {
            request.insert_header("x-forwarded-host", host.as_bytes())?;
        }
        request.insert_header("x-forwarded-proto", client::scheme(session))?;
        client::frame_upload(session, request, ctx.write.as_ref().is_some_and(Write::withholds))?;
        if let Some(write) = &mut ctx.write {
            write.upstream_request(&upstream.url, request)?;
        }
        Ok(())
    }

    /// The request target as the upstream gets it: the canonical encoding where there is one, below the base path.
    fn upstream_target(&self, ctx: &GateCtx, raw: &[u8]) -> Vec<u8> {
        let base = self.config().upstream.url.path().trim_end_matches('/');
        let Some((path, query)) = split_target(raw) else {
            return raw.to_vec();
        };
        let path = ctx.canonical.as_ref().map_or(path, |canonical| canonical.as_bytes());
        let mut target = [base.as_bytes(), path].concat();
        if let Some(query) = query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        target
    }

    /// Taps an upload, chunk by chunk, as it goes upstream: called last of all that look at the body. Commits before
    /// the last chunk.
    pub async fn request_body_filter(
        &self,
        session: &Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.prepared(ctx)?;
        ctx.passed.body = true;
        ctx.received += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if !end && self.too_slow(ctx) {
            let problem = Problem::new(
                http::StatusCode::REQUEST_TIMEOUT,
                "client-timeout",
                "the body comes too slowly",
            );
            return Err(refuse(ctx, problem));
        }
        let client = client_ip(session);
        if ctx.write.is_some()
            && let Err(problem) = self.tap_upload(client, body, end, ctx).await
        {
            return Err(refuse(ctx, problem));
        }
        // Pingora issue 935: an empty chunk at the end of a chunked body is written as its terminator, twice.
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    /// Settles a write by the upstream's answer, before the client sees it.
    pub async fn upstream_response_filter(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.parts().reach.answered();
        if let Err(problem) = framing::judge_switch(response, ctx.upgrade) {
            return Err(refuse(ctx, problem));
        }
        if response.status.is_informational() {
            return Ok(());
        }
        if let Err(problem) = framing::tidy_answer(response) {
            return Err(refuse(ctx, problem));
        }
        // Only the gate says how a path stands.
        response.remove_header(&headers::TUFGATE_STATUS);
        ctx.passed.answered = true;
        if let Err(problem) = self.settle_write(session, response, ctx).await {
            return Err(refuse(ctx, problem));
        }
        // Only now: what was stored unseen has been noted to be read again.
        self.tapped(session, ctx)?;
        if let Some(path) = ctx.wanted.take()
            && response.status.is_success()
        {
            self.intake().want(&path);
        }
        if let Some(status) = ctx.status {
            response.insert_header(headers::TUFGATE_STATUS, status.to_string())?;
        }
        Ok(())
    }

    /// Writes the gate's own error answer, unless an answer is under way.
    pub async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut GateCtx) -> FailToProxy {
        let problem = ctx.problem.take().or_else(|| problem_of(error));
        if let Some(away) = problem
            .as_ref()
            .filter(|problem| ["upstream-timeout", "upstream-unreachable"].contains(&problem.kind))
        {
            self.parts().reach.failed(&away.detail);
        }
        let code = problem.as_ref().map_or(0, |problem| problem.status.as_u16());
        // After a forwarded `100 Continue` an informational header counts as written; only a final one rules out ours.
        let answered = session.response_written().is_some_and(|r| !r.status.is_informational());
        if let (Some(problem), false) = (problem, answered)
            && self.answer_problem(session, &problem).await.is_err()
        {
            tracing::debug!("the client left before its error answer");
        }
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    /// Leaves nothing open: a write without an answer is in doubt. Writes the access log.
    pub async fn logging(&self, session: &Session, error: Option<&Error>, ctx: &mut GateCtx) {
        let unseen = self.unseen_success(session, error, ctx);
        self.abandon_write(client_ip(session), unseen, ctx).await;
        let request = session.req_header();
        self.account(&log::Line {
            client: client_ip(session),
            method: request.method.as_str().as_bytes(),
            target: request.raw_path(),
            agent: request
                .headers
                .get(header::USER_AGENT)
                .map(HeaderValue::as_bytes)
                .unwrap_or_default(),
            status: session
                .response_written()
                .map_or(0, |response| response.status.as_u16()),
            bytes: session.body_bytes_sent(),
            begun: ctx.started,
            error: error.map(log::reason).as_ref().map(|error| error as _),
        });
    }

    /// Whether Pingora need not log an error of this request: the gate logs its own refusals once, in the access log and
    /// where they are made.
    pub fn suppress_error_log(&self, ctx: &GateCtx) -> bool {
        ctx.ours
    }

    /// Whether a body trickles in below the least rate; silence has a limit of its own.
    fn too_slow(&self, ctx: &GateCtx) -> bool {
        let gate = &self.config().gate;
        let elapsed = ctx.started.map_or_else(Default::default, |at| at.elapsed());
        elapsed > gate.client_timeout && ctx.received < u64::from(gate.min_rate) * elapsed.as_secs()
    }

    /// Bounds what a slow client can hold.
    fn limit(&self, session: &mut Session) {
        let gate = &self.config().gate;
        let downstream = session.as_downstream_mut();
        downstream.set_read_timeout(Some(gate.client_timeout));
        downstream.set_write_timeout(Some(gate.client_timeout));
        downstream.set_total_drain_timeout(Some(gate.client_timeout));
        if gate.min_rate > 0 {
            downstream.set_min_send_rate(Some(gate.min_rate as usize));
        }
    }
}

/// Keeps the problem for [`Gate::fail_to_proxy`] and makes the error that leads there.
fn refuse(ctx: &mut GateCtx, problem: Problem) -> Box<Error> {
    let error = Error::explain(ErrorType::HTTPStatus(problem.status.as_u16()), problem.detail.clone());
    ctx.problem = Some(problem);
    error
}

/// What the client hears of an error of Pingora's; nothing when it is gone.
fn problem_of(error: &Error) -> Option<Problem> {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidCert,
        ReadError, ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    let (status, kind) = match (error.etype(), error.esource()) {
        (HTTPStatus(code), _) => (*code, "refused"),
        (ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout, ErrorSource::Upstream) => {
            (504, "upstream-timeout")
        }
        (ConnectError | ConnectRefused | ConnectNoRoute | InvalidCert | TLSHandshakeFailure, ErrorSource::Upstream) => {
            (502, "upstream-unreachable")
        }
        (_, ErrorSource::Upstream) => (502, "upstream-broken"),
        (ReadTimedout, ErrorSource::Downstream) => (408, "client-timeout"),
        (ReadError | WriteError | WriteTimedout | ConnectionClosed, ErrorSource::Downstream) => return None,
        (_, ErrorSource::Downstream) => (400, "request"),
        _ => (500, "internal"),
    };
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let words = match kind {
        "upstream-unreachable" => "the upstream cannot be reached",
        "upstream-timeout" => "the upstream did not answer in time",
        "upstream-broken" => "the upstream's answer broke",
        "client-timeout" => "the request did not come in time",
        _ => "the request failed",
    };
    Some(Problem::new(
        status,
        kind,
        format!("{words} ({})", error.etype().as_str()),
    ))
}

/// `host[:port]` of a URL.
pub(crate) fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The gate as a whole proxy: one line a hook.
pub struct GateProxy(pub Gate);

#[async_trait]
impl ProxyHttp for GateProxy {
    type CTX = GateCtx;

    fn new_ctx(&self) -> GateCtx {
        GateCtx::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<bool> {
        Ok(self.0.request_filter(session, ctx).await? == Outcome::Answered)
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
        self.0.upstream_request_filter(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.0.request_body_filter(session, body, end, ctx).await
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut GateCtx,
    ) -> Result<()> {
        self.0.upstream_response_filter(session, response, ctx).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut GateCtx,
    ) -> Result<()> {
        client::frame(session, response);
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut GateCtx) -> FailToProxy {
        self.0.fail_to_proxy(session, error, ctx).await
    }

    fn suppress_error_log(&self, _: &Session, ctx: &GateCtx, _: &Error) -> bool {
        self.0.suppress_error_log(ctx)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut GateCtx) {
        self.0.logging(session, error, ctx).await;
    }
}
