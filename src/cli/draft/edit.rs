//! Changes to a proposal, as flags and as answers to questions.

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use tough::schema::key::Key;

use super::{failed, file};
use crate::{
    ceremony::{Kind, Proposal},
    cli::{CliError, ask, say},
    keys::public::Public,
    terminal::printable,
};

/// What is to change.
#[derive(Args, Clone, Debug, Default)]
pub struct Edits {
    /// Delegate paths to a role that others sign, or give it other paths; of targets
    #[arg(long, value_name = "NAME=GLOB[,GLOB…]", value_parser = delegation)]
    role: Vec<(String, Vec<String>)>,
    /// End the search for a target at a role, whether it lists it or not; with `=no`, go on after it
    #[arg(long, value_name = "NAME[=no]", value_parser = terminating)]
    terminating: Vec<(String, bool)>,
    /// Let the gate list what it observes below a role's paths, to be countersigned by the role's other keys: the gate's key is
    /// added, one more must sign than before (two of a new role), and a search ends at the role
    #[arg(long, value_name = "NAME")]
    observed: Vec<String>,
    /// Delegate to a role no more
    #[arg(long, value_name = "NAME")]
    remove_role: Vec<String>,
    /// List a public key, for the role it is drafted for unless ROLE is given
    #[arg(long, value_name = "[ROLE:]NAME=FILE", value_parser = addition)]
    add_key: Vec<Addition>,
    /// Remove a key, by name or id: from every role unless ROLE is given
    #[arg(long, value_name = "[ROLE:]KEY", value_parser = removal)]
    remove_key: Vec<Removal>,
    /// Make a key the only one of a role: the others are revoked
    #[arg(long, value_name = "ROLE:NAME=FILE", value_parser = replacement)]
    replace_key: Vec<Addition>,
    /// Signatures that a role needs
    #[arg(long, value_name = "[ROLE=]N", value_parser = threshold)]
    threshold: Vec<Threshold>,
    /// Give a key, named or by id, another name
    #[arg(long, value_name = "KEY=NAME", value_parser = renaming)]
    rename_key: Vec<(String, String)>,
}

/// `--add-key`, `--replace-key`
#[derive(Clone, Debug)]
struct Addition {
    role: Option<String>,
    name: String,
    file: PathBuf,
}

/// `--remove-key`
#[derive(Clone, Debug)]
struct Removal {
    role: Option<String>,
    key: String,
}

/// `--threshold`
#[derive(Clone, Debug)]
struct Threshold {
    role: Option<String>,
    count: u64,
}

impl Edits {
    /// Whether there are none.
    pub fn none(&self) -> bool {
        self.role.is_empty()
            && self.terminating.is_empty()
            && self.observed.is_empty()
            && self.remove_role.is_empty()
            && self.add_key.is_empty()
            && self.remove_key.is_empty()
            && self.replace_key.is_empty()
            && self.threshold.is_empty()
            && self.rename_key.is_empty()
    }

    /// Makes them.
    pub fn apply(&self, kind: Kind, proposal: &mut Proposal) -> Result<(), CliError> {
        let role = |role: &Option<String>| role.clone().unwrap_or_else(|| default_role(kind).to_owned());
        for role in &self.remove_role {
            proposal.undelegate(role).map_err(failed)?;
        }
        for (role, patterns) in &self.role {
            proposal.delegate(role, patterns).map_err(failed)?;
        }
        for role in &self.observed {
            proposal.observe(role).map_err(failed)?;
        }
        for (role, ends) in &self.terminating {
            proposal.terminating(role, *ends).map_err(failed)?;
        }
        for (key, name) in &self.rename_key {
            proposal.rename(key, name).map_err(failed)?;
        }
        for addition in &self.add_key {
            let key = public_key(&addition.file)?;
            let added = proposal.add_key(&role(&addition.role), &addition.name, &key);
            added.map_err(failed)?;
        }
        for removal in &self.remove_key {
            let removed = proposal.remove_key(removal.role.as_deref(), &removal.key);
            removed.map_err(failed)?;
        }
        for replacement in &self.replace_key {
            let key = public_key(&replacement.file)?;
            let replaced = proposal.replace_keys(&role(&replacement.role), &replacement.name, &key);
            replaced.map_err(failed)?;
        }
        for threshold in &self.threshold {
            let set = proposal.threshold(&role(&threshold.role), threshold.count);
            set.map_err(failed)?;
        }
        Ok(())
    }
}

