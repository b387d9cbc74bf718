//! Versions and ends of the roles that clients check, as the depot has them: for status, metrics and the log.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    admin::status::{Published, StatusError},
    catalog::roles::Roles,
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
pub async fn of(roles: &Roles) -> Result<BTreeMap<String, Published>, StatusError> {
    let depot = roles.depot();
    let mut ends = BTreeMap::new();
    for version in 1.. {
        match read(depot, &layout::file(ROOT, version)).await? {
            Some(root) => ends.insert(ROOT.to_owned(), root),
            None => break,
        };
    }
    let Some(timestamp) = read(depot, TIMESTAMP).await? else {
        return Ok(ends);
    };
    ends.insert("timestamp".to_owned(), timestamp);
    let listed = roles.newest().await?;
    let others = ["targets", "bins"]
        .into_iter()
        .filter_map(|role| listed.versions.get_key_value(role));
    for (role, version) in others.chain([(&"snapshot".to_owned(), &listed.snapshot)]) {
        if let Some(file) = read(depot, &layout::file(role, *version)).await? {
            ends.insert(role.clone(), file);
        }
    }
    // The names of roles that were removed stay listed for ever.
    for (role, file) in &listed.files {
        let (version, expires) = (file.version, Some(file.expires));
        ends.insert(role.clone(), Published { version, expires });
    }
    Ok(ends)
}

async fn read(depot: &dyn Depot, name: &str) -> Result<Option<Published>, StatusError> {
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
    signed: Published,
}
