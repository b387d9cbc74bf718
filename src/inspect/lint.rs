//! `lint`: whom a repository breaks, by the table of `compat`. It reads each reachable metadata file once, judges no
//! signature and downloads no target: that is `verify`'s work. So it works on a folder, before anything is served.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::{InspectError, Place, delegations::Delegations, finding::Findings, graph::Graph, walk::PARALLEL, web::Web};
use crate::{
    client::{Timeouts, naming::Base},
    compat::{self, Client, Effect, Facts, Sized, Violation},
    depot::{Depot as _, fs::FsDepot},
    digest::Digest,
    tls::Roots,
    tuf::layout::SUCCINCT,
};

/// Most roots that are read.
const MAX_ROOTS: u64 = 4_096;
/// Targets of a role that tell how deep all of them lie.
const SAMPLE: usize = 8;
/// What is said of the repository as a whole.
const WHOLE: &str = "repository";

/// Where metadata lies.
pub enum Source {
    /// A folder of metadata files.
    Folder(FsDepot),
    /// A server.
    Site(Box<Web>, Base),
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Lint {
    /// What breaks some client, then what slows some.
    pub violations: Vec<Violation>,
    /// Who was asked about.
    pub clients: Vec<Client>,
    /// Metadata files read.
    pub files: u64,
    /// Targets listed in them.
    pub targets: u64,
}

impl Lint {
    /// Whether no client fails.
    pub fn is_clean(&self) -> bool {
        self.violations
            .iter()
            .all(|violation| violation.effect != Effect::Fails)
    }
}

impl Source {
    /// A server's metadata URL.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn site(metadata_url: &str, authorities: Roots) -> Result<Self, InspectError> {
        let web = Web::new(Timeouts::default(), authorities);
        Ok(Self::Site(Box::new(web), Base::parse(metadata_url)?))
    }

    /// A file's bytes; `None` where there is none. `view` is the folder of the view, empty for the first.
    async fn read(&self, view: &str, role: &str, version: Option<u64>) -> Result<Option<Bytes>, InspectError> {
        match self {
            Self::Folder(depot) => {
                let name = match version {
                    Some(version) => format!("{view}{version}.{role}.json"),
                    None => format!("{view}{role}.json"),
                };
                // A name that no gate's depot has is no file of it.
                Ok(depot.read(&name).await.unwrap_or_default())
            }
            Self::Site(web, base) => {
                let url = base.metadata(role, version);
                let (folder, name) = url.split_at(base.as_str().len());
                let answer = web.get(&format!("{folder}{view}{name}")).await;
                let answer = answer.map_err(|error| InspectError::None(error.to_string()))?;
                Ok((answer.status == StatusCode::OK).then_some(answer.body))
            }
        }
    }
}

/// Reads a repository and says whom it breaks.
///
/// # Errors
/// No server, no root, no timestamp or no snapshot.
pub async fn lint(source: &Source, clients: &[Client]) -> Result<Lint, InspectError> {
    let mut reader = Reader {
        source,
        clients,
        consistent: true,
        done: Lint {
            violations: Vec::new(),
            clients: clients.to_vec(),
            files: 0,
            targets: 0,
        },
    };
    let mut whole = Facts::served();
    reader.roots(&mut whole).await?;
    let listed = reader.listings(&mut whole).await?;
    let prefixes = reader.view("", &listed, &whole, None).await?;
    let succinct = match reader.twin(&prefixes.delegators, &listed).await? {
        true => Some(reader.view(SUCCINCT, &listed, &whole, Some(&prefixes)).await?),
        false => None,
    };
    let mut views = vec![&prefixes.facts];
    views.extend(succinct.as_ref().map(|view| &view.facts));
    let mut done = reader.done;
    done.violations.extend(compat::lint(WHOLE, &views, clients));
    done.violations
        .sort_by(|a, b| b.effect.cmp(&a.effect).then_with(|| a.place.cmp(&b.place)));
    Ok(done)
}

/// What the snapshot lists: version by role, and whether its length stands there.
type Listed = BTreeMap<String, (u64, bool)>;

