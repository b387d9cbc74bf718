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
    route::{Tracked, destination},
    tap::{self, Tap},
};
use crate::{
    digest::Digest,
    intake::Upload,
    ledger::{Provenance, State},
    target::{Name, TargetPath, name_of},
};

/// A write on its way.
pub(super) struct Write {
    path: TargetPath,
    wait: Option<u32>,
    stage: Stage,
    /// Path of the `Destination`, in canonical encoding, to be named as the upstream knows it.
    destination: Option<String>,
}

enum Stage {
    /// A body passes; its last chunk is withheld.
    Tapping(Tap),
    /// The upstream answered before the body's end; the rest passes unrecorded.
    Answered(Tap),
    /// Reserved: the last chunk is on its way upstream or there.
    Reserved(Upload),
    /// A success means that the paths must be re-read.
    Unseen(Vec<TargetPath>),
    /// A success deletes the path; its turn is held. A further path must be re-read (MOVE).
    Deleting(OwnedMutexGuard<()>, Option<TargetPath>),
    /// Nothing more to do.
    Settled,
}

impl Write {
    /// Names the destination as the upstream knows it; servers refuse one on another host.
    pub(super) fn upstream_request(&mut self, upstream: &url::Url, request: &mut RequestHeader) -> Result<()> {
        if let Some(path) = &self.destination {
            let base = upstream.path().trim_end_matches('/');
            request.insert_header(
                "destination",
                format!("{}://{}{base}{path}", upstream.scheme(), authority(upstream)),
            )?;
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
        match &standing.target {
            Some(target) if target.state == State::Retracted => {
                return Err(conflict("this path was retracted by an operator"));
            }
            Some(_) => {}
            None => self
                .intake()
                .admit(&at.path, at.rule, client)
                .await?
                .map_err(Problem::from)?,
        }
        let stage = match Shape::of(&headers, session.as_downstream_mut().is_body_empty()) {
            Shape::Whole => Stage::Tapping(Tap::learning()),
            Shape::Empty => {
                let empty = (Digest::of(b""), 0);
                Stage::Reserved(self.intake().reserve(&at.path, at.rule, empty, client).await?)
            }
            Shape::Elsewhere(stated) => {
                if let Some(target) = standing.live()
                    && !at.rule.superseding()
                    && stated != Some(target.digest)
                {
                    return Err(conflict(
                        "other bytes are recorded here, or the upload states no sha256",
                    ));
                }
                Stage::Unseen(vec![at.path.clone()])
            }
        };
        ctx.write = Some(Write {
            path: at.path,
            wait: prefer_wait(&headers),
            stage,
            destination: None,
        });
        Ok(Outcome::ToUpstream)
    }

    /// DELETE of a tracked path.
    pub(super) async fn start_delete(&self, ctx: &mut GateCtx, at: Tracked<'_>) -> Result<Outcome, Problem> {
        let turn = self.turn(&at.path).await?;
        ctx.write = Some(Write {
            path: at.path,
            wait: None,
            stage: Stage::Deleting(turn, None),
            destination: None,
        });
        Ok(Outcome::ToUpstream)
    }

    /// COPY or MOVE: never onto a recorded path; a moved source is deleted; the destination is re-read.
    pub(super) async fn start_transfer(
        &self,
        session: &Session,
        ctx: &mut GateCtx,
        at: Tracked<'_>,
    ) -> Result<Outcome, Problem> {
        let value = session
            .req_header()
            .headers
            .get("destination")
            .and_then(|value| value.to_str().ok());
        let raw = destination(value.unwrap_or_default());
        let policy = self.intake().policy();
        let onto = match name_of(raw) {
            Name::Canonical(path) => Some(path),
            Name::None(why) if policy.tracks_prefix(raw.as_bytes()) => return Err(Problem::name(why)),
            _ => None,
        };
        let mut unseen = None;
        if let Some(path) = &onto
            && let Some(rule) = policy.tracked(path.as_str())
        {
            if self.intake().look(path, rule).await?.target.is_some() {
                return Err(conflict("the destination is recorded"));
            }
            self.intake()
                .admit(path, rule, client_ip(session))
                .await?
                .map_err(Problem::from)?;
            unseen = Some(path.clone());
        }
        let moving = session.req_header().method.as_str() == "MOVE";
        let stage = match moving {
            true => Stage::Deleting(self.turn(&at.path).await?, unseen),
            false => Stage::Unseen(unseen.into_iter().collect()),
        };
        ctx.write = Some(Write {
            path: at.path,
            wait: None,
            stage,
            destination: Some(onto.map_or_else(|| raw.to_owned(), |path| path.encoded())),
        });
        Ok(Outcome::ToUpstream)
    }

    /// PATCH, or a PUT or DELETE with a query: passed, never recorded; a recorded path is looked at again.
    pub(super) async fn start_change(&self, ctx: &mut GateCtx, at: Tracked<'_>) -> Result<Outcome, Problem> {
        let recorded = self.intake().look(&at.path, at.rule).await?.live().is_some();
        ctx.write = Some(Write {
            stage: Stage::Unseen(if recorded { vec![at.path.clone()] } else { Vec::new() }),
            path: at.path,
            wait: None,
            destination: None,
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
        let answered = matches!(write.stage, Stage::Answered(_));
        let (Stage::Tapping(tap) | Stage::Answered(tap)) = &mut write.stage else {
            return Ok(());
        };
        let chunk = body.take().unwrap_or_default();
        let through = tap.push(chunk).map_err(Problem::from)?;
        let limit = self.config().gate.max_body;
        if limit > 0 && tap.length() > limit {
            return Err(too_large(limit));
        }
        if !end {
            // `None` would end the upstream's body here; an empty chunk is not sent.
            *body = Some(through);
            return Ok(());
        }
        let (digest, length, held) = std::mem::take(tap).finish().map_err(Problem::from)?;
        write.stage = Stage::Settled;
        if !answered {
            let policy = self.intake().policy();
            let rule = policy
                .tracked(write.path.as_str())
                .ok_or_else(|| conflict("no rule tracks this path"))?;
            let upload = self
                .intake()
                .reserve(&write.path, rule, (digest, length), client)
                .await?;
            write.stage = Stage::Reserved(upload);
        }
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
        let certain = !response.status.is_server_error();
        match std::mem::replace(&mut write.stage, Stage::Settled) {
            Stage::Reserved(upload) if success => {
                let seq = self.intake().confirm(upload).await?;
                let status = self.published(seq, write.wait, response).await;
                let _ = response.insert_header(TUFGATE_STATUS, status.to_string());
            }
            Stage::Reserved(upload) if certain => self.intake().release(upload).await,
            Stage::Reserved(upload) => self.intake().doubt(upload).await,
            // The upstream answered before it had the whole body: what it stored, only a read can tell.
            Stage::Tapping(tap) | Stage::Answered(tap) => {
                write.stage = Stage::Answered(tap);
                if success {
                    self.intake().intend(&write.path, Provenance::Reported, client).await?;
                }
            }
            Stage::Unseen(paths) if success => {
                for path in &paths {
                    self.intake().intend(path, Provenance::Reported, client).await?;
                }
            }
            Stage::Deleting(_turn, moved) if success => {
                if let Some(rule) = self.intake().policy().tracked(write.path.as_str()) {
                    self.intake().deleted(&write.path, rule, client).await?;
                }
                if let Some(path) = moved {
                    self.intake().intend(&path, Provenance::Reported, client).await?;
                }
            }
            Stage::Unseen(_) | Stage::Deleting(..) | Stage::Settled => {}
        }
        Ok(())
    }

    /// The request ended; a reservation without an answer is in doubt.
    pub(super) async fn abandon_write(&self, ctx: &mut GateCtx) {
        if let Some(Write {
            stage: Stage::Reserved(upload),
            ..
        }) = ctx.write.take()
        {
            self.intake().doubt(upload).await;
        }
    }

    /// How a fresh record stands, waiting for its publication where the client wants that.
    async fn published(&self, seq: u64, wait: Option<u32>, response: &mut ResponseHeader) -> Status {
        let catalog = &self.parts().catalog;
        if let (Some(seconds), Ok(_held)) = (wait, self.hold()) {
            let limit = std::time::Duration::from_secs(seconds.into());
            if catalog.wait_for(seq, limit).await {
                let _ = response.insert_header(PREFERENCE_APPLIED, format!("wait={seconds}"));
                return Status::Signed(catalog.snapshot_version());
            }
        }
        Status::Pending
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

/// How a PUT carries its artifact.
#[derive(Debug, Eq, PartialEq)]
enum Shape {
    /// No body: an empty artifact.
    Empty,
    /// The body is not the artifact, or only a part: checksum deploy, exploded archive, `aws-chunked`, a content coding,
    /// a range. The sha256 it states, if any.
    Elsewhere(Option<Digest>),
    /// The body is the artifact.
    Whole,
}

impl Shape {
    /// `reference` traps 1, 6 and 10: which headers say that the bytes are elsewhere.
    fn of(headers: &HeaderMap, empty: bool) -> Self {
        let is_true = |name: &str| {
            headers
                .get(name)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
        };
        let streaming = headers
            .get("x-amz-content-sha256")
            .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
        let elsewhere = is_true("x-checksum-deploy")
            || is_true("x-explode-archive")
            || is_true("x-explode-archive-atomic")
            || streaming
            || headers.contains_key("x-amz-copy-source")
            || headers.contains_key(header::CONTENT_RANGE)
            || headers.contains_key(header::CONTENT_ENCODING);
        let stated = || {
            let values = ["x-checksum-sha256", "x-checksum"].map(|name| headers.get(name));
            values
                .into_iter()
                .flatten()
                .find_map(|value| value.to_str().ok()?.parse().ok())
        };
        match (elsewhere, empty) {
            (true, _) => Self::Elsewhere(stated()),
            (false, true) => Self::Empty,
            (false, false) => Self::Whole,
        }
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

fn conflict(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn bodies_that_are_not_the_artifact_are_told_by_their_headers() {
        let shape = |pairs: &[(&'static str, &'static str)], empty| {
            let map: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            Shape::of(&map, empty)
        };
        const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(shape(&[], false), Shape::Whole);
        assert_eq!(shape(&[], true), Shape::Empty);
        assert_eq!(shape(&[("x-checksum-deploy", "false")], true), Shape::Empty);
        let stated = Some(SUM.parse().unwrap());
        assert_eq!(
            shape(&[("x-checksum-deploy", "true"), ("x-checksum", SUM)], true),
            Shape::Elsewhere(stated)
        );
        assert_eq!(
            shape(&[("content-encoding", "aws-chunked")], false),
            Shape::Elsewhere(None)
        );
        assert_eq!(
            shape(&[("content-range", "bytes 0-1/9")], false),
            Shape::Elsewhere(None)
        );
        assert_eq!(
            shape(&[("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")], false),
            Shape::Elsewhere(None)
        );
    }
}
