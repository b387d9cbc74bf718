//! Versions and ends of the roles that clients check, as the depot has them: for status, metrics and the log.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    admin::status::{Published, StatusError},
    catalog,
    depot::{Depot, TIMESTAMP},
    tuf::layout,
};

/// The role whose file clients look for by number.
pub const ROOT: &str = "root";

/// Roots from the first one on that every known client follows in one update: sigstore-tuf asks for no more than 32 newer
/// ones, and wants to hear that the last of these is not there. Others follow 256 and more.
pub const FEWEST_STEPS: u64 = 32;

/// The newest root, what timestamp and snapshot say of themselves, and of what they list all but bins: targets, the
/// delegator, roles that others sign.
///
/// # Errors
/// The depot fails, or a file is none.
pub async fn of(depot: &dyn Depot) -> Result<BTreeMap<String, Published>, StatusError> {
    let mut roles = BTreeMap::new();
    for version in 1.. {
        match read(depot, &layout::file(ROOT, version)).await? {
            Some(root) => roles.insert(ROOT.to_owned(), root.published),
            None => break,
        };
    }
    let Some(timestamp) = read(depot, TIMESTAMP).await? else {
        return Ok(roles);
    };
    roles.insert("timestamp".to_owned(), timestamp.published);
    let Some(listed) = timestamp.meta.get("snapshot.json") else {
        return Ok(roles);
    };
    let Some(snapshot) = read(depot, &layout::file("snapshot", listed.version)).await? else {
        return Ok(roles);
    };
    roles.insert("snapshot".to_owned(), snapshot.published);
    // The names of roles that were removed stay listed for ever.
    let (others, _) = catalog::roles::listed(depot).await?;
    for (name, listed) in &snapshot.meta {
        let Some(role) = name.strip_suffix(".json") else {
            continue;
        };
        if !["targets", "bins"].contains(&role) && !others.contains_key(role) {
            continue;
        }
        if let Some(file) = read(depot, &layout::file(role, listed.version)).await? {
            roles.insert(role.to_owned(), file.published);
        }
    }
    Ok(roles)
}

async fn read(depot: &dyn Depot, name: &str) -> Result<Option<Head>, StatusError> {
    let Some(bytes) = depot.read(name).await? else {
        return Ok(None);
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|source| StatusError::File {
        name: name.to_owned(),
        source,
    })?;
    Ok(Some(file.signed))
}

/// What is read of a signed file; its signatures are the clients' business.
#[derive(Deserialize)]
struct File {
    signed: Head,
}

#[derive(Deserialize)]
struct Head {
    #[serde(flatten)]
    published: Published,
    #[serde(default)]
    meta: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    version: u64,
}
