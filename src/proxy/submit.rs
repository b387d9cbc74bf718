//! `POST /metadata/submit`: files of roles that others sign. Judged as the signer will judge them, durable before the answer;
//! the signer decides.

use std::{collections::BTreeMap, time::Duration};

use bytes::BytesMut;
use http::{StatusCode, header};
use pingora::{Result, proxy::Session};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Gate,
    answer::Head,
    client::client_ip,
    headers::{PREFERENCE_APPLIED, prefer_wait},
    problem::Problem,
};
use crate::{
    delegated::{self, Caps, Files, MAX_SUBMISSION, Refusal, RefusalKind, Standing},
    intake,
    ledger::Submitted,
    tuf::{layout, schema::Delegations},
};

/// What is submitted to, below the metadata prefix.
pub(super) const SUBMIT: &str = "submit";
/// Most submissions whose bodies are read or judged at once.
pub(super) const PLACES: usize = 32;
/// Longest a body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body that need no place: nobody keeps a team out with what is small and slow.
const SMALL: usize = 64 << 10;
/// Between looks at what became of it.
const LOOK: Duration = Duration::from_millis(100);

/// What is listed at this moment.
struct Listed {
    top: Delegations,
    files: Files,
}

impl Gate {
    /// Answers a submission.
    pub(super) async fn serve_submission(&self, session: &mut Session) -> Result<()> {
        let answered = self.submission(session).await;
        let label = match &answered {
            Ok(_) => "accepted".to_owned(),
            Err(problem) => problem.status.as_u16().to_string(),
        };
        self.parts()
            .metrics
            .submissions_total
            .with_label_values(&[&label])
            .inc();
        match answered {
            Ok((accepted, snapshot)) => {
                let mut body = json!({"accepted": accepted});
                let mut head = match snapshot {
                    Some(snapshot) => {
                        body["snapshot"] = snapshot.into();
                        let mut head = Head::new(StatusCode::OK)?;
                        head.set(PREFERENCE_APPLIED, "wait")?;
                        head
                    }
                    None => Head::new(StatusCode::ACCEPTED)?,
                };
                head.set(header::CONTENT_TYPE, "application/json")?;
                head.set(header::CACHE_CONTROL, "no-store")?;
                head.write_with(self, session, body.to_string().into()).await
            }
            Err(problem) => self.answer_problem(session, &problem).await,
        }
    }

