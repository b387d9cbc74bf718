//! Reads of tracked paths: which record a request is for, and whether it may be answered now. `recorded.rs` answers from
//! a record, `teaching.rs` what is not recorded yet.
//!
//! Everything is read through `upstream/`, small and large, recorded or not: one loop, in which a redirect can be
//! followed, a commit awaited and a frame forced, none of which Pingora's response filters allow.

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Gate, GateCtx, GateParts, Outcome,
    express::LastDocument,
    fetching::Fetches,
    headers::{Forwarded, Status, forwarded, prefer_wait},
    hot::Special,
    kept::Kept,
    memory::Memory,
    passing::Cut,
    problem::Problem,
    recorded::{Proof, Recorded, Seen},
    route::{Read, Tracked},
};
use crate::{
    digest::{Digest, Expected},
    intake::Standing,
    ledger::{LedgerError, State, Target},
    policy::{Rule, Unsigned},
    target::TargetPath,
};

/// Longest a request is held by `unsigned = "wait"`, in seconds.
const UNSIGNED_WAIT: u32 = 30;

/// What reads share.
pub(super) struct Reads {
    /// Places among the requests that may wait at once.
    waiters: Semaphore,
    pub memory: Memory,
    pub special: Special,
    pub fetches: Fetches,
    pub last_document: ArcSwapOption<LastDocument>,
}

impl Reads {
    pub(super) fn new(parts: &GateParts) -> Self {
        let config = &parts.config;
        Self {
            waiters: Semaphore::new(config.gate.max_waiters),
            memory: Memory::new(config.cache.memory / 2),
            special: Special::new(&config.upstream),
            fetches: Fetches::new(parts.cache.clone()),
            last_document: ArcSwapOption::empty(),
        }
    }
}

