//! Keys and roles as root lists them and as targets delegates to them: one view of both.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use super::{Kind, rules};
use crate::tuf::schema::KEY_NAMES;

/// Fields in which other tools keep a key's name: tuf-on-ci, RSTUF.
const NAMES_ELSEWHERE: [&str; 2] = ["x-tuf-on-ci-keyowner", "x-rstuf-key-name"];

/// The keys and roles of a `signed` object. What is not of the expected form is left out here and refused elsewhere.
#[derive(Clone, Debug)]
pub struct Roles<'a> {
    /// Key id to key.
    pub keys: BTreeMap<&'a str, &'a Value>,
    /// By name.
    pub roles: BTreeMap<&'a str, Listed<'a>>,
    names: Option<&'a Map<String, Value>>,
}

/// A role as it is listed.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// Ids of its keys.
    pub keyids: Vec<&'a str>,
    /// Signatures needed.
    pub threshold: u64,
    /// All other fields.
    pub rest: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Roles<'a> {
    /// Those of root, or those that targets delegates to by name.
    pub fn of(kind: Kind, signed: &'a Value) -> Self {
        let top = match kind {
            Kind::Root => Some(signed),
            Kind::Targets => signed.get("delegations"),
        };
        let object = |field: &str| top.and_then(|top| top.get(field)).and_then(Value::as_object);
        let named = object("roles")
            .into_iter()
            .flatten()
            .map(|(name, role)| (name.as_str(), role));
        let list = top.and_then(|top| top.get("roles")).and_then(Value::as_array);
        let listed = list
            .into_iter()
            .flatten()
            .filter_map(|role| Some((role.get("name")?.as_str()?, role)));
        Self {
            keys: object("keys")
                .into_iter()
                .flatten()
                .map(|(id, key)| (id.as_str(), key))
                .collect(),
            roles: named
                .chain(listed)
                .map(|(name, role)| (name, Listed::of(role)))
                .collect(),
            names: signed.get(KEY_NAMES).and_then(Value::as_object),
        }
    }

    /// The name of a key, if it has one that people can tell it by.
    pub fn name(&self, id: &str) -> Option<&'a str> {
        self.written_name(id).filter(|name| rules::check_name(name).is_ok())
    }

    /// The same, good or not.
    pub fn written_name(&self, id: &str) -> Option<&'a str> {
        let key = self.keys.get(id);
        let elsewhere = || NAMES_ELSEWHERE.iter().find_map(|field| key?.get(field));
        self.names.and_then(|names| names.get(id)).or_else(elsewhere)?.as_str()
    }

    /// The ids that names are given for, whether there is such a key or not.
    pub fn named(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.names.into_iter().flatten().map(|(id, _)| id.as_str())
    }

    /// Whether any role has a key.
    pub fn lists(&self, id: &str) -> bool {
        self.roles.values().any(|role| role.keyids.contains(&id))
    }

    /// Name and id of a key, as people are shown it.
    pub fn label(&self, id: &str) -> Label {
        Label {
            name: self.name(id).map(str::to_owned),
            keyid: id.to_owned(),
        }
    }

    /// The ids that a name or an id stands for.
    pub fn find(&self, who: &str) -> Vec<&'a str> {
        let called = |id: &&'a str| *id == who || self.name(id) == Some(who);
        self.keys.keys().copied().filter(called).collect()
    }
}

impl<'a> Listed<'a> {
    fn of(role: &'a Value) -> Self {
        let ids = role.get("keyids").and_then(Value::as_array);
        let rest = role.as_object().into_iter().flatten();
        Self {
            keyids: ids.into_iter().flatten().filter_map(Value::as_str).collect(),
            threshold: role.get("threshold").and_then(Value::as_u64).unwrap_or(0),
            rest: rest
                .filter(|(field, _)| !["keyids", "threshold", "name"].contains(&field.as_str()))
                .map(|(field, value)| (field.as_str(), value))
                .collect(),
        }
    }
}

/// A key, for people.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Label {
    /// What people call it.
    pub name: Option<String>,
    /// Its id.
    pub keyid: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (key {})", self.keyid),
            None => write!(f, "key {}", self.keyid),
        }
    }
}