    /// The versions that are accepted, and the snapshot that lists them where somebody waited for it.
    async fn submission(&self, session: &mut Session) -> Result<(BTreeMap<String, u64>, Option<u64>), Problem> {
        self.may_read(session).await.map_err(|refused| refused.problem)?;
        let wait = prefer_wait(&session.req_header().headers);
        let who = client_ip(session).map_or_else(|| "gate".to_owned(), |ip| format!("client {ip}"));
        // Before anything is read: where nobody signs a role there is nothing to submit.
        self.top(&self.snapshot().await?.1).await?;
        let (body, place) = read(session, &self.0.submissions).await?;
        // One at a time: each walks all roles.
        let Ok(turn) = self.0.submitting.acquire().await else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the gate is stopping",
            ));
        };
        let submitted = delegated::submission(&body)?;
        let listed = self.listed().await?;
        let tuf = &self.config().tuf;
        let caps = Caps {
            bytes: tuf.max_bin_bytes,
            targets: tuf.max_bin_targets,
        };
        delegated::glance(&listed.top, &submitted, caps)?;
        let now = self.intake().now();
        let (mut files, mut last) = (listed.files.clone(), self.intake().role_versions().await?);
        // After what waits already, as the signer will see it.
        for waits in self.intake().submissions().await? {
            let Ok(before) = delegated::submission(waits.body.as_bytes()) else {
                continue;
            };
            let any = |_: &str| 1..=u64::MAX - 1;
            if let Ok(next) = delegated::judge(&listed.top, &files, &before, &any, caps, now) {
                files = next.files;
                for (role, version) in &waits.versions {
                    let known = last.entry(role.clone()).or_default();
                    *known = (*known).max(*version);
                }
            }
        }
        let following = |role: &str| {
            let next = last.get(role).copied().unwrap_or(0) + 1;
            next..=next
        };
        let next = delegated::judge(&listed.top, &files, &submitted, &following, caps, now)?;
        let claims = self.intake().claims(&listed.top, &files, &next).await??;
        let accepted: BTreeMap<_, _> = submitted
            .keys()
            .filter_map(|role| Some((role.clone(), next.files.get(role)?.version)))
            .collect();
        if !next.fresh.is_empty() {
            let versions = next
                .fresh
                .iter()
                .filter_map(|role| Some((role.clone(), next.files.get(role)?.version)));
            let body = json!({"roles": submitted}).to_string();
            match self.intake().submit(versions.collect(), body, who, claims).await? {
                Submitted::Waits(_) => {}
                Submitted::Taken { role, wanted } => {
                    let refusal = Refusal::version(&role, format!("version {wanted} is the next one now"));
                    return Err(refusal.hint("fetch what stands there, and sign what follows it").into());
                }
                Submitted::Conflict { path, conflict } => return Err(intake::stands(&path, conflict).into()),
                Submitted::Full => {
                    let problem = Problem::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "submission",
                        "too much waits for the signer already",
                    );
                    return Err(problem.retry(10));
                }
            }
        }
        drop((turn, place));
        let snapshot = match wait {
            Some(seconds) => self.listing(&accepted, Duration::from_secs(seconds.into())).await?,
            None => None,
        };
        Ok((accepted, snapshot))
    }

    /// Waits until the snapshot served lists these versions; its version.
    async fn listing(&self, accepted: &BTreeMap<String, u64>, limit: Duration) -> Result<Option<u64>, Problem> {
        let mut published = self.parts().catalog.subscribe();
        let waited = tokio::time::timeout(limit, async {
            loop {
                let waiting = self.intake().submissions().await?;
                let waits = |role: &String| waiting.iter().any(|waits| waits.versions.contains_key(role));
                let waits = accepted.keys().any(waits);
                if !waits && let Err(error) = self.parts().catalog.refresh().await {
                    tracing::warn!(%error, "the catalog could not be brought up to date");
                }
                let (snapshot, listed) = self.snapshot().await?;
                let missing = accepted
                    .iter()
                    .find(|(role, version)| listed.get(*role) < Some(*version));
                match missing {
                    None => return Ok(Some(snapshot)),
                    Some((role, _)) if !waits => {
                        let refusal = Refusal::version(role, "the signer refused it");
                        return Err(refusal.hint("`tufgate audit` and the gate's log say why").into());
                    }
                    Some(_) => {}
                }
                // A refusal is no publication.
                let _ = tokio::time::timeout(LOOK, published.changed()).await;
            }
        });
        waited.await.unwrap_or(Ok(None))
    }

    /// Version of the snapshot served, and the versions it lists, by role.
    async fn snapshot(&self) -> Result<(u64, BTreeMap<String, u64>), Problem> {
        let version = self.parts().catalog.published().snapshot;
        let snapshot = self.signed(&layout::file("snapshot", version)).await?;
        let meta = snapshot["meta"].as_object().into_iter().flatten();
        let listed = meta.filter_map(|(file, meta)| {
            let role = file.strip_suffix(".json")?;
            Some((role.to_owned(), meta["version"].as_u64()?))
        });
        Ok((version, listed.collect()))
    }

    /// The roles that are listed, with their files.
    async fn listed(&self) -> Result<Listed, Problem> {
        let (_, versions) = self.snapshot().await?;
        let version = |role: &str| versions.get(role).copied().unwrap_or(0);
        let top = self.top(&versions).await?;
        let mut standing = Standing::below(Some(&top));
        while let Some(role) = standing.next() {
            let name = layout::file(&role, version(&role));
            let bytes = self.document(&name).await?;
            if let Err(why) = standing.read(role, bytes) {
                tracing::error!("`{name}` in the depot is damaged: {why}");
            }
        }
        let files = standing.files();
        Ok(Listed { top, files })
    }

    /// What the listed targets.json delegates to, where that is a role that others sign.
    async fn top(&self, versions: &BTreeMap<String, u64>) -> Result<Delegations, Problem> {
        let version = versions.get("targets").copied().unwrap_or(0);
        let top = self.signed(&layout::file("targets", version)).await?;
        let top = delegated::below(&top).filter(|top| delegated::custom(top).next().is_some());
        let nowhere = || {
            Refusal::nobody("targets delegates to no role that others sign")
                .hint("the operator delegates with `tufgate targets draft --role`")
        };
        Ok(top.ok_or_else(nowhere)?)
    }

    async fn signed(&self, name: &str) -> Result<Value, Problem> {
        let document = self.document(name).await?.unwrap_or_default();
        let mut envelope: Value = serde_json::from_slice(&document).unwrap_or_default();
        match envelope.get_mut("signed").map(Value::take) {
            Some(signed) => Ok(signed),
            None => Err(unreadable(name)),
        }
    }

    async fn document(&self, name: &str) -> Result<Option<bytes::Bytes>, Problem> {
        match self.parts().catalog.document(name).await {
            Ok(document) => Ok(document.map(|document| document.body().clone())),
            Err(error) => {
                tracing::error!(%error, "could not read `{name}` for a submission");
                Err(unreadable(name))
            }
        }
    }
}

fn unreadable(name: &str) -> Problem {
    let detail = format!("`{name}` cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "metadata", detail).retry(5)
}

/// The body, if it is one of JSON and not too long; one that is not small has a place, which bounds what bodies take of memory.
async fn read<'a>(
    session: &mut Session,
    places: &'a Semaphore,
) -> Result<(BytesMut, Option<SemaphorePermit<'a>>), Problem> {
    let headers = &session.req_header().headers;
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
    if !is_json {
        let detail = "a submission is `application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "submission", detail));
    }
    let too_long = || Problem::from(delegated::too_long());
    let told = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > MAX_SUBMISSION as u64) {
        return Err(too_long());
    }
    let (mut body, mut place) = (BytesMut::new(), None);
    let whole = tokio::time::timeout(PATIENCE, async {
        let broke = |_| Problem::new(StatusCode::BAD_REQUEST, "request", "the body broke off");
        while let Some(chunk) = session.read_request_body().await.map_err(broke)? {
            let length = body.len() + chunk.len();
            if length > MAX_SUBMISSION {
                return Err(too_long());
            }
            if length > SMALL && place.is_none() {
                let busy = |_| {
                    let detail = "too many submissions at once";
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry(5)
                };
                place = Some(places.try_acquire().map_err(busy)?);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(())
    });
    match whole.await {
        Ok(Ok(())) => Ok((body, place)),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "client-timeout",
            "the body did not come in time",
        )),
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
            RefusalKind::Unsigned => StatusCode::FORBIDDEN,
            RefusalKind::Unknown => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Large => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let problem = Self::new(status, "submission", refusal.to_string());
        match refusal.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
