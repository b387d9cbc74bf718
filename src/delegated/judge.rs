//! Whether a set of roles can be listed: walked as clients walk them. The one place where a role is judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use jiff::Timestamp;

use super::{Caps, Refusal, RoleFile, Submitted, bins, rules::BINS};
use crate::{
    digest::Digest,
    target::TargetPath,
    tuf::{
        layout::is_twofold,
        pattern,
        schema::{DelegatedRole, Delegations},
    },
};

/// Most roles, and most of them inside each other.
const ROLES: usize = 256;
const DEPTH: usize = 4;
/// Most roles below one that the operator delegates to: clients have visits left for others.
const NESTED: usize = 16;
/// Most roles a client asks before it comes to the bins: python-tuf, go-tuf, tuf-js and sigstore-tuf ask 32 in all.
const VISITS: usize = 28;

/// Files by role.
pub type Files = BTreeMap<String, Arc<RoleFile>>;

/// What can be listed.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// Every role that is delegated to, bins aside.
    pub files: Files,
    /// Those of them that are new or have a new file.
    pub fresh: Vec<String>,
}

/// What roles say of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// These are its bytes.
    Lists(Digest, u64),
    /// Nothing any more.
    Drops,
}

/// Walks all that `top` delegates to, with what is submitted in place of what stands. `next` tells which versions may follow
/// in a role.
///
/// # Errors
/// The first thing that would be wrong with it: nothing of the submission is to be taken then.
pub fn judge(
    top: &Delegations,
    standing: &Files,
    submitted: &Submitted,
    next: &dyn Fn(&str) -> RangeInclusive<u64>,
    caps: Caps,
    now: Timestamp,
) -> Result<Next, Refusal> {
    let mut read = BTreeMap::new();
    for (key, envelope) in submitted {
        let (role, _) = bins::viewed(key);
        super::check_name(role).map_err(|why| Refusal::malformed(None, why))?;
        read.insert(key.clone(), RoleFile::submitted(role, envelope, caps)?);
    }
    let read = bins::paired(read)?;
    let mut walk = Walk {
        standing,
        read: &read,
        next,
        now,
        found: Next::default(),
        named: 0,
    };
    walk.below(top, &[], false)?;
    let found = walk.found;
    if let Some(role) = read.keys().find(|role| !found.files.contains_key(*role)) {
        return Err(Refusal::unknown(role, "nobody delegates to it")
            .hint("the operator delegates with `tufgate targets draft --role`"));
    }
    let mut rows = BTreeMap::new();
    for (role, (path, row)) in found
        .files
        .iter()
        .flat_map(|(role, file)| file.targets.iter().map(move |row| (role, row)))
    {
        if let Some((other, _)) = rows.insert(path, (role, row)).filter(|(_, other)| *other != row) {
            return Err(Refusal::path(
                path.as_str(),
                format!("`{other}` and `{role}` say different things of it"),
            ));
        }
    }
    // A role that delegates can stand in the way of others, too.
    let delegates = |role: &String| found.files.get(role).is_some_and(|file| file.delegations.is_some());
    let all = found.fresh.iter().any(delegates);
    for (role, file) in found.files.iter().filter(|(role, _)| all || found.fresh.contains(role)) {
        for (path, row) in &file.targets {
            reachable(top, &found.files, role, path, row)?;
        }
    }
    Ok(found)
}

struct Walk<'a> {
    standing: &'a Files,
    read: &'a BTreeMap<String, RoleFile>,
    next: &'a dyn Fn(&str) -> RangeInclusive<u64>,
    now: Timestamp,
    found: Next,
    /// Roles found that are no bins.
    named: usize,
}

