//! Metadata as it came, read leniently: what a client would refuse is noted, and reading goes on.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use unicode_normalization::is_nfc;

use super::{Code, Place, finding::Findings};
use crate::{
    digest::Digest,
    tuf::{
        canonical::{self, before_for_all},
        json::max_objects,
        verify::is_version_1,
    },
};

/// The largest integer that a client in JavaScript holds exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;
/// Oddities of one file that are told.
const TOLD: usize = 20;

/// Whether it begins as HTML and XML do.
fn is_page(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(b"<")
}

/// A signed file.
#[derive(Debug)]
pub struct Document {
    /// The `signed` object.
    pub signed: Value,
    /// Its canonical form, which signatures cover; `None` when it has none.
    pub canonical: Option<Vec<u8>>,
    /// Key id and signature; `None` for one that is not hex.
    pub signatures: Vec<(String, Option<Vec<u8>>)>,
    /// Length of the file.
    pub length: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// What every role has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Greater than 0 where it is right.
    pub version: u64,
    /// `None` when it cannot be read.
    pub expires: Option<Timestamp>,
}

impl Document {
    /// Reads a file; `None` when there is no envelope to go on with.
    pub fn read(bytes: &[u8], place: &Place, findings: &mut Findings) -> Option<Self> {
        let mut notes = Notes {
            oddities: Vec::new(),
            objects: max_objects(bytes.len()),
        };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Lenient(&mut notes).deserialize(&mut reader);
        let value = value.and_then(|value| reader.end().map(|()| value));
        let mut envelope = match value {
            Ok(Value::Object(envelope)) => envelope,
            Ok(_) => {
                findings.error(Code::JsonInvalid, place, "it is no JSON object");
                return None;
            }
            Err(_) if is_page(bytes) => {
                findings.error(Code::JsonInvalid, place, "it is a web page (HTML), not TUF metadata");
                return None;
            }
            Err(error) => {
                findings.error(Code::JsonInvalid, place, format_args!("it is not JSON: {error}"));
                return None;
            }
        };
        for (code, message) in notes.oddities {
            match code {
                Code::JsonDuplicateKey | Code::JsonFloat => findings.error(code, place, message),
                _ => findings.warning(code, place, message),
            }
        }
        let signatures = envelope.remove("signatures");
        let signed = envelope.remove("signed");
        let (Some(Value::Object(signed)), Some(Value::Array(lines))) = (signed, signatures) else {
            findings.error(
                Code::JsonInvalid,
                place,
                "it has no `signed` object or no `signatures` list",
            );
            return None;
        };
        for field in envelope.keys() {
            findings.note(
                Code::UnknownField,
                place,
                format_args!("`{field}` stands beside `signed`"),
            );
        }
        let signatures = lines.iter().filter_map(|line| signature(line, place, findings));
        let signatures = signatures.collect();
        let signed = Value::Object(signed);
        // A float has been told of already.
        let canonical = canonical::to_vec(&signed).ok();
        Some(Self {
            signed,
            canonical,
            signatures,
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
        })
    }

