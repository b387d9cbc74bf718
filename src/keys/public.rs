//! Public keys: as metadata lists them (TUF spec 4.2), and as the rest of the world writes them, in PEM
//! (SubjectPublicKeyInfo, RFC 5280, 4.1.2.7).

use std::{collections::HashMap, fmt};

use pkcs8::{
    Document, ObjectIdentifier,
    der::{Decode as _, Encode as _, asn1::BitStringRef},
    spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
};
use serde_json::Value;
use tough::schema::{
    decoded::{Decoded, Hex},
    key::{EcdsaKey, EcdsaScheme, Ed25519Key, Ed25519Scheme, Key, RsaKey, RsaScheme},
};

use super::KeyError;
use crate::{
    digest::Digest,
    tuf::{
        json,
        key::{Algorithm, material},
        verify,
    },
};

/// Of a public key in PEM.
pub(super) const LABEL: &str = "PUBLIC KEY";
const PRIVATE: &str = "it is a private key, whose public half is asked for";

pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A public key with its id.
#[derive(Clone, Debug)]
pub struct Public {
    key: Key,
    id: Decoded<Hex>,
}

impl Public {
    /// The key as metadata lists it; its id is made here.
    pub fn new(key: Key) -> Result<Self, KeyError> {
        let id = key.key_id().map_err(|error| KeyError::Sign(error.to_string()))?;
        Ok(Self { key, id })
    }

    /// As metadata lists it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// SHA-256 of the canonical form of {keytype, scheme, keyval}.
    pub fn id(&self) -> &Decoded<Hex> {
        &self.id
    }

    /// How it verifies.
    pub fn algorithm(&self) -> Algorithm {
        material(&self.key).0
    }

    /// Whether it verifies a signature.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verify::signed_by(&self.key, message, signature)
    }

    /// Reads what holds a public key and nothing secret: PEM, or a key as metadata lists it. Hex is not read: a seed
    /// looks like a public key in it, and would be shown or listed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = match text.trim_start().starts_with('{') {
            true => listed(text.trim())?,
            false => {
                let block = super::parse::block(text).ok_or("it is no PEM")?;
                let (label, document) = Document::from_pem(block).map_err(|error| error.to_string())?;
                match label {
                    LABEL => from_spki(document.as_bytes())?,
                    _ if label.contains("PRIVATE") => return Err(PRIVATE.to_owned()),
                    _ => return Err(format!("the PEM holds a `{label}`, not a `{LABEL}`")),
                }
            }
        };
        Self::new(key).map_err(|error| error.to_string())
    }

    /// SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Result<Document, KeyError> {
        let (algorithm, value) = material(&self.key);
        let failed = |error: pkcs8::der::Error| KeyError::Sign(format!("a public key cannot be written: {error}"));
        let (oid, parameters) = match algorithm {
            Algorithm::Ed25519 => (ED25519, None),
            Algorithm::EcdsaP256 => (EC, Some((&P256).into())),
            Algorithm::RsaPss => (RSA, Some(pkcs8::der::asn1::AnyRef::NULL)),
        };
        let info = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(value).map_err(failed)?,
        };
        Document::try_from(info.to_der().map_err(failed)?).map_err(failed)
    }

    /// PEM with a line end.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self.to_spki()?.to_pem(LABEL, pkcs8::LineEnding::LF);
        pem.map_err(|error| KeyError::Sign(error.to_string()))
    }

    /// SHA-256 of the SubjectPublicKeyInfo, as `openssl pkey -pubin -outform DER | sha256sum` shows it.
    pub fn fingerprint(&self) -> Result<Digest, KeyError> {
        Ok(Digest::of(self.to_spki()?.as_bytes()))
    }
}

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(&self.id))
    }
}

/// A listed key. Only its type, scheme and value: what else stands there would change the id for some clients, or be the
/// private half.
fn listed(text: &str) -> Result<Key, String> {
    let mut value = json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|field, _| ["keytype", "scheme", "keyval"].contains(&field.as_str()));
    }
    if let Some(Value::Object(values)) = value.get_mut("keyval") {
        if values.get("private").is_some_and(|private| *private != "") {
            return Err(PRIVATE.to_owned());
        }
        values.retain(|field, _| field == "public");
    }
    let key: crate::tuf::key::PublicKey = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let key = key
        .usable()
        .ok_or("its type, scheme or value is not one that clients verify")?;
    Ok((**key).clone())
}

/// A key from its SubjectPublicKeyInfo.
pub(super) fn from_spki(der: &[u8]) -> Result<Key, String> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| error.to_string())?;
    let value = info
        .subject_public_key
        .as_bytes()
        .ok_or("its value is not whole bytes")?;
    match supported(&info.algorithm)? {
        Algorithm::Ed25519 => {
            let value = value.try_into().map_err(|_| "its value is not 32 bytes")?;
            Ok(ed25519(value))
        }
        Algorithm::EcdsaP256 if value.len() == 65 && value.first() == Some(&4) => Ok(ecdsa(value)),
        Algorithm::EcdsaP256 => Err("its point is compressed, which clients differ on".to_owned()),
        Algorithm::RsaPss => rsa(value),
    }
}

