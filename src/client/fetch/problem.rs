//! What a server says of its refusal in `application/problem+json` (RFC 9457), made harmless: it is for people, and only
//! the gate's own types mean something.

use std::fmt;

use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::Value;

use crate::terminal::printable;

/// The most bytes of a problem.
pub(in crate::client) const MOST: u64 = 16 << 10;
/// The most characters of it that are shown.
const SHOWN: usize = 300;
/// What the gate's types begin with.
const OURS: &str = "urn:tufgate:problem:";

/// Why a server refuses, in its own words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// The end of the gate's own type: `drift` of `urn:tufgate:problem:drift`.
    pub kind: Option<String>,
    /// Its detail, else its title: printable, at most 300 characters; may be empty.
    pub text: String,
    /// Its `hint`: what to do; printable, at most 300 characters.
    pub hint: Option<String>,
}

impl Problem {
    /// Whether an answer's body is said to be one.
    pub(in crate::client) fn announced(headers: &HeaderMap) -> bool {
        let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let media = media.and_then(|media| media.split(';').next()).unwrap_or_default();
        media.trim().eq_ignore_ascii_case("application/problem+json")
    }

    /// Reads a body.
    pub(in crate::client) fn parse(body: &[u8]) -> Option<Self> {
        let Value::Object(body) = serde_json::from_slice(body).ok()? else {
            return None;
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = text("type").and_then(|kind| kind.strip_prefix(OURS));
        Some(Self {
            kind: kind.map(beginning),
            text: text("detail").or(text("title")).map(beginning).unwrap_or_default(),
            hint: text("hint").map(beginning),
        })
    }

    /// Whether the server's bytes are not the recorded ones.
    pub fn is_drift(&self) -> bool {
        matches!(self.kind.as_deref(), Some("drift" | "mismatch"))
    }

    /// Whether it lasts: other bytes, or an answer no gate can judge, are the same in a moment.
    pub fn is_lasting(&self) -> bool {
        self.is_drift() || self.kind.as_deref() == Some("unverifiable")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.text {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// A beginning of a text, harmless to a terminal.
fn beginning(text: &str) -> String {
    let some: String = text.chars().take(SHOWN + 1).collect();
    let some = printable(&some);
    match some.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &some[..end]),
        None => some,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn detail_goes_before_title_and_only_the_gates_types_count() {
        let ours = br#"{"type":"urn:tufgate:problem:drift","title":"Bad Gateway","detail":"other bytes"}"#;
        let ours = Problem::parse(ours).unwrap();
        assert_eq!((ours.kind.as_deref(), &*ours.text), (Some("drift"), "other bytes"));
        assert!(ours.is_drift() && ours.is_lasting());
        let other = Problem::parse(br#"{"type":"about:blank","title":"Gone fishing","detail":7}"#).unwrap();
        assert_eq!((other.kind.as_deref(), &*other.text), (None, "Gone fishing"));
        assert!(!other.is_lasting());
        assert_eq!(Problem::parse(b"{}").unwrap().to_string(), "");
        assert_eq!(Problem::parse(b"[]"), None);
        let mut headers = HeaderMap::new();
        assert!(!Problem::announced(&headers));
        headers.insert(CONTENT_TYPE, "Application/Problem+JSON; charset=utf-8".parse().unwrap());
        assert!(Problem::announced(&headers));
    }

    proptest! {
        #[test]
        fn whatever_is_said_fits_a_line(detail in "\\PC{0,20}[\u{0}-\u{1f}\u{202e}é]{0,400}") {
            let body = serde_json::json!({ "type": format!("{OURS}{detail}"), "detail": detail }).to_string();
            let problem = Problem::parse(body.as_bytes()).unwrap();
            for text in [problem.kind.unwrap(), problem.text] {
                prop_assert!(text.chars().count() <= SHOWN + 1);
                let obeyed = |letter: char| letter.is_control() || letter == '\u{202e}';
                prop_assert!(!text.contains(obeyed));
            }
        }
    }
}
