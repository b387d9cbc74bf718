//! Writes to tracked paths: PUT, DELETE, COPY, MOVE and what else changes one. They stream through Pingora; what the
//! gate withholds, commits and decides on the way stands here.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use tokio::sync::OwnedMutexGuard;

use super::{
    Gate, GateCtx, Outcome, authority, client_ip,
    headers::{PREFERENCE_APPLIED, Status, TUFGATE_STATUS, prefer_wait},
    problem::Problem,
    route::{Tracked, below, destination},
    shape::Shape,
    tap::{self, Tap},
};
use crate::{
    digest::Digest,
    intake::{Admitted, Upload},
    ledger::{Provenance, State},
    policy::Learn,
    target::{Name, TargetPath, name_of},
};

/// A write on its way.
pub(super) struct Write {
    /// Unknown only of a COPY or MOVE from a path that no rule tracks.
    path: Option<TargetPath>,
    wait: Option<u32>,
    stage: Stage,
    /// The place of a new name, kept once the upstream accepts.
    admitted: Option<Admitted>,
    /// Path of the `Destination`, in canonical encoding, to be named as the upstream knows it.
    destination: Option<String>,
    /// Nothing that exists may be overwritten there: a folder may hold recorded paths.
    fresh: bool,
}

enum Stage {
    /// A body passes; its last chunk is withheld.
    Tapping(Tap),
    /// As `Tapping`, but the upstream answered before the body's end; told is whether it accepted.
    Answered(Tap, bool),
    /// Reserved: the last chunk is on its way upstream or there.
    Reserved(Upload),
    /// Reserved after the answer: only a read can tell what was stored.
    Late(Upload, bool),
    /// A success means that the paths must be re-read.
    Unseen(Vec<TargetPath>),
    /// A success deletes the path; its turn is held. A further path must be re-read (MOVE).
    Deleting(OwnedMutexGuard<()>, Option<TargetPath>),
    /// Nothing more to do.
    Settled,
}

impl Write {
    /// The upstream must not have the whole before the body's end was decided on.
    pub(super) fn withholds(&self) -> bool {
        matches!(self.stage, Stage::Tapping(_))
    }

    /// Names the destination as the upstream knows it; servers refuse one on another host.
    pub(super) fn upstream_request(&mut self, upstream: &url::Url, request: &mut RequestHeader) -> Result<()> {
        if let Some(path) = &self.destination {
            let base = upstream.path().trim_end_matches('/');
            request.insert_header(
                "destination",
                format!("{}://{}{base}{path}", upstream.scheme(), authority(upstream)),
            )?;
        }
        if self.fresh {
            request.insert_header("overwrite", "F")?;
        }
        Ok(())
    }
}

impl Gate {
    /// PUT: decided here when there will be no last chunk to withhold.
    pub(super) async fn start_put(
        &self,
        session: &mut Session,
        ctx: &mut GateCtx,
        at: Tracked<'_>,
    ) -> Result<Outcome, Problem> {
        let client = client_ip(session);
        let headers = session.req_header().headers.clone();
        let limit = self.config().gate.max_body;
        let length = content_length(&headers);
        if limit > 0 && length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let standing = self.intake().look(&at.path, at.rule).await?;
        let admitted = match &standing.target {
            Some(target) if target.state == State::Retracted => {
                return Err(conflict("this path was retracted by an operator"));
            }
            Some(_) => None,
            None if at.rule.learn == Learn::None => return Ok(Outcome::ToUpstream),
            // The rate is for those who ask for names: a reader must not lock out the publishers behind its address.
            None => Some(self.intake().admit(&at.path, at.rule, None).await??),
        };
        let empty = session.as_downstream_mut().is_body_empty();
        let stage = match Shape::of(&headers, empty) {
            Shape::Whole => Stage::Tapping(Tap::default()),
            Shape::Empty => {
                let empty = (Digest::of(b""), 0);
                Stage::Reserved(self.intake().reserve(&at.path, at.rule, empty, client).await?)
            }
            Shape::Elsewhere(stated) => {
                // What it states cannot be believed: a server that does not know these headers stores what the body
                // carries, or an empty file. 404 is how Artifactory asks for the bytes themselves.
                if let Some(target) = &standing.target
                    && !(target.state == State::Live && at.rule.superseding())
                {
                    return Err(match empty && stated == Some(target.digest) {
                        true => Problem::new(
                            StatusCode::NOT_FOUND,
                            "send-bytes",
                            "bytes are recorded here; send them",
                        ),
                        false => conflict("bytes are recorded here; only an upload that carries them whole may follow"),
                    });
                }
                Stage::Unseen(vec![at.path.clone()])
            }
        };
        ctx.write = Some(Write {
            path: Some(at.path),
            wait: prefer_wait(&headers),
            stage,
            admitted,
            destination: None,
            fresh: false,
        });
        Ok(Outcome::ToUpstream)
    }