/// What a key of this type signs with, if clients know it.
pub(super) fn supported(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Algorithm, String> {
    const OTHERS: [(&str, &str); 5] = [
        ("1.2.840.113549.1.1.10", "an RSA key restricted to PSS"),
        ("1.3.101.113", "an Ed448 key"),
        ("1.3.101.110", "an X25519 key"),
        ("1.2.840.10040.4.1", "a DSA key"),
        ("2.16.840.1.101.3.4.3.18", "an ML-DSA key"),
    ];
    match algorithm.oid {
        ED25519 => Ok(Algorithm::Ed25519),
        RSA => Ok(Algorithm::RsaPss),
        EC => match algorithm.parameters_oid() {
            Ok(P256) => Ok(Algorithm::EcdsaP256),
            _ => Err("it is a key on another curve than P-256".to_owned()),
        },
        other => {
            let other = other.to_string();
            let known = OTHERS.iter().find(|(oid, _)| *oid == other);
            Err(match known {
                Some((_, name)) => format!("it is {name}"),
                None => format!("it is of type {other}"),
            })
        }
    }
}

/// Bits of the modulus of an RSAPublicKey (RFC 8017, A.1.1).
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let key = aws_lc_rs::rsa::PublicKey::from_der(der).ok()?;
    let modulus = key.modulus();
    let bytes = modulus.big_endian_without_leading_zero();
    Some(bytes.len() * 8 - bytes.first()?.leading_zeros() as usize)
}

/// From 32 bytes (RFC 8032, 5.1.5).
pub(super) fn ed25519(value: &[u8; 32]) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key {
            public: value.to_vec().into(),
            _extra: HashMap::new(),
        },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// From an uncompressed point (SEC 1, 2.3.3).
pub(super) fn ecdsa(point: &[u8]) -> Key {
    Key::Ecdsa {
        keyval: EcdsaKey {
            public: point.to_vec().into(),
            _extra: HashMap::new(),
        },
        scheme: EcdsaScheme::EcdsaSha2Nistp256,
        _extra: HashMap::new(),
    }
}

/// From an RSAPublicKey (RFC 8017, A.1.1); of a length that clients take.
pub(super) fn rsa(der: &[u8]) -> Result<Key, String> {
    let bits = modulus_bits(der).ok_or("its value is no RSA key")?;
    if !(2048..=8192).contains(&bits) {
        return Err(format!("it has {bits} bits; clients take 2048 to 8192"));
    }
    Ok(Key::Rsa {
        keyval: RsaKey {
            public: der.to_vec().into(),
            _extra: HashMap::new(),
        },
        scheme: RsaScheme::RsassaPssSha256,
        _extra: HashMap::new(),
    })
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
        for (kind, arguments) in [
            ("ed25519", &["-algorithm", "ED25519"][..]),
            ("ecdsa", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ] {
            openssl(&[&["genpkey", "-out", file], arguments].concat());
            let pem = openssl(&["pkey", "-in", file, "-pubout"]);
            let public = Public::parse(&pem).unwrap();
            assert_eq!(public.to_pem().unwrap(), pem);
            assert_eq!(public.algorithm().names().0, kind);
            let private = Public::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_err();
            assert_eq!(private, PRIVATE);
        }
        for (arguments, why) in [
            (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..], "2048"),
            (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "curve"),
            (&["-algorithm", "ED448"], "Ed448"),
        ] {
            openssl(&[&["genpkey", "-out", file], arguments].concat());
            let refused = Public::parse(&openssl(&["pkey", "-in", file, "-pubout"])).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn of_a_listed_key_only_the_public_half_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let key = FileKey::create(&dir.path().join("key.pem"), None).unwrap();
        let listed = |change: fn(&mut Value)| {
            let mut listed = serde_json::to_value(key.public()).unwrap();
            change(&mut listed);
            Public::parse(&listed.to_string())
        };
        let bare = listed(|_| {}).unwrap();
        assert_eq!(bare.id(), key.key_id());
        for change in [(|listed| listed["x-note"] = 1.into()) as fn(&mut Value), |listed| {
            listed["keyval"]["private"] = "".into()
        }] {
            let noted = listed(change).unwrap();
            assert_eq!((noted.id(), noted.key()), (bare.id(), bare.key()));
        }
        let private = listed(|listed| listed["keyval"]["private"] = "2a".repeat(32).into());
        assert_eq!(private.unwrap_err(), PRIVATE);
        for bad in [
            "",
            "x",
            "{}",
            "{\"keytype\":1}",
            &"2a".repeat(32),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(Public::parse(bad).is_err(), "{bad}");
        }
    }
}