impl Walk<'_> {
    /// `scope` holds the patterns of the delegators, outermost first; whether the outermost one `ends` a search.
    fn below(&mut self, below: &Delegations, scope: &[&[String]], ends: bool) -> Result<(), Refusal> {
        for role in custom(below) {
            let name = &*role.name;
            if role.terminating && !ends && !scope.is_empty() {
                let why = "it would end the search below paths that its delegator shares with others";
                return Err(Refusal::malformed(Some(name), why)
                    .hint("leave `terminating` out, or have the operator make the first role terminating"));
            }
            let ends = ends || (scope.is_empty() && role.terminating);
            if self.named >= ROLES || scope.len() >= DEPTH {
                return Err(Refusal::large(
                    Some(name),
                    format!("there are at most {ROLES} roles, {DEPTH} inside each other"),
                ));
            }
            self.named += usize::from(role.path_hash_prefixes.is_none());
            let mut scopes = scope.to_vec();
            scopes.extend(role.paths.as_deref());
            let file = self.file(below, role)?;
            within(role, &scopes, &file)?;
            if is_twofold(name) {
                if scope.len() != 1 {
                    let why = "only a role that the operator delegates to has bins";
                    return Err(Refusal::malformed(Some(name), why));
                }
                if !role.terminating {
                    // Of succinct roles one speaks for a path, and nobody after it (TAP 15): the views would differ.
                    let why = "bins end the search, and its delegator does not";
                    return Err(Refusal::malformed(Some(name), why).hint("have the operator make the role terminating"));
                }
                bins::check(below, role, &file)?;
            }
            if self.found.files.insert(name.to_owned(), file.clone()).is_some() {
                return Err(Refusal::malformed(Some(name), "it is delegated to twice"));
            }
            if let Some(nested) = &file.delegations {
                self.below(nested, &scopes, ends)?;
            }
            let under = |other: &&String| {
                let rest = other.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with('.') && !bins::belongs(other, name))
            };
            if scope.is_empty() && self.found.files.keys().filter(under).count() > NESTED {
                let why = format!("there are at most {NESTED} roles below it");
                return Err(Refusal::large(Some(name), why));
            }
        }
        Ok(())
    }

    /// The file of a role, submitted or standing: signed by those it is delegated to.
    fn file(&mut self, below: &Delegations, role: &DelegatedRole) -> Result<Arc<RoleFile>, Refusal> {
        let name = &*role.name;
        let stands = self.standing.get(name);
        let Some(read) = self.read.get(name) else {
            let stands = stands.ok_or_else(|| {
                Refusal::unknown(name, "it is delegated to, and has no file: clients would fail there")
                    .hint("submit its first file together with what delegates to it")
            })?;
            stands.signed_by(below, role)?;
            return Ok(stands.clone());
        };
        let bytes = read.signed_by(below, role)?;
        let succinct = match &read.succinct {
            Some(twin) => Some(Box::new(RoleFile {
                bytes: twin.signed_by(below, role)?,
                ..RoleFile::clone(twin)
            })),
            None => None,
        };
        if let Some(stands) = stands.filter(|stands| stands.bytes == bytes) {
            return Ok(stands.clone());
        }
        let (version, wanted) = (read.version, (self.next)(name));
        if !wanted.contains(&version) {
            let (last, next) = (wanted.end() - 1, wanted.end());
            return Err(
                Refusal::version(name, format!("it has version {version}, and after {last} comes {next}"))
                    .hint(format!("sign it as version {next}, after a look at what stands there")),
            );
        }
        if read.expires <= self.now {
            return Err(Refusal::malformed(
                Some(name),
                format!("it expired at {}", read.expires),
            ));
        }
        self.found.fresh.push(name.to_owned());
        Ok(Arc::new(RoleFile {
            bytes,
            succinct,
            ..read.clone()
        }))
    }
}

/// The named roles that others sign.
pub fn custom(below: &Delegations) -> impl Iterator<Item = &DelegatedRole> {
    below.roles.iter().flatten().filter(|role| role.name != BINS)
}

/// Whether a role stays within the patterns that are delegated to it, the last of `scopes`, and to those above it: its
/// targets, and the patterns that it delegates in its turn. A bin has hashes besides.
pub(super) fn within(role: &DelegatedRole, scopes: &[&[String]], file: &RoleFile) -> Result<(), Refusal> {
    let name = &*role.name;
    if let Some(prefixes) = &role.path_hash_prefixes {
        bins::check_bin(role, prefixes, file)?;
    }
    let own = scopes.last().copied().unwrap_or_default();
    for path in file.targets.keys() {
        let inside = |patterns: &&[String]| {
            let fits = |pattern: &String| pattern::matches_for_all(pattern, path.as_str());
            patterns.iter().any(fits)
        };
        if !scopes.iter().all(inside) {
            let why = format!("the target `{path}` is not inside the paths that are delegated to it");
            let hint = format!(
                "its paths are {}; `*` stops at `/` and takes no leading dot",
                own.join(", ")
            );
            return Err(Refusal::malformed(Some(name), why).hint(hint));
        }
    }
    // What leads to bins is compared as a whole.
    let named = file.delegations.iter().filter(|_| !is_twofold(name));
    for role in named.flat_map(custom) {
        let patterns = role.paths.as_deref().unwrap_or_default();
        if let Some(foreign) = patterns.iter().find(|pattern| !inside(own, pattern)) {
            return Err(Refusal::malformed(
                Some(&role.name),
                format!("its pattern `{foreign}` is not inside those of the role that delegates to it"),
            ));
        }
    }
    Ok(())
}

