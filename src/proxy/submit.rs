//! `POST /metadata/submit`: files of roles that others sign. Judged as the signer will judge them, durable before the answer;
//! the signer decides.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{StatusCode, header};
use jiff::Timestamp;
use pingora::{Result, proxy::Session};
use serde_json::json;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
};

use super::{
    Gate,
    answer::Head,
    client::client_ip,
    headers::{PREFERENCE_APPLIED, prefer_wait},
    problem::Problem,
};
use crate::{
    catalog::roles::Listed,
    delegated::{self, Caps, Files, MAX_SUBMISSION, Next, Refusal, RefusalKind},
    depot::DepotError,
    intake,
    ledger::{Submission, Submitted},
    tuf::schema::Delegations,
};

/// What is submitted to, below the metadata prefix.
pub(super) const SUBMIT: &str = "submit";
/// Most submissions of more than [`SMALL`] bytes that are read or wait to be judged at once.
pub(super) const PLACES: usize = 32;
/// Longest a body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body that need no place: nobody keeps a team out with what is small and slow.
const SMALL: usize = 64 << 10;
/// Between looks at what became of it.
const LOOK: Duration = Duration::from_millis(100);

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
        top(&*self.listed().await?)?;
        let (body, place) = read(session, &self.0.submissions).await?;
        // One at a time: each walks all roles.
        let Ok(turn) = self.0.submitting.acquire().await else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the gate is stopping",
            ));
        };
        let tuf = &self.config().tuf;
        let caps = Caps {
            bytes: tuf.max_bin_bytes,
            targets: tuf.max_bin_targets,
        };
        let listed = self.listed().await?;
        let proposed = self.parts().catalog.roles().proposed(&listed).await.map_err(depot)?;
        let seen = listed.clone();
        let submitted = beside(move || glance(&seen, proposed, &body, caps)).await?;
        let waiting = self.intake().submissions().await?;
        let last = self.intake().role_versions().await?;
        let (now, seen) = (self.intake().now(), listed.clone());
        let (submitted, files, next) = beside(move || {
            let (files, next) = judge(&seen, &waiting, last, &submitted, caps, now)?;
            Ok((submitted, files, next))
        })
        .await?;
        let top = top(&listed)?;
        let claims = self.intake().claims(top, &files, &next).await??;
        let version = |role: &String| Some((role.clone(), next.files.get(role)?.version));
        let accepted: BTreeMap<_, _> = submitted.keys().filter_map(version).collect();
        if !next.fresh.is_empty() {
            let heads = next.fresh.iter().filter_map(|role| delegated::head(top, role));
            let heads = heads.map(|head| head.name.clone()).collect();
            let (rows, versions) = (claims.len(), next.fresh.iter().filter_map(version));
            self.0.quotas.admit(&heads, rows, Instant::now())?;
            let body = json!({"roles": submitted}).to_string();
            match self.intake().submit(versions.collect(), body, who, claims).await? {
                Submitted::Waits(_) => self.0.quotas.take(&heads, rows, Instant::now()),
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
                let listed = self.listed().await?;
                let missing = accepted
                    .iter()
                    .find(|(role, version)| listed.versions.get(*role) < Some(*version));
                match missing {
                    None => return Ok(Some(listed.snapshot)),
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

    /// What the snapshot served lists.
    async fn listed(&self) -> Result<Arc<Listed>, Problem> {
        let catalog = &self.parts().catalog;
        let listed = catalog.roles().at(catalog.published().snapshot).await;
        listed.map_err(depot)
    }
}

/// What the listed targets.json delegates to, where that is a role that others sign.
fn top(listed: &Listed) -> Result<&Delegations, Refusal> {
    let top = listed
        .top
        .as_ref()
        .filter(|top| delegated::custom(top).next().is_some());
    top.ok_or_else(|| {
        Refusal::nobody("targets delegates to no role that others sign")
            .hint("the operator delegates with `tufgate targets draft --role`")
    })
}

/// Reads a submission and looks whether it is signed. `proposed`: a targets.json that waits for its roles' files; nothing is
/// taken meanwhile that would be none of them, or who holds an old key could make those stale for ever.
fn glance(
    listed: &Listed,
    proposed: Option<(u64, Delegations)>,
    body: &[u8],
    caps: Caps,
) -> Result<delegated::Submitted, Refusal> {
    let submitted = delegated::submission(body)?;
    let top = top(listed)?;
    delegated::glance(top, &listed.files, &submitted, caps)?;
    if let Some((version, proposed)) = proposed {
        delegated::held(top, &proposed, &submitted, caps).map_err(|refusal| {
            let hint = format!("targets {version} waits for files: what it would not take is not taken any more");
            refusal.hint(hint)
        })?;
    }
    Ok(submitted)
}

/// The files that stand once what waits is listed, and what follows them then.
fn judge(
    listed: &Listed,
    waiting: &[Submission],
    mut last: BTreeMap<String, u64>,
    submitted: &delegated::Submitted,
    caps: Caps,
    now: Timestamp,
) -> Result<(Files, Next), Refusal> {
    let (top, mut files) = (top(listed)?, listed.files.clone());
    // After what waits already, as the signer will see it.
    for waits in waiting {
        let Ok(before) = delegated::submission(waits.body.as_bytes()) else {
            continue;
        };
        let any = |_: &str| 1..=u64::MAX - 1;
        if let Ok(next) = delegated::judge(top, &files, &before, &any, caps, now) {
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
    let next = delegated::judge(top, &files, submitted, &following, caps, now)?;
    Ok((files, next))
}

/// Megabytes of JSON and many signatures: not in the event loop.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Problem> {
    match spawn_blocking(work).await {
        Ok(judged) => Ok(judged?),
        Err(error) => {
            tracing::error!(%error, "a submission could not be judged");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "submission", "it could not be judged");
            Err(problem.retry(5))
        }
    }
}

fn depot(error: DepotError) -> Problem {
    tracing::error!(%error, "could not read roles for a submission");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "metadata",
        "what is listed cannot be read",
    )
    .retry(5)
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
