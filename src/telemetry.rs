//! Logs and metrics. All metrics stand in one struct.

use std::io::IsTerminal;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::Log;

/// Environment variable whose filter directives take the place of `[log] filter`.
pub const FILTER_VARIABLE: &str = "TUFGATE_LOG";

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a filter.
    #[error("log filter `{filter}`: {detail}")]
    Filter {
        /// The directives.
        filter: String,
        /// What is wrong.
        detail: String,
    },
    /// Something else set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Sends log lines of this process to standard error. Lines of the `log` crate (Pingora's) come out the same way.
pub fn init(log: &Log) -> Result<(), LogError> {
    let filter = filter(log, std::env::var(FILTER_VARIABLE).ok())?;
    // A closed standard error must not take the process down, as reporting the failed write there would.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    let lines = match log.json {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|_| LogError::Twice)
}

fn filter(log: &Log, overriding: Option<String>) -> Result<EnvFilter, LogError> {
    let mut directives = overriding.unwrap_or_else(|| log.filter.clone());
    if !log.access {
        directives.push_str(",tufgate::access=off");
    }
    // Errors there are clients that left, and what concerns a request is in the access log.
    if !directives.contains("pingora") {
        directives.push_str(",pingora_core=warn,pingora_proxy=off");
    }
    EnvFilter::builder()
        .parse(&directives)
        .map_err(|error| LogError::Filter {
            detail: error.to_string(),
            filter: directives,
        })
}

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
    (@new IntGaugeVec, $name:expr, $help:expr, [$($label:literal),+]) => {
        IntGaugeVec::new(Opts::new($name, $help), &[$($label),+])
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
    /// Fetches not learned, by reason.
    unlearned_total: IntCounterVec["reason"],
    /// Neutral reads, by outcome.
    neutral_reads_total: IntCounterVec["outcome"],
    /// 1 while the upstream does not answer.
    upstream_down: IntGauge,
    /// Requests of the gate's own that the upstream refused: 401 or 403.
    neutral_refusals_total: IntCounter,
    /// Neutral reads waiting.
    neutral_queue: IntGauge,
    /// Publications made.
    publications_total: IntCounter,
    /// Seconds one publication took.
    publication_seconds: Histogram,
    /// Times that signing was tried and failed.
    signing_failures_total: IntCounter,
    /// Unix time since which nothing could be signed; 0 while it can.
    signing_failing_since_seconds: IntGauge,
    /// Observations waiting for the signer.
    pending: IntGauge,
    /// Live targets.
    targets: IntGauge,
    /// Unix time at which timestamp.json expires.
    timestamp_expires: IntGauge,
    /// Unix time at which the file of a role that others sign expires, by role.
    delegated_expires: IntGaugeVec["role"],
    /// Submissions of such files, by what was answered: `accepted` or the status.
    submissions_total: IntCounterVec["answer"],
    /// Unix time at which the listener's certificate expires; 0 without TLS.
    certificate_expires_seconds: IntGauge,
    /// New certificates that could not be taken, by their files' changes.
    certificate_failures_total: IntCounter,
    /// TLS handshakes with clients that failed.
    tls_failures_total: IntCounter,
    /// HTTP/2 connections of clients that were ended for what they did.
    http2_abuse_total: IntCounter,
    /// Failures of background roles, by role.
    role_failures_total: IntCounterVec["role"],
    /// Requests for which the program that the gate is in left out a hook of the gate's, by hook: an error in it.
    untapped_total: IntCounterVec["hook"],
    /// 1 while wildcard answers of the upstream keep learning by fetch off.
    learning_disabled: IntGauge,
    /// Artifacts found in the cache, by where they lay: `memory` or `disk`.
    cache_hits_total: IntCounterVec["place"],
    /// Look-ups of artifacts that the cache did not hold.
    cache_misses_total: IntCounter,
    /// Artifacts on their way into the cache, by how it ended: `kept`, `refused` (other bytes came), `dropped` (no room,
    /// or forgotten meanwhile) or `aborted` (the end never came).
    cache_fills_total: IntCounterVec["outcome"],
    /// Artifacts that left the cache to make room, by place.
    cache_evictions_total: IntCounterVec["place"],
    /// Files of the cache that were not what the gate had written; none was served.
    cache_damaged_total: IntCounter,
    /// Bytes the cache holds, by place: `memory`, `disk` (fills in progress and files that are still read included), and
    /// `mapped`, the part of `disk` that is mapped into memory.
    cache_bytes: IntGaugeVec["place"],
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked_and_the_environment_wins() {
        let log = Log {
            filter: "info".into(),
            json: false,
            access: false,
        };
        let quiet = filter(&log, None).unwrap().to_string();
        assert_eq!(quiet, "tufgate::access=off,pingora_proxy=off,pingora_core=warn,info");
        let over = filter(&log, Some("tufgate=debug".into())).unwrap().to_string();
        assert!(over.contains("tufgate=debug") && !over.contains("info"), "{over}");
        let asked = filter(&log, Some("info,pingora_core=info".into())).unwrap().to_string();
        assert!(
            asked.contains("pingora_core=info") && !asked.contains("pingora_proxy=off"),
            "{asked}"
        );
        assert!(matches!(
            filter(&log, Some("a=b=c".into())),
            Err(LogError::Filter { .. })
        ));
    }

    #[test]
    fn metrics_are_written_under_the_gates_name() {
        let metrics = Metrics::new().unwrap();
        metrics.requests_total.with_label_values(&["200"]).inc();
        metrics.pending.set(3);
        let text = metrics.text();
        assert!(text.contains("tufgate_requests_total{status=\"200\"} 1"), "{text}");
        assert!(text.contains("tufgate_pending 3"), "{text}");
    }
}
