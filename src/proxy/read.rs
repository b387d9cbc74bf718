//! Reads of tracked paths: which record a request is for, and whether it may be answered now. `recorded.rs` answers from
//! a record, `teaching.rs` what is not recorded yet.
//!
//! Everything is read through `upstream/`, small and large, recorded or not: one loop, in which a redirect can be
//! followed, a commit awaited and a frame forced, none of which Pingora's response filters allow.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{
    Gate, GateCtx, Outcome,
    headers::{Forwarded, Status, forwarded, prefer_wait},
    kept::Kept,
    passing::Cut,
    problem::Problem,
    recorded::{Recorded, Seen},
    route::{Read, Tracked},
};
use crate::{
    digest::Expected,
    intake::Standing,
    ledger::{State, Target},
    policy::{Rule, Unsigned},
    target::TargetPath,
    upstream::Ask,
};

/// Longest a request is held by `unsigned = "wait"`, in seconds.
const UNSIGNED_WAIT: u32 = 30;

impl Gate {
    /// Answers a read, or lets it through when the path is not recorded and a fetch teaches nothing.
    pub(super) async fn serve_read(&self, session: &mut Session, ctx: &mut GateCtx, read: Read<'_>) -> Result<Outcome> {
        match self.find(session, ctx, read).await {
            Ok(Found::Recorded(recorded)) => {
                let answered = self.serve_recorded(session, &recorded).await;
                self.conclude(session, answered).await
            }
            Ok(Found::Superseded(path, forwarded, expected, bytes)) => {
                let answered = self
                    .serve_superseded(session, &path, forwarded, (expected, bytes))
                    .await;
                self.conclude(session, answered).await
            }
            Ok(Found::Teaching(at, forwarded)) => {
                let answered = self.serve_teaching(session, &at, forwarded).await;
                self.conclude(session, answered).await
            }
            Ok(Found::Nothing) => Ok(Outcome::ToUpstream),
            Err(problem) => self.conclude(session, Err(Cut::Refused(problem))).await,
        }
    }

    /// Bytes that were recorded here until a moment ago, to whom the upstream gives those that are now: a client whose
    /// metadata is that much behind.
    async fn serve_superseded(
        &self,
        session: &mut Session,
        path: &TargetPath,
        forwarded: Forwarded,
        (expected, bytes): (Expected, Bytes),
    ) -> Result<(), Cut> {
        let ask = Ask {
            method: Method::HEAD,
            path: path.encoded(),
            headers: forwarded.credentials(),
            identity: false,
        };
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        if self.pass_unless_ok(session, answer).await?.is_none() {
            return Ok(());
        }
        let kept = Kept {
            headers: &HeaderMap::new(),
            expected,
            bytes,
            status: Status::Signed(self.parts().catalog.published().snapshot),
            age: None,
            waited: None,
        };
        Ok(kept.answer(session).await?)
    }

    /// What an operator withdrew is not kept either, in no version.
    fn forget(&self, path: &TargetPath, target: &Target) {
        self.memory().drop(path);
        let digests = target.superseded.iter().map(|old| &old.digest);
        for digest in digests.chain([&target.digest]) {
            self.parts().cache.forget(digest);
        }
    }

    /// Turns a problem before the first byte into its answer, one after it into a cut.
    async fn conclude(&self, session: &mut Session, answered: Result<(), Cut>) -> Result<Outcome> {
        match answered {
            Ok(()) => Ok(Outcome::Answered),
            Err(Cut::Refused(problem)) => {
                self.answer_problem(session, &problem).await?;
                Ok(Outcome::Answered)
            }
            Err(Cut::Midway(detail)) => {
                // The client must not mistake what it has for the whole: the connection closes short.
                session.set_keepalive(None);
                Err(Error::explain(ErrorType::Custom("CutShort"), detail))
            }
            Err(Cut::Client(error)) => Err(error),
        }
    }

