//! Logs and metrics. All metrics stand in one struct.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident $([$($label:literal),+])?,)+) => {
        /// Every metric of the gate, named `tufgate_<field>`.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Metrics {
            /// Fresh metrics on a registry of their own.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let name = concat!("tufgate_", stringify!($name));
                    let help = concat!($($help),+).trim();
                    let $name = metrics!(@new $kind, name, help $(, [$($label),+])?)?;
                    registry.register(Box::new($name.clone()))?;
                )+
                Ok(Self { registry, $($name),+ })
            }
        }
    };
    (@new IntCounter, $name:expr, $help:expr) => { IntCounter::new($name, $help) };
    (@new IntGauge, $name:expr, $help:expr) => { IntGauge::new($name, $help) };
    (@new Histogram, $name:expr, $help:expr) => { Histogram::with_opts(HistogramOpts::new($name, $help)) };
    (@new IntCounterVec, $name:expr, $help:expr, [$($label:literal),+]) => {
        IntCounterVec::new(Opts::new($name, $help), &[$($label),+])
    };
}

metrics! {
    /// Requests answered, by status.
    requests_total: IntCounterVec["status"],
    /// Observations committed, by provenance or act.
    observations_total: IntCounterVec["kind"],
    /// Responses cut or refused because bytes differ from the record.
    mismatches_total: IntCounter,
    /// Paths whose drift a neutral read confirmed.
    drifts_total: IntCounter,
    /// Uploads refused because other bytes are recorded.
    conflicts_total: IntCounter,
    /// Recorded bodies that left the gate untapped: always a bug.
    untapped_total: IntCounter,
    /// Fetches not learned, by reason.
    unlearned_total: IntCounterVec["reason"],
    /// Neutral reads, by outcome.
    neutral_reads_total: IntCounterVec["outcome"],
    /// Neutral reads waiting.
    neutral_queue: IntGauge,
    /// Publications made.
    publications_total: IntCounter,
    /// Seconds one publication took.
    publication_seconds: Histogram,
    /// Observations waiting for the signer.
    pending: IntGauge,
    /// Live targets.
    targets: IntGauge,
    /// Unix time at which timestamp.json expires.
    timestamp_expires: IntGauge,
    /// Failures of background roles, by role.
    role_failures_total: IntCounterVec["role"],
    /// 1 while wildcard answers of the upstream keep learning by fetch off.
    learning_disabled: IntGauge,
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}
