//! The walk itself: what is asked in which order.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use http::StatusCode;
use jiff::Timestamp;

use super::{
    Counts, Finding, InspectError, Options, Place, Report,
    finding::Findings,
    verdicts::{self, Verdict},
    web::{self, Answer, Web},
};
use crate::{
    client::{fetch::FetchError, naming::Base},
    compat::Facts,
    digest::Digest,
};

/// Requests under way at once.
pub(super) const PARALLEL: usize = 16;

/// What stays the same during a walk.
pub(super) struct Site {
    pub options: Options,
    pub metadata: Base,
    pub targets: Base,
    pub web: Web,
    pub now: Timestamp,
}

impl Site {
    /// A metadata file's path below the metadata URL.
    pub fn name(&self, role: &str, version: Option<u64>) -> String {
        let url = self.metadata.metadata(role, version);
        url[self.metadata.as_str().len()..].to_owned()
    }

    /// Whatever is answered for a path below the metadata URL.
    pub async fn get(&self, name: &str) -> Result<Answer, FetchError> {
        self.web.get(&format!("{}{name}", self.metadata.as_str())).await
    }
}

/// A walk under way.
pub(super) struct Walk<'a> {
    pub site: Arc<Site>,
    pub findings: Findings,
    pub facts: Facts,
    pub counts: Counts,
    /// Versioned files that were read, with their digests.
    pub seen: BTreeMap<String, Digest>,
    /// Versioned files may be cached: told once.
    pub fixed_told: bool,
    progress: &'a (dyn Fn(Counts) + Send + Sync),
}

impl<'a> Walk<'a> {
    /// Makes ready; nothing is asked yet.
    pub fn open(
        options: Options,
        now: Timestamp,
        progress: &'a (dyn Fn(Counts) + Send + Sync),
    ) -> Result<Self, InspectError> {
        let site = Site {
            metadata: Base::parse(&options.metadata_url)?,
            targets: Base::parse(&options.targets_url)?,
            web: Web::new(options.timeouts, options.authorities.clone()),
            options,
            now,
        };
        Ok(Self {
            site: Arc::new(site),
            findings: Findings::default(),
            facts: Facts::default(),
            counts: Counts::default(),
            seen: BTreeMap::new(),
            fixed_told: false,
            progress,
        })
    }

    /// Looks at everything there is to look at, and says what it found.
    pub async fn run(mut self) -> Result<Report, InspectError> {
        let Some(root) = self.roots().await? else {
            return Ok(self.end(|_, _| Vec::new()));
        };
        self.facts.consistent = root.consistent;
        let mut twin = None;
        let timestamp = self.timestamp(&root).await;
        if let Some(timestamp) = &timestamp {
            if let Some(snapshot) = &self.snapshot(&root, timestamp).await {
                let graph = self.roles(&root, snapshot).await;
                twin = self.twin(&root, timestamp, snapshot, &graph).await;
            }
            self.again(&root, timestamp).await;
        }
        Ok(self.end(|facts, findings| {
            let other = twin.as_ref().map(|twin| (&twin.facts, &twin.replaced));
            verdicts::verdicts(facts, other, findings)
        }))
    }

    /// What is told, in order.
    fn end(self, verdicts: impl FnOnce(&Facts, &[Finding]) -> Vec<Verdict>) -> Report {
        let requests = self.site.web.requests();
        let (findings, more) = self.findings.finish();
        Report {
            clients: verdicts(&self.facts, &findings),
            findings,
            more,
            counts: Counts {
                requests,
                ..self.counts
            },
            seed: self.site.options.seed,
        }
    }

    /// A file that should be there; what is wrong with the answer is told.
    pub async fn file(&mut self, name: &str) -> Option<Answer> {
        let place = Place::file(name);
        let outcome = self.site.get(name).await;
        match outcome {
            Ok(answer) if answer.status == StatusCode::OK => {
                if web::check_encoding(&answer.headers, &place, &mut self.findings) {
                    self.facts.encoded.get_or_insert_with(|| name.to_owned());
                }
                Some(answer)
            }
            other => {
                web::tell_missing(&other, &place, &mut self.findings);
                None
            }
        }
    }

    /// As [`Self::file`], for a file that never changes: caches may keep it, and it is looked at again at the end.
    pub async fn fixed_file(&mut self, name: &str) -> Option<Answer> {
        let answer = self.file(name).await?;
        self.seen.insert(name.to_owned(), Digest::of(&answer.body));
        if !self.fixed_told {
            let before = self.findings.len();
            web::check_fixed(&answer.headers, self.site.now, &Place::file(name), &mut self.findings);
            self.fixed_told = self.findings.len() > before;
        }
        Some(answer)
    }

    /// Tells whoever watches how far it is.
    pub fn progress(&mut self) {
        self.counts.requests = self.site.web.requests();
        (self.progress)(self.counts);
    }
}

/// The first name that is in one set only.
pub(super) fn difference(a: &HashSet<String>, b: &HashSet<String>) -> Option<String> {
    let mut only: Vec<&String> = a.symmetric_difference(b).collect();
    only.sort_unstable();
    only.first().map(|name| (*name).clone())
}