    /// DELETE of a tracked path.
    pub(super) async fn start_delete(
        &self,
        session: &mut Session,
        ctx: &mut GateCtx,
        at: Tracked<'_>,
    ) -> Result<Outcome, Problem> {
        bodyless(session)?;
        let turn = self.turn(&at.path).await?;
        ctx.write = Some(Write {
            path: Some(at.path),
            wait: None,
            stage: Stage::Deleting(turn, None),
            admitted: None,
            destination: None,
            fresh: false,
        });
        Ok(Outcome::ToUpstream)
    }

    /// COPY or MOVE: never onto a recorded path; a moved source is deleted; the destination is re-read.
    pub(super) async fn start_transfer(
        &self,
        session: &mut Session,
        ctx: &mut GateCtx,
        at: Option<Tracked<'_>>,
    ) -> Result<Outcome, Problem> {
        bodyless(session)?;
        let request = session.req_header();
        let value = request.headers.get("destination").and_then(|value| value.to_str().ok());
        let raw = destination(value.ok_or_else(|| bad_destination("is missing or not ASCII"))?);
        if below(raw.as_bytes(), &self.config().gate.metadata_prefix).is_some() {
            return Err(bad_destination("leads below the metadata prefix"));
        }
        let policy = self.intake().policy();
        let onto = match name_of(raw) {
            Name::Canonical(path) => Some(path),
            Name::None(why) if policy.tracks_prefix(raw.as_bytes()) => return Err(Problem::name(why)),
            _ => None,
        };
        let (mut unseen, mut admitted) = (None, None);
        if let Some(path) = &onto
            && let Some(rule) = policy.tracked(path.as_str())
        {
            if self.intake().look(path, rule).await?.target.is_some() {
                return Err(conflict("the destination is recorded"));
            }
            admitted = Some(self.intake().admit(path, rule, None).await??);
            unseen = Some(path.clone());
        }
        let fresh = onto.is_none() || unseen.is_some();
        let moving = session.req_header().method.as_str() == "MOVE";
        let (path, stage) = match at {
            Some(at) if moving => {
                let turn = self.turn(&at.path).await?;
                (Some(at.path), Stage::Deleting(turn, unseen))
            }
            at => (at.map(|at| at.path), Stage::Unseen(unseen.into_iter().collect())),
        };
        ctx.write = Some(Write {
            path,
            wait: None,
            stage,
            admitted,
            destination: Some(onto.map_or_else(|| raw.to_owned(), |path| path.encoded())),
            fresh,
        });
        Ok(Outcome::ToUpstream)
    }

    /// PATCH, or a PUT or DELETE with a query: passed, never recorded. On a recorded path only with parameters that its
    /// rule allows, since most servers ignore a query and would change the bytes; the path is looked at again.
    pub(super) async fn start_change(
        &self,
        ctx: &mut GateCtx,
        at: Tracked<'_>,
        query: Option<String>,
    ) -> Result<Outcome, Problem> {
        let recorded = self.intake().look(&at.path, at.rule).await?.live().is_some();
        let allowed = query.is_some_and(|query| !query.is_empty() && at.rule.allows_query(&query));
        if recorded && !allowed && !at.rule.superseding() {
            return Err(conflict(
                "bytes are recorded here; only a PUT without a query is compared with them",
            ));
        }
        ctx.write = Some(Write {
            stage: Stage::Unseen(if recorded { vec![at.path.clone()] } else { Vec::new() }),
            path: Some(at.path),
            wait: None,
            admitted: None,
            destination: None,
            fresh: false,
        });
        Ok(Outcome::ToUpstream)
    }

    /// Withholds an upload's last chunk until its reservation is committed.
    pub(super) async fn tap_upload(
        &self,
        client: Option<IpAddr>,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut GateCtx,
    ) -> Result<(), Problem> {
        let Some(write) = &mut ctx.write else { return Ok(()) };
        let answered = match write.stage {
            Stage::Answered(_, accepted) => Some(accepted),
            _ => None,
        };
        let (Stage::Tapping(tap) | Stage::Answered(tap, _)) = &mut write.stage else {
            return Ok(());
        };
        let chunk = body.take().unwrap_or_default();
        let through = tap.push(chunk).await;
        let limit = self.config().gate.max_body;
        if limit > 0 && tap.length() > limit {
            return Err(too_large(limit));
        }
        if !end {
            // `None` would end the upstream's body here; an empty chunk is not sent.
            *body = Some(through);
            return Ok(());
        }
        let (digest, length, held) = std::mem::take(tap).finish().await.map_err(Problem::from)?;
        write.stage = Stage::Settled;
        let policy = self.intake().policy();
        let (path, rule) = write
            .path
            .as_ref()
            .and_then(|path| Some((path, policy.tracked(path.as_str())?)))
            .ok_or_else(|| conflict("no rule tracks this path"))?;
        let upload = self.intake().reserve(path, rule, (digest, length), client).await?;
        write.stage = match answered {
            None => Stage::Reserved(upload),
            Some(accepted) => Stage::Late(upload, accepted),
        };
        *body = Some(tap::join(through, held));
        Ok(())
    }

