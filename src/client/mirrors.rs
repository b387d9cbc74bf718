//! Several places that serve the same files, and the order in which they are asked.
//!
//! A mirror is no authority: whatever it serves is verified, and one that fails, or whose content is refused, is passed
//! over. The one that served last is asked first. When all that may be asked failed for reasons that may pass, they are
//! asked again after a pause that grows from round to round; refused content is never asked for twice at one mirror.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::{error::ClientError, fetch::Fetcher, naming::Base, notice::Notice};

/// The first pause; each is twice the one before it …
const PAUSE: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Base URLs of the same content.
#[derive(Debug)]
pub struct Mirrors {
    bases: Vec<Base>,
    /// Which one is asked first.
    first: AtomicUsize,
    /// The last question had no answer after all its rounds; the next gets one round until something answers, so that a
    /// long list of targets does not wait for each.
    exhausted: AtomicBool,
}

impl Mirrors {
    /// Reads base URLs in order of preference; at least one.
    pub fn parse(urls: &[String]) -> Result<Self, ClientError> {
        let bases: Vec<_> = urls.iter().map(|url| Base::parse(url)).collect::<Result<_, _>>()?;
        if bases.is_empty() {
            return Err(ClientError::Url {
                url: String::new(),
                why: "at least one is needed".to_owned(),
            });
        }
        Ok(Self {
            bases,
            first: AtomicUsize::new(0),
            exhausted: AtomicBool::new(false),
        })
    }

    /// The one that served last, or is asked now.
    pub fn current(&self) -> &Base {
        &self.bases[self.first.load(Relaxed)]
    }

    /// Begins a question.
    pub fn tries<'a>(&'a self, fetcher: &'a Fetcher) -> Tries<'a> {
        let first = self.first.load(Relaxed);
        let others = (0..self.bases.len()).filter(|at| *at != first);
        let rounds = if self.exhausted.load(Relaxed) {
            0
        } else {
            fetcher.retries()
        };
        Tries {
            mirrors: self,
            fetcher,
            ahead: std::iter::once(first).chain(others).collect(),
            asked: first,
            again: VecDeque::new(),
            rounds,
            pause: PAUSE,
            at_least: Duration::ZERO,
            failures: Vec::new(),
        }
    }
}

/// One question, asked at one mirror after the other:
/// [`next`](Tries::next), then [`served`](Tries::served) or [`failed`](Tries::failed).
pub struct Tries<'a> {
    mirrors: &'a Mirrors,
    fetcher: &'a Fetcher,
    ahead: VecDeque<usize>,
    asked: usize,
    /// Those to ask in the next round.
    again: VecDeque<usize>,
    /// Rounds that are left after this one.
    rounds: u32,
    pause: Duration,
    /// The longest wait that a server asked for in this round.
    at_least: Duration,
    /// What each mirror said last.
    failures: Vec<(usize, ClientError)>,
}

impl<'a> Tries<'a> {
    /// The mirror to ask; `None` when there is none left.
    pub async fn next(&mut self) -> Option<&'a Base> {
        if self.ahead.is_empty() && !self.again.is_empty() && self.rounds > 0 {
            self.rounds -= 1;
            // Clients that one outage stopped together must not come back together.
            let after = self.pause.mul_f64(rand::random_range(0.5..1.0)).max(self.at_least);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.at_least = Duration::ZERO;
            let why = self.failures.last().map(|(_, error)| error.to_string());
            self.fetcher.notice(&Notice::Retrying {
                why: why.unwrap_or_default(),
                after,
            });
            tokio::time::sleep(after).await;
            self.ahead = std::mem::take(&mut self.again);
        }
        self.asked = self.ahead.pop_front()?;
        self.mirrors.first.store(self.asked, Relaxed);
        Some(&self.mirrors.bases[self.asked])
    }

    /// The mirror served what was wanted.
    pub fn served(self) {
        self.mirrors.exhausted.store(false, Relaxed);
    }

    /// The mirror did not.
    pub fn failed(&mut self, error: ClientError) {
        if error.is_transient() {
            self.again.push_back(self.asked);
            self.at_least = self.at_least.max(error.retry_after().unwrap_or_default());
        }
        if self.mirrors.bases.len() > 1 {
            self.fetcher.notice(&Notice::PassedOver {
                mirror: self.mirrors.bases[self.asked].as_str().to_owned(),
                why: error.to_string(),
            });
        }
        self.failures.retain(|(at, _)| *at != self.asked);
        self.failures.push((self.asked, error));
    }

    /// The failure was one of a transfer that came a good way: as many rounds as at the beginning are left.
    pub fn progressed(&mut self) {
        self.rounds = self.fetcher.retries();
        self.pause = PAUSE;
    }

    /// What to say when no mirror is left: what looks like an attack first.
    pub fn into_error(mut self) -> ClientError {
        self.mirrors.first.store(0, Relaxed);
        if !self.again.is_empty() {
            self.mirrors.exhausted.store(true, Relaxed);
        }
        self.failures.sort_by_key(|(at, error)| (error.attack().is_none(), *at));
        let mut failures: Vec<_> = self.failures.into_iter().map(|(_, error)| error).collect();
        match failures.len() {
            1 => failures.remove(0),
            _ => ClientError::EveryMirror(failures),
        }
    }
}

#[cfg(test)]
mod tests;