/// The role whose keys a ceremony is about where none is named.
fn default_role(kind: Kind) -> &'static str {
    match kind {
        Kind::Root => "root",
        Kind::Targets => "bins",
    }
}

/// Asks for changes until there are no more. What cannot be done is said, and asked again.
pub fn interview(kind: Kind, proposal: &mut Proposal) -> Result<(), CliError> {
    loop {
        say(listing(proposal).trim_end());
        let delegates = match kind {
            Kind::Root => "",
            Kind::Targets => ", delegate, undelegate",
        };
        let what = ask::line(&format!(
            "add, remove, replace, threshold, rename{delegates}, or an empty line when it is as it should be:"
        ))?;
        let edited = match &*what {
            "" => return Ok(()),
            "add" => asked(&["role", "name of the key", "file with the public key"]).and_then(|answers| {
                let key = public_key(answers[2].as_ref())?;
                proposal
                    .add_key(or_default(kind, &answers[0]), &answers[1], &key)
                    .map_err(failed)
            }),
            "remove" => asked(&["role, or an empty line for every role", "key"]).and_then(|answers| {
                let role = Some(&*answers[0]).filter(|role| !role.is_empty());
                proposal.remove_key(role, &answers[1]).map_err(failed)
            }),
            "replace" => asked(&["role", "name of the key", "file with the public key"]).and_then(|answers| {
                let key = public_key(answers[2].as_ref())?;
                proposal
                    .replace_keys(or_default(kind, &answers[0]), &answers[1], &key)
                    .map_err(failed)
            }),
            "threshold" => asked(&["role", "signatures needed"]).and_then(|answers| {
                let count = answers[1].parse().map_err(|_| CliError::usage("it is no number"))?;
                proposal.threshold(or_default(kind, &answers[0]), count).map_err(failed)
            }),
            "delegate" => asked(&["role", "its paths, with commas between"]).and_then(|answers| {
                let (role, patterns) = (&answers[0], split(&answers[1]));
                proposal.delegate(role, &patterns).map_err(failed)
            }),
            "undelegate" => asked(&["role"]).and_then(|answers| proposal.undelegate(&answers[0]).map_err(failed)),
            "rename" => asked(&["key", "its new name"])
                .and_then(|answers| proposal.rename(&answers[0], &answers[1]).map_err(failed)),
            _ => Err(CliError::usage(format_args!("`{}` is none of these", printable(&what)))),
        };
        if let Err(error) = edited {
            say(error);
        }
    }
}

fn asked(questions: &[&str]) -> Result<Vec<String>, CliError> {
    questions
        .iter()
        .map(|question| ask::line(&format!("  {question}:")))
        .collect()
}

fn or_default(kind: Kind, role: &str) -> &str {
    if role.is_empty() { default_role(kind) } else { role }
}

/// Roles and keys as they stand.
fn listing(proposal: &Proposal) -> String {
    let roles = proposal.roles();
    let mut text = String::new();
    for (name, role) in &roles.roles {
        let count = role.keyids.len();
        text += &printable(&format!("{name}: {} of {count} must sign", role.threshold));
        text.push('\n');
        for id in &role.keyids {
            text += &printable(&format!("  {}", roles.label(id)));
            text.push('\n');
        }
    }
    text
}

/// The public key in a file.
pub fn public_key(path: &std::path::Path) -> Result<Key, CliError> {
    let text = String::from_utf8_lossy(&file::read(path)?).into_owned();
    let public = Public::parse(&text).map_err(|why| {
        let failed = CliError::failed(format_args!("`{}`: {}", path.display(), printable(&why)));
        match why.contains("private key") {
            true => failed.hint(format_args!("`openssl pkey -in {} -pubout` writes it", path.display())),
            false => failed,
        }
    })?;
    Ok(public.key().clone())
}