    /// Settles a write by the upstream's status, before the client sees it.
    pub(super) async fn settle_write(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut GateCtx,
    ) -> Result<(), Problem> {
        let Some(write) = &mut ctx.write else { return Ok(()) };
        let client = client_ip(session);
        let success = response.status.is_success();
        // A redirect says nothing about what was stored.
        let certain = response.status.is_client_error();
        if let (true, Some(admitted)) = (success, write.admitted.take()) {
            admitted.keep();
        }
        match std::mem::replace(&mut write.stage, Stage::Settled) {
            Stage::Reserved(upload) if success => {
                let seq = self.intake().confirm(upload).await?;
                let status = self.published(write.path.as_ref(), seq, write.wait, response).await;
                let _ = response.insert_header(TUFGATE_STATUS, status.to_string());
            }
            Stage::Reserved(upload) if certain => self.intake().release(upload).await,
            Stage::Reserved(upload) => self.intake().doubt(upload).await,
            // The upstream answered before it had the whole body: what it stored, only a read can tell.
            Stage::Tapping(tap) | Stage::Answered(tap, _) => {
                write.stage = Stage::Answered(tap, success);
                if let (true, Some(path)) = (success, &write.path) {
                    self.intake().intend(path, Provenance::Reported, client).await?;
                }
            }
            late @ Stage::Late(..) => write.stage = late,
            Stage::Unseen(paths) if success => {
                for path in &paths {
                    self.intake().intend(path, Provenance::Reported, client).await?;
                }
            }
            Stage::Deleting(_turn, moved) if success => {
                if let Some(path) = moved {
                    self.intake().intend(&path, Provenance::Reported, client).await?;
                }
                if let Some(path) = &write.path
                    && let Some(rule) = self.intake().policy().tracked(path.as_str())
                {
                    self.intake().deleted(path, rule, client).await?;
                }
            }
            Stage::Unseen(_) | Stage::Deleting(..) | Stage::Settled => {}
        }
        if let Some(path) = &write.path {
            // After the commit, before the client hears of it: nobody reads on from an earlier look.
            self.memory().drop(path);
        }
        Ok(())
    }

    /// The request ended; a reservation without an answer, or after it, is in doubt. An upload that was accepted early is
    /// re-read once more: the upstream may have told the truth of the path while the body was still on its way. So is
    /// whatever succeeded `unseen`, without [`Gate::upstream_response_filter`].
    pub(super) async fn abandon_write(&self, client: Option<IpAddr>, unseen: bool, ctx: &mut GateCtx) {
        let Some(Write { path, stage, .. }) = ctx.write.take() else {
            return;
        };
        let again: Vec<TargetPath> = match &stage {
            Stage::Late(_, true) | Stage::Answered(_, true) => path.into_iter().collect(),
            Stage::Tapping(_) if unseen => path.into_iter().collect(),
            Stage::Unseen(paths) if unseen => paths.clone(),
            Stage::Deleting(_, moved) if unseen => path.into_iter().chain(moved.clone()).collect(),
            _ => Vec::new(),
        };
        for path in again {
            if let Err(error) = self.intake().intend(&path, Provenance::Reported, client).await {
                tracing::error!(%error, target.path = %path, "could not note that `{path}` is to be read again");
            }
        }
        if let Stage::Reserved(upload) | Stage::Late(upload, _) = stage {
            self.intake().doubt(upload).await;
        }
    }

    /// How a fresh record stands, waiting for its publication where the client wants that.
    async fn published(
        &self,
        path: Option<&TargetPath>,
        seq: u64,
        wait: Option<u32>,
        response: &mut ResponseHeader,
    ) -> Status {
        let catalog = &self.parts().catalog;
        if let (Some(seconds), Ok(_held)) = (wait, self.hold()) {
            let limit = std::time::Duration::from_secs(seconds.into());
            if catalog.wait_for(seq, limit).await {
                let _ = response.insert_header(PREFERENCE_APPLIED, format!("wait={seconds}"));
                // The signer has the last word: a bin that filled meanwhile makes it refuse what intake let through.
                return match self.is_signed(path).await {
                    true => Status::Signed(catalog.snapshot_version()),
                    false => Status::Untracked,
                };
            }
        }
        Status::Pending
    }

    async fn is_signed(&self, path: Option<&TargetPath>) -> bool {
        let Some(path) = path else { return false };
        let Some(rule) = self.intake().policy().tracked(path.as_str()) else {
            return false;
        };
        let standing = self.intake().look(path, rule).await;
        standing.is_ok_and(|standing| standing.signed && standing.live().is_some())
    }

    async fn turn(&self, path: &TargetPath) -> Result<OwnedMutexGuard<()>, Problem> {
        let turn = self.intake().turn(path).await;
        turn.ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "another change of this path is under way",
            )
            .retry(2)
        })
    }
}

/// A body on a request that needs none would hold the path's turn for as long as its sender likes.
fn bodyless(session: &mut Session) -> Result<(), Problem> {
    match session.as_downstream_mut().is_body_empty() {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "body",
            "this method takes no body here",
        )),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        format!("bodies may have {limit} bytes"),
    )
}

fn bad_destination(why: &str) -> Problem {
    let detail = format!("the Destination {why}");
    Problem::new(StatusCode::BAD_REQUEST, "destination", detail)
}

fn conflict(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", detail)
}
