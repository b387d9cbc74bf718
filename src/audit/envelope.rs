//! One metadata file, read as strictly as the gate writes it, so that no byte of it can change unseen: the signed part is
//! covered by signatures, and everything else has one form only.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::tuf::{build, canonical, json};

/// A file that has the form of signed metadata.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// The signed object.
    pub(super) signed: Value,
    /// Key ids of its signatures, in their order; none twice.
    pub(super) keyids: Vec<String>,
    /// The file.
    pub(super) bytes: Bytes,
    /// Whether the bytes are those the gate would write. Other tools put white space between, which means nothing.
    pub(super) exact: bool,
}

impl Envelope {
    /// Reads a file; the error says what in it the gate never writes.
    pub(super) fn read(bytes: Bytes) -> Result<Self, String> {
        let value = json::parse(&bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        let Value::Object(mut fields) = value else {
            return Err("it is no JSON object".to_owned());
        };
        let (signed, signatures) = (fields.remove("signed"), fields.remove("signatures"));
        nothing_else(&fields, "the file")?;
        let (Some(signed @ Value::Object(_)), Some(Value::Array(lines))) = (signed, signatures) else {
            return Err("`signed` and `signatures` are not both there".to_owned());
        };
        let canonical = canonical::to_vec(&signed).map_err(|error| error.to_string())?;
        let mut rebuilt = b"{\"signatures\":[".to_vec();
        let mut keyids = Vec::new();
        for line in lines {
            let (keyid, sig) = signature(line)?;
            if keyids.contains(&keyid) {
                return Err(format!("key {keyid} signs twice"));
            }
            if !keyids.is_empty() {
                rebuilt.push(b',');
            }
            rebuilt.extend_from_slice(b"{\"keyid\":");
            canonical::write_str(&mut rebuilt, &keyid);
            rebuilt.extend_from_slice(b",\"sig\":");
            canonical::write_str(&mut rebuilt, &sig);
            rebuilt.push(b'}');
            keyids.push(keyid);
        }
        rebuilt.extend_from_slice(b"],\"signed\":");
        build::write_signed(&mut rebuilt, &canonical);
        rebuilt.push(b'}');
        Ok(Self {
            signed,
            keyids,
            exact: rebuilt == bytes,
            bytes,
        })
    }

    /// A text field of the signed part.
    pub(super) fn text(&self, field: &str) -> &str {
        self.signed.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its version; 0 when it has none.
    pub(super) fn version(&self) -> u64 {
        self.signed.get("version").and_then(Value::as_u64).unwrap_or_default()
    }
}

/// Key id and signature; the latter in lower-case hex: in any other case a byte could change and mean the same. A key id
/// is any text, and the one a key is listed under.
fn signature(line: Value) -> Result<(String, String), String> {
    let Value::Object(mut fields) = line else {
        return Err("a signature is no JSON object".to_owned());
    };
    let (keyid, sig) = (fields.remove("keyid"), fields.remove("sig"));
    nothing_else(&fields, "a signature")?;
    match (keyid, sig) {
        (Some(Value::String(keyid)), Some(Value::String(sig))) if is_hex(&sig) => Ok((keyid, sig)),
        _ => Err("a signature is not lower-case hex".to_owned()),
    }
}

fn nothing_else(fields: &Map<String, Value>, what: &str) -> Result<(), String> {
    match fields.keys().next() {
        Some(name) => Err(format!("{what} holds `{name}`, which nobody signed")),
        None => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Envelope, String> {
        Envelope::read(Bytes::from(text.to_owned()))
    }

    #[test]
    fn there_is_one_form() {
        let whole = r#"{"signatures":[{"keyid":"ab","sig":"0f"}],"signed":{"version":7}}"#;
        let file = read(whole).unwrap();
        assert!(file.exact && file.version() == 7 && file.keyids == ["ab"]);
        assert!(read(&whole.replace('7', r#""a key\nin PEM""#)).unwrap().exact);
        for (from, to) in [("{\"version", "{ \"version"), ("7}}", "7}}\n"), ("7", r#""a\u000ab""#)] {
            assert!(!read(&whole.replace(from, to)).unwrap().exact, "{to}");
        }
        for (from, to, why) in [
            ("0f", "0F", "lower-case"),
            ("\"0f\"", "\"0f\",\"alg\":1", "`alg`"),
            ("]", "],\"note\":1", "`note`"),
            ("}]", "},{\"keyid\":\"ab\",\"sig\":\"0e\"}]", "twice"),
            ("{\"version\":7}", "[]", "not both there"),
            ("7", "7.0", "no integer"),
            ("7", "7,\"version\":7", "`version` stands twice"),
            ("}}", "}", "not JSON"),
        ] {
            let refused = read(&whole.replace(from, to)).unwrap_err();
            assert!(refused.contains(why), "{to}: {refused}");
        }
    }
}
