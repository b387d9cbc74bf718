//! Recorded artifacts that are not at hand: one request upstream for all who ask meanwhile, verified before the last chunk
//! leaves, and kept for the next reader where the upstream allows.
//!
//! Anonymous readers are one herd, since the upstream cannot tell them apart; a reader with credentials or conditions of
//! its own is a herd of one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{ErrorType, Result, proxy::Session};

use super::{
    Gate,
    answer::{Frame, Head},
    memory::{Held, without_personal},
    passing::Cut,
    problem::Problem,
    recorded::Recorded,
};
use crate::{
    cache::{Broken, Follower, Herd, Joined, Leader, Opening, Relay, Stop},
    digest::Expected,
    freshness::Keeping,
    policy::OnDrift,
    target::TargetPath,
    upstream::{Answer, Body},
};

/// Who share one request upstream: those that want the same bytes at a path, or one reader alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Key {
    /// A number of its own.
    Alone(u64),
    /// Anonymous readers without conditions.
    Anybody(TargetPath, Expected),
}

/// Header fields of the upstream's answer, for all who follow.
type Fields = Arc<HeaderMap>;

/// Requests on their way.
pub(super) type Fetches = Herd<Key, Fields, Problem>;

type Reader = Follower<Fields, Problem>;

/// Most times a reader joins a request that is then given up, before it asks alone.
const JOINS: usize = 3;

