//! From root to who delegates: why a role is a team's.

use serde_json::Value;
use tough::schema::RoleType;

use super::TeamDraft;
use crate::{
    ceremony::{
        Authority, CeremonyError, Draft, Kind,
        file::{canonical_digest, envelope},
        rules, tally,
    },
    delegated::Delegation,
    digest::Digest,
    terminal::printable,
    tuf::{
        schema::{Root, Targets},
        verify::{self, Keys, Unverified},
    },
};

/// Root, targets, and each role down to the one that delegates; every file signed as the one before it asks.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) root: Value,
    trusted: Root,
    links: Vec<Link>,
}

/// A role on the way.
#[derive(Clone, Debug)]
struct Link {
    role: String,
    file: Value,
    targets: Targets,
    /// A draft itself.
    planned: bool,
}

impl Chain {
    /// `above` are `targets` and the roles below it, each with its file.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`]: one of them is not signed as those before it ask.
    pub fn new(root: &[u8], above: &[(String, Vec<u8>)]) -> Result<Self, CeremonyError> {
        let mut this = Self::top(envelope(root)?)?;
        for (role, file) in above {
            this.push(role, envelope(file)?, false)?;
        }
        Ok(this)
    }

    /// A root, and nothing below it yet.
    pub(super) fn top(root: Value) -> Result<Self, CeremonyError> {
        let trusted = Unverified::parse(root.to_string().as_bytes()).and_then(Unverified::self_signed_root);
        let trusted = trusted.map_err(|error| CeremonyError::Malformed(format!("the root it carries: {error}")))?;
        Ok(Self {
            trusted,
            root,
            links: Vec::new(),
        })
    }

    /// Goes down to a role. One that is `planned` is itself a draft: it need not be signed yet.
    pub(super) fn push(&mut self, role: &str, file: Value, planned: bool) -> Result<(), CeremonyError> {
        let malformed = |error: &dyn std::fmt::Display| {
            CeremonyError::Malformed(format!("the file of `{}` that it carries: {error}", printable(role)))
        };
        let keys = match (self.links.is_empty(), role) {
            (true, "targets") => Keys::of_root(&self.trusted, RoleType::Targets),
            (true, _) => return Err(malformed(&"`targets` comes first")),
            (false, role) => self.delegation(role)?.verifier(),
        };
        let unverified = Unverified::parse(file.to_string().as_bytes());
        let targets = match planned {
            true => unverified.and_then(|_| verify::read(file["signed"].clone(), "targets")),
            false => keys.and_then(|keys| unverified?.verify(&keys, "targets")),
        };
        self.links.push(Link {
            role: role.to_owned(),
            targets: targets.map_err(|error| malformed(&error))?,
            file,
            planned,
        });
        Ok(())
    }

    /// The chain below the proposal of a draft of targets.
    pub fn below_targets(draft: &Draft) -> Result<Self, CeremonyError> {
        let mut this = Self::top(draft.root.clone())?;
        this.push("targets", draft.proposed(), draft.complete().is_err())?;
        Ok(this)
    }

    /// The chain below the proposal of a team's draft of one role.
    pub fn below_team(draft: &TeamDraft) -> Result<Self, CeremonyError> {
        let [part] = draft.parts() else {
            return Err(CeremonyError::Rule("it drafts several roles".to_owned()));
        };
        let mut this = draft.chain().clone();
        let file =
            serde_json::from_slice(&part.file()?).map_err(|error| CeremonyError::Malformed(error.to_string()))?;
        this.push(part.role(), file, !part.authority().met())?;
        Ok(this)
    }

    /// How those above it delegate to a role.
    ///
    /// # Errors
    /// Nobody does.
    pub fn delegation(&self, role: &str) -> Result<Delegation, CeremonyError> {
        let mut names = self.links.iter().skip(1).map(|link| &*link.role).chain([role]);
        let mut links = self.links.iter();
        let none = || CeremonyError::Rule(format!("nobody delegates to a role `{}`", printable(role)));
        let top = links.next().and_then(|top| top.targets.delegations.as_ref());
        let first = names.next().and_then(|name| Delegation::of(top?, name));
        let below =
            |above: Delegation, (name, link): (&str, &Link)| above.under(link.targets.delegations.as_ref()?, name);
        names
            .zip(links)
            .try_fold(first.ok_or_else(none)?, below)
            .ok_or_else(none)
    }

    /// Ids of the keys of the gate's bins: those that it signs with what it observes.
    pub(super) fn bins(&self) -> Vec<String> {
        let top = self.links.first().and_then(|top| top.targets.delegations.as_ref());
        let roles = top.into_iter().flat_map(|top| top.roles.iter().flatten());
        roles
            .filter(|role| role.name == "bins")
            .flat_map(|role| role.keyids.clone())
            .collect()
    }

    /// The chain below the role that is last in it now.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`], where the role's keys did not sign its file.
    pub fn down(mut self, role: &str, file: &[u8]) -> Result<Self, CeremonyError> {
        self.push(role, envelope(file)?, false)?;
        Ok(self)
    }

    /// Who delegates, and what it says.
    pub fn delegator(&self) -> (&str, &Value) {
        match self.links.last() {
            Some(link) => (&link.role, &link.file["signed"]),
            None => ("root", &self.root["signed"]),
        }
    }

    /// Roles and files from `targets` on, and which of them are planned.
    pub(super) fn above(&self) -> impl Iterator<Item = (&str, &Value, bool)> {
        self.links.iter().map(|link| (&*link.role, &link.file, link.planned))
    }

    /// One line a role: who delegates, whether that is published.
    pub fn lines(&self) -> Vec<String> {
        let line = |link: &Link| {
            let (role, version) = (&link.role, link.targets.version);
            match link.planned {
                true => format!("under {role} {version}, which is a draft itself: its keys have not signed it yet"),
                false => format!("under {role} {version}"),
            }
        };
        self.links.iter().map(line).collect()
    }

    /// The roles that the last one delegates to by patterns: name, patterns, keys.
    pub fn roles(&self) -> impl Iterator<Item = (String, Vec<String>, Authority)> {
        let (by, says) = self.delegator();
        let below = self.links.last().and_then(|link| link.targets.delegations.as_ref());
        let roles = below.into_iter().flat_map(|below| below.roles.iter().flatten());
        roles.filter_map(move |role| {
            let authority = Authority::listed(Kind::Targets, by, says, &role.name, &[]);
            Some((role.name.clone(), role.paths.clone()?, authority))
        })
    }

    /// Version and SHA-256 of the root; the digest is that of the file as the gate writes it.
    pub fn trusts(&self) -> (u64, Digest) {
        (self.trusted.version.get(), canonical_digest(&self.root))
    }

    /// Whether it stands on this root.
    ///
    /// # Errors
    /// [`CeremonyError::Stale`], [`CeremonyError::Malformed`] for a file that is no metadata.
    pub fn stands_on(&self, root: &[u8]) -> Result<(), CeremonyError> {
        let theirs = envelope(root)?;
        Unverified::parse(root)
            .and_then(Unverified::self_signed_root)
            .map_err(tally::judged)?;
        if canonical_digest(&theirs["signed"]) == canonical_digest(&self.root["signed"]) {
            return Ok(());
        }
        let (ours, theirs) = (self.trusted.version, rules::version(&theirs["signed"]));
        let why = format!("it stands on root {ours}, and the one that is trusted is another, of version {theirs}");
        Err(CeremonyError::Stale(why))
    }
}
