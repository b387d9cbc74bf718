//! The last word on a file: what this library's own client cannot read is broken, whatever else was found or overlooked.

use serde_json::Value;

use super::{Code, Place, document::Document, finding::Findings};
use crate::{
    client::delegation,
    tuf::{
        hashes::Hashes,
        schema::{Listing, Targets},
        verify::{self, VerifyError},
    },
};

/// Tells why the client refuses a file as `kind` (its `_type`), signatures aside, unless an error told of that file already.
pub fn check(document: &Document, kind: &str, place: &Place, findings: &mut Findings) {
    if findings.has_error(place) {
        return;
    }
    if let Err(why) = refusal(document.signed.clone(), kind) {
        findings.error(Code::MetadataField, place, format_args!("clients refuse it: {why}"));
    }
}

fn refusal(signed: Value, kind: &str) -> Result<(), VerifyError> {
    match kind {
        "root" => verify::root(signed).map(drop),
        "timestamp" | "snapshot" => {
            let listing: Listing = verify::read(signed, kind)?;
            for (name, listed) in listing.meta {
                if let Some(hashes) = &listed.hashes {
                    let unusable = |why| malformed(kind, format!("what it lists of `{name}` cannot be checked: {why}"));
                    Hashes::parse(hashes).map_err(unusable)?;
                }
            }
            Ok(())
        }
        _ => {
            let targets: Targets = verify::read(signed, kind)?;
            targets.delegations.as_ref().map_or(Ok(()), delegation::check)
        }
    }
}

fn malformed(kind: &str, detail: String) -> VerifyError {
    VerifyError::Malformed {
        expected: kind.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_client_refuses_is_an_error_once() {
        let timestamp = |length: Value| {
            let meta = json!({"snapshot.json": {"version": 1, "length": length, "hashes": {"md5": "00"}}});
            json!({
                "_type": "timestamp", "spec_version": "1.0.0", "version": 1, "expires": "2030-01-01T00:00:00Z", "meta": meta,
            })
        };
        let place = Place::file("timestamp.json");
        for (length, told) in [(json!(-1), "-1"), (json!(1), "neither sha256 nor sha512")] {
            let signed = timestamp(length);
            let bytes = json!({"signed": signed, "signatures": []}).to_string();
            let mut findings = Findings::default();
            let document = Document::read(bytes.as_bytes(), &place, &mut findings);
            let Some(document) = document else {
                panic!("no document")
            };
            check(&document, "timestamp", &place, &mut findings);
            check(&document, "timestamp", &place, &mut findings);
            assert_eq!(findings.codes(), ["metadata-field"]);
            let (found, _) = findings.finish();
            assert!(found[0].message.contains(told), "{}", found[0].message);
        }
    }
}
