//! The roles below root, level by level, sixteen at a time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use http::StatusCode;

use super::{
    Code, Place,
    delegations::{Delegations, MAX_BINS},
    document::Document,
    finding::Findings,
    graph::Graph,
    keys::Signers,
    role::{self, Context, Wanted},
    roots::Root,
    top::{Listed, Snapshot, check_size},
    walk::{PARALLEL, Site, Walk},
    web,
};
use crate::{
    compat::{Facts, Sized},
    digest::Digest,
};

/// Roles that are read before what they brought is told and dropped.
const CHUNK: usize = 64;
/// Roles of one delegator that are visited, unless all are.
const SAMPLED_ROLES: usize = 64;
/// Limit of python-tuf, go-tuf, tuf-js and others.
const MAX_TARGETS: u64 = 5_000_000;
/// Most roles that one walk reads.
const MAX_ROLES: usize = 1 << 17;

/// A role that is to be read.
struct Job {
    name: String,
    listed: Listed,
    file: String,
    /// Who delegates to it, and by which keys.
    by: Vec<(String, Signers)>,
    /// It was read already; only these signatures are to be judged.
    signatures_only: bool,
}

/// What reading a role brought.
struct Done {
    name: String,
    file: String,
    digest: Option<Digest>,
    delegations: Option<Arc<Delegations>>,
    targets: u64,
    wanted: Vec<Wanted>,
    facts: Facts,
    findings: Findings,
}

impl Walk<'_> {
    /// Reads targets.json and the roles below it, and downloads what is to be downloaded.
    pub(super) async fn roles(&mut self, root: &Root, snapshot: &Snapshot) -> Graph {
        let mut graph = Graph::default();
        // By role, the keys by which it was judged.
        let mut judged: HashMap<String, Vec<Signers>> = HashMap::new();
        let mut complete = true;
        let mut level = vec![(
            "targets".to_owned(),
            "root".to_owned(),
            root.signers.get("targets").cloned(),
        )];
        let mut depth = 0;
        while !level.is_empty() {
            let jobs = self.jobs(level, snapshot, &mut judged, root.consistent);
            let mut next = Vec::new();
            let known = Arc::new(graph.clone());
            for chunk in in_chunks(jobs) {
                let site = self.site.clone();
                let reads = chunk.into_iter().map(|job| read(site.clone(), known.clone(), job));
                let done: Vec<Done> = stream::iter(reads).buffered(PARALLEL).collect().await;
                for done in done {
                    if let Some(delegations) = &done.delegations {
                        complete &= self.descend(&done, delegations, snapshot, &mut next);
                        graph.add(&done.name, delegations.clone());
                    }
                    self.take(done).await;
                }
                if judged.len() > MAX_ROLES {
                    let message = format!("there are more than {MAX_ROLES} roles: the others are not looked at");
                    self.findings
                        .warning(Code::DelegationDepth, &Place::file("targets.json"), message);
                    return graph;
                }
            }
            if !next.is_empty() {
                depth += 1;
            }
            level = next;
        }
        self.facts.depth = depth;
        if let Some(circle) = graph.cycle() {
            let message = format!("roles delegate in a circle: {}", circle.join(" → "));
            self.findings.warning(
                Code::DelegationCycle,
                &Place::file(self.site.name(&circle[0], None)),
                message,
            );
        }
        if complete {
            self.undelegated(snapshot, &judged, root.consistent).await;
        }
        graph
    }

    /// What is to be read of a level; what is not listed is told.
    fn jobs(
        &mut self,
        level: Vec<(String, String, Option<Signers>)>,
        snapshot: &Snapshot,
        judged: &mut HashMap<String, Vec<Signers>>,
        consistent: bool,
    ) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (name, by, signers) in level {
            let Some(signers) = signers else { continue };
            // Told by whoever delegates to it.
            let Some(listed) = snapshot.listed.get(&name) else {
                continue;
            };
            let done = judged.entry(name.clone()).or_default();
            let same = |other: &Signers| other.keys() == signers.keys() && other.threshold >= signers.threshold;
            if done.iter().any(same) {
                continue;
            }
            let signatures_only = !done.is_empty() && !places.contains_key(&name);
            done.push(signers.clone());
            if let Some(at) = places.get(&name) {
                jobs[*at].by.push((by, signers));
                continue;
            }
            places.insert(name.clone(), jobs.len());
            jobs.push(Job {
                file: self.site.name(&name, consistent.then_some(listed.version)),
                listed: listed.clone(),
                by: vec![(by, signers)],
                name,
                signatures_only,
            });
        }
        jobs
    }

    /// Adds the roles below one to the next level; `false` when some are left out.
    fn descend(
        &mut self,
        done: &Done,
        delegations: &Delegations,
        snapshot: &Snapshot,
        next: &mut Vec<(String, String, Option<Signers>)>,
    ) -> bool {
        let place = Place::file(&done.file);
        let names = delegations.names();
        for name in &names {
            if !snapshot.listed.contains_key(name) {
                let message = format!("it delegates to `{name}`, which the snapshot does not list");
                self.findings.error(Code::RoleNotListed, &place, message);
            }
        }
        if let Some(bins) = delegations
            .succinct
            .as_ref()
            .filter(|bins| bins.count() > u64::from(MAX_BINS))
        {
            let message = format!(
                "it delegates to {} bins, of which the first {MAX_BINS} are looked at",
                bins.count()
            );
            self.findings.warning(Code::DelegationDepth, &place, message);
        }
        let options = &self.site.options;
        let mut chosen: Vec<&String> = names.iter().collect();
        if !options.all && chosen.len() > SAMPLED_ROLES {
            chosen.sort_by_cached_key(|name| role::lot(options.seed, name));
            chosen.truncate(SAMPLED_ROLES);
            chosen.sort_unstable();
            // It is to be assumed that the others hold targets.
            self.facts.delegated_targets = true;
        }
        for name in &chosen {
            next.push(((*name).clone(), done.name.clone(), delegations.signers(name).cloned()));
        }
        chosen.len() == names.len()
    }

    /// Takes over what reading a role brought, and downloads its targets.
    async fn take(&mut self, done: Done) {
        self.findings.merge(done.findings);
        self.facts.merge(done.facts);
        if let Some(digest) = done.digest {
            self.seen.insert(done.file, digest);
            self.counts.roles += 1;
            self.counts.targets += done.targets;
        }
        self.progress();
        self.download(done.wanted).await;
    }

    /// Roles that the snapshot lists and nobody delegates to: no fault, since a listed role must stay listed.
    async fn undelegated(&mut self, snapshot: &Snapshot, judged: &HashMap<String, Vec<Signers>>, consistent: bool) {
        let others: BTreeSet<_> = snapshot
            .listed
            .iter()
            .filter(|(name, _)| !judged.contains_key(*name))
            .collect();
        for (name, _) in &others {
            let place = Place::file(self.site.name(name, None));
            self.findings.note(
                Code::RoleUndelegated,
                &place,
                "the snapshot lists it, and nobody delegates to it",
            );
        }
        if !self.site.options.all {
            return;
        }
        let jobs = others.into_iter().map(|(name, listed)| {
            let file = self.site.name(name, consistent.then_some(listed.version));
            (file, listed.clone())
        });
        for chunk in in_chunks(jobs.collect::<Vec<_>>()) {
            let site = self.site.clone();
            let asked = chunk.into_iter().map(|(file, listed)| {
                let site = site.clone();
                async move { (site.get(&file).await, file, listed) }
            });
            let answers: Vec<_> = stream::iter(asked).buffered(PARALLEL).collect().await;
            for (answer, file, listed) in answers {
                let place = Place::file(&file);
                match answer {
                    Ok(answer) if answer.status == StatusCode::OK => {
                        listed.check(&answer.body, "snapshot.json", &place, &mut self.findings);
                        self.seen.insert(file, Digest::of(&answer.body));
                    }
                    _ => self.findings.warning(
                        Code::FileMissing,
                        &place,
                        "the snapshot lists it and it is not there; clients do not need it any more",
                    ),
                }
            }
            self.progress();
        }
    }
}

