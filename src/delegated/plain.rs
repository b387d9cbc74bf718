//! What every client reads alike in a role's file, whatever a team puts into it: clients that encode anew what they verify
//! must come to the same bytes, and tough, which loads every role at its start, would else refuse the whole repository.

use serde_json::Value;
use unicode_normalization::is_nfc;

use crate::{terminal::printable, tuf::canonical};

/// Largest integer that JavaScript holds exactly.
const LARGEST: u64 = (1 << 53) - 1;

/// Looks through a value, whole.
///
/// # Errors
/// What some client would read otherwise: `null` (tough, python-tuf), text that is not NFC (tough), an order of keys that
/// clients do not share, a number that is no integer of 53 bits (tuf-js, go-tuf).
pub fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Null => Err("`null` stands in it: leave the field out".to_owned()),
        Value::Bool(_) => Ok(()),
        Value::Number(number) => {
            let size = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
            match size.is_some_and(|size| size <= LARGEST) {
                true => Ok(()),
                false => Err(format!("the number {number} is no integer that every client can hold")),
            }
        }
        Value::String(text) => normal(text),
        Value::Array(values) => values.iter().try_for_each(check),
        Value::Object(fields) => {
            let mut before: Option<&str> = None;
            for (key, value) in fields {
                normal(key)?;
                if let Some(before) = before.filter(|before| !canonical::before_for_all(before, key)) {
                    let (before, key) = (printable(before), printable(key));
                    return Err(format!(
                        "clients disagree on which of `{before}` and `{key}` comes first"
                    ));
                }
                before = Some(key);
                check(value)?;
            }
            Ok(())
        }
    }
}

fn normal(text: &str) -> Result<(), String> {
    match is_nfc(text) {
        true => Ok(()),
        false => Err(format!("the text `{}` is not normalised (NFC)", printable(text))),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_every_client_reads_alike_passes() {
        check(&json!({"a": [1, -1, LARGEST, true, "é", {}], "b": {"c": "x y", "d": ""}})).unwrap();
    }

    #[test]
    fn what_some_client_reads_otherwise_is_refused() {
        for value in [
            json!({"a": null}),
            json!([{"b": [null]}]),
            json!("e\u{301}"),
            json!({"e\u{301}": 1}),
            json!({"a": 1, "a b": 1}),
            json!({"\u{ffff}": 1, "\u{10000}": 1}),
            json!(LARGEST + 1),
            json!(u64::MAX),
            json!(-1 - LARGEST as i64),
            json!(1.5),
        ] {
            assert!(check(&value).is_err(), "{value}");
        }
    }
}
