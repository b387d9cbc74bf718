//! OLPC canonical JSON, the form TUF signatures cover (TUF spec 4.1, <http://wiki.laptop.org/go/Canonical_JSON>): keys
//! sorted, no white space, only `\` and `"` escaped, integers only. Strings are taken as they are; nothing is
//! normalised.

use serde::Serialize;
use serde_json::Value;

/// A value that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Floating point numbers have none.
    #[error("canonical JSON has no form for the number {0}")]
    Float(String),
    /// Not representable as JSON at all.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The canonical form of anything that serialises to JSON.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    write(&mut out, &serde_json::to_value(value)?)?;
    Ok(out)
}

/// Appends the canonical form of `value`.
pub fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => write_u64(out, number),
            (None, Some(number)) => {
                out.push(b'-');
                write_u64(out, number.unsigned_abs());
            }
            (None, None) => return Err(CanonicalError::Float(number.to_string())),
        },
        Value::String(text) => write_str(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here although serde_json's map usually is: its `preserve_order` feature, which any crate in the
            // tree may turn on, takes that away. UTF-8 bytes sort as code points do.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push(b'{');
            for (at, (key, field)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_str(out, key);
                out.push(b':');
                write(out, field)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends a quoted string.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(text, |bytes| out.extend_from_slice(bytes));
    out.push(b'"');
}

/// Appends a number.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Whether every client puts the key `a` before the key `b`.
///
/// The rule is order by code points, but clients that encode anew what they verify do it in their own order: tuf-js by
/// UTF-16 units, tough's olpc-cjson by the bytes of the escaped key with its closing quote (`"a b"` before `"a"`). Two
/// keys they order differently make a file they cannot verify, and tough then refuses the whole repository.
pub fn before_for_all(a: &str, b: &str) -> bool {
    let quoted = |text: &str| {
        let mut out = Vec::with_capacity(text.len() + 2);
        write_str(&mut out, text);
        out
    };
    a < b && a.encode_utf16().lt(b.encode_utf16()) && quoted(a) < quoted(b)
}

fn escape(text: &str, mut write: impl FnMut(&[u8])) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(byte, b'"' | b'\\') {
            write(&bytes[from..at]);
            write(b"\\");
            from = at;
        }
    }
    write(&bytes[from..]);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use olpc_cjson::CanonicalFormatter;
    use proptest::prelude::*;
    use serde_json::json;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn reference(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, CanonicalFormatter::new());
        value.serialize(&mut serializer).unwrap();
        out
    }

    /// NFC text, since olpc-cjson normalises.
    fn text() -> impl Strategy<Value = String> {
        any::<String>().prop_map(|text| text.nfc().collect())
    }

    /// Keys that olpc-cjson, too, sorts by code points: it compares them escaped and with their closing quote, so that
    /// only what stands above `"` and is no `"` or `\` keeps its place.
    fn key() -> impl Strategy<Value = String> {
        any::<String>().prop_map(|text| text.chars().filter(|&c| c > '"' && c != '\\').nfc().collect())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(key(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_olpc_cjson(value in value()) {
            prop_assert_eq!(to_vec(&value).unwrap(), reference(&value));
        }

        #[test]
        fn the_order_all_share_is_what_olpc_cjson_writes(a in "[ -~é\u{ff01}😀]{0,4}", b in "[ -~é\u{ff01}😀]{0,4}") {
            prop_assume!(a != b);
            let (low, high) = if a < b { (&a, &b) } else { (&b, &a) };
            let same = to_vec(&json!({ low: 1, high: 2 })).unwrap() == reference(&json!({ low: 1, high: 2 }));
            let utf16 = low.encode_utf16().lt(high.encode_utf16());
            prop_assert_eq!(before_for_all(low, high), same && utf16);
            prop_assert!(!before_for_all(high, low));
        }
    }

    #[test]
    fn only_quotes_and_backslashes_are_escaped() {
        let value = json!({"b": "é\n\"\\/", "a": [-1, u64::MAX, i64::MIN, 0, null, true, false], "": {}});
        let expected =
            "{\"\":{},\"a\":[-1,18446744073709551615,-9223372036854775808,0,null,true,false],\"b\":\"é\n\\\"\\\\/\"}";
        assert_eq!(String::from_utf8(to_vec(&value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn floats_have_no_form() {
        assert!(matches!(to_vec(&json!({"a": [1.0]})), Err(CanonicalError::Float(_))));
    }

    #[test]
    fn orders_that_clients_do_not_share_are_seen() {
        assert!(before_for_all("a", "b"));
        assert!(
            !before_for_all("a", "a b"),
            "tough puts a space before the closing quote"
        );
        assert!(!before_for_all("a\"", "aA"), "tough compares escaped keys");
        assert!(!before_for_all("\u{ff01}", "😀"), "tuf-js compares UTF-16 units");
    }
}
