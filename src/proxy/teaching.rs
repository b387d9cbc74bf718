//! Reads of paths without a record under a rule that learns on fetch: passed as they come, recorded before their last
//! chunk leaves.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use pingora::proxy::Session;

use super::{
    Gate,
    answer::{Frame, Head},
    client_ip,
    headers::{Forwarded, Status},
    passing::Cut,
    problem::Problem,
    route::Tracked,
    tap::Tap,
};
use crate::{
    intake::Learned,
    upstream::{Ask, Framing, judge},
};

impl Gate {
    /// GET of an unrecorded path that teaches: passed as it comes, recorded before its last chunk leaves.
    pub(super) async fn serve_teaching(
        &self,
        session: &mut Session,
        at: &Tracked<'_>,
        forwarded: Forwarded,
    ) -> Result<(), Cut> {
        let ask = Ask {
            method: Method::GET,
            path: at.path.encoded(),
            headers: forwarded.headers,
            identity: false,
        };
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        // Nothing is promised of a path without a record: another success passes, but for a part nobody asked for.
        if answer.status.is_success() && !matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return self.pass(session, answer, Status::Untracked).await;
        }
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        if let Err(reason) = judge::learnable(answer.status, &answer.headers, answer.framing) {
            self.parts().metrics.unlearned_total.with_label_values(&[reason]).inc();
            return self.pass(session, answer, Status::Untracked).await;
        }
        let frame = match answer.framing {
            Framing::Length(length) => Frame::Length(length),
            Framing::Chunked | Framing::Close => Frame::Unknown,
        };
        let mut head = Head::upstream(answer.status, &answer.headers)?;
        head.status(Status::Pending)?;
        let mut tap = Tap::default();
        let mut stream = answer.body;
        if frame == Frame::Length(0) {
            self.teach(session, at, Tap::default()).await?;
            return Ok(head.write(session, frame, true).await?);
        }
        head.write(session, frame, false).await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            self.send(session, tap.push(chunk).await, false).await?;
        }
        let held = self.teach(session, at, tap).await?;
        Ok(self.send(session, held, true).await?)
    }

    /// Records what a whole fetch showed; gives back the withheld chunk unless other bytes were recorded meanwhile.
    async fn teach(&self, session: &Session, at: &Tracked<'_>, tap: Tap) -> Result<Bytes, Cut> {
        let (digest, length, held) = tap.finish().await.map_err(|error| Cut::Midway(error.to_string()))?;
        let learned = self
            .intake()
            .learn(&at.path, at.rule, (digest, length), client_ip(session))
            .await;
        match learned {
            Ok(Learned::Recorded(_) | Learned::Known) => Ok(held),
            Ok(Learned::Refused(refusal)) => {
                self.parts()
                    .metrics
                    .unlearned_total
                    .with_label_values(&[refusal.label()])
                    .inc();
                Ok(held)
            }
            Ok(Learned::Conflict) => {
                self.intake().suspect(&at.path);
                Err(Cut::Midway("other bytes were recorded meanwhile".to_owned()))
            }
            // The bytes are what the upstream has; not to record them now loses nothing that was promised.
            Err(error) => {
                tracing::error!(%error, target.path = %at.path, "could not record what a fetch of `{}` showed", at.path);
                Ok(held)
            }
        }
    }
}
