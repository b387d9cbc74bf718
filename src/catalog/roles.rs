//! The roles that others sign, as a depot lists them now.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    delegated::{self, Files, Standing},
    depot::{Depot, DepotError, TIMESTAMP},
    tuf::layout,
};

/// Their files, and the listed version of every role. What is damaged or gone is left out.
///
/// # Errors
/// The depot failed.
pub async fn listed(depot: &dyn Depot) -> Result<(Files, BTreeMap<String, u64>), DepotError> {
    let timestamp = signed(depot, TIMESTAMP).await?;
    let snapshot = timestamp["meta"]["snapshot.json"]["version"].as_u64().unwrap_or(0);
    let snapshot = signed(depot, &layout::file("snapshot", snapshot)).await?;
    let meta = snapshot["meta"].as_object().into_iter().flatten();
    let versions: BTreeMap<_, _> = meta
        .filter_map(|(file, meta)| Some((file.strip_suffix(".json")?.to_owned(), meta["version"].as_u64()?)))
        .collect();
    let version = |role: &str| versions.get(role).copied().unwrap_or(0);
    let top = signed(depot, &layout::file("targets", version("targets"))).await?;
    let mut standing = Standing::below(delegated::below(&top).as_ref());
    while let Some(role) = standing.next() {
        let bytes = depot.read(&layout::file(&role, version(&role))).await?;
        if let Err(why) = standing.read(role, bytes) {
            tracing::debug!("a role's file in the depot is damaged: {why}");
        }
    }
    Ok((standing.files(), versions))
}

async fn signed(depot: &dyn Depot, name: &str) -> Result<Value, DepotError> {
    let bytes = depot.read(name).await?.unwrap_or_default();
    let mut envelope: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(envelope.get_mut("signed").map(Value::take).unwrap_or_default())
}
