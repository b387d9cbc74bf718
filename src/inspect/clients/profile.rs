//! The limits of each client, as they stand in its source.

use super::Client;

/// What a client reads and how far.
pub(super) struct Profile {
    /// Most bytes of root, timestamp, snapshot and targets.
    pub limits: [u64; 4],
    /// A listed length replaces the limit.
    pub by_length: bool,
    /// Most newer roots in one update.
    pub root_steps: u64,
    /// Most roles for one target.
    pub visited: u64,
    /// Statuses that mean that there is no newer root.
    pub ends: &'static [u16],
    /// Key kinds; empty for all that the specification knows.
    pub kinds: &'static [&'static str],
    /// Key ids must be the keys' digests.
    pub computed: bool,
}

impl Client {
    /// What it reads and how far.
    pub(super) fn profile(self) -> Profile {
        let usual = Profile {
            limits: [512_000, 16_384, 2_000_000, 5_000_000],
            by_length: true,
            root_steps: 256,
            visited: 32,
            ends: &[403, 404],
            kinds: &[],
            computed: false,
        };
        match self {
            Client::PythonTuf | Client::TufJs => usual,
            Client::GoTuf => Profile { ends: &[404], ..usual },
            Client::Tough => Profile {
                limits: [1 << 20, 1 << 20, 1 << 20, 10 << 20],
                root_steps: 1_024,
                visited: u64::MAX,
                ends: &[403, 404, 410],
                computed: true,
                ..usual
            },
            Client::SigstoreTuf => Profile {
                by_length: false,
                root_steps: 32,
                ..usual
            },
            Client::RustTuf => Profile {
                root_steps: u64::MAX,
                visited: u64::MAX,
                ends: &[404],
                kinds: &["ed25519/ed25519"],
                computed: true,
                ..usual
            },
            Client::SigstoreJava => Profile {
                limits: [101_376, 101_376, 2_000_000, 2_000_000],
                root_steps: 1_024,
                visited: u64::MAX,
                ends: &[404],
                ..usual
            },
            Client::PhpTuf => Profile {
                limits: [100_000; 4],
                root_steps: 1_024,
                visited: 100,
                ends: &[404],
                kinds: &["ed25519/ed25519"],
                computed: true,
                ..usual
            },
            Client::OldGoTuf => Profile {
                root_steps: u64::MAX,
                ends: &[404],
                computed: true,
                ..usual
            },
        }
    }
}