/// A targets role's file.
struct RoleFile {
    role: String,
    /// Whether the snapshot lists its length.
    length: bool,
    bytes: Bytes,
}

/// One way through the delegations.
struct View {
    facts: Facts,
    graph: Graph,
    /// Roles that were read and delegate.
    delegators: Vec<String>,
    /// Roles that were read, with their files' digests.
    read: HashMap<String, Digest>,
}

struct Reader<'a> {
    source: &'a Source,
    clients: &'a [Client],
    consistent: bool,
    done: Lint,
}

impl Reader<'_> {
    fn parsed(&mut self, bytes: &Bytes, again: bool) -> Option<Value> {
        self.done.files += u64::from(!again);
        let mut envelope: Value = serde_json::from_slice(bytes).ok()?;
        envelope.get_mut("signed").map(Value::take)
    }

    /// The chain from the oldest root there is.
    async fn roots(&mut self, whole: &mut Facts) -> Result<(), InspectError> {
        let mut newest = self.source.read("", "root", Some(1)).await?;
        let mut steps = 0;
        while let Some(next) = self.source.read("", "root", Some(steps + 2)).await? {
            newest = Some(next);
            steps += 1;
            if newest.is_none() || steps >= MAX_ROOTS {
                break;
            }
        }
        if newest.is_none() {
            newest = self.source.read("", "root", None).await?;
        }
        let bytes = newest.ok_or_else(|| InspectError::None("it has no root".to_owned()))?;
        let signed = self.parsed(&bytes, false);
        let signed = signed.ok_or_else(|| InspectError::None("its root is none".to_owned()))?;
        self.consistent = signed.get("consistent_snapshot") == Some(&Value::Bool(true));
        whole.consistent = self.consistent;
        whole.root_steps = steps;
        let found = compat::root(&signed, bytes.len() as u64, self.clients);
        self.done.violations.extend(found);
        Ok(())
    }

    async fn listing(&mut self, role: &str, version: Option<u64>, facts: &mut Facts) -> Result<Value, InspectError> {
        let gone = |what: &str| InspectError::None(format!("its {role} {what}"));
        let bytes = self
            .source
            .read("", role, version)
            .await?
            .ok_or_else(|| gone("is gone"))?;
        let signed = self.parsed(&bytes, false).ok_or_else(|| gone("is none"))?;
        for (name, said) in signed.get("meta").and_then(Value::as_object).into_iter().flatten() {
            facts.listed_file(name, said);
        }
        let size = Sized {
            name: role.to_owned(),
            bytes: bytes.len() as u64,
            listed: facts.timestamp.listed,
        };
        match role {
            "snapshot" => facts.snapshot = size,
            _ => facts.timestamp = size,
        }
        Ok(signed)
    }

    /// Timestamp and snapshot.
    async fn listings(&mut self, whole: &mut Facts) -> Result<Listed, InspectError> {
        let timestamp = self.listing("timestamp", None, whole).await?;
        let said = &timestamp["meta"]["snapshot.json"];
        let version = said["version"].as_u64().filter(|_| self.consistent);
        whole.timestamp.listed = !said["length"].is_null();
        let snapshot = self.listing("snapshot", version, whole).await?;
        whole.timestamp.listed = false;
        let meta = snapshot.get("meta").and_then(Value::as_object);
        let listed = meta.into_iter().flatten().filter_map(|(name, said)| {
            let version = said["version"].as_u64()?;
            Some((
                name.strip_suffix(".json")?.to_owned(),
                (version, !said["length"].is_null()),
            ))
        });
        let listed: Listed = listed.collect();
        whole.listed = listed.len() as u64;
        Ok(listed)
    }

    /// Whether some delegator has another file in the succinct view.
    async fn twin(&self, delegators: &[String], listed: &Listed) -> Result<bool, InspectError> {
        for role in delegators {
            let Some((version, _)) = listed.get(role) else { continue };
            if self.source.read(SUCCINCT, role, Some(*version)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every role that clients come to, level by level. Of the second view, what the first one has not: it shares every file
    /// that leads nowhere, and those are told of once.
    async fn view(
        &mut self,
        folder: &'static str,
        listed: &Listed,
        whole: &Facts,
        first: Option<&View>,
    ) -> Result<View, InspectError> {
        let mut view = View {
            facts: whole.clone(),
            graph: Graph::default(),
            delegators: Vec::new(),
            read: HashMap::new(),
        };
        if let Some(first) = first {
            view.facts.leaf = first.facts.leaf.clone();
            view.facts.visited = first.facts.visited;
            view.facts.delegated_targets = first.facts.delegated_targets;
        }
        let shared = |role: &String| {
            first.is_some_and(|first| first.read.contains_key(role) && !first.delegators.contains(role))
        };
        let (mut level, mut seen) = (vec!["targets".to_owned()], HashSet::new());
        while !level.is_empty() {
            level.retain(|role| seen.insert(role.clone()) && !shared(role));
            let asked: Vec<_> = level
                .into_iter()
                .filter_map(|role| Some((*listed.get(&role)?, role)))
                .collect();
            level = Vec::new();
            let (source, consistent) = (self.source, self.consistent);
            let mut files = stream::iter(asked)
                .map(|((version, length), role)| async move {
                    let version = Some(version).filter(|_| consistent);
                    let bytes = match source.read(folder, &role, version).await? {
                        None if !folder.is_empty() => source.read("", &role, version).await?,
                        read => read,
                    };
                    Ok::<_, InspectError>(bytes.map(|bytes| RoleFile { role, length, bytes }))
                })
                .buffered(PARALLEL);
            while let Some(file) = files.next().await {
                if let Some(file) = file? {
                    level.extend(self.visit(file, folder, &mut view, first));
                }
            }
            view.facts.depth += u64::from(!level.is_empty());
        }
        Ok(view)
    }

    /// Judges a role's file by itself, and adds to its view what only the whole view can tell: forms and sizes, which a
    /// client may go round in the other one. The names of the roles below.
    fn visit(&mut self, file: RoleFile, folder: &str, view: &mut View, first: Option<&View>) -> Vec<String> {
        let digest = Digest::of(&file.bytes);
        let again = first.is_some_and(|first| first.read.get(&file.role) == Some(&digest));
        let name = format!("{folder}{}", file.role);
        let size = Sized {
            name: file.role.clone(),
            bytes: file.bytes.len() as u64,
            listed: file.length,
        };
        let mut of_view = Facts::served();
        let leads_on = leads_on(&file.bytes);
        let signed = (!again || leads_on).then(|| self.parsed(&file.bytes, again)).flatten();
        let mut below = Vec::new();
        if let Some(signed) = signed {
            let mut facts = Facts::served();
            facts.targets_role(&file.role, &signed);
            of_view.forms = std::mem::take(&mut facts.forms);
            of_view.delegated_targets = facts.delegated_targets;
            if !again {
                self.done
                    .violations
                    .extend(compat::lint(&name, &[&facts], self.clients));
            }
            let (place, mut unheard) = (Place::file(&name), Findings::default());
            let delegations = signed.get("delegations");
            if let Some(read) = Delegations::read(delegations, &place, &mut Facts::default(), &mut unheard) {
                below = read.names();
                view.graph.add(&file.role, read.into());
                view.delegators.push(file.role.clone());
            }
            let targets = signed.get("targets").and_then(Value::as_object);
            let paths = targets.into_iter().flatten().map(|(path, _)| path);
            self.done.targets += if again { 0 } else { paths.clone().count() as u64 };
            let visits = paths
                .take(SAMPLE)
                .filter_map(|path| view.graph.visits(path, &file.role));
            of_view.visited = visits.max().unwrap_or(0) as u64;
        }
        match leads_on {
            true => of_view.delegator = size,
            false => of_view.leaf = size,
        }
        view.facts.merge(of_view);
        view.read.insert(file.role, digest);
        below
    }
}

/// Whether a file delegates, so that it must be read in each view.
fn leads_on(bytes: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"delegations\"";
    bytes.windows(FIELD.len()).any(|window| window == FIELD)
}
