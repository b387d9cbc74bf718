//! `/metadata`: signed files from the catalog. Nothing below the prefix is ever proxied or recorded.

use http::{StatusCode, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};

use super::{Gate, answer::Head, host::as_written, probe::Refused, problem::Problem};
use crate::{
    catalog::respond::{Reply, preferred, respond},
    config::Access,
};

/// What waits for a team's signature, below the metadata prefix.
const PENDING: &str = "pending/";

impl Gate {
    /// Whether anybody may read the metadata at this moment.
    pub(super) fn metadata_is_open(&self) -> Result<(), Problem> {
        let closed = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "metadata-access", detail);
        match (&self.config().gate.metadata_access, self.parts().anybody.may_read()) {
            (Some(Access::Public), _) | (None, Some(true)) => Ok(()),
            (Some(Access::Probe(_)), _) => Err(closed("metadata is for those who may read a certain path")),
            (None, None) => {
                let detail = "the upstream has not said yet whether anybody may read; metadata names its paths";
                Err(closed(detail).retry(5))
            }
            (None, Some(false)) => Err(closed(
                "the upstream asks anonymous readers for credentials, and nobody said who may read the metadata",
            )),
        }
    }

    /// Whether this client may read the metadata; whether that took a probe. Before anything is looked up: who may not read
    /// the metadata does not learn which files there are either.
    pub(super) async fn may_read(&self, session: &Session) -> Result<bool, Box<Refused>> {
        match &self.config().gate.metadata_access {
            Some(Access::Probe(path)) => self.probe(session, path).await.map(|()| true),
            Some(Access::Public) | None => self.metadata_is_open().map(|()| false).map_err(Box::<Refused>::from),
        }
    }

    /// What the gate observed for a role, and signed, for those who countersign it.
    async fn serve_offer(&self, session: &mut Session, role: &str) -> Result<()> {
        let answer = match self.intake().offered(role).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "pending",
                "nothing waits for a signature there",
            )),
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(body) => {
                let mut head = Head::new(StatusCode::OK)?;
                head.set(header::CONTENT_TYPE, "application/json")?;
                head.set(header::CACHE_CONTROL, "no-store")?;
                head.write_with(self, session, body.into()).await
            }
            Err(problem) => self.answer_problem(session, &problem).await,
        }
    }

    /// Answers a GET or HEAD of a metadata file.
    pub(super) async fn serve_metadata(&self, session: &mut Session, file: &str) -> Result<()> {
        let probed = match self.may_read(session).await {
            Ok(probed) => probed,
            Err(refused) => {
                return self
                    .answer_problem_with(session, &refused.problem, &refused.challenges)
                    .await;
            }
        };
        if let Some(role) = file.strip_prefix(PENDING) {
            return self.serve_offer(session, role).await;
        }
        let document = match self.parts().catalog.document(file).await {
            Ok(document) => document,
            Err(error) => {
                tracing::error!(%error, "could not read `{file}` for a client");
                let problem = Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "metadata",
                    "the metadata cannot be read",
                );
                return self.answer_problem(session, &problem.retry(5)).await;
            }
        };
        let request = session.req_header();
        if let Some(document) = &document {
            document.encode(preferred(&request.headers)).await;
        }
        let max_age = self.config().gate.timestamp_max_age;
        let mut reply = respond(&request.method, &request.headers, document.as_deref(), max_age);
        if probed {
            reply.keep_private();
        }
        as_written(session);
        session
            .write_response_header(Box::new(head(&reply)?), reply.body.is_empty())
            .await?;
        match reply.body.is_empty() {
            true => Ok(()),
            false => self.send(session, reply.body, true).await,
        }
    }
}

/// The head of an answer; its body has the length that is said there.
pub(super) fn head(reply: &Reply) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(reply.status, Some(reply.headers.len()))?;
    for (name, value) in &reply.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(head)
}
