//! The files of all roles that stand, asked for one by one: who reads them where is the caller's.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{Files, RoleFile, custom};
use crate::tuf::schema::Delegations;

/// Roles on the way from targets down.
#[derive(Debug, Default)]
pub struct Standing {
    queue: Vec<String>,
    seen: BTreeSet<String>,
    files: Files,
}

impl Standing {
    /// From what targets delegates to.
    pub fn below(top: Option<&Delegations>) -> Self {
        let mut standing = Self::default();
        top.into_iter().for_each(|top| standing.enqueue(top));
        standing
    }

    /// The role whose file is to be [`read`](Self::read) next.
    pub fn next(&mut self) -> Option<String> {
        self.queue.pop()
    }

    /// Takes a role's file; one that is not there leaves the role without.
    ///
    /// # Errors
    /// It is damaged: how.
    pub fn read(&mut self, role: String, bytes: Option<Bytes>) -> Result<(), String> {
        let Some(bytes) = bytes else { return Ok(()) };
        self.keep(role, Arc::new(RoleFile::stored(bytes)?));
        Ok(())
    }

    /// Takes a role's file that was read before.
    pub fn keep(&mut self, role: String, file: Arc<RoleFile>) {
        file.delegations.iter().for_each(|below| self.enqueue(below));
        self.files.insert(role, file);
    }

    /// The files that were read.
    pub fn files(self) -> Files {
        self.files
    }

    fn enqueue(&mut self, below: &Delegations) {
        for role in custom(below) {
            if self.seen.insert(role.name.clone()) {
                self.queue.push(role.name.clone());
            }
        }
    }
}
