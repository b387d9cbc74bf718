//! A reader of an artifact that is still arriving.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Broken, Opening,
    flight::{Flight, Step},
};

/// One reader. Dropped, it has left.
pub struct Follower<H, E> {
    flight: Arc<Flight<H, E>>,
    ticks: watch::Receiver<()>,
    id: u64,
    at: u64,
}

impl<H: Clone, E: Clone> Follower<H, E> {
    pub(super) fn first(flight: &Arc<Flight<H, E>>) -> Self {
        let id = flight.state().join();
        Self::new(flight, id)
    }

    pub(super) fn new(flight: &Arc<Flight<H, E>>, id: u64) -> Self {
        Self {
            ticks: flight.ticks(),
            flight: Arc::clone(flight),
            id,
            at: 0,
        }
    }

    /// Waits for the head. May be called again.
    ///
    /// # Errors
    /// Where there will be none, or the body failed already.
    pub async fn opening(&mut self) -> Result<Opening<H>, Broken<E>> {
        loop {
            // Before looking, so that what changes afterwards wakes.
            self.ticks.borrow_and_update();
            let opening = self.flight.state().opening(self.id);
            match opening {
                Some(opening) => return opening,
                None => self.tick().await?,
            }
        }
    }

    /// The next bytes, from the first on; `None` at the end, which comes only after a good verdict. May be cancelled.
    ///
    /// # Errors
    /// After which the reader lacks at least the last chunk. Also for a reader that must ask for itself.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken<E>> {
        loop {
            self.ticks.borrow_and_update();
            let step = self.flight.state().step(self.id, self.at);
            let bytes = match step {
                Step::Give(bytes) => bytes,
                Step::Read(reader, range) => {
                    let read = reader.read(range).await;
                    let bytes = read.map_err(|error| Broken::Unreadable(error.to_string()))?;
                    self.flight.state().moved_to(self.id, self.at + bytes.len() as u64);
                    bytes
                }
                Step::Wait => {
                    self.tick().await?;
                    continue;
                }
                Step::End => return Ok(None),
                Step::Broken(why) => return Err(why),
            };
            self.at += bytes.len() as u64;
            self.flight.moved.notify_one();
            return Ok(Some(bytes));
        }
    }

    /// Waits for the verdict and gives the artifact whole, for a range of it; `None` where it is not kept, so that the
    /// reader must ask for itself.
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub async fn verified(mut self) -> Result<Option<Bytes>, Broken<E>> {
        // It takes nothing from the window, so nobody need wait for it.
        self.flight.state().moved_to(self.id, u64::MAX);
        self.flight.moved.notify_one();
        loop {
            self.ticks.borrow_and_update();
            let verified = self.flight.state().verified(self.id);
            match verified {
                Some(verified) => return verified,
                None => self.tick().await?,
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Broken<E>> {
        // The sender is in the flight, which is here.
        self.ticks.changed().await.map_err(|_| Broken::Lost)
    }
}

impl<H, E> Drop for Follower<H, E> {
    fn drop(&mut self) {
        self.flight.leave(self.id);
    }
}