    /// Reads what every role has, and tells what is wrong with it. `known` are the further fields of that role.
    pub fn header(&self, kind: &str, known: &[&str], place: &Place, findings: &mut Findings) -> Header {
        let text = |field: &str| self.signed.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("_type") != kind {
            let message = format!("its `_type` is `{}`, not `{kind}`", text("_type"));
            findings.error(Code::MetadataType, place, message);
        }
        let spec = text("spec_version");
        if !is_version_1(spec) {
            findings.error(
                Code::MetadataType,
                place,
                format_args!("its spec_version is `{spec}`, not 1.x"),
            );
        }
        let version = self.signed.get("version").and_then(Value::as_u64).unwrap_or(0);
        if version == 0 {
            findings.error(
                Code::MetadataField,
                place,
                "its version is not an integer greater than 0",
            );
        }
        let expires = text("expires");
        let parsed = expires.parse::<Timestamp>().ok();
        if parsed.is_none() {
            findings.error(
                Code::MetadataField,
                place,
                format_args!("its `expires` is `{expires}`, no date"),
            );
        } else if !is_plain_date(expires) {
            let message = format!("its `expires` is `{expires}`, not of the form 2030-01-31T00:00:00Z");
            findings.warning(Code::MetadataField, place, message);
        }
        for field in self.signed.as_object().into_iter().flat_map(Map::keys) {
            let common = ["_type", "spec_version", "version", "expires"];
            if !common.contains(&&**field) && !known.contains(&&**field) {
                findings.note(Code::UnknownField, place, format_args!("it has a field `{field}`"));
            }
        }
        Header {
            version,
            expires: parsed,
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ` (TUF spec 4.2.1).
fn is_plain_date(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

fn signature(line: &Value, place: &Place, findings: &mut Findings) -> Option<(String, Option<Vec<u8>>)> {
    let text = |field: &str| line.get(field).and_then(Value::as_str);
    let (Some(keyid), Some(sig)) = (text("keyid"), text("sig")) else {
        findings.error(
            Code::JsonInvalid,
            place,
            "a line of `signatures` lacks `keyid` or `sig`",
        );
        return None;
    };
    let decoded = hex::decode(sig).ok();
    if decoded.is_none() {
        findings.warning(
            Code::SignatureInvalid,
            place,
            format_args!("the signature by `{keyid}` is not hex"),
        );
    }
    Some((keyid.to_owned(), decoded))
}

/// Builds a [`Value`] and notes what strict readers refuse or clients read differently.
struct Lenient<'a>(&'a mut Notes);

/// What a reader has seen, and how many objects it may still see.
struct Notes {
    /// At most [`TOLD`].
    oddities: Vec<(Code, String)>,
    objects: usize,
}

impl Lenient<'_> {
    fn odd(&mut self, code: Code, message: String) {
        if self.0.oddities.len() < TOLD {
            self.0.oddities.push((code, message));
        }
    }

    fn text(&mut self, text: &str) {
        if !is_nfc(text) {
            let message = format!("`{text}` is not NFC: tough verifies another text than was signed");
            self.odd(Code::TextNotNfc, message);
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            let message = format!("`{}` holds a control character", text.escape_debug());
            self.odd(Code::TextControl, message);
        }
    }

    fn number(&mut self, magnitude: u64) {
        if magnitude > MAX_SAFE {
            let message = format!("{magnitude} is more than clients in JavaScript hold");
            self.odd(Code::JsonBigNumber, message);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Lenient<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lenient<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<Value, E> {
        self.number(value);
        Ok(value.into())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<Value, E> {
        self.number(value.unsigned_abs());
        Ok(value.into())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<Value, E> {
        self.odd(
            Code::JsonFloat,
            format!("{value} is no integer, so nothing can sign it"),
        );
        Ok(value.into())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Value, E> {
        self.text(value);
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Lenient(self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        match self.0.objects.checked_sub(1) {
            Some(left) => self.0.objects = left,
            None => return Err(A::Error::custom("more objects than metadata of its length has")),
        }
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            self.text(&key);
            let value = fields.next_value_seed(Lenient(self.0))?;
            if map.contains_key(&key) {
                let message = format!("an object holds the key `{key}` twice: readers differ in which one they keep");
                self.odd(Code::JsonDuplicateKey, message);
            }
            map.insert(key, value);
        }
        // Sorted pairs that all clients order alike make a whole that all order alike.
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_unstable();
        for pair in keys.windows(2) {
            if !before_for_all(pair[0], pair[1]) {
                let message = format!(
                    "clients sort `{}` and `{}` differently, and so verify another text than was signed",
                    pair[0], pair[1]
                );
                self.odd(Code::KeyOrder, message);
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(bytes: &[u8]) -> (bool, Vec<&'static str>) {
        let mut findings = Findings::default();
        let read = Document::read(bytes, &Place::file("x"), &mut findings).is_some();
        (read, findings.codes())
    }

    #[test]
    fn oddities_are_told_and_reading_goes_on() {
        for (signed, code) in [
            (r#"{"a":1,"a":2}"#, "json-duplicate-key"),
            (r#"{"a":{"b":1,"b":1}}"#, "json-duplicate-key"),
            (r#"{"a":1.5}"#, "json-float"),
            (r#"{"a":9007199254740992}"#, "json-big-number"),
            ("{\"a\":\"e\u{301}\"}", "text-not-nfc"),
            ("{\"e\u{301}\":1}", "text-not-nfc"),
            (r#"{"a":"\u0007"}"#, "text-control"),
            (r#"{"a":1,"a b":2}"#, "key-order"),
            ("{\"\u{ff01}\":1,\"😀\":2}", "key-order"),
        ] {
            let file = format!("{{\"signatures\":[],\"signed\":{signed}}}");
            assert_eq!(codes(file.as_bytes()), (true, vec![code]), "{signed}");
        }
        assert_eq!(
            codes(br#"{"signatures":[],"signed":{"a":1,"b":[]}}"#),
            (true, Vec::new())
        );
    }

    #[test]
    fn what_is_no_envelope_is_told() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for bad in [
            "",
            "<html>",
            "[]",
            "{}",
            "{\"signed\":{},\"signatures\":{}}",
            "{\"signed\":{},\"signatures\":[]} x",
            &deep,
        ] {
            assert_eq!(codes(bad.as_bytes()), (false, vec!["json-invalid"]), "{bad}");
        }
        assert_eq!(
            codes(br#"{"signed":{},"signatures":[{"keyid":"a"}]}"#),
            (true, vec!["json-invalid"])
        );
        assert_eq!(
            codes(br#"{"signed":{},"signatures":[{"keyid":"a","sig":"xy"}]}"#),
            (true, vec!["signature-invalid"])
        );
    }

    #[test]
    fn headers_are_read() {
        let read = |signed: &str| {
            let mut findings = Findings::default();
            let file = format!("{{\"signatures\":[],\"signed\":{signed}}}");
            let document = Document::read(file.as_bytes(), &Place::file("x"), &mut findings).unwrap();
            let header = document.header("root", &["keys"], &Place::file("x"), &mut findings);
            (header.version, header.expires.is_some(), findings.codes())
        };
        let good = r#"{"_type":"root","spec_version":"1.0.0","version":3,"expires":"2030-01-01T00:00:00Z","keys":1}"#;
        assert_eq!(read(good), (3, true, vec![]));
        let odd = r#"{"_type":"targets","spec_version":"2","version":-1,"expires":"2030-01-01T00:00:00.5Z","other":1}"#;
        let expected = vec![
            "metadata-type",
            "metadata-type",
            "metadata-field",
            "metadata-field",
            "unknown-field",
        ];
        assert_eq!(read(odd), (0, true, expected));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\":,a0-9.e-]{0,60}") {
            codes(&bytes);
            codes(json.as_bytes());
        }
    }
}
