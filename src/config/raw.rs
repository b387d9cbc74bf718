//! What may stand in the file, with every default. Meaning and limits are checked in `check.rs`.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::value::{Size, Span};
use crate::policy::{Kind, Learn, OnDrift, Unsigned};

const fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

const DAY: u64 = 86_400;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub gate: Gate,
    pub upstream: Upstream,
    pub metadata: Metadata,
    pub cache: Cache,
    pub ledger: Ledger,
    pub depot: Depot,
    pub signer: Signer,
    pub tuf: Tuf,
    pub keys: Keys,
    pub admin: Admin,
    pub log: Log,
    pub rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gate {
    pub listen: String,
    pub threads: Option<usize>,
    pub grace: Span,
    pub metadata_prefix: String,
    pub timestamp_max_age: u32,
    pub verify_first: Size,
    pub max_body: Size,
    pub min_rate: u32,
    pub client_timeout: Span,
    pub learn_rate: u32,
    pub max_waiters: usize,
    pub http2_prior_knowledge: bool,
    pub tls: Option<GateTls>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            threads: None,
            grace: seconds(10),
            metadata_prefix: "/metadata/".into(),
            timestamp_max_age: 1,
            verify_first: Size(256 << 10),
            max_body: Size(0),
            min_rate: 1024,
            client_timeout: seconds(60),
            learn_rate: 0,
            max_waiters: 1000,
            http2_prior_knowledge: false,
            tls: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GateTls {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    pub url: Option<String>,
    pub preserve_host: bool,
    pub redirect_hosts: Vec<String>,
    pub connect_timeout: Span,
    pub io_timeout: Span,
    pub max_reads: usize,
    pub credential_headers: Vec<String>,
    pub ca: Option<PathBuf>,
    pub identity: Option<Identity>,
}

impl Default for Upstream {
    fn default() -> Self {
        let credentials = [
            "authorization",
            "cookie",
            "private-token",
            "x-amz-security-token",
            "x-api-key",
            "x-auth-token",
            "x-jfrog-art-api",
        ];
        Self {
            url: None,
            preserve_host: false,
            redirect_hosts: Vec::new(),
            connect_timeout: seconds(5),
            io_timeout: seconds(60),
            max_reads: 32,
            credential_headers: credentials.map(String::from).into(),
            ca: None,
            identity: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Identity {
    pub authorization_env: Option<String>,
    pub authorization_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    Probe,
    Public,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metadata {
    pub access: Option<Access>,
    pub probe: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    pub memory: Size,
    pub memory_max_object: Size,
    pub path: PathBuf,
    pub disk: Size,
    pub max_object: Option<Size>,
    pub fresh_for: Span,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: Size(256 << 20),
            memory_max_object: Size(256 << 10),
            path: "cache".into(),
            disk: Size(10 << 30),
            max_object: None,
            fresh_for: seconds(60),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ledger {
    pub path: PathBuf,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            path: "ledger.db".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Depot {
    pub path: PathBuf,
}

impl Default for Depot {
    fn default() -> Self {
        Self {
            path: "metadata".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Signer {
    pub socket: PathBuf,
    pub min_interval: Span,
    pub batch: usize,
    pub retain: Span,
    pub public: Option<String>,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            socket: "signer.sock".into(),
            min_interval: seconds(0),
            batch: 10_000,
            retain: seconds(DAY),
            public: None,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layout {
    Bins,
    Flat,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tuf {
    pub layout: Layout,
    pub bins: u32,
    pub max_bins: Option<u32>,
    pub grow_at: u64,
    pub targets_expiry: Span,
    pub delegator_expiry: Span,
    pub bin_expiry: Span,
    pub snapshot_expiry: Span,
    pub timestamp_expiry: Span,
    pub max_bin_targets: u64,
    pub max_bin_bytes: Size,
    pub submissions_per_hour: u64,
    pub clients: Option<Vec<String>>,
}

impl Default for Tuf {
    fn default() -> Self {
        Self {
            layout: Layout::Bins,
            bins: 16,
            max_bins: None,
            grow_at: 1000,
            targets_expiry: seconds(365 * DAY),
            delegator_expiry: seconds(365 * DAY),
            bin_expiry: seconds(90 * DAY),
            snapshot_expiry: seconds(7 * DAY),
            timestamp_expiry: seconds(DAY),
            max_bin_targets: 2000,
            max_bin_bytes: Size(1_000_000),
            submissions_per_hour: 120,
            clients: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    pub timestamp: Key,
    pub snapshot: Key,
    pub bins: Option<Key>,
    pub targets: TargetsKey,
    pub old: OldKeys,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OldKeys {
    pub timestamp: Option<Key>,
    pub snapshot: Option<Key>,
    pub targets: Option<Key>,
}

/// `$name` has the fields of every key and its own.
macro_rules! key {
    ($name:ident { $($own:ident: $kind:ty),* }) => {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub $own: $kind,)*
            pub name: Option<String>,
            pub path: Option<PathBuf>,
            pub passphrase_env: Option<String>,
            pub passphrase_file: Option<PathBuf>,
            pub passphrase_fd: Option<u32>,
            pub passphrase_credential: Option<String>,
            pub command: Option<KeyCommand>,
            pub pkcs11: Option<KeyToken>,
            pub aws_kms: Option<KeyInKms>,
        }
    };
}

key!(Key {});
key!(TargetsKey { offline: bool });

impl Key {
    pub(super) fn has_passphrase(&self) -> bool {
        self.passphrase_env.is_some()
            || self.passphrase_file.is_some()
            || self.passphrase_fd.is_some()
            || self.passphrase_credential.is_some()
    }

    /// Whether it says anything.
    pub(super) fn is_given(&self) -> bool {
        self.name.is_some()
            || self.path.is_some()
            || self.has_passphrase()
            || self.command.is_some()
            || self.pkcs11.is_some()
            || self.aws_kms.is_some()
    }
}

impl TargetsKey {
    /// Whether it is signed elsewhere, and the key.
    pub(super) fn split(self) -> (bool, Key) {
        let key = Key {
            name: self.name,
            path: self.path,
            passphrase_env: self.passphrase_env,
            passphrase_file: self.passphrase_file,
            passphrase_fd: self.passphrase_fd,
            passphrase_credential: self.passphrase_credential,
            command: self.command,
            pkcs11: self.pkcs11,
            aws_kms: self.aws_kms,
        };
        (self.offline, key)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeyCommand {
    pub run: Vec<String>,
    pub public: Option<PathBuf>,
    pub timeout: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeyToken {
    pub module: Option<PathBuf>,
    pub token: Option<String>,
    pub label: Option<String>,
    pub id: Option<String>,
    pub pin_env: Option<String>,
    pub pin_file: Option<PathBuf>,
    pub pin_fd: Option<u32>,
    pub pin_credential: Option<String>,
    pub timeout: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeyInKms {
    pub key: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub timeout: Option<Span>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub listen: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub filter: String,
    pub json: bool,
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".into(),
            json: false,
            access: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub path: String,
    pub kind: Kind,
    pub learn: Option<Learn>,
    pub on_drift: Option<OnDrift>,
    pub unsigned: Option<Unsigned>,
    pub query: Option<Vec<String>>,
    pub max_targets: Option<u64>,
}
