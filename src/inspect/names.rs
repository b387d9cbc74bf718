//! What clients make of target names. Pure.

use unicode_normalization::is_nfc;

use super::{Code, Place, facts::Facts, finding::Findings};
use crate::tuf::canonical;

/// Pairs that some clients sort otherwise; that they are there has been told when the file was read.
pub fn order(keys: &[&String], facts: &mut Facts) {
    for pair in keys.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let both = || Some(format!("`{a}` and `{b}`"));
        if !a.encode_utf16().lt(b.encode_utf16()) {
            facts.names.utf16_order = facts.names.utf16_order.take().or_else(both);
        } else if !canonical::before_for_all(a, b) {
            facts.names.quoted_order = facts.names.quoted_order.take().or_else(both);
        }
    }
}

/// What clients make of a name as such.
pub fn name(path: &str, facts: &mut Facts, findings: &mut Findings) {
    let place = Place::Target(path.to_owned());
    let names = &mut facts.names;
    let example = || Some(path.to_owned());
    let mut hostile = |why: &str| findings.warning(Code::NameHostile, &place, why);
    let segments = || path.split('/');
    if !is_nfc(path) {
        names.not_nfc = names.not_nfc.take().or_else(example);
    }
    if !path.is_ascii() {
        names.non_ascii = names.non_ascii.take().or_else(example);
    }
    if path == "__proto__" {
        names.proto = example();
        hostile("tuf-js never finds it: it is no own property of a plain object");
    }
    if path.split('/').next().is_some_and(|first| first.contains(':')) {
        names.colon = names.colon.take().or_else(example);
        hostile("a `:` in the first segment can be read as a URL scheme");
    }
    if path.contains(['\\', ':', '<', '>', '"', '|', '?', '*'])
        || segments().any(|part| part == ".." || is_device(part))
    {
        names.unsafe_path = names.unsafe_path.take().or_else(example);
    }
    if path.is_empty() || path.starts_with('/') || segments().any(|part| matches!(part, "" | "." | "..")) {
        hostile("it is not a relative path of whole segments: clients and servers read it differently");
    } else if path.contains(['\\', '?', '#', '%']) {
        hostile("`\\`, `?`, `#` and `%` mean something else in a URL: clients ask for another path");
    } else if path.chars().any(char::is_control) {
        hostile("it holds a control character");
    }
}

/// Device names of Windows, which rust-tuf refuses in any segment.
fn is_device(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered = |name: &str| {
        let number = stem.strip_prefix(name);
        number.is_some_and(|number| number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}
