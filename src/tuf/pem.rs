//! Public keys as other tools write them: SubjectPublicKeyInfo in PEM (RFC 7468), 64 hex digits of Ed25519, or the JSON
//! object of metadata.

use std::collections::HashMap;

use pkcs8::{
    Document,
    der::{Decode as _, pem::PemLabel},
    spki::SubjectPublicKeyInfoRef,
};
use serde_json::Value;
use tough::schema::{
    decoded::Decoded,
    key::{EcdsaKey, EcdsaScheme, Ed25519Key, Ed25519Scheme, Key, RsaKey, RsaScheme},
};

use super::{json, key::PublicKey};

/// OID 1.3.101.112 (RFC 8410).
const ED25519: &str = "1.3.101.112";
/// `id-ecPublicKey` (RFC 5480).
const EC: &str = "1.2.840.10045.2.1";
/// `rsaEncryption` (RFC 8017).
const RSA: &str = "1.2.840.113549.1.1.1";
/// Bytes of an RSAPublicKey with a modulus of 2,048 bits: clients take no shorter one.
const RSA_2048: usize = 270;

/// Reads a public key of a kind that clients know, spelled as metadata lists it.
///
/// # Errors
/// A sentence: what it is instead.
pub fn public_key(text: &str) -> Result<Key, String> {
    let text = text.trim();
    if text.starts_with('{') {
        return from_metadata(text);
    }
    if text.len() == 64
        && let Ok(value) = hex::decode(text)
    {
        return Ok(ed25519(value));
    }
    let (label, document) = Document::from_pem(text).map_err(|error| format!("it is no public key in PEM: {error}"))?;
    if label != SubjectPublicKeyInfoRef::PEM_LABEL {
        return Err(match label.contains("PRIVATE") {
            true => "it is a private key, whose public half is asked for".to_owned(),
            false => format!(
                "the PEM holds a `{label}`, not a `{}`",
                SubjectPublicKeyInfoRef::PEM_LABEL
            ),
        });
    }
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|error| error.to_string())?;
    let value = info.subject_public_key.as_bytes().unwrap_or_default().to_vec();
    let key = match info.algorithm.oid.to_string().as_str() {
        ED25519 => ed25519(value),
        EC => Key::Ecdsa {
            keyval: EcdsaKey {
                public: Decoded::from(value),
                _extra: HashMap::new(),
            },
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            _extra: HashMap::new(),
        },
        RSA if value.len() < RSA_2048 => return Err("an RSA key needs 2,048 bits at least".to_owned()),
        RSA => Key::Rsa {
            keyval: RsaKey {
                public: Decoded::from(value),
                _extra: HashMap::new(),
            },
            scheme: RsaScheme::RsassaPssSha256,
            _extra: HashMap::new(),
        },
        other => return Err(format!("its algorithm {other} is none of Ed25519, ECDSA P-256 and RSA")),
    };
    usable(serde_json::to_value(key).unwrap_or_default())
}

fn ed25519(value: Vec<u8>) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key {
            public: Decoded::from(value),
            _extra: HashMap::new(),
        },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// Only type, scheme and value: what else stands there would change the id for some clients.
fn from_metadata(text: &str) -> Result<Key, String> {
    let mut value = json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|field, _| ["keytype", "scheme", "keyval"].contains(&field.as_str()));
    }
    usable(value)
}

/// The curve of a point, for one, shows only when it is read again.
fn usable(value: Value) -> Result<Key, String> {
    let key: PublicKey = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let usable = key.usable().map(|key| Key::clone(key));
    usable.ok_or_else(|| "it is no key of Ed25519, ECDSA P-256 or RSA".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use super::*;
    use crate::keys::{SigningKey as _, file::FileKey};

    fn openssl(arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_openssl_writes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let file = path.to_str().unwrap();
        let key = FileKey::create(&path, None).unwrap();
        let public = openssl(&["pkey", "-in", file, "-pubout"]);
        let read = public_key(&public).unwrap();
        assert_eq!(read.key_id().unwrap(), *key.key_id());
        let Key::Ed25519 { keyval, .. } = key.public() else {
            panic!()
        };
        assert_eq!(public_key(&hex::encode(&keyval.public)).unwrap(), read);
        let listed = serde_json::json!({"keytype": "ed25519", "scheme": "ed25519", "x-note": 1,
            "keyval": {"public": hex::encode(&keyval.public)}});
        assert_eq!(public_key(&listed.to_string()).unwrap(), read);
        let why = public_key(&std::fs::read_to_string(&path).unwrap()).unwrap_err();
        assert!(why.contains("private key"), "{why}");

        for (kind, arguments) in [
            ("ecdsa", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ] {
            openssl(&[&["genpkey", "-out", file], &arguments[..]].concat());
            let public = openssl(&["pkey", "-in", file, "-pubout"]);
            let key = serde_json::to_value(public_key(&public).unwrap()).unwrap();
            assert_eq!(key["keytype"], kind);
            assert_eq!(key["keyval"]["public"].as_str().unwrap().trim(), public.trim());
        }
        for (arguments, why) in [
            (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "2,048"),
            (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "no key"),
            (["-algorithm", "ED448", "-pkeyopt", ""], "algorithm"),
        ] {
            let arguments: Vec<_> = arguments.iter().copied().filter(|word| !word.is_empty()).collect();
            let arguments = arguments.strip_suffix(&["-pkeyopt"]).unwrap_or(&arguments);
            openssl(&[&["genpkey", "-out", file], arguments].concat());
            let refused = public_key(&openssl(&["pkey", "-in", file, "-pubout"])).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        for bad in [
            "",
            "x",
            "{}",
            "{\"keytype\":1}",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(public_key(bad).is_err(), "{bad}");
        }
    }
}
