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
mod pace;
mod passing;
mod peer;
mod probe;
pub mod problem;
mod quota;
mod read;
mod recorded;
mod route;
mod shape;
mod submit;
mod tap;
mod teaching;
mod whole;
mod write;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::{FailToProxy, Session},
    upstreams::peer::HttpPeer,
};
use tokio::sync::Semaphore;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::{
    client::client_ip, host::Passed, memory::Memory, probe::Opened, problem::Problem, read::Reads, route::Route,
    write::Write,
};
pub use self::{headers::Status, host::Host, whole::GateProxy};
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
    reads: Reads,
    opened: Opened,
    host: Host,
    /// Places for submissions on their way.
    submissions: Semaphore,
    /// Held by who judges a submission.
    submitting: Semaphore,
    /// What roles may still hand in.
    quotas: quota::Quotas,
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
        Self(Arc::new(State {
            peer: peer::Upstream::new(&parts.config.upstream, &parts.authorities),
            reads: Reads::new(&parts),
            opened: Opened::default(),
            submissions: Semaphore::new(submit::PLACES),
            submitting: Semaphore::new(1),
            quotas: quota::Quotas::new(parts.config.tuf.submissions_per_hour),
            parts,
            host,
        }))
    }

    fn memory(&self) -> &Memory {
        &self.0.reads.memory
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
        client::as_http_1(session)?;
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
            Route::Submission => return self.serve_submission(session).await.map(|()| Outcome::Answered),
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
        let problem = ctx.problem.take().or_else(|| Problem::of(error));
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
}

/// Keeps the problem for [`Gate::fail_to_proxy`] and makes the error that leads there.
fn refuse(ctx: &mut GateCtx, problem: Problem) -> Box<Error> {
    let error = Error::explain(ErrorType::HTTPStatus(problem.status.as_u16()), problem.detail.clone());
    ctx.problem = Some(problem);
    error
}

/// `host[:port]` of a URL.
pub(crate) fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
