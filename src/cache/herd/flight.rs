//! What a leader and its followers share. Bookkeeping under one short lock; nothing here waits.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::{Broken, Follower, Opening, window::Window};
use crate::cache::{lock, temporary::Reader};

/// Bytes of a large body that stay in memory for those who keep up.
pub(super) const WINDOW: u64 = 512 << 10;
/// Most bytes read back, or handed out, at a time.
const PIECE: u64 = 256 << 10;
/// With no more than this missing, a fetch that nobody waits for is ended rather than cut.
const REST: u64 = 1 << 20;

/// One artifact on its way.
pub(super) struct Flight<H, E> {
    state: Mutex<State<H, E>>,
    /// Something happened that followers wait for.
    ticks: watch::Sender<()>,
    /// A follower moved or left. Only the leader waits.
    pub moved: Notify,
}

pub(super) struct State<H, E> {
    head: Head<H>,
    end: Option<End<E>>,
    source: Source,
    window: Window,
    /// Followers may have this much.
    released: u64,
    /// How long the body is to be.
    length: u64,
    /// Followers that share, and how far each is.
    positions: BTreeMap<u64, u64>,
    joined: u64,
    /// The leader was told to stop.
    closed: bool,
}

enum Head<H> {
    Asked,
    EachForItself,
    Shared(H),
}

enum End<E> {
    /// The verdict is good; the artifact, where it was kept.
    Whole(Option<Bytes>),
    Broken(Broken<E>),
}

/// Where bytes before the window are.
pub(super) enum Source {
    /// There are none: the window holds everything.
    Memory,
    /// In the fill's file.
    File(Reader),
    /// Nowhere; in a file that was given up halfway, up to where it ends.
    Direct(Option<Reader>),
}

/// What a follower does next.
pub(super) enum Step<E> {
    Give(Bytes),
    Read(Reader, Range<u64>),
    Wait,
    End,
    Broken(Broken<E>),
}

impl<H: Clone, E: Clone> Flight<H, E> {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            head: Head::Asked,
            end: None,
            source: Source::Memory,
            window: Window::default(),
            released: 0,
            length: 0,
            positions: BTreeMap::new(),
            joined: 0,
            closed: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            ticks: watch::Sender::new(()),
            moved: Notify::new(),
        })
    }

    /// A further follower; `None` once the leader was told to stop, or ended.
    pub(super) fn follow(self: &Arc<Self>) -> Option<Follower<H, E>> {
        let mut state = self.state();
        (!state.closed && state.end.is_none()).then(|| Follower::new(self, state.join()))
    }

    /// Changes what followers see, and wakes them.
    pub(super) fn tell<T>(&self, change: impl FnOnce(&mut State<H, E>) -> T) -> T {
        let told = change(&mut self.state());
        self.ticks.send_replace(());
        told
    }
}

impl<H, E> Flight<H, E> {
    pub(super) fn state(&self) -> MutexGuard<'_, State<H, E>> {
        lock(&self.state)
    }

    pub(super) fn ticks(&self) -> watch::Receiver<()> {
        self.ticks.subscribe()
    }

    pub(super) fn leave(&self, id: u64) {
        self.state().positions.remove(&id);
        self.moved.notify_one();
    }

    /// The leader is gone. What it said before stands.
    pub(super) fn lost(&self) {
        self.state().end.get_or_insert(End::Broken(Broken::Lost));
        self.ticks.send_replace(());
    }
}

/// The leader's side.
impl<H: Clone, E: Clone> State<H, E> {
    pub(super) fn each_for_itself(&mut self) {
        self.head = Head::EachForItself;
        self.closed = true;
    }

    pub(super) fn open(&mut self, head: H, length: u64, source: Source) {
        (self.head, self.length, self.source) = (Head::Shared(head), length, source);
        if matches!(self.source, Source::Direct(_)) {
            // The others cannot be held up by it, nor it by them.
            let first = self.positions.keys().next().copied();
            self.positions.retain(|id, _| Some(*id) == first);
        }
    }

