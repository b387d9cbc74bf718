//! What reading costs, beyond bytes.
//!
//! tuf-js builds its maps by object spread in a reduce, so that its time grows with the square of their entries, once to
//! read and once to write the canonical form. `TUF_JS_MODULES=target/integration/node node bench/tuf-js.mjs` measures both
//! constants with the installed tuf-js. Those below are of an earlier measurement with the whole client, on a quiet machine of
//! two cores at a thousand entries; that program, on a busy one, took two and a half times as long.

/// More targets in one role make tuf-js take over a second.
pub const CROWDED: u64 = 2_000;
/// Snapshot entries that tuf-js reads within a second.
pub(super) const TUF_JS_LISTED: u64 = 2_048;
/// Roles that tough loads one after another within a moment.
pub(super) const TOUGH_ROLES: u64 = 256;

/// Seconds of a snapshot with a thousand entries.
const SNAPSHOT: f64 = 0.19;
/// Seconds of a role with a thousand targets.
const ROLE: f64 = 0.17;

/// Seconds in which tuf-js reads a snapshot that lists so many roles, and a role that lists so many targets.
pub fn tuf_js_seconds(listed: u64, targets: u64) -> f64 {
    let square = |count: u64| (count as f64 / 1_000.0).powi(2);
    SNAPSHOT * square(listed) + ROLE * square(targets)
}
