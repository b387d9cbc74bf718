//! What is told of target names. Pure; what clients make of them is in `compat`.

use super::{Code, Place, finding::Findings};
use crate::compat::Facts;

/// What clients make of a name as such.
pub fn name(path: &str, facts: &mut Facts, findings: &mut Findings) {
    let place = Place::Target(path.to_owned());
    facts.names.note(path);
    let mut hostile = |why: &str| findings.warning(Code::NameHostile, &place, why);
    let segments = || path.split('/');
    if path == "__proto__" {
        hostile("tuf-js never finds it: it is no own property of a plain object");
    }
    if segments().next().is_some_and(|first| first.contains(':')) {
        hostile("a `:` in the first segment can be read as a URL scheme");
    }
    if path.is_empty() || path.starts_with('/') || segments().any(|part| matches!(part, "" | "." | "..")) {
        hostile("it is not a relative path of whole segments: clients and servers read it differently");
    } else if path.contains(['\\', '?', '#', '%']) {
        hostile("`\\`, `?`, `#` and `%` mean something else in a URL: clients ask for another path");
    } else if path.chars().any(char::is_control) {
        hostile("it holds a control character");
    }
}
