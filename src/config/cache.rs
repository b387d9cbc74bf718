//! What the cache may be.

use std::{path::Path, time::Duration};

use super::{
    Cache,
    check::{Checked, HOUR, within},
    error::Source,
    raw,
    value::Size,
};

/// Every fill gathers up to this much in memory before it counts against `cache.memory`.
const MAX_IN_MEMORY: u64 = 64 << 20;

/// Largest artifact that is kept, where nothing is written.
const MAX_OBJECT: u64 = 1 << 30;

/// Checks `[cache]`. `taken` are folders of something else.
pub(super) fn check(source: &Source<'_>, folder: &Path, raw: &raw::Cache, taken: &[(&str, &Path)]) -> Checked<Cache> {
    let at = |key: &str, message: &str| source.at(&["cache", key], format!("`cache.{key}` {message}"));
    let (Size(memory), Size(memory_max_object)) = (raw.memory, raw.memory_max_object);
    let Size(disk) = raw.disk;
    let written = raw.max_object.map(|Size(written)| written);
    // What is not written fits what is.
    let fitting = if disk > 0 { MAX_OBJECT.min(disk) } else { MAX_OBJECT };
    let max_object = written.unwrap_or(fitting.max(memory_max_object));
    if memory_max_object > memory {
        return Err(at("memory_max_object", "is more than `cache.memory`")
            .hint("0 for both keeps nothing in memory, and small artifacts on disk"));
    }
    if memory_max_object > MAX_IN_MEMORY {
        return Err(at(
            "memory_max_object",
            "is at most 64 MiB: each fetch in progress gathers that much",
        ));
    }
    if memory_max_object > max_object {
        return Err(at("memory_max_object", "is more than `cache.max_object`"));
    }
    if disk > 0 && written.is_some_and(|written| written > disk) {
        return Err(at("max_object", "is more than `cache.disk`")
            .hint("lower `max_object` or raise `disk`; `disk = 0` keeps nothing on disk, whatever `max_object` is"));
    }
    let path = folder.join(&raw.path);
    if let Some((key, _)) = taken.iter().find(|(_, other)| *other == path) {
        return Err(at("path", &format!("is the folder of `{key}`")).hint("give the cache a folder of its own"));
    }
    within(source, "cache", "fresh_for", raw.fresh_for, Duration::ZERO, 24 * HOUR)?;
    Ok(Cache {
        memory,
        memory_max_object,
        path,
        disk,
        max_object,
        fresh_for: raw.fresh_for.0,
    })
}
