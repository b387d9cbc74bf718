//! Layout, expiries and caps of the metadata.

use std::time::Duration;

use super::{
    Layout, Tuf,
    check::{Checked, HOUR, within},
    error::Source,
    raw,
};
use crate::{
    compat::{self, Client},
    tuf::layout::Generation,
};

/// Limits of clients on a targets role: python-tuf, go-tuf, tuf-js and sigstore-tuf read 5,000,000 bytes; tuf-js needs
/// three seconds to parse 5,000 targets.
const MAX_BIN_BYTES: u64 = 5_000_000;
const MAX_BIN_TARGETS: u64 = 5_000;

/// Bins that they grow to unless told otherwise: enough for four million targets.
const MAX_BINS: u32 = 4_096;

/// Checks `[tuf]`.
pub(super) fn check(source: &Source<'_>, raw: &raw::Tuf) -> Checked<Tuf> {
    let at = |key, message: &str| source.at(&["tuf", key], message);
    if Generation::of(raw.bins).is_none() {
        let error = at(
            "bins",
            &format!("`tuf.bins` is a power of two from 2 to 16384, not {}", raw.bins),
        );
        return Err(error.hint("plan for about 1,000 targets a bin"));
    }
    let max_bins = raw.max_bins.unwrap_or(MAX_BINS.max(raw.bins));
    if Generation::of(max_bins).is_none() {
        let error = at(
            "max_bins",
            &format!("`tuf.max_bins` is a power of two from 2 to 16384, not {max_bins}"),
        );
        return Err(error.hint("with 16384, tough asks for 16384 files at each start"));
    }
    if max_bins < raw.bins {
        let error = at("max_bins", "`tuf.max_bins` is less than `tuf.bins`");
        return Err(error.hint(format!("`max_bins = {}` keeps as many as there are", raw.bins)));
    }
    let expiries = [
        ("timestamp_expiry", raw.timestamp_expiry),
        ("snapshot_expiry", raw.snapshot_expiry),
        ("bin_expiry", raw.bin_expiry),
        ("delegator_expiry", raw.delegator_expiry),
        ("targets_expiry", raw.targets_expiry),
    ];
    for (key, span) in expiries {
        within(source, "tuf", key, span, Duration::from_secs(2), HOUR * 24 * 3_650)?;
        if span.0.subsec_nanos() != 0 {
            return Err(at(key, &format!("`tuf.{key}` is in whole seconds (TUF spec 4.2)")));
        }
    }
    // What is refreshed without anybody's help must not outlive what vouches for it less often.
    for pair in expiries[..4].windows(2) {
        if let [(shorter, one), (longer, other)] = pair
            && one.0 > other.0
        {
            return Err(at(shorter, &format!("`tuf.{shorter}` is longer than `tuf.{longer}`")));
        }
    }
    if !(1..=MAX_BIN_TARGETS).contains(&raw.max_bin_targets) {
        return Err(at(
            "max_bin_targets",
            &format!("`tuf.max_bin_targets` is 1 to {MAX_BIN_TARGETS}"),
        )
        .hint("tuf-js takes time that grows with the square of a bin's targets"));
    }
    if !(1..=raw.max_bin_targets).contains(&raw.grow_at) {
        return Err(at(
            "grow_at",
            &format!("`tuf.grow_at` is 1 to `tuf.max_bin_targets` ({})", raw.max_bin_targets),
        )
        .hint("half of `max_bin_targets` leaves room while bins grow"));
    }
    if !(1_024..=MAX_BIN_BYTES).contains(&raw.max_bin_bytes.0) {
        return Err(at(
            "max_bin_bytes",
            &format!("`tuf.max_bin_bytes` is 1024 to {MAX_BIN_BYTES}"),
        )
        .hint("clients refuse a role of more than 5,000,000 bytes"));
    }
    if raw.submissions_per_hour == 0 {
        let error = at("submissions_per_hour", "`tuf.submissions_per_hour` is 1 at least");
        return Err(error.hint("who may submit nothing needs no role"));
    }
    let layout = match raw.layout {
        raw::Layout::Bins => Layout::Bins,
        raw::Layout::Flat => Layout::Flat,
    };
    Ok(Tuf {
        clients: clients(source, raw.clients.as_deref(), layout)?,
        layout,
        bins: raw.bins,
        max_bins,
        grow_at: raw.grow_at,
        targets_expiry: raw.targets_expiry.0,
        delegator_expiry: raw.delegator_expiry.0,
        bin_expiry: raw.bin_expiry.0,
        snapshot_expiry: raw.snapshot_expiry.0,
        timestamp_expiry: raw.timestamp_expiry.0,
        max_bin_targets: raw.max_bin_targets,
        max_bin_bytes: raw.max_bin_bytes.0,
        submissions_per_hour: raw.submissions_per_hour,
    })
}

/// Checks `clients`: known ones that read this layout.
fn clients(source: &Source<'_>, keys: Option<&[String]>, layout: Layout) -> Checked<Vec<Client>> {
    let Some(keys) = keys else {
        return Ok(match layout {
            Layout::Bins => Client::BINS.to_vec(),
            Layout::Flat => Client::FLAT.to_vec(),
        });
    };
    let at = |message: String| source.at(&["tuf", "clients"], &message);
    let one = |key: &String| {
        let known = Client::of_key(key).ok_or_else(|| {
            let keys: Vec<_> = Client::ALL.iter().map(|client| client.key()).collect();
            at(format!("`tuf.clients` has `{key}`, which is no known client")).hint(keys.join(", "))
        })?;
        match layout {
            Layout::Bins if !compat::bins(0, 0, &[known]).is_empty() => {
                Err(at(format!("`tuf.clients` has `{key}`, which reads no bins")).hint("`layout = \"flat\"` is for it"))
            }
            _ => Ok(known),
        }
    };
    keys.iter().map(one).collect()
}
