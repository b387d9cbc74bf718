//! The top-level targets as they are signed: what they delegate to, and the next version of them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};

use super::rules::BINS;
use crate::{
    clock::whole_seconds,
    tuf::{
        canonical::{self, CanonicalError},
        schema::{Delegations, KEY_NAMES},
    },
};

/// What a `signed` object delegates to; `None` where it does not, or not in a form that can be read.
pub fn below(signed: &Value) -> Option<Delegations> {
    serde_json::from_value(signed.get("delegations")?.clone()).ok()
}

/// The next version of targets.json, in canonical form: the same custom roles, and `bins` under this key.
pub fn retarget(
    signed: &Value,
    version: u64,
    expires: Timestamp,
    id: &Decoded<Hex>,
    key: &Key,
) -> Result<Vec<u8>, CanonicalError> {
    let mut signed = signed.clone();
    let id = hex::encode(id);
    signed["version"] = version.into();
    signed["expires"] = whole_seconds(expires).to_string().into();
    let below = &mut signed["delegations"];
    let mut used = Vec::new();
    for role in below["roles"].as_array_mut().into_iter().flatten() {
        if role["name"] == BINS {
            role["keyids"] = json!([id]);
            role["threshold"] = 1.into();
        }
        used.extend(role["keyids"].as_array().cloned().unwrap_or_default());
    }
    let unused = |keys: Option<&mut Map<String, Value>>| {
        if let Some(keys) = keys {
            keys.retain(|id, _| used.iter().any(|used| used == id.as_str()));
        }
    };
    below["keys"][&id] = serde_json::to_value(key)?;
    unused(below["keys"].as_object_mut());
    unused(signed.get_mut(KEY_NAMES).and_then(Value::as_object_mut));
    canonical::to_vec(&signed)
}
