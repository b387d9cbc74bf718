//! A walk over everything at one moment, for audits: what is damaged is handed out as damaged and does not end the walk.

use std::vec;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    AuditLine, Drift, Fence, Intent, LedgerError, Observation, Publication, Reservation, RoleRow, Submission, Target,
};

/// Rows handed over at once.
const PORTION: usize = 512;
/// Portions that wait for their reader.
const AHEAD: usize = 4;

/// One row of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Row {
    /// The newest publication.
    Publication(Publication),
    /// The newest lease.
    Lease {
        /// Who took it.
        holder: String,
        /// Its number.
        fence: Fence,
        /// When it lapses; `None` once it was given up.
        until: Option<Timestamp>,
    },
    /// A role's counters.
    Role(RoleRow),
    /// What no publication covers.
    Observation(Observation),
    /// An upload in flight or in doubt.
    Reservation(Reservation),
    /// A path to be re-read.
    Intent(Intent),
    /// Files of roles that wait for the signer.
    Submission(Submission),
    /// A drifted path.
    Drift(Drift),
    /// A line of the audit chain, in its place.
    Audit(AuditLine),
    /// A target, live or not.
    Target(Target),
    /// What cannot be believed.
    Damaged(Damage),
}

/// A row, a table or a rule between tables that is broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The table; `structure` for the file itself.
    pub table: String,
    /// Which row, as far as it can be told; empty for the table as a whole.
    pub row: String,
    /// What is wrong.
    pub detail: String,
}

/// All rows, in this order: publication, lease, roles, observations, reservations, intents, submissions, drifts, audit lines from the
/// first to the last, targets by id; damage anywhere between.
#[derive(Debug)]
pub struct Survey {
    place: String,
    portions: mpsc::Receiver<Portion>,
    ready: vec::IntoIter<Row>,
    /// The walk said that this was all.
    ended: bool,
    /// There is nothing left to wait for.
    over: bool,
}

/// What a walk sends.
enum Portion {
    /// From here on nothing that is written is seen.
    Begun,
    Rows(Vec<Row>),
    Failed(LedgerError),
    End,
}

/// The walking side. Its calls block.
pub(super) struct Walker {
    portions: mpsc::Sender<Portion>,
    rows: Vec<Row>,
}

/// Tells the survey's reader of a failure.
pub(super) struct Failing(mpsc::Sender<Portion>);

/// Nobody reads the survey any more.
#[derive(Debug)]
pub(super) struct Abandoned;

impl Survey {
    /// Both sides; `place` names the ledger in errors.
    pub(super) fn channel(place: &str) -> (Self, Walker) {
        let (sender, portions) = mpsc::channel(AHEAD);
        let survey = Self {
            place: place.to_owned(),
            portions,
            ready: Vec::new().into_iter(),
            ended: false,
            over: false,
        };
        let walker = Walker {
            portions: sender,
            rows: Vec::new(),
        };
        (survey, walker)
    }

    /// A survey of rows at hand.
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let (mut survey, _) = Self::channel("memory");
        survey.ready = rows.into_iter();
        survey.over = true;
        survey
    }

    /// Waits until the walk has begun.
    pub(super) async fn begun(mut self) -> Result<Self, LedgerError> {
        match self.portions.recv().await {
            Some(Portion::Begun) => Ok(self),
            Some(Portion::Failed(error)) => Err(error),
            _ => Err(self.cut()),
        }
    }

    /// The next row; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Row>, LedgerError> {
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            if self.over {
                return Ok(None);
            }
            match self.portions.recv().await {
                Some(Portion::Begun) => {}
                Some(Portion::Rows(rows)) => self.ready = rows.into_iter(),
                Some(Portion::Failed(error)) => return Err(error),
                // What stood for the walk, an open file too, is gone once its last sender is.
                Some(Portion::End) => self.ended = true,
                None if self.ended => self.over = true,
                None => return Err(self.cut()),
            }
        }
    }

    /// A walk that says no more has not seen everything: nobody may take that for the end.
    fn cut(&self) -> LedgerError {
        LedgerError::Store {
            place: self.place.clone(),
            detail: "the walk over it ended early".to_owned(),
        }
    }
}

impl Walker {
    /// Says that what is written from now on is not seen.
    pub(super) fn begin(&mut self) -> Result<(), Abandoned> {
        self.send(Portion::Begun)
    }

    /// Hands a row over.
    pub(super) fn give(&mut self, row: Row) -> Result<(), Abandoned> {
        self.rows.push(row);
        match self.rows.len() < PORTION {
            true => Ok(()),
            false => self.hand_over(),
        }
    }

    /// Says that this was all.
    pub(super) fn end(&mut self) -> Result<(), Abandoned> {
        self.hand_over()?;
        self.send(Portion::End)
    }

    /// For whoever hears that the walk failed.
    pub(super) fn failing(&self) -> Failing {
        Failing(self.portions.clone())
    }

    fn hand_over(&mut self) -> Result<(), Abandoned> {
        let rows = std::mem::take(&mut self.rows);
        self.send(Portion::Rows(rows))
    }

    fn send(&self, portion: Portion) -> Result<(), Abandoned> {
        self.portions.blocking_send(portion).map_err(|_| Abandoned)
    }
}

impl Failing {
    /// Says why there is no more.
    pub(super) async fn fail(self, error: LedgerError) {
        // Who does not read the rows does not miss the reason either.
        let _ = self.0.send(Portion::Failed(error)).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::FutureExt as _;

    use super::*;

    fn row(number: usize) -> Row {
        Row::Role(RoleRow::new(&number.to_string()))
    }

    #[tokio::test]
    async fn every_row_comes_once_and_a_cut_is_no_end() {
        for whole in [true, false] {
            let (survey, mut walker) = Survey::channel("here");
            let walk = std::thread::spawn(move || {
                walker.begin().unwrap();
                for number in 0..PORTION * 7 + 3 {
                    walker.give(row(number)).unwrap();
                }
                if whole {
                    walker.end().unwrap();
                }
            });
            let mut survey = survey.begun().await.unwrap();
            let mut seen = 0;
            let end = loop {
                match survey.next().await {
                    Ok(Some(next)) => assert_eq!(next, row(seen)),
                    end => break end,
                }
                seen += 1;
            };
            walk.join().unwrap();
            assert_eq!(end.is_ok(), whole);
            assert_eq!(seen, if whole { PORTION * 7 + 3 } else { PORTION * 7 });
        }
    }

    #[tokio::test]
    async fn the_end_is_heard_once_nothing_of_the_walk_is_left() {
        let (survey, mut walker) = Survey::channel("here");
        let left = walker.failing();
        let walk = move || walker.begin().and_then(|()| walker.end());
        std::thread::spawn(walk).join().unwrap().unwrap();
        let mut survey = survey.begun().await.unwrap();
        assert!(survey.next().now_or_never().is_none());
        drop(left);
        assert_eq!(survey.next().await.unwrap(), None);
    }

    #[test]
    fn a_walk_that_nobody_reads_stops() {
        let (survey, mut walker) = Survey::channel("here");
        drop(survey);
        assert!((0..=PORTION).any(|number| walker.give(row(number)).is_err()));
    }
}
