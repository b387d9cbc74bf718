//! Who may sign a role, as roots and delegations say, and whether they did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::tuf::{
    layout::bin_name,
    schema::Delegations,
    verify::{Keys, Unverified},
};

use super::envelope::Envelope;

/// Keys of a role.
#[derive(Clone, Debug, Default)]
pub(super) struct Signers {
    keys: BTreeMap<String, Value>,
    threshold: u64,
}

impl Signers {
    /// Those a root lists for a top-level role.
    pub(super) fn of_root(root: &Value, role: &str) -> Option<Self> {
        Some(Self::of(root.get("keys")?, root.get("roles")?.get(role)?))
    }

    /// The roles that metadata delegates to, with their signers; both forms of delegation.
    pub(super) fn delegated(signed: &Value) -> Vec<(String, Self)> {
        let Some(delegations) = signed.get("delegations") else {
            return Vec::new();
        };
        let none = Value::Null;
        let keys = delegations.get("keys").unwrap_or(&none);
        let named = delegations.get("roles").and_then(Value::as_array);
        let mut found: Vec<_> = named
            .into_iter()
            .flatten()
            .filter_map(|role| Some((role.get("name")?.as_str()?.to_owned(), Self::of(keys, role))))
            .collect();
        if let Some(bins) = delegations.get("succinct_roles") {
            let signers = Self::of(keys, bins);
            found.extend(succinct_names(bins).into_iter().map(|name| (name, signers.clone())));
        }
        found
    }

    fn of(keys: &Value, role: &Value) -> Self {
        let ids = role.get("keyids").and_then(Value::as_array);
        let ids = ids.into_iter().flatten().filter_map(Value::as_str);
        Self {
            keys: ids
                .filter_map(|id| Some((id.to_owned(), keys.get(id)?.clone())))
                .collect(),
            threshold: role.get("threshold").and_then(Value::as_u64).unwrap_or(0),
        }
    }

    /// Whether they list this key.
    pub(super) fn hold(&self, keyid: &str) -> bool {
        self.keys.contains_key(keyid)
    }

    /// Adds the keys of others who may sign the same role at another time.
    pub(super) fn join(&mut self, others: &Self) {
        for (id, key) in &others.keys {
            self.keys.entry(id.clone()).or_insert_with(|| key.clone());
        }
    }

    /// Whether every signature of the file is by one of these keys and good. A client is content with a threshold; an
    /// audit wants to know of every byte.
    pub(super) fn made_all(&self, file: &Envelope) -> Result<(), String> {
        if file.keyids.is_empty() {
            return Err("nobody signed it".to_owned());
        }
        if let Some(stranger) = file.keyids.iter().find(|id| !self.hold(id)) {
            return Err(format!("key {stranger}, which signs it, is not among this role's"));
        }
        self.check(file, file.keyids.len() as u64)
    }

    /// The same while the role's key is rotated: the new key signs beside them before a root lists it.
    pub(super) fn made_all_known(&self, file: &Envelope) -> Result<(), String> {
        match file.keyids.iter().filter(|id| self.hold(id)).count() {
            0 => self.made_all(file),
            known => self.check(file, known as u64),
        }
    }

    /// Whether enough of them signed for a client.
    pub(super) fn made_enough(&self, file: &Envelope) -> Result<(), String> {
        self.check(file, self.threshold)
    }

    fn check(&self, file: &Envelope, threshold: u64) -> Result<(), String> {
        let ids: BTreeSet<_> = self.keys.keys().collect();
        let role = json!({"name": "it", "keyids": ids, "threshold": threshold, "terminating": false, "paths": []});
        let delegations: Delegations = serde_json::from_value(json!({"keys": self.keys, "roles": [role]}))
            .map_err(|error| format!("its keys cannot be used: {error}"))?;
        let role = delegations.roles.iter().flatten().next();
        let role = role.ok_or("its keys cannot be used")?;
        let keys = Keys::of_role(&delegations, role).map_err(|error| error.to_string())?;
        let file = Unverified::parse(&file.bytes).map_err(|error| error.to_string())?;
        file.check(&keys).map_err(|error| error.to_string())
    }
}

/// Names of succinct bins (TAP 15); none when their number is beyond reason.
fn succinct_names(bins: &Value) -> Vec<String> {
    let bits = bins.get("bit_length").and_then(Value::as_u64);
    let prefix = bins.get("name_prefix").and_then(Value::as_str).unwrap_or_default();
    match bits.and_then(|bits| u8::try_from(bits).ok()) {
        Some(bits @ 1..=20) => (0..1_u32 << bits).map(|bin| bin_name(prefix, bits, bin)).collect(),
        _ => Vec::new(),
    }
}
