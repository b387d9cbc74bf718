//! The cache's metrics, looked up by label once.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::Metrics;

/// See [`Metrics`] for what each means.
pub(super) struct Counts {
    pub hits_memory: IntCounter,
    pub hits_disk: IntCounter,
    pub misses: IntCounter,
    pub kept: IntCounter,
    pub refused: IntCounter,
    pub dropped: IntCounter,
    pub aborted: IntCounter,
    pub evicted_memory: IntCounter,
    pub evicted_disk: IntCounter,
    pub damaged: IntCounter,
    pub bytes_memory: IntGauge,
    pub bytes_disk: IntGauge,
    pub bytes_mapped: IntGauge,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let hits = |place: &str| metrics.cache_hits_total.with_label_values(&[place]);
        let fills = |outcome: &str| metrics.cache_fills_total.with_label_values(&[outcome]);
        let evicted = |place: &str| metrics.cache_evictions_total.with_label_values(&[place]);
        let bytes = |place: &str| metrics.cache_bytes.with_label_values(&[place]);
        Self {
            hits_memory: hits("memory"),
            hits_disk: hits("disk"),
            misses: metrics.cache_misses_total.clone(),
            kept: fills("kept"),
            refused: fills("refused"),
            dropped: fills("dropped"),
            aborted: fills("aborted"),
            evicted_memory: evicted("memory"),
            evicted_disk: evicted("disk"),
            damaged: metrics.cache_damaged_total.clone(),
            bytes_memory: bytes("memory"),
            bytes_disk: bytes("disk"),
            bytes_mapped: bytes("mapped"),
        }
    }
}

/// A gauge's value for a length: saturating, since gauges are signed.
pub(super) fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