/// Reads one role.
async fn read(site: Arc<Site>, graph: Arc<Graph>, job: Job) -> Done {
    let place = Place::file(&job.file);
    let mut done = Done {
        name: job.name,
        file: job.file,
        digest: None,
        delegations: None,
        targets: 0,
        wanted: Vec::new(),
        facts: Facts::default(),
        findings: Findings::default(),
    };
    let outcome = site.get(&done.file).await;
    let body = match outcome {
        Ok(answer) if answer.status == StatusCode::OK => {
            if web::check_encoding(&answer.headers, &place, &mut done.findings) {
                done.facts.encoded = Some(done.file.clone());
            }
            answer.body
        }
        other => {
            if !job.signatures_only {
                web::tell_missing(&other, &place, &mut done.findings);
            }
            return done;
        }
    };
    let mut unheard = Findings::default();
    let heard = if job.signatures_only {
        &mut unheard
    } else {
        &mut done.findings
    };
    let Some(document) = Document::read(&body, &place, heard) else {
        return done;
    };
    for (by, signers) in &job.by {
        signers.check(&document, &format!("`{by}`"), &place, &mut done.findings);
    }
    if job.signatures_only {
        return done;
    }
    done.digest = Some(document.digest);
    job.listed.check(&body, "snapshot.json", &place, &mut done.findings);
    let size = Sized {
        name: done.name.clone(),
        bytes: document.length,
        listed: job.listed.length.is_some(),
    };
    check_size(&size, &[("most clients", MAX_TARGETS)], &place, &mut done.findings);
    let sample = if site.options.all {
        usize::MAX
    } else {
        site.options.sample
    };
    let context = Context {
        role: &done.name,
        place: &place,
        graph: &graph,
        now: site.now,
        sample,
        seed: site.options.seed,
        delegated: true,
    };
    let read = role::read(&document, &context, &mut done.facts, &mut done.findings);
    job.listed
        .check_version(read.header.version, "snapshot.json", &place, &mut done.findings);
    done.facts.delegator.listed = job.listed.length.is_some();
    done.facts.leaf.listed = job.listed.length.is_some();
    done.delegations = read.delegations;
    done.targets = read.targets;
    done.wanted = read.wanted;
    done
}

fn in_chunks<T>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(CHUNK).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
