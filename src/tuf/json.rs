//! Strict JSON, for metadata that others wrote.
//!
//! serde_json takes more than a signature can cover: of a key that stands twice it keeps the last, where another reader
//! keeps the first, and a number that is no integer has no canonical form (TUF spec 4.1). Two readers that see different
//! values behind one signature are an attack, so such text is refused, whoever signed it.
//!
//! A value takes at most some fifty times the bytes of its text (`[0],[0],…`), since objects, the costliest, may be no more
//! than a text of its length can need; readers bound the bytes.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most arrays and objects inside each other. Metadata needs 8, application data in `custom` some more; serde_json's own
/// bound is 128.
pub const MAX_DEPTH: usize = 64;

/// Objects that a text of so many bytes may hold. Metadata has one in over 20 bytes (`"a.json":{"version":1},`); an object
/// takes hundreds of bytes of memory, were it written in five.
pub fn max_objects(bytes: usize) -> usize {
    1_024 + bytes / 16
}

/// Text that is no strict JSON: what is wrong, with line and column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Reads one value.
///
/// # Errors
/// No JSON (RFC 8259) in UTF-8; bytes after the value; an object with one key twice; a number that is no integer between
/// `i64::MIN` and `u64::MAX` (`-0` and `1e3` are none either); more than [`MAX_DEPTH`] arrays and objects inside each
/// other.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let objects = Cell::new(max_objects(bytes.len()));
    let strict = Strict {
        left: MAX_DEPTH,
        objects: &objects,
    };
    let value = strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a value with so many levels and objects left.
#[derive(Clone, Copy)]
struct Strict<'a> {
    left: usize,
    objects: &'a Cell<usize>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format_args!("more than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without fractions")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    // serde_json brings here what has a fraction or an exponent and what no integer holds.
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number that is no integer of 64 bits"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        match self.objects.get().checked_sub(1) {
            Some(left) => self.objects.set(left),
            None => return Err(A::Error::custom("more objects than metadata of its length has")),
        }
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{}` stands twice", shown(&key))));
            }
            let value = fields.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

/// As much of a key as belongs into a message.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(text: &[u8], why: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", String::from_utf8_lossy(text));
    }

    #[test]
    fn what_two_readers_may_see_differently_is_refused() {
        refused(format!("[{}0]", "{},".repeat(5_000)).as_bytes(), "more objects");
        refused(br#"{"a":1,"a":1}"#, "the key `a` stands twice");
        refused(br#"{"a":1,"b":{"x":[],"\u0078":0}}"#, "the key `x` stands twice");
        refused(br#"[{"\n":1,"\n":2}]"#, r"the key `\n` stands twice");
        for number in [
            "1.0",
            "1e3",
            "-0",
            "0.5",
            "1E-2",
            "18446744073709551616",
            "-9223372036854775809",
        ] {
            refused(format!("[{number}]").as_bytes(), "no integer");
        }
        refused(b"1e999999", "number out of range");
        refused(b"{} {}", "trailing characters");
        refused(b"{}\0", "trailing characters");
        refused(b"\xef\xbb\xbf{}", "expected value");
        refused(b"\"\xff\"", "invalid unicode");
        refused(br#""\ud800""#, "hex escape");
        refused(b"\"\n\"", "control character");
        refused(b"", "EOF");
        for no_json in ["{\"a\":1,}", "[1,]", "NaN", "01", "+1", "{a:1}", "'a'", "// x\n1"] {
            assert!(parse(no_json.as_bytes()).is_err(), "{no_json}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        parse(nested(MAX_DEPTH).as_bytes()).unwrap();
        refused(nested(MAX_DEPTH + 1).as_bytes(), "more than 64 levels");
        refused("[".repeat(5_000_000).as_bytes(), "more than 64 levels");
        refused("{\"a\":".repeat(1_000_000).as_bytes(), "more than 64 levels");
    }

    #[test]
    fn integers_keep_their_value() {
        let text = b"[18446744073709551615,-9223372036854775808,0,-1]";
        assert_eq!(parse(text).unwrap(), json!([u64::MAX, i64::MIN, 0, -1]));
    }

    /// Text that is nearly JSON, and keys that meet.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| json!(text).to_string()),
            "[-0-9.eE]{1,4}",
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let field = ("[ab]", inner.clone()).prop_map(|(key, value)| format!("\"{key}\": {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_accepted_means_the_same_to_serde_json(text in text()) {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(&value, &serde_json::from_str::<Value>(&text).unwrap());
                let again = serde_json::to_vec(&value).unwrap();
                prop_assert_eq!(parse(&again).unwrap(), value);
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(value, serde_json::from_slice::<Value>(&bytes).unwrap());
            }
        }
    }
}
