//! The next version of a team's role, made from the one that is listed by small changes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tough::schema::key::Key;

use crate::{
    ceremony::{
        CeremonyError,
        file::envelope,
        rules::{self, rule},
    },
    clock::whole_seconds,
    delegated,
    digest::Digest,
    target::TargetPath,
    tuf::{build::SPEC_VERSION, schema::KEY_NAMES},
};

/// A `signed` object in the making.
#[derive(Clone, Debug)]
pub struct TeamProposal {
    role: String,
    signed: Value,
}

/// What a role below is to be; what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct Below {
    /// Patterns of its paths.
    pub paths: Vec<String>,
    /// Its keys, with their names.
    pub keys: Vec<(String, Key)>,
    /// Signatures needed.
    pub threshold: Option<u64>,
    /// Nobody after it is asked.
    pub terminating: bool,
}

impl TeamProposal {
    /// What follows `current`, a file, or the first version: the same, one version later, until `expires`.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`]: it is no metadata.
    pub fn after(role: &str, current: Option<&[u8]>, expires: Timestamp) -> Result<Self, CeremonyError> {
        let mut signed = match current {
            Some(current) => envelope(current)?["signed"].clone(),
            None => json!({"_type": "targets", "spec_version": SPEC_VERSION, "targets": {}, "version": 0}),
        };
        signed["version"] = rules::version(&signed).saturating_add(1).into();
        signed["expires"] = whole_seconds(expires).to_string().into();
        Ok(Self {
            role: role.to_owned(),
            signed,
        })
    }

    /// The `signed` object.
    pub fn into_signed(self) -> Value {
        self.signed
    }

    /// Lists a target, or other bytes for one.
    pub fn add(&mut self, path: &str, digest: Digest, length: u64) -> Result<(), CeremonyError> {
        let shown = crate::terminal::printable(path);
        TargetPath::new(path).map_err(|why| rule(format!("`{shown}` is no target path: {why}")))?;
        self.targets()?
            .insert(path.to_owned(), json!({"hashes": {"sha256": digest}, "length": length}));
        Ok(())
    }

    /// Drops a target.
    pub fn remove(&mut self, path: &str) -> Result<(), CeremonyError> {
        match self.targets()?.remove(path) {
            Some(_) => Ok(()),
            None => Err(rule(format!("`{path}` is not listed, and cannot be removed"))),
        }
    }

    /// Delegates to a role below, or changes how it does. `name` is that after the dot, or whole.
    pub fn delegate(&mut self, name: &str, below: &Below) -> Result<(), CeremonyError> {
        let name = self.whole(name);
        delegated::check_name(&name).map_err(rule)?;
        let mut ids = Vec::new();
        for (called, key) in &below.keys {
            rules::check_name(called)?;
            let id = hex::encode(key.key_id().map_err(|error| rule(error.to_string()))?);
            let listed = serde_json::to_value(key).map_err(|error| rule(error.to_string()))?;
            if ids.contains(&id) {
                return Err(rule(format!("the key `{called}` is given twice")));
            }
            self.object(&["delegations", "keys"])?.insert(id.clone(), listed);
            self.object(&[KEY_NAMES])?.insert(id.clone(), called.as_str().into());
            ids.push(id);
        }
        let roles = self.roles()?;
        let known = roles.iter().position(|role| role["name"] == *name);
        let place = known.unwrap_or_else(|| {
            roles.push(json!({"name": name, "terminating": false, "threshold": 1}));
            roles.len() - 1
        });
        let role = &mut roles[place];
        if !below.paths.is_empty() {
            role["paths"] = json!(below.paths);
        }
        if !ids.is_empty() {
            role["keyids"] = json!(ids);
        }
        if let Some(threshold) = below.threshold {
            role["threshold"] = threshold.into();
        }
        role["terminating"] = (below.terminating || role["terminating"] == true).into();
        for (field, option) in [("paths", "--paths"), ("keyids", "--key")] {
            if role.get(field).is_none() {
                return Err(rule(format!("`{name}` is new, and needs `{option}`")));
            }
        }
        self.tidy();
        Ok(())
    }

    /// Delegates to a role below no more.
    pub fn undelegate(&mut self, name: &str) -> Result<(), CeremonyError> {
        let name = self.whole(name);
        let roles = self.roles()?;
        let before = roles.len();
        roles.retain(|role| role["name"] != *name);
        if roles.len() == before {
            return Err(rule(format!("it does not delegate to `{name}`")));
        }
        self.tidy();
        Ok(())
    }

    fn whole(&self, name: &str) -> String {
        match name.strip_prefix(&self.role).is_some_and(|rest| rest.starts_with('.')) {
            true => name.to_owned(),
            false => format!("{}.{name}", self.role),
        }
    }

    fn targets(&mut self) -> Result<&mut Map<String, Value>, CeremonyError> {
        self.object(&["targets"])
    }

    fn roles(&mut self) -> Result<&mut Vec<Value>, CeremonyError> {
        let roles = self
            .object(&["delegations"])?
            .entry("roles")
            .or_insert_with(|| json!([]));
        roles
            .as_array_mut()
            .ok_or_else(|| CeremonyError::Malformed("its `roles` are no list".to_owned()))
    }

    fn object(&mut self, path: &[&str]) -> Result<&mut Map<String, Value>, CeremonyError> {
        let malformed = || CeremonyError::Malformed(format!("its `{}` is no object", path.join(".")));
        let mut at = self.signed.as_object_mut().ok_or_else(malformed)?;
        for field in path {
            let inner = at.entry(*field).or_insert_with(|| json!({}));
            at = inner.as_object_mut().ok_or_else(malformed)?;
        }
        Ok(at)
    }

    /// Drops keys that no role has, and what is empty.
    fn tidy(&mut self) {
        let roles = self.signed["delegations"]["roles"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let used = |id: &String| {
            let ids = roles.iter().filter_map(|role| role["keyids"].as_array());
            ids.flatten().any(|used| used == id.as_str())
        };
        for path in [&["delegations", "keys"][..], &[KEY_NAMES]] {
            if let Ok(keys) = self.object(path) {
                keys.retain(|id, _| used(id));
            }
        }
        if let Some(signed) = self.signed.as_object_mut() {
            if roles.is_empty() {
                signed.remove("delegations");
            }
            if signed.get(KEY_NAMES).is_some_and(|names| names == &json!({})) {
                signed.remove(KEY_NAMES);
            }
        }
    }
}