    /// A chunk arrived; the one before it may go out.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.released = self.window.end();
        self.window.push(chunk);
        if let Source::File(reader) = &self.source
            && reader.given_up()
        {
            self.source = Source::Direct(Some(reader.clone()));
        }
        self.trim();
    }

    /// Whether the leader must wait for followers before it goes on.
    pub(super) fn crowded(&mut self) -> bool {
        self.trim();
        matches!(self.source, Source::Direct(_)) && self.window.held() > WINDOW
    }

    /// Drops from the window what can be had elsewhere, or is needed by nobody.
    fn trim(&mut self) {
        let floor = match &self.source {
            Source::Memory => return,
            Source::File(reader) => reader.written(),
            Source::Direct(reader) => {
                let written = reader.as_ref().map_or(0, Reader::written);
                let slowest = self.positions.values().min().copied();
                // What is withheld stays, also when nobody is there to get it.
                slowest.unwrap_or(self.released).min(self.released).max(written)
            }
        };
        self.window.trim(floor, WINDOW);
    }

    /// Whether the leader should stop; from then on nobody joins.
    pub(super) fn abandoned(&mut self) -> bool {
        let idle = self.positions.is_empty();
        let rest = match (&self.head, &self.source) {
            (Head::Asked, _) | (_, Source::Direct(_)) => u64::MAX,
            _ => self.length.saturating_sub(self.window.end()),
        };
        self.closed |= idle && rest > REST && self.end.is_none();
        self.closed
    }

    pub(super) fn whole(&mut self, kept: Option<Bytes>) {
        self.released = self.window.end();
        if kept.is_some() {
            self.window = Window::default();
            self.source = Source::Memory;
        }
        self.end = Some(End::Whole(kept));
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.window.held()
    }

    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.window.end()
    }

    pub(super) fn fail(&mut self, why: Broken<E>) {
        self.end = Some(End::Broken(why));
    }
}

/// A follower's side.
impl<H: Clone, E: Clone> State<H, E> {
    pub(super) fn join(&mut self) -> u64 {
        let id = self.joined;
        self.joined += 1;
        if !matches!(self.source, Source::Direct(_)) {
            self.positions.insert(id, 0);
        }
        id
    }

    /// How the answer begins, once that is known.
    pub(super) fn opening(&self, id: u64) -> Option<Result<Opening<H>, Broken<E>>> {
        if !self.positions.contains_key(&id) {
            return Some(Ok(Opening::EachForItself));
        }
        match (&self.head, &self.end) {
            (Head::EachForItself, _) => Some(Ok(Opening::EachForItself)),
            (_, Some(End::Broken(why))) => Some(Err(why.clone())),
            (Head::Shared(head), _) => Some(Ok(Opening::Shared(head.clone()))),
            (Head::Asked, _) => None,
        }
    }

    /// What comes at `at`; what is given counts as received.
    pub(super) fn step(&mut self, id: u64, at: u64) -> Step<E> {
        let given = match &self.end {
            Some(End::Broken(why)) => return Step::Broken(why.clone()),
            Some(End::Whole(_)) if at >= self.length => return Step::End,
            // Within the artifact, which is in memory.
            Some(End::Whole(Some(bytes))) => {
                Some(bytes.slice(at as usize..self.length.min(at.saturating_add(PIECE)) as usize))
            }
            _ if !self.positions.contains_key(&id) => return Step::Broken(Broken::Lost),
            _ if at >= self.released => return Step::Wait,
            _ => self.window.take(at, self.released.min(at.saturating_add(PIECE))),
        };
        if let Some(bytes) = given {
            self.moved_to(id, at + bytes.len() as u64);
            return Step::Give(bytes);
        }
        match &self.source {
            Source::File(reader) | Source::Direct(Some(reader)) => {
                let to = reader.written().min(self.window.start()).min(self.released);
                Step::Read(reader.clone(), at..to.min(at.saturating_add(PIECE)))
            }
            // Trimming never gets here: what nobody else has stays in the window.
            Source::Memory | Source::Direct(None) => Step::Broken(Broken::Lost),
        }
    }

    pub(super) fn moved_to(&mut self, id: u64, at: u64) {
        if let Some(position) = self.positions.get_mut(&id) {
            *position = at;
        }
    }

    /// The verified artifact, once there is a verdict; `None` in it where it is not going to be kept.
    pub(super) fn verified(&self, id: u64) -> Option<Result<Option<Bytes>, Broken<E>>> {
        match &self.end {
            Some(End::Whole(kept)) => Some(Ok(kept.clone())),
            Some(End::Broken(why)) => Some(Err(why.clone())),
            None if !self.positions.contains_key(&id) => Some(Ok(None)),
            None if matches!(self.source, Source::Direct(_)) => Some(Ok(None)),
            None if matches!(self.head, Head::EachForItself) => Some(Ok(None)),
            None => None,
        }
    }
}