    /// Which record a read is for, and whether it may be answered now.
    async fn find<'a>(&self, session: &Session, ctx: &mut GateCtx, read: Read<'a>) -> Result<Found<'a>, Problem> {
        let seen = Seen {
            epoch: self.intake().epoch(),
            drops: self.memory().drops(),
        };
        let headers = session.req_header().headers.clone();
        let forwarded = forwarded(&headers, &self.config().upstream);
        let wait = prefer_wait(&headers);
        for (Tracked { path, rule }, wanted) in read.names {
            let mut standing = match self.intake().look(&path, rule).await {
                Ok(standing) => standing,
                // A failing ledger never stops reads of what is kept.
                Err(error) => match self.memory().last(&path) {
                    Some(held) if wanted.is_none_or(|digest| digest == held.expected.digest) => {
                        tracing::error!(%error, target.path = %path, "`{path}` is served as it was last known");
                        return Ok(Found::Recorded(Box::new(Recorded {
                            path,
                            rule,
                            expected: held.expected,
                            drifted: false,
                            status: Status::Pending,
                            query: read.query,
                            forwarded,
                            waited: None,
                            seen,
                        })));
                    }
                    _ => return Err(error.into()),
                },
            };
            // Who waits for a signature, or may not read without one, must not be who teaches.
            let first = wait.is_some() || rule.unsigned != Unsigned::Pass;
            if standing.target.is_none() && wanted.is_none() && first && read.query.is_none() {
                self.teach_first(&path, rule).await;
                standing = self.intake().look(&path, rule).await?;
            }
            let Some(target) = standing.target.clone() else {
                if wanted.is_some() {
                    continue;
                }
                return Ok(self.not_recorded(session, ctx, Tracked { path, rule }, forwarded, read.query));
            };
            if let Some(digest) = wanted
                && digest != target.digest
            {
                let Some(old) = target.superseded.iter().find(|old| old.digest == digest) else {
                    continue;
                };
                let lasts = old.at + self.config().signer.retain > self.intake().now();
                let expected = Expected {
                    digest,
                    length: old.length,
                };
                return match self.parts().cache.find(&expected).await {
                    Some(bytes) if lasts && target.state == State::Live => {
                        Ok(Found::Superseded(path, forwarded, expected, bytes))
                    }
                    _ => Err(superseded()),
                };
            }
            match target.state {
                State::Retracted => {
                    self.forget(&path, &target);
                    return Err(Problem::retracted());
                }
                State::Deleted => return Err(deleted()),
                State::Live => {}
            }
            if let Some(query) = &read.query
                && !rule.allows_query(query)
            {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "query",
                    "this path is recorded; its rule allows no such query",
                ));
            }
            let (status, waited) = self.await_signature((&path, rule), &target, &standing, wait).await?;
            return Ok(Found::Recorded(Box::new(Recorded {
                path,
                rule,
                expected: Expected {
                    digest: target.digest,
                    length: target.length,
                },
                drifted: standing.drift.is_some(),
                status,
                query: read.query,
                forwarded,
                waited,
                seen,
            })));
        }
        Ok(Found::Nothing)
    }

    /// On an unrecorded path, before a reader is answered for whom its signature counts: a neutral read.
    async fn teach_first(&self, path: &TargetPath, rule: &Rule) {
        // Waiting is the client's wish, never a reason to refuse it: where too many wait, it goes on unwaited.
        let Ok(_held) = self.hold() else { return };
        if let Err(error) = self.intake().read_and_learn(path, rule).await {
            tracing::warn!(%error, target.path = %path, "a neutral read of `{path}` gave no verdict");
        }
    }

    /// A path without a record: taught by this fetch, by a neutral read of its own, or not at all.
    fn not_recorded<'a>(
        &self,
        session: &Session,
        ctx: &mut GateCtx,
        at: Tracked<'a>,
        forwarded: Forwarded,
        query: Option<String>,
    ) -> Found<'a> {
        if !self.intake().learns_fetch(at.rule) || query.is_some() {
            ctx.status = Some(Status::Untracked);
            return Found::Nothing;
        }
        let request = session.req_header();
        let whole = request.method == Method::GET && !request.headers.contains_key(header::RANGE);
        if whole && forwarded.own() {
            return Found::Teaching(at, forwarded);
        }
        // What the gate could not have written itself passes and teaches nothing; the gate's own read will.
        ctx.wanted = Some(at.path);
        ctx.status = Some(Status::Untracked);
        Found::Nothing
    }

    /// How the target stands, waiting for its signature where the client or the rule wants that.
    async fn await_signature(
        &self,
        (path, rule): (&TargetPath, &Rule),
        target: &Target,
        standing: &Standing,
        wait: Option<u32>,
    ) -> Result<(Status, Option<u32>), Problem> {
        if standing.signed {
            return Ok((Status::Signed(standing.snapshot), wait));
        }
        if rule.unsigned == Unsigned::Deny {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "unsigned",
                "this path is not signed yet",
            ));
        }
        let must = rule.unsigned == Unsigned::Wait;
        let seconds = wait.or(must.then_some(UNSIGNED_WAIT));
        if let Some(seconds) = seconds {
            let held = match self.hold() {
                Err(busy) if must => return Err(busy),
                held => held.ok(),
            };
            let limit = std::time::Duration::from_secs(seconds.into());
            if held.is_some() && self.parts().catalog.wait_for(target.seq, limit).await {
                // The snapshot may have withdrawn it again.
                let standing = self.intake().look(path, rule).await?;
                let stands = standing.live().is_some_and(|live| live.digest == target.digest);
                return match stands && standing.signed {
                    true => Ok((Status::Signed(standing.snapshot), wait)),
                    false => Err(changed()),
                };
            }
        }
        match must {
            true => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unsigned",
                "this path was not signed in time",
            )
            .retry(5)),
            false => Ok((Status::Pending, None)),
        }
    }

    /// A place among the requests that may wait at once.
    pub(super) fn hold(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        self.0.waiters.try_acquire().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests are waiting").retry(5)
        })
    }
}

/// What a read found.
enum Found<'a> {
    /// A live record.
    Recorded(Box<Recorded<'a>>),
    /// What was recorded before, by its hash, and its bytes.
    Superseded(TargetPath, Forwarded, Expected, Bytes),
    /// No record; this fetch may teach.
    Teaching(Tracked<'a>, Forwarded),
    /// No record, or a hash-prefixed name that stands for nothing: passed.
    Nothing,
}

fn superseded() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "superseded",
        "these bytes were superseded here and are no longer held",
    )
}

fn changed() -> Problem {
    let detail = "what is recorded here changed while this request waited";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "changed", detail).retry(1)
}

fn deleted() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "deleted", "this path was deleted")
}