fn scoped(text: &str) -> (Option<String>, String) {
    match text.split_once(':') {
        Some((role, rest)) => (Some(role.to_owned()), rest.to_owned()),
        None => (None, text.to_owned()),
    }
}

fn addition(text: &str) -> Result<Addition, String> {
    let (left, file) = text.split_once('=').ok_or("write NAME=FILE")?;
    let (role, name) = scoped(left);
    Ok(Addition {
        role,
        name,
        file: file.into(),
    })
}

fn replacement(text: &str) -> Result<Addition, String> {
    let replacement = addition(text)?;
    match replacement.role {
        Some(_) => Ok(replacement),
        None => Err("write ROLE:NAME=FILE".to_owned()),
    }
}

fn removal(text: &str) -> Result<Removal, String> {
    let (role, key) = scoped(text);
    Ok(Removal { role, key })
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let (role, count) = match text.split_once('=') {
        Some((role, count)) => (Some(role.to_owned()), count),
        None => (None, text),
    };
    let count = count.parse().map_err(|_| "a threshold is a number".to_owned())?;
    Ok(Threshold { role, count })
}

fn delegation(text: &str) -> Result<(String, Vec<String>), String> {
    let (role, patterns) = text.split_once('=').ok_or("write NAME=GLOB,GLOB")?;
    Ok((role.to_owned(), split(patterns)))
}

fn split(patterns: &str) -> Vec<String> {
    patterns.split(',').map(|pattern| pattern.trim().to_owned()).collect()
}

fn terminating(text: &str) -> Result<(String, bool), String> {
    match text.split_once('=') {
        None | Some((_, "yes")) => Ok((text.split('=').next().unwrap_or(text).to_owned(), true)),
        Some((role, "no")) => Ok((role.to_owned(), false)),
        Some(_) => Err("write NAME or NAME=no".to_owned()),
    }
}

fn renaming(text: &str) -> Result<(String, String), String> {
    let (key, name) = text.split_once('=').ok_or("write KEY=NAME")?;
    Ok((key.to_owned(), name.to_owned()))
}

/// When metadata is to expire: a number of days from now, or a date.
#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    /// So many days from now.
    Days(i64),
    /// Then.
    At(Timestamp),
}

impl Expiry {
    /// `365d`, `2027-01-31`, `2027-01-31T12:00:00Z`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(days) = text.strip_suffix('d') {
            let days = days.parse().ok().filter(|days| (1..=36_500).contains(days));
            return days.map(Self::Days).ok_or_else(|| "give 1 to 36500 days".to_owned());
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let date: Result<civil::Date, _> = text.parse();
        let midnight = date.and_then(|date| date.to_zoned(TimeZone::UTC));
        match midnight {
            Ok(midnight) => Ok(Self::At(midnight.timestamp())),
            Err(_) => Err("write `365d`, `2027-01-31` or `2027-01-31T12:00:00Z`".to_owned()),
        }
    }

    /// The moment.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Days(days) => now
                .checked_add(SignedDuration::from_hours(days * 24))
                .unwrap_or(Timestamp::MAX),
            Self::At(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn expiries_are_days_or_dates() {
        let now = Timestamp::from_second(0).unwrap();
        let from = |text| Expiry::parse(text).unwrap().from(now).to_string();
        assert_eq!(from("10d"), "1970-01-11T00:00:00Z");
        assert_eq!(from("2027-01-31"), "2027-01-31T00:00:00Z");
        assert_eq!(from("2027-01-31T12:00:00Z"), "2027-01-31T12:00:00Z");
        for bad in ["", "0d", "-1d", "365", "99999999d", "tomorrow", "2027-02-30"] {
            assert!(Expiry::parse(bad).is_err(), "{bad}");
        }
    }
}
