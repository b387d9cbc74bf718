//! What the upstream said of recorded artifacts whose bytes are kept: the header fields, and how long anonymous readers
//! may go without a question. By path, and by raw request target for the readers in a hurry (`hot.rs`). Never bodies'
//! verdicts: whether bytes are the recorded ones is the cache's to know.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use moka::{Expiry, sync::Cache};

use super::hot::Hit;
use crate::{
    digest::Expected,
    freshness::{Keeping, age},
    target::TargetPath,
};

/// Most bytes of header fields remembered.
const MAX_HEADERS: u64 = 32 << 20;

/// Counts of drops; a refusal at one path makes others' answers wait to be kept once in so many times.
const PLACES: usize = 4_096;

/// How long a mapped file is ready for readers in a hurry at most: it holds on to disk that the cache may have given away.
const MAPPED_FOR: Duration = Duration::from_secs(60);

/// Fields that belong to one answer to one reader.
const PERSONAL: [HeaderName; 5] = [
    header::AGE,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::CONNECTION,
];

/// Fields that describe the bytes, and so may be told to others than the reader whose credentials brought them.
const OF_THE_BYTES: [HeaderName; 9] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

/// An answer of the upstream for bytes that are kept.
pub(super) struct Held {
    /// The bytes.
    pub expected: Expected,
    /// Its end-to-end fields, without those of one reader alone.
    pub headers: HeaderMap,
    /// The upstream gave these very bytes to somebody whom it cannot tell from others.
    pub public: bool,
    came: Instant,
    /// How old it was then.
    aged: Duration,
    fresh: Duration,
    dropped: AtomicBool,
}

impl Held {
    /// An answer that came just now and is proven to be about these bytes, to a reader whom the upstream cannot tell from
    /// others (`anonymous`) or to one alone; `None` when it may not be kept.
    pub(super) fn new(expected: Expected, answer: &HeaderMap, keeping: Keeping, anonymous: bool) -> Option<Self> {
        let fresh = match keeping {
            Keeping::Never => return None,
            Keeping::Ask => Duration::ZERO,
            Keeping::Fresh(time) => time,
        };
        let mut headers = without_personal(answer);
        if !anonymous {
            let others = answer.keys().filter(|name| !OF_THE_BYTES.contains(name));
            others.for_each(|name| drop(headers.remove(name)));
        }
        Some(Self {
            expected,
            headers,
            public: anonymous,
            came: Instant::now(),
            aged: age(answer).min(Duration::from_secs(1 << 31)),
            fresh,
            dropped: AtomicBool::new(false),
        })
    }

    /// It is over, also for whom has it at hand.
    fn end(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Whether an anonymous reader needs no question.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.came) < self.fresh && !self.dropped.load(Ordering::Acquire)
    }

    /// `Age` in seconds (RFC 9111 section 5.1).
    pub(super) fn age(&self, now: Instant) -> u64 {
        (self.aged + now.saturating_duration_since(self.came)).as_secs()
    }

    /// The condition by which the upstream is asked whether the answer still holds.
    pub(super) fn validator(&self) -> Option<(HeaderName, HeaderValue)> {
        let by = |name: HeaderName, condition| Some((condition, self.headers.get(name)?.clone()));
        by(header::ETAG, header::IF_NONE_MATCH).or_else(|| by(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE))
    }

    /// Whether an answer names the same strong entity tag: it is about the same bytes (RFC 9110 section 8.8.1).
    pub(super) fn is_tagged_as(&self, answer: &HeaderMap) -> bool {
        let tag = |headers: &HeaderMap| {
            headers
                .get(header::ETAG)
                .filter(|tag| tag.as_bytes().starts_with(b"\""))
                .cloned()
        };
        tag(&self.headers).is_some_and(|ours| tag(answer) == Some(ours))
    }

    /// The same answer as a 304 confirms it (RFC 9111 section 4.3.4): its fields replace ours, but those that describe
    /// the bytes.
    pub(super) fn confirmed(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in answer.keys() {
            if matches!(
                *name,
                header::CONTENT_LENGTH | header::CONTENT_ENCODING | header::CONTENT_TYPE | header::CONTENT_RANGE
            ) {
                continue;
            }
            headers.remove(name);
            for value in answer.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers
    }
}

/// How long a target is ready: while its answer is fresh.
struct Lives;

