//! The files that lead from root to a delegated role, for those who sign that role.

use bytes::Bytes;

use super::{
    Client, MAX_ROOT, MAX_TARGETS,
    error::{Attack, ClientError, refused},
    naming,
    search::Update,
};
use crate::{
    delegated::Delegation,
    tuf::{
        schema::Targets,
        verify::{Keys, Unverified},
    },
};

/// The newest files of a repository on the way to one role.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The root.
    pub root: Vec<u8>,
    /// `targets` and the roles down to the one that delegates, each with its file, signed as the one before it asks.
    pub above: Vec<(String, Vec<u8>)>,
    /// The role's own file, if it has one: the one that the snapshot lists, whoever signed it and however old it is.
    pub current: Option<Vec<u8>>,
}

impl Client {
    /// What stands on the way to a role; `None` where nobody delegates to it. Refreshes first.
    pub(crate) async fn chain(&mut self, role: &str) -> Result<Option<Chain>, ClientError> {
        self.refresh().await?;
        let Some(update) = self.update.take() else {
            return Ok(None);
        };
        let chain = self.chain_in(&update, role).await;
        self.update = Some(update);
        chain
    }

    async fn chain_in(&self, update: &Update, role: &str) -> Result<Option<Chain>, ClientError> {
        let trusted = &update.trusted;
        let root = self.store.read("root.json", MAX_ROOT)?;
        let version = |root: &Vec<u8>| Unverified::parse(root).and_then(Unverified::self_signed_root);
        let ours = |root: &Vec<u8>| version(root).is_ok_and(|root| root.version == trusted.root().version);
        let Some(root) = root.filter(ours) else {
            return Err(ClientError::Busy(self.store.folder().to_owned()));
        };
        let (file, targets) = self.listed(update, "targets", &trusted.targets_keys()?).await?;
        let mut above = vec![("targets".to_owned(), file)];
        let Some((mut delegation, names)) = way(&targets, role) else {
            return Ok(None);
        };
        for below in names {
            let name = delegation.role().name.clone();
            let keys = delegation.verifier();
            let keys = keys.map_err(|error| refused(naming::stored(&name), Attack::ArbitrarySoftware, error))?;
            let (file, targets) = self.listed(update, &name, &keys).await?;
            above.push((name, file));
            let next = targets
                .delegations
                .as_ref()
                .and_then(|roles| delegation.under(roles, &below));
            match next {
                Some(next) => delegation = next,
                None => return Ok(None),
            }
        }
        let current = match trusted.targets_listing(role) {
            Ok(listed) => {
                let consistent = trusted.root().consistent_snapshot;
                let take = |bytes: &[u8]| trusted.pinned(bytes, role);
                let listed = listed.clone();
                let (bytes, ()) = self.versioned(consistent, role, &listed, MAX_TARGETS, take).await?;
                Some(bytes.to_vec())
            }
            Err(_) => None,
        };
        Ok(Some(Chain { root, above, current }))
    }

    /// A role's file and what it says, verified.
    async fn listed(&self, update: &Update, role: &str, keys: &Keys) -> Result<(Vec<u8>, Targets), ClientError> {
        let trusted = &update.trusted;
        let listed = trusted.targets_listing(role)?.clone();
        let consistent = trusted.root().consistent_snapshot;
        let take = |bytes: &[u8]| trusted.targets(bytes, role, keys);
        let (bytes, targets) = self.versioned(consistent, role, &listed, MAX_TARGETS, take).await?;
        Ok((bytes.to_vec(), targets))
    }

    /// A file below the metadata URL that no metadata lists.
    pub(crate) async fn beside(&self, name: &str, limit: u64) -> Result<Bytes, ClientError> {
        let url = self.beside_url(name);
        self.metadata(name, &url, limit).await
    }

    /// Where it is asked for.
    pub(crate) fn beside_url(&self, name: &str) -> String {
        format!("{}{name}", self.metadata.current().as_str())
    }
}

/// The role of `targets` that leads to a role, and the names from there on: a role below another bears its name, a dot, and
/// a name of its own.
fn way(targets: &Targets, role: &str) -> Option<(Delegation, Vec<String>)> {
    let top = targets.delegations.as_ref()?;
    let mut names = Vec::new();
    let mut name = role;
    loop {
        if let Some(delegation) = Delegation::of(top, name) {
            names.reverse();
            return Some((delegation, names));
        }
        names.push(name.to_owned());
        (name, _) = name.rsplit_once('.')?;
    }
}