impl Gate {
    /// Answers a read, or lets it through when the path is not recorded and a fetch teaches nothing.
    pub(super) async fn serve_read(&self, session: &mut Session, ctx: &mut GateCtx, read: Read<'_>) -> Result<Outcome> {
        match self.find(session, ctx, read).await {
            Ok(Found::Recorded(recorded)) => {
                let answered = self.serve_recorded(session, &recorded).await;
                self.conclude(session, answered).await
            }
            Ok(Found::Superseded(recorded, old)) => {
                let answered = self.serve_superseded(session, &recorded, old).await;
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
        recorded: &Recorded<'_>,
        (expected, bytes): (Expected, Bytes),
    ) -> Result<(), Cut> {
        let held = self.memory().held(&recorded.path, &recorded.expected);
        match self.prove(session, recorded, held.as_deref()).await? {
            Proof::Given(_) => {}
            // To read all of it would be the gate's work and not the client's.
            Proof::Wanting(_) => return Err(superseded().into()),
            Proof::Answered => return Ok(()),
        }
        let kept = Kept {
            headers: &HeaderMap::new(),
            expected,
            bytes,
            status: recorded.status,
            age: None,
            waited: None,
        };
        Ok(kept.answer(self, session).await?)
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
        let epoch = self.intake().epoch();
        let headers = session.req_header().headers.clone();
        let forwarded = forwarded(&headers, &self.config().upstream);
        let (wait, query) = (prefer_wait(&headers), read.query);
        for (at, wanted) in read.names {
            let seen = Seen {
                epoch,
                drops: self.memory().drops(&at.path),
            };
            let (known, old) = match self.stands(&at, wanted, query.as_deref(), wait).await? {
                Stands::Known(known) => (known, None),
                Stands::Superseded(known, old) => (known, Some(old)),
                Stands::Nothing if wanted.is_some() => continue,
                Stands::Nothing => return Ok(self.not_recorded(session, ctx, at, forwarded, query)),
            };
            let Known {
                expected,
                drifted,
                status,
                waited,
            } = known;
            let recorded = Box::new(Recorded {
                path: at.path,
                rule: at.rule,
                expected,
                drifted,
                status,
                query,
                forwarded,
                waited,
                seen,
            });
            return Ok(match old {
                None => Found::Recorded(recorded),
                Some(old) => Found::Superseded(recorded, old),
            });
        }
        Ok(Found::Nothing)
    }

    /// What stands at a path, or stood there where other bytes are `wanted` than those that are now.
    async fn stands(
        &self,
        Tracked { path, rule }: &Tracked<'_>,
        wanted: Option<Digest>,
        query: Option<&str>,
        wait: Option<u32>,
    ) -> Result<Stands, Problem> {
        let mut standing = match self.intake().look(path, rule).await {
            Ok(standing) => standing,
            Err(error) => {
                judge_query(rule, query)?;
                return self.last_known(path, wanted, error).map(Stands::Known);
            }
        };
        if standing.target.is_none() && wanted.is_none() && wait.is_some() && query.is_none() {
            self.teach_first(path, rule).await;
            standing = self.intake().look(path, rule).await?;
        }
        let Some(target) = standing.target.clone() else {
            return Ok(Stands::Nothing);
        };
        if let Some(digest) = wanted
            && digest != target.digest
        {
            let Some(old) = target.superseded.iter().find(|old| old.digest == digest) else {
                return Ok(Stands::Nothing);
            };
            let lasts = old.at + self.config().signer.retain > self.intake().now();
            let expected = Expected {
                digest,
                length: old.length,
            };
            return match self.parts().cache.find(&expected).await {
                Some(bytes) if lasts && target.state == State::Live => {
                    judge_query(rule, query)?;
                    let known = Known {
                        expected: Expected {
                            digest: target.digest,
                            length: target.length,
                        },
                        drifted: standing.drift.is_some(),
                        status: Status::Signed(self.parts().catalog.snapshot_version()),
                        waited: None,
                    };
                    Ok(Stands::Superseded(known, (expected, bytes)))
                }
                _ => Err(superseded()),
            };
        }
        match target.state {
            State::Retracted => {
                self.forget(path, &target);
                return Err(Problem::retracted());
            }
            State::Deleted => return Err(deleted()),
            State::Live => {}
        }
        judge_query(rule, query)?;
        let (status, waited) = self.await_signature(rule, &target, &standing, wait).await?;
        Ok(Stands::Known(Known {
            expected: Expected {
                digest: target.digest,
                length: target.length,
            },
            drifted: standing.drift.is_some(),
            status,
            waited,
        }))
    }

    /// A failing ledger never stops reads of what is kept: what was last answered at a path is answered again, to whom
    /// the upstream lets have it. Nobody can say now whether it is signed.
    fn last_known(&self, path: &TargetPath, wanted: Option<Digest>, error: LedgerError) -> Result<Known, Problem> {
        let held = self.memory().last(path);
        let held = held.filter(|held| wanted.is_none_or(|digest| digest == held.expected.digest));
        let Some(held) = held else { return Err(error.into()) };
        tracing::error!(%error, target.path = %path, "`{path}` is served as it was last known");
        Ok(Known {
            expected: held.expected,
            drifted: false,
            status: Status::Pending,
            waited: None,
        })
    }

    /// `Prefer: wait` on an unrecorded path: a neutral read first.
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
        rule: &Rule,
        target: &Target,
        standing: &Standing,
        wait: Option<u32>,
    ) -> Result<(Status, Option<u32>), Problem> {
        let signed = |gate: &Self| Status::Signed(gate.parts().catalog.snapshot_version());
        if standing.signed {
            return Ok((signed(self), wait));
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
                return Ok((signed(self), wait));
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
    pub(super) fn hold(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.0.reads.waiters.try_acquire().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests are waiting").retry(5)
        })
    }
}

/// What a read found.
enum Found<'a> {
    /// A live record.
    Recorded(Box<Recorded<'a>>),
    /// What was recorded before, by its hash, and its bytes.
    Superseded(Box<Recorded<'a>>, (Expected, Bytes)),
    /// No record; this fetch may teach.
    Teaching(Tracked<'a>, Forwarded),
    /// No record, or a hash-prefixed name that stands for nothing: passed.
    Nothing,
}

/// What is recorded at a path.
enum Stands {
    Known(Known),
    /// The bytes that are wanted were recorded here before.
    Superseded(Known, (Expected, Bytes)),
    /// Nothing, or never what is wanted.
    Nothing,
}

/// A live record that may be answered from now.
struct Known {
    expected: Expected,
    drifted: bool,
    status: Status,
    waited: Option<u32>,
}

fn judge_query(rule: &Rule, query: Option<&str>) -> Result<(), Problem> {
    match query.is_none_or(|query| rule.allows_query(query)) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "query",
            "this path is recorded; its rule allows no such query",
        )),
    }
}

fn superseded() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "superseded",
        "these bytes were superseded here and are no longer held",
    )
}

fn deleted() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "deleted", "this path was deleted")
}