impl Expiry<Vec<u8>, Arc<Hit>> for Lives {
    fn expire_after_create(&self, _: &Vec<u8>, hit: &Arc<Hit>, now: Instant) -> Option<Duration> {
        let fresh = hit
            .held
            .fresh
            .saturating_sub(now.saturating_duration_since(hit.held.came));
        Some(if hit.mapped { fresh.min(MAPPED_FOR) } else { fresh })
    }

    fn expire_after_update(
        &self,
        key: &Vec<u8>,
        hit: &Arc<Hit>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, hit, now)
    }
}

/// See the module's first paragraph.
pub(super) struct Memory {
    held: Cache<TargetPath, Arc<Held>>,
    hits: Cache<Vec<u8>, Arc<Hit>>,
    /// Counts of what was dropped, of the paths that share a place: which ones do nobody outside can know.
    drops: Box<[AtomicU64]>,
    places: RandomState,
}

impl Memory {
    /// `hits`: most bytes of bodies that are ready for readers in a hurry.
    pub(super) fn new(hits: u64) -> Self {
        Self {
            held: Cache::builder()
                .max_capacity(MAX_HEADERS)
                .weigher(|path: &TargetPath, held: &Arc<Held>| weight(path.as_str().len() + 256, &held.headers))
                // What is no longer found here can no longer be dropped.
                .eviction_listener(|_, held: Arc<Held>, _| held.end())
                .build(),
            hits: Cache::builder()
                .max_capacity(hits.saturating_add(MAX_HEADERS))
                .expire_after(Lives)
                .weigher(|target: &Vec<u8>, hit: &Arc<Hit>| weight(target.len() + hit.weight(), &hit.held.headers))
                .build(),
            drops: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            places: RandomState::new(),
        }
    }

    /// The last answer for these bytes at this path.
    pub(super) fn held(&self, path: &TargetPath, expected: &Expected) -> Option<Arc<Held>> {
        self.last(path).filter(|held| held.expected == *expected)
    }

    /// The last answer at this path, whatever is recorded there.
    pub(super) fn last(&self, path: &TargetPath) -> Option<Arc<Held>> {
        self.held.get(path).filter(|held| !held.dropped.load(Ordering::Acquire))
    }

    /// Moves whenever something was dropped at this path: what was looked up before may be over.
    pub(super) fn drops(&self, path: &TargetPath) -> u64 {
        self.count(path).load(Ordering::SeqCst)
    }

    fn count(&self, path: &TargetPath) -> &AtomicU64 {
        let place = self.places.hash_one(path) as usize % self.drops.len();
        &self.drops[place]
    }

    /// Keeps an answer, unless something was dropped at its path since `drops`.
    pub(super) fn hold(&self, path: &TargetPath, mut held: Held, drops: u64) {
        let held = self.held.entry_by_ref(path).and_upsert_with(|old| {
            if let Some(old) = old.map(moka::Entry::into_value) {
                // What a refusal ended proves nothing any more.
                held.public |= old.public && !old.dropped.load(Ordering::Acquire) && old.expected == held.expected;
                old.end();
            }
            Arc::new(held)
        });
        // A drop that comes after this look finds what was just kept.
        if self.drops(path) != drops {
            held.value().end();
        }
    }

    /// Nobody may go without a question at this path, from now on.
    pub(super) fn drop(&self, path: &TargetPath) {
        self.count(path).fetch_add(1, Ordering::SeqCst);
        if let Some(held) = self.held.remove(path) {
            held.end();
        }
    }

    pub(super) fn hit(&self, target: &[u8]) -> Option<Arc<Hit>> {
        self.hits.get(target)
    }

    /// Makes a target ready for readers in a hurry, for as long as what is held of it lasts.
    pub(super) fn ready(&self, target: &[u8], hit: Hit) {
        self.hits.insert(target.into(), Arc::new(hit));
    }
}

/// The fields of an answer that others than its reader may see.
pub(super) fn without_personal(answer: &HeaderMap) -> HeaderMap {
    let mut headers = answer.clone();
    for name in &PERSONAL {
        headers.remove(name);
    }
    headers
}

fn weight(bytes: usize, headers: &HeaderMap) -> u32 {
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 64)
        .sum();
    u32::try_from(bytes + fields).unwrap_or(u32::MAX)
}
