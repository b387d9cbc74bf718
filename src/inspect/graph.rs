//! Who delegates to whom, and in which order a client visits roles for a path (TUF spec 5.6.7). Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::delegations::Delegations;
use crate::digest::Digest;

/// Visits after which a look-up ends here; every client but tough ends far earlier.
const MAX_VISITED: usize = 64;

/// Who delegates to whom, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    delegators: HashMap<String, Arc<Delegations>>,
}

impl Graph {
    /// Adds what a role delegates.
    pub fn add(&mut self, role: &str, delegations: Arc<Delegations>) {
        self.delegators.insert(role.to_owned(), delegations);
    }

    /// Every delegator.
    pub fn delegators(&self) -> impl Iterator<Item = (&String, &Arc<Delegations>)> {
        self.delegators.iter()
    }

    /// How many roles a client visits until it reads `role` for this path (TUF spec 5.6.7), `role` included; `None` when
    /// it never does. What `role` lists is taken to be listed nowhere before.
    pub fn visits(&self, path: &str, role: &str) -> Option<usize> {
        self.search(path, role, true)
    }

    /// Whether a client would read `role` for this path, if no role on the way ended the search.
    pub fn hidden(&self, path: &str, role: &str) -> bool {
        self.search(path, role, false).is_some()
    }

    fn search(&self, path: &str, role: &str, ends: bool) -> Option<usize> {
        let id = Digest::of(path);
        let mut visited = HashSet::new();
        let mut ahead = vec!["targets".to_owned()];
        while let Some(name) = ahead.pop() {
            if !visited.insert(name.clone()) {
                continue;
            }
            if name == role {
                return Some(visited.len());
            }
            if visited.len() >= MAX_VISITED {
                return None;
            }
            let Some(delegations) = self.delegators.get(&name) else {
                continue;
            };
            let next = match ends {
                true => delegations.candidates(path, &id),
                false => delegations.speakers(path, &id),
            };
            if ends && next.last().is_some_and(|(_, terminating)| *terminating) {
                ahead.clear();
            }
            ahead.extend(next.into_iter().rev().map(|(name, _)| name));
        }
        None
    }

    /// A circle of delegations, by its names; `None` when there is none.
    pub fn cycle(&self) -> Option<Vec<String>> {
        let mut done = HashSet::new();
        let mut starts: Vec<_> = self.delegators.keys().collect();
        starts.sort_unstable();
        for start in starts {
            // A path from `start`, with the names still to be tried below each of its roles.
            let mut path = vec![(start.clone(), self.children(start))];
            while let Some((_, children)) = path.last_mut() {
                let Some(next) = children.pop() else {
                    if let Some((name, _)) = path.pop() {
                        done.insert(name);
                    }
                    continue;
                };
                if let Some(at) = path.iter().position(|(name, _)| *name == next) {
                    let mut circle: Vec<_> = path[at..].iter().map(|(name, _)| name.clone()).collect();
                    circle.push(next);
                    return Some(circle);
                }
                if !done.contains(&next) {
                    let children = self.children(&next);
                    path.push((next, children));
                }
            }
        }
        None
    }

    /// The delegators that a role delegates to: others are the end of no circle.
    fn children(&self, role: &str) -> Vec<String> {
        let names = self.delegators.get(role).map(|delegations| delegations.names());
        let mut names = names.unwrap_or_default();
        names.retain(|name| self.delegators.contains_key(name) || name == "targets");
        names
    }
}