/// The roles whose targets the gate observes, and a team countersigns: those that the bins' key signs with others.
pub fn observed<'a>(below: &'a Delegations, bins: &'a str) -> impl Iterator<Item = &'a DelegatedRole> {
    custom(below).filter(move |role| role.threshold > 1 && role.keyids.iter().any(|id| id == bins))
}

/// Whether a role speaks for a path, for every client.
pub fn speaks_for(role: &DelegatedRole, path: &TargetPath) -> bool {
    if let Some(prefixes) = &role.path_hash_prefixes {
        return bins::speaks_for(prefixes, &bins::id_of(path));
    }
    let fits = |pattern: &String| pattern::matches_for_all(pattern, path.as_str());
    role.paths.iter().flatten().any(fits)
}

/// Whether a pattern matches nothing that the patterns of its delegator do not. `?` in those is not looked into.
fn inside(delegator: &[String], pattern: &str) -> bool {
    let fits = |outer: &String| outer == pattern || (!outer.contains('?') && pattern::matches(outer, pattern));
    delegator.iter().any(fits)
}

/// Whether every client that looks for a path comes to what this role says of it.
fn reachable(
    top: &Delegations,
    files: &Files,
    role: &str,
    path: &TargetPath,
    row: &(Digest, u64),
) -> Result<(), Refusal> {
    let by: [fn(&str, &str) -> bool; 2] = [pattern::matches, pattern::matches_loosely];
    for matches in by {
        let mut search = Search {
            files,
            path,
            id: bins::id_of(path),
            matches,
            visits: 0,
            terminated: false,
        };
        let found = search.below(top);
        if search.visits > VISITS {
            return Err(Refusal::large(
                Some(role),
                format!("for `{path}` clients would ask more than {VISITS} roles"),
            ));
        }
        if found != Some(row) {
            let detail =
                "clients would not come to what this role says of it: another role speaks first, or ends the search";
            return Err(Refusal::path(path.as_str(), detail)
                .hint("tough lets `*` take a `/`; the operator puts the role of narrower patterns first"));
        }
    }
    Ok(())
}

/// A search as clients make it (TUF spec 5.6.7).
struct Search<'a> {
    files: &'a Files,
    path: &'a TargetPath,
    /// What hash prefixes are held against.
    id: String,
    matches: fn(&str, &str) -> bool,
    visits: usize,
    terminated: bool,
}

impl<'a> Search<'a> {
    fn below(&mut self, below: &Delegations) -> Option<&'a (Digest, u64)> {
        for role in custom(below) {
            let fits = |pattern: &String| (self.matches)(pattern, self.path.as_str());
            let hashed = role.path_hash_prefixes.as_ref();
            let hashed = hashed.is_some_and(|prefixes| bins::speaks_for(prefixes, &self.id));
            if !hashed && !role.paths.iter().flatten().any(fits) {
                continue;
            }
            self.visits += 1;
            let file = self.files.get(&role.name)?;
            let nested = file.delegations.as_ref();
            let found = file
                .targets
                .get(self.path)
                .or_else(|| nested.and_then(|nested| self.below(nested)));
            if found.is_some() || self.terminated {
                return found;
            }
            if role.terminating {
                self.terminated = true;
                return None;
            }
        }
        None
    }
}

/// What changes for paths between two sets of roles.
pub fn changes(old: &Files, new: &Files) -> BTreeMap<TargetPath, Said> {
    let listed = |files: &Files| -> BTreeMap<TargetPath, (Digest, u64)> {
        let rows = files.values().flat_map(|file| &file.targets);
        rows.map(|(path, row)| (path.clone(), *row)).collect()
    };
    let (old, new) = (listed(old), listed(new));
    let gone = old.keys().filter(|path| !new.contains_key(*path));
    let gone: BTreeSet<_> = gone.cloned().collect();
    let come = new.into_iter().filter(|(path, row)| old.get(path) != Some(row));
    come.map(|(path, (digest, length))| (path, Said::Lists(digest, length)))
        .chain(gone.into_iter().map(|path| (path, Said::Drops)))
        .collect()
}
