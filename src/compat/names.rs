//! What clients make of target names.

use serde::Serialize;
use unicode_normalization::is_nfc;

use crate::tuf::canonical;

/// Example names that break a client.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Names {
    /// Not NFC.
    pub not_nfc: Option<String>,
    /// Two names whose order by UTF-16 units is not that by code points.
    pub utf16_order: Option<String>,
    /// Two names that tough sorts otherwise than all others.
    pub quoted_order: Option<String>,
    /// One that rust-tuf takes for an attack on a file system.
    pub unsafe_path: Option<String>,
    /// Not ASCII.
    pub non_ascii: Option<String>,
    /// `__proto__`.
    pub proto: Option<String>,
    /// With a `:` in the first segment: tough may read a hash before it as a URL scheme.
    pub colon: Option<String>,
}

impl Names {
    /// Notes a name as such.
    pub fn note(&mut self, path: &str) {
        let example = |kept: &mut Option<String>, hit: bool| {
            if hit && kept.is_none() {
                *kept = Some(path.to_owned());
            }
        };
        example(&mut self.proto, path == "__proto__");
        if !path.is_ascii() {
            example(&mut self.non_ascii, true);
            example(&mut self.not_nfc, !is_nfc(path));
        }
        let first = path.split('/').next().unwrap_or_default();
        example(&mut self.colon, first.contains(':'));
        let unsafe_to_windows = path.contains(['\\', ':', '<', '>', '"', '|', '?', '*'])
            || path.split('/').any(|part| part == ".." || is_device(part));
        example(&mut self.unsafe_path, unsafe_to_windows);
    }

    /// Notes two neighbours of a role, `a` before `b` by code points.
    pub fn pair(&mut self, a: &str, b: &str) {
        let both = || Some(format!("`{a}` and `{b}`"));
        if !a.encode_utf16().lt(b.encode_utf16()) {
            self.utf16_order = self.utf16_order.take().or_else(both);
        } else if !canonical::before_for_all(a, b) {
            self.quoted_order = self.quoted_order.take().or_else(both);
        }
    }

    /// Takes over another's, where it has none itself.
    pub fn merge(&mut self, other: Self) {
        let first = |mine: &mut Option<String>, theirs: Option<String>| {
            if mine.is_none() {
                *mine = theirs;
            }
        };
        first(&mut self.not_nfc, other.not_nfc);
        first(&mut self.utf16_order, other.utf16_order);
        first(&mut self.quoted_order, other.quoted_order);
        first(&mut self.unsafe_path, other.unsafe_path);
        first(&mut self.non_ascii, other.non_ascii);
        first(&mut self.proto, other.proto);
        first(&mut self.colon, other.colon);
    }
}

/// Device names of Windows, which rust-tuf refuses in any segment.
fn is_device(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or_default();
    if !(3..=4).contains(&stem.len()) {
        return false;
    }
    let stem = stem.to_ascii_uppercase();
    let numbered = |name: &str| {
        let number = stem.strip_prefix(name);
        number.is_some_and(|number| number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}
