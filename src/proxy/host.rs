//! The gate inside another Pingora application: what ends with it, and what a program that leaves out a hook gets.
//!
//! A hook that is not called cannot be made up for; it can be noticed at the next one that is. Then the request fails
//! before it is acknowledged, or, where its answer is out already, its path is read again. Either way an error line
//! names the hook and `tufgate_untapped_total` counts it.

use http::StatusCode;
use pingora::{Error, Result, modules::http::compression::ResponseCompression, proxy::Session};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Gate, GateCtx, problem::Problem};

/// What a gate shares with the program it is in.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Counts requests from [`Gate::request_filter`] until their [`GateCtx`] is dropped.
    pub requests: TaskTracker,
    /// Once cancelled, requests are refused.
    pub stopping: CancellationToken,
}

/// The hooks that a request has passed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// [`Gate::request_filter`], which let the request through.
    pub(super) routed: bool,
    /// [`Gate::upstream_peer`].
    pub(super) peer: bool,
    /// [`Gate::upstream_request_filter`].
    pub(super) prepared: bool,
    /// [`Gate::request_body_filter`].
    pub(super) body: bool,
    /// [`Gate::upstream_response_filter`] of a final answer.
    pub(super) answered: bool,
}

impl Gate {
    /// Refuses what comes after the end began.
    pub(super) fn at_work(&self) -> Result<(), Problem> {
        match self.0.host.stopping.is_cancelled() {
            false => Ok(()),
            true => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the gate is shutting down",
            )),
        }
    }

    /// Only what [`Gate::request_filter`] let through has an upstream.
    pub(super) fn routed(&self, ctx: &mut GateCtx) -> Result<()> {
        ctx.passed.peer = true;
        match ctx.passed.routed {
            true => Ok(()),
            // Also when it answered, and the program went on although it was told so.
            false => Err(self.refuse_without(ctx, "request_filter")),
        }
    }

    /// Before a byte of a body goes upstream.
    pub(super) fn prepared(&self, ctx: &mut GateCtx) -> Result<()> {
        match ctx.passed.prepared {
            true => Ok(()),
            false => Err(self.refuse_without(ctx, "upstream_request_filter")),
        }
    }

    /// Before the client hears of an answer: an upload's bytes have come, so they must have been seen.
    pub(super) fn tapped(&self, session: &Session, ctx: &mut GateCtx) -> Result<()> {
        self.prepared(ctx)?;
        match ctx.write.is_some() && !ctx.passed.body && session.as_downstream().body_bytes_read() > 0 {
            false => Ok(()),
            true => Err(self.refuse_without(ctx, "request_body_filter")),
        }
    }

    /// At the end: whether the client got an upstream's success that the gate did not see.
    pub(super) fn unseen_success(&self, session: &Session, error: Option<&Error>, ctx: &GateCtx) -> bool {
        let success = session
            .response_written()
            .is_some_and(|response| response.status.is_success());
        let unseen = success && error.is_none() && ctx.passed.peer && !ctx.passed.answered;
        if unseen {
            self.note_missing("upstream_response_filter");
        }
        unseen
    }

    fn refuse_without(&self, ctx: &mut GateCtx, hook: &'static str) -> Box<Error> {
        self.note_missing(hook);
        let problem = Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "embedding",
            "the server does not give the gate what it needs",
        );
        super::refuse(ctx, problem)
    }

    fn note_missing(&self, hook: &'static str) {
        self.parts().metrics.untapped_total.with_label_values(&[hook]).inc();
        tracing::error!(
            hook,
            "the program that the gate is in did not call the gate's `{hook}` for a request"
        );
    }
}

/// Keeps Pingora's compression away from an answer that the gate writes: it would change length and framing, by which a
/// client tells a cut from the whole, and the bytes that `Repr-Digest` names.
pub(super) fn as_written(session: &mut Session) {
    if let Some(compression) = session.downstream_modules_ctx.get_mut::<ResponseCompression>()
        && compression.is_header_phase()
    {
        compression.adjust_level(0);
    }
}
