//! How the roles of this process fare. `server` writes it, the admin listener reads it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// A role's state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Role {
    /// Not yet at work.
    Starting,
    /// At work.
    Up,
    /// Ended or panicked; it is started again after a pause.
    Down {
        /// What it said.
        error: String,
    },
}

/// The roles of this process, and whether it is about to end.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    draining: AtomicBool,
    roles: Mutex<BTreeMap<String, Role>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            draining: AtomicBool::new(false),
            roles: Mutex::default(),
        }
    }
}

impl Health {
    /// Notes a role's state.
    pub fn set(&self, role: &str, state: Role) {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles.insert(role.to_owned(), state);
    }

    /// From now on this process is not ready: it waits for requests in flight.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether it is about to end.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Since when it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// All roles by name.
    pub fn roles(&self) -> BTreeMap<String, Role> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why no request should be sent here, in words; empty when all is well.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining() {
            reasons.push("shutting down".to_owned());
        }
        for (role, state) in self.roles() {
            match state {
                Role::Up => {}
                Role::Starting => reasons.push(format!("{role} is starting")),
                Role::Down { error } => reasons.push(format!("{role} is down: {error}")),
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_down_or_a_drain_makes_it_unready() {
        let health = Health::default();
        health.set("signer", Role::Up);
        assert_eq!(health.reasons(), Vec::<String>::new());
        let error = "killed".to_owned();
        health.set("signer", Role::Down { error });
        assert_eq!(health.reasons(), ["signer is down: killed"]);
        health.set("signer", Role::Up);
        health.drain();
        assert_eq!(health.reasons(), ["shutting down"]);
    }
}
