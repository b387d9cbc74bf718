//! The roles that others sign, as a depot lists them now.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    delegated::{self, Files, Standing},
    depot::{Depot, DepotError, TIMESTAMP},
    target::TargetPath,
    tuf::{layout, schema::Delegations},
};

/// A role that others sign and that speaks for a path.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Speaker {
    /// Its name.
    pub role: String,
    /// Whether its file lists the path.
    pub lists: bool,
}

/// Who speaks for a path, in the order in which clients ask.
///
/// # Errors
/// The depot failed.
pub async fn speaking(depot: &dyn Depot, path: &TargetPath) -> Result<Vec<Speaker>, DepotError> {
    let (top, _) = top(depot).await?;
    let (files, _) = listed(depot).await?;
    let mut found = Vec::new();
    top.iter().for_each(|top| ask(top, &files, path, &mut found));
    Ok(found)
}

fn ask(below: &Delegations, files: &Files, path: &TargetPath, found: &mut Vec<Speaker>) {
    for role in delegated::custom(below).filter(|role| delegated::speaks_for(role, path)) {
        if found.iter().any(|known| known.role == role.name) {
            continue;
        }
        let file = files.get(&role.name);
        found.push(Speaker {
            role: role.name.clone(),
            lists: file.is_some_and(|file| file.targets.contains_key(path)),
        });
        for below in file.iter().flat_map(|file| &file.delegations) {
            ask(below, files, path, found);
        }
    }
}

/// Their files, and the listed version of every role. What is damaged or gone is left out.
///
/// # Errors
/// The depot failed.
pub async fn listed(depot: &dyn Depot) -> Result<(Files, BTreeMap<String, u64>), DepotError> {
    let (top, versions) = top(depot).await?;
    let version = |role: &str| versions.get(role).copied().unwrap_or(0);
    let mut standing = Standing::below(top.as_ref());
    while let Some(role) = standing.next() {
        let bytes = depot.read(&layout::file(&role, version(&role))).await?;
        if let Err(why) = standing.read(role, bytes) {
            tracing::debug!("a role's file in the depot is damaged: {why}");
        }
    }
    Ok((standing.files(), versions))
}

/// What targets.json delegates to, and the listed version of every role.
async fn top(depot: &dyn Depot) -> Result<(Option<Delegations>, BTreeMap<String, u64>), DepotError> {
    let timestamp = signed(depot, TIMESTAMP).await?;
    let snapshot = timestamp["meta"]["snapshot.json"]["version"].as_u64().unwrap_or(0);
    let snapshot = signed(depot, &layout::file("snapshot", snapshot)).await?;
    let meta = snapshot["meta"].as_object().into_iter().flatten();
    let versions: BTreeMap<_, _> = meta
        .filter_map(|(file, meta)| Some((file.strip_suffix(".json")?.to_owned(), meta["version"].as_u64()?)))
        .collect();
    let version = versions.get("targets").copied().unwrap_or(0);
    let targets = signed(depot, &layout::file("targets", version)).await?;
    Ok((delegated::below(&targets), versions))
}

async fn signed(depot: &dyn Depot, name: &str) -> Result<Value, DepotError> {
    let bytes = depot.read(name).await?.unwrap_or_default();
    let mut envelope: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(envelope.get_mut("signed").map(Value::take).unwrap_or_default())
}
