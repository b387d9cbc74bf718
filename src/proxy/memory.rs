//! What the upstream said of recorded artifacts whose bytes are kept: the header fields, and how long anonymous readers
//! may go without a question. By path, and by raw request target for the readers in a hurry (`hot.rs`). Never bodies'
//! verdicts: whether bytes are the recorded ones is the cache's to know.

use std::{
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
    came: Instant,
    /// How old it was then.
    aged: Duration,
    fresh: Duration,
    dropped: AtomicBool,
}

impl Held {
    /// An answer that came just now, to a reader whom the upstream cannot tell from others (`anonymous`) or to one alone;
    /// `None` when it may not be kept.
    pub(super) fn new(expected: Expected, answer: &HeaderMap, keeping: Keeping, anonymous: bool) -> Option<Self> {
        let fresh = match keeping {
            Keeping::Never => return None,
            Keeping::Ask => Duration::ZERO,
            Keeping::Fresh(time) => time,
        };
        let mut headers = answer.clone();
        for name in answer.keys() {
            if PERSONAL.contains(name) || !(anonymous || OF_THE_BYTES.contains(name)) {
                headers.remove(name);
            }
        }
        Some(Self {
            expected,
            headers,
            came: Instant::now(),
            aged: age(answer).min(Duration::from_secs(1 << 31)),
            fresh,
            dropped: AtomicBool::new(false),
        })
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
    drops: AtomicU64,
}

impl Memory {
    /// `hits`: most bytes of bodies that are ready for readers in a hurry.
    pub(super) fn new(hits: u64) -> Self {
        Self {
            held: Cache::builder()
                .max_capacity(MAX_HEADERS)
                .weigher(|path: &TargetPath, held: &Arc<Held>| weight(path.as_str().len() + 256, &held.headers))
                .build(),
            hits: Cache::builder()
                .max_capacity(hits.saturating_add(MAX_HEADERS))
                .expire_after(Lives)
                .weigher(|target: &Vec<u8>, hit: &Arc<Hit>| weight(target.len() + hit.weight(), &hit.held.headers))
                .build(),
            drops: AtomicU64::new(0),
        }
    }

    /// The last answer for these bytes at this path.
    pub(super) fn held(&self, path: &TargetPath, expected: &Expected) -> Option<Arc<Held>> {
        self.held.get(path).filter(|held| held.expected == *expected)
    }

    /// The last answer at this path, whatever is recorded there.
    pub(super) fn last(&self, path: &TargetPath) -> Option<Arc<Held>> {
        self.held.get(path)
    }

    /// Moves whenever something was dropped: what was looked up before may be over.
    pub(super) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Keeps an answer, unless something was dropped since `drops`.
    pub(super) fn hold(&self, path: &TargetPath, held: Held, drops: u64) -> Arc<Held> {
        let held = Arc::new(held);
        if self.drops() == drops {
            self.held.insert(path.clone(), Arc::clone(&held));
        }
        held
    }

    /// Nobody may go without a question at this path, from now on.
    pub(super) fn drop(&self, path: &TargetPath) {
        self.drops.fetch_add(1, Ordering::AcqRel);
        if let Some(held) = self.held.remove(path) {
            held.dropped.store(true, Ordering::Release);
        }
    }

    pub(super) fn hit(&self, target: &[u8]) -> Option<Arc<Hit>> {
        self.hits.get(target)
    }

    /// Makes a target ready for readers in a hurry, unless something was dropped since `drops`.
    pub(super) fn ready(&self, target: &[u8], hit: Hit, drops: u64) {
        if self.drops() == drops {
            self.hits.insert(target.into(), Arc::new(hit));
        }
    }
}

fn weight(bytes: usize, headers: &HeaderMap) -> u32 {
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 64)
        .sum();
    u32::try_from(bytes + fields).unwrap_or(u32::MAX)
}