impl Gate {
    /// GET or HEAD of a recorded path whose bytes are not at hand, or not to be used.
    pub(super) async fn fetch(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<Fetched, Cut> {
        let ranged = session.req_header().headers.contains_key(header::RANGE) && recorded.query.is_none();
        let ranged = ranged && self.parts().cache.takes(recorded.expected.length);
        match self.fetch_as(session, recorded, ranged).await? {
            // The whole is always right.
            Fetched::NotKept => self.fetch_as(session, recorded, false).await,
            done => Ok(done),
        }
    }

    async fn fetch_as(&self, session: &mut Session, recorded: &Recorded<'_>, ranged: bool) -> Result<Fetched, Cut> {
        let head_only = session.req_header().method == Method::HEAD;
        let large = recorded.expected.length > self.config().gate.verify_first;
        // Small bodies are verified before they leave, so they heal by themselves; large ones would be cut each time.
        if recorded.drifted && recorded.rule.on_drift == OnDrift::Block && (large || head_only) {
            return Err(Problem::drift().into());
        }
        if head_only {
            self.fetch_head(session, recorded).await?;
            return Ok(Fetched::Answered);
        }
        if recorded.forwarded.own() && recorded.query.is_none() {
            for _ in 0..JOINS {
                let key = Key::Anybody(recorded.path.clone(), recorded.expected);
                let mut reader = match self.0.reads.fetches.join(key) {
                    Joined::Follow(reader) => reader,
                    // Another may have ended since the look into the cache.
                    Joined::Lead(leader, _) if self.parts().cache.ready(&recorded.expected).is_some() => {
                        leader.each_for_itself();
                        return Ok(Fetched::Kept);
                    }
                    Joined::Lead(leader, reader) => match self.lead(session, recorded, leader).await? {
                        Some(()) => reader,
                        None => return Ok(Fetched::Answered),
                    },
                };
                match unless_gone(session, reader.opening()).await? {
                    Ok(Opening::Shared(fields)) => {
                        return self.follow(session, recorded, (&fields, reader), ranged).await;
                    }
                    Ok(Opening::EachForItself) => break,
                    Err(Broken::Lost) => {}
                    Err(broken) => return Err(problem_of(broken).into()),
                }
            }
        }
        let (leader, mut reader) = self.alone()?;
        if self.lead(session, recorded, leader).await?.is_none() {
            return Ok(Fetched::Answered);
        }
        match unless_gone(session, reader.opening()).await?.map_err(problem_of)? {
            Opening::Shared(fields) => self.follow(session, recorded, (&fields, reader), ranged).await,
            Opening::EachForItself => Err(problem_of(Broken::Lost).into()),
        }
    }

    /// HEAD: length and status are all there is to compare.
    async fn fetch_head(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let ask = recorded.ask(Method::HEAD);
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        self.heed(recorded, answer.status);
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        self.judge_head(recorded, &answer, true)?;
        let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
        recorded.mark(&mut head)?;
        Ok(head
            .write(session, Frame::Length(recorded.expected.length), true)
            .await?)
    }

    /// Asks upstream, for this reader and those that follow. `None` when this reader has its answer already: the
    /// upstream's refusal is each one's own to hear.
    async fn lead(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        leader: Leader<Key, Fields, Problem>,
    ) -> Result<Option<()>, Cut> {
        let asked = self.parts().upstream.ask(recorded.ask(Method::GET));
        // Should this client leave, another of the herd leads.
        let answer = match unless_gone(session, asked).await? {
            Ok(answer) => answer,
            Err(error) => {
                let problem = Problem::from(error);
                leader.fail(problem.clone());
                return Err(problem.into());
            }
        };
        self.heed(recorded, answer.status);
        if answer.status != StatusCode::OK {
            leader.each_for_itself();
            self.pass_unless_ok(session, answer).await?;
            return Ok(None);
        }
        if let Err(problem) = self.judge_head(recorded, &answer, false) {
            leader.fail(problem.clone());
            return Err(problem.into());
        }
        let keeping = recorded.keeping(self, &answer.headers);
        self.pump(recorded, leader, answer, keeping != Keeping::Never);
        Ok(Some(()))
    }

    /// Lets an answer flow to all who follow, and into the cache where it is to be kept.
    fn pump(&self, recorded: &Recorded<'_>, leader: Leader<Key, Fields, Problem>, answer: Answer, keep: bool) {
        let Answer { headers, body, .. } = answer;
        let keeping = recorded.keeping(self, &headers);
        let pumped = Pumped {
            gate: self.clone(),
            path: recorded.path.clone(),
            drops: recorded.seen.drops,
            held: Held::new(recorded.expected, &headers, keeping, recorded.forwarded.anonymous()),
        };
        let headers = match recorded.forwarded.own() {
            // What is for one reader alone is not for those who follow.
            true => without_personal(&headers),
            false => headers,
        };
        let relay = match keep {
            true => leader.open(Arc::new(headers), recorded.expected),
            false => leader.pass(Arc::new(headers), recorded.expected),
        };
        tokio::spawn(pumped.run(relay, body));
    }

    /// Who leads and follows alone.
    fn alone(&self) -> Result<(Leader<Key, Fields, Problem>, Reader), Problem> {
        static ALONE: AtomicU64 = AtomicU64::new(0);
        let key = Key::Alone(ALONE.fetch_add(1, Ordering::Relaxed));
        match self.0.reads.fetches.join(key) {
            Joined::Lead(leader, reader) => Ok((leader, reader)),
            Joined::Follow(_) => Err(problem_of(Broken::Lost)),
        }
    }

    /// A body that may be the artifact, for nobody: it is read once for all who ask meanwhile, and what the upstream says of
    /// it remembered once it is proven.
    pub(super) fn follow_unheard(&self, recorded: &Recorded<'_>, answer: Answer) {
        let key = Key::Anybody(recorded.path.clone(), recorded.expected);
        if let Joined::Lead(leader, mut reader) = self.0.reads.fetches.join(key) {
            self.pump(recorded, leader, answer, false);
            tokio::spawn(async move { while let Ok(Some(_)) = reader.next().await {} });
        }
    }

    /// A body that may be the artifact: this reader gets it as it comes, verified like any other, although the bytes are at
    /// hand. What the upstream says of it is remembered once it is proven to be about them.
    pub(super) async fn follow_alone(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        answer: Answer,
        bytes: Bytes,
    ) -> Result<(), Cut> {
        let (leader, mut reader) = self.alone()?;
        let fields = answer.headers.clone();
        self.pump(recorded, leader, answer, false);
        let asked = &session.req_header().headers;
        if asked.contains_key(header::RANGE) || recorded.forwarded.conditional() {
            // Of the whole, or nothing of it.
            while unless_gone(session, reader.next())
                .await?
                .map_err(problem_of)?
                .is_some()
            {}
            return self.answer_kept(session, recorded, &fields, bytes, None).await;
        }
        self.follow(session, recorded, (&Arc::new(fields), reader), false)
            .await?;
        Ok(())
    }

    /// Hands a reader what arrives.
    async fn follow(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        (fields, mut reader): (&Fields, Reader),
        ranged: bool,
    ) -> Result<Fetched, Cut> {
        if ranged {
            // A part is cut from verified bytes only.
            let Some(bytes) = unless_gone(session, reader.verified()).await?.map_err(problem_of)? else {
                return Ok(Fetched::NotKept);
            };
            self.answer_kept(session, recorded, fields, bytes, None).await?;
            return Ok(Fetched::Answered);
        }
        let mut head = Head::upstream(StatusCode::OK, fields)?;
        recorded.mark(&mut head)?;
        if recorded.expected.length <= self.config().gate.verify_first {
            let bytes = unless_gone(session, whole(&mut reader)).await?.map_err(problem_of)?;
            head.write_with(self, session, bytes).await?;
            return Ok(Fetched::Answered);
        }
        // Always framed by the recorded length, one chunk withheld until length and digest agree.
        head.write(session, Frame::Length(recorded.expected.length), false)
            .await?;
        loop {
            match unless_gone(session, reader.next()).await? {
                Ok(Some(chunk)) => self.send(session, chunk, false).await?,
                Ok(None) => {
                    session.write_response_body(None, true).await?;
                    return Ok(Fetched::Answered);
                }
                Err(broken) => return Err(Cut::Midway(broken.to_string())),
            }
        }
    }
}

/// What became of a fetch.
pub(super) enum Fetched {
    Answered,
    /// Not answered: others have fetched it meanwhile, it is at hand now.
    Kept,
    /// Not answered: a part was wanted, and the artifact is not there to cut it from.
    NotKept,
}

/// A body on its way from the upstream to all who follow.
struct Pumped {
    gate: Gate,
    path: TargetPath,
    drops: u64,
    /// What is remembered of the answer once the bytes are verified.
    held: Option<Held>,
}

impl Pumped {
    async fn run(self, mut relay: Relay<Key, Fields, Problem>, mut body: Body) {
        loop {
            let next = tokio::select! {
                next = body.next() => next,
                () = relay.abandoned() => return,
            };
            match next {
                None => break,
                Some(Err(error)) => return relay.fail(error.into()),
                Some(Ok(chunk)) => match relay.push(chunk).await {
                    Ok(()) => {}
                    Err(Stop::Abandoned) => return,
                    Err(Stop::Mismatch(_)) => return self.gate.differs(&self.path),
                },
            }
        }
        let Self {
            gate,
            path,
            drops,
            held,
        } = self;
        // Before the last chunk leaves, for those who come right after it.
        let remember = || {
            if let Some(held) = held {
                gate.memory().hold(&path, held, drops);
            }
        };
        if relay.finish(remember).await.is_err() {
            gate.differs(&path);
        }
    }
}

/// Waits for something on behalf of a client, as long as it is there: who has left must not keep a request upstream alive.
async fn unless_gone<T>(session: &mut Session, wait: impl Future<Output = T>) -> Result<T, Cut> {
    let gone = async {
        match session.as_downstream_mut().read_body_or_idle(true).await {
            // The next request of a client that does not wait for answers, which is lost: the connection ends with this one.
            Err(error) if *error.etype() == ErrorType::ConnectError => {
                session.set_keepalive(None);
                std::future::pending().await
            }
            Err(error) => error,
            Ok(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = wait => Ok(done),
        error = gone => Err(Cut::Client(error)),
    }
}

/// A small body, whole.
async fn whole(reader: &mut Reader) -> Result<Bytes, Broken<Problem>> {
    let first = reader.next().await?.unwrap_or_default();
    let Some(second) = reader.next().await? else {
        return Ok(first);
    };
    let mut all = BytesMut::from(&first[..]);
    all.extend_from_slice(&second);
    while let Some(chunk) = reader.next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn problem_of(broken: Broken<Problem>) -> Problem {
    match broken {
        Broken::Failed(problem) => problem,
        Broken::Mismatch(mismatch) => mismatch.into(),
        lost @ (Broken::Lost | Broken::Unreadable(_)) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", lost.to_string()).retry(1)
        }
    }
}
