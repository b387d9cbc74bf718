//! The next version of root or targets, made from the current one by small changes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tough::schema::key::Key;

use super::{
    CeremonyError, Kind,
    file::envelope,
    ring::Roles,
    rules::{self, rule},
};
use crate::{clock::whole_seconds, tuf::schema::KEY_NAMES};

/// A `signed` object in the making.
#[derive(Clone, Debug)]
pub struct Proposal {
    kind: Kind,
    signed: Value,
}

impl Proposal {
    /// What follows `current`, a file: the same, one version later, until `expires`. Keys without a name get one: that in
    /// `root`, the file whose keys sign it, or the name of their role.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`]: one of them is no metadata.
    pub fn after(kind: Kind, current: &[u8], root: &[u8], expires: Timestamp) -> Result<Self, CeremonyError> {
        let (current, root) = (envelope(current)?, envelope(root)?);
        let mut this = Self {
            kind,
            signed: current["signed"].clone(),
        };
        this.signed["version"] = rules::version(&this.signed).saturating_add(1).into();
        this.signed["expires"] = whole_seconds(expires).to_string().into();
        this.name_all(&root["signed"]);
        Ok(this)
    }

    /// The `signed` object.
    pub fn into_signed(self) -> Value {
        self.signed
    }

    /// The roles and keys as they are now.
    pub fn roles(&self) -> Roles<'_> {
        Roles::of(self.kind, &self.signed)
    }

    /// Lists a key for a role, under a name. A key that is known already keeps its name if that is the same.
    pub fn add_key(&mut self, role: &str, name: &str, key: &Key) -> Result<(), CeremonyError> {
        rules::check_name(name)?;
        let id = key.key_id().map_err(|error| rule(error.to_string()))?;
        let id = hex::encode(id);
        let roles = self.roles();
        if roles.find(name).iter().any(|other| **other != *id) {
            return Err(rule(format!("another key is called `{name}` already")));
        }
        if let Some(known) = roles
            .keys
            .get(&*id)
            .and_then(|_| roles.name(&id))
            .filter(|known| *known != name)
        {
            return Err(rule(format!("the key {id} is there already, and called `{known}`")));
        }
        let listed = serde_json::to_value(key).map_err(|error| rule(error.to_string()))?;
        let ids = self.keyids(role)?;
        if ids.iter().any(|known| known == id.as_str()) {
            return Err(rule(format!("`{role}` has the key `{name}` already")));
        }
        ids.push(id.as_str().into());
        self.keys()?.insert(id.clone(), listed);
        self.call(id, name);
        Ok(())
    }

    /// Takes a key, by name or id, from one role or from all; a key that no role has left is dropped.
    pub fn remove_key(&mut self, role: Option<&str>, who: &str) -> Result<(), CeremonyError> {
        let id = self.one(who)?;
        if let Some(role) = role {
            self.keyids(role)?;
        }
        let roles = self.roles();
        let of: Vec<String> = roles
            .roles
            .iter()
            .filter(|(name, listed)| role.is_none_or(|role| role == **name) && listed.keyids.contains(&&*id))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        if of.is_empty() {
            return Err(rule(match role {
                Some(role) => format!("`{role}` has no key `{who}`"),
                None => format!("no role has the key `{who}`"),
            }));
        }
        for role in of {
            self.keyids(&role)?.retain(|listed| listed != id.as_str());
        }
        self.drop_unused();
        Ok(())
    }

    /// Makes a key the only one of a role; the others are gone from it at once.
    pub fn replace_keys(&mut self, role: &str, name: &str, key: &Key) -> Result<(), CeremonyError> {
        self.keyids(role)?.clear();
        self.drop_unused();
        self.add_key(role, name, key)?;
        self.threshold(role, 1)
    }

    /// Delegates paths to a role, before the bins and after the other roles; one that is there gets these paths. A new one
    /// has no key yet, and a threshold of 1.
    pub fn delegate(&mut self, role: &str, patterns: &[String]) -> Result<(), CeremonyError> {
        crate::delegated::check_name(role).map_err(rule)?;
        if let Ok(known) = self.role(role) {
            known.insert("paths".to_owned(), json!(patterns));
            return Ok(());
        }
        let roles = self.delegations()?;
        let new = json!({"name": role, "keyids": [], "threshold": 1, "terminating": false, "paths": patterns});
        roles.insert(roles.len().saturating_sub(1), new);
        Ok(())
    }

    /// Whether a search ends at a role.
    pub fn terminating(&mut self, role: &str, ends: bool) -> Result<(), CeremonyError> {
        self.role(role)?.insert("terminating".to_owned(), ends.into());
        Ok(())
    }

    /// Has the gate sign a role, too, with its bins' key: it lists what it observes there, and as many others as before
    /// countersign. A search ends at it.
    pub fn observe(&mut self, role: &str) -> Result<(), CeremonyError> {
        let ids: Vec<String> = self
            .roles()
            .roles
            .get("bins")
            .map(|bins| bins.keyids.iter().map(|id| (*id).to_owned()).collect())
            .unwrap_or_default();
        let [id] = &*ids else {
            return Err(rule(
                "bins has several keys: list the gate's own for the role with `--add-key`",
            ));
        };
        let before = self.roles().roles.get(role).map_or(0, |role| role.threshold);
        let listed = self.keyids(role)?;
        let threshold = match listed.iter().any(|known| known == id.as_str()) {
            true => before,
            false => {
                listed.push(id.as_str().into());
                before.saturating_add(1)
            }
        };
        // With one, the gate alone would speak for the team.
        self.threshold(role, threshold.max(2))?;
        self.terminating(role, true)
    }

    /// Delegates to a role no more; keys that no other role has are dropped.
    pub fn undelegate(&mut self, role: &str) -> Result<(), CeremonyError> {
        crate::delegated::check_name(role).map_err(rule)?;
        self.role(role)?;
        self.delegations()?.retain(|listed| listed["name"] != role);
        self.drop_unused();
        Ok(())
    }

    /// How many must sign a role.
    pub fn threshold(&mut self, role: &str, threshold: u64) -> Result<(), CeremonyError> {
        self.role(role)?.insert("threshold".to_owned(), threshold.into());
        Ok(())
    }

    /// Gives a key another name.
    pub fn rename(&mut self, who: &str, name: &str) -> Result<(), CeremonyError> {
        rules::check_name(name)?;
        let id = self.one(who)?;
        self.call(id, name);
        Ok(())
    }

    /// The one key that a name or id stands for.
    fn one(&self, who: &str) -> Result<String, CeremonyError> {
        let roles = self.roles();
        match roles.find(who)[..] {
            [id] => Ok(id.to_owned()),
            [] => {
                let names: Vec<_> = roles.keys.keys().map(|id| roles.label(id).to_string()).collect();
                Err(rule(format!("there is no key `{who}`, but {}", names.join(", "))))
            }
            _ => Err(rule(format!("several keys are called `{who}`: give the id"))),
        }
    }

    fn name_all(&mut self, root: &Value) {
        let roles = self.roles();
        let known = Roles::of(Kind::Root, root);
        let mut names: Map<String, Value> = Map::new();
        let mut taken = BTreeSet::new();
        for id in roles.keys.keys() {
            let name = roles.name(id).or_else(|| known.name(id));
            if let Some(name) = name {
                names.insert((*id).to_owned(), name.into());
                taken.insert(name.to_owned());
            }
        }
        for (role, listed) in &roles.roles {
            for id in listed.keyids.iter().filter(|id| roles.keys.contains_key(**id)) {
                if names.contains_key(*id) {
                    continue;
                }
                let mut name = (*role).to_owned();
                let mut number = 1;
                while !taken.insert(name.clone()) {
                    number += 1;
                    name = format!("{role}-{number}");
                }
                names.insert((*id).to_owned(), name.into());
            }
        }
        if !names.is_empty() {
            self.signed[KEY_NAMES] = names.into();
        }
    }

    /// Drops keys that no role lists, and names of keys that are gone.
    fn drop_unused(&mut self) {
        let roles = self.roles();
        let used: BTreeSet<String> = roles
            .roles
            .values()
            .flat_map(|role| role.keyids.iter().map(|id| (*id).to_owned()))
            .collect();
        if let Ok(keys) = self.keys() {
            keys.retain(|id, _| used.contains(id));
        }
        if let Some(names) = self.signed.get_mut(KEY_NAMES).and_then(Value::as_object_mut) {
            names.retain(|id, _| used.contains(id));
        }
    }

    fn call(&mut self, id: String, name: &str) {
        let names = &mut self.signed[KEY_NAMES];
        match names.as_object_mut() {
            Some(names) => drop(names.insert(id, name.into())),
            None => *names = json!({ id: name }),
        }
    }

    fn top(&mut self) -> Option<&mut Value> {
        match self.kind {
            Kind::Root => Some(&mut self.signed),
            Kind::Targets => self.signed.get_mut("delegations"),
        }
    }

    fn keys(&mut self) -> Result<&mut Map<String, Value>, CeremonyError> {
        let keys = self.top().and_then(|top| top.get_mut("keys")?.as_object_mut());
        keys.ok_or_else(|| CeremonyError::Malformed("it lists no keys".to_owned()))
    }

    fn role(&mut self, name: &str) -> Result<&mut Map<String, Value>, CeremonyError> {
        let known = self
            .roles()
            .roles
            .keys()
            .map(|role| format!("`{role}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let role = match self.top().and_then(|top| top.get_mut("roles")) {
            Some(Value::Object(roles)) => roles.get_mut(name),
            Some(Value::Array(roles)) => roles.iter_mut().find(|role| role["name"] == name),
            _ => None,
        };
        role.and_then(Value::as_object_mut)
            .ok_or_else(|| rule(format!("there is no role `{name}`, but {known}")))
    }

    fn delegations(&mut self) -> Result<&mut Vec<Value>, CeremonyError> {
        let roles = match self.kind {
            Kind::Targets => self.top().and_then(|top| top.get_mut("roles")?.as_array_mut()),
            Kind::Root => None,
        };
        roles.ok_or_else(|| rule("only targets delegates to roles that others sign"))
    }

    fn keyids(&mut self, role: &str) -> Result<&mut Vec<Value>, CeremonyError> {
        let ids = self.role(role)?.get_mut("keyids").and_then(Value::as_array_mut);
        ids.ok_or_else(|| CeremonyError::Malformed(format!("`{role}` lists no keys")))
    }
}
