//! Private keys as other tools write them.
//!
//! | form | written by |
//! |---|---|
//! | PKCS#8, plain or encrypted (PBES2 with scrypt or PBKDF2) | `openssl genpkey`, `openssl pkcs8 -topk8`, securesystemslib, tuf-on-ci |
//! | PKCS#1 | `openssl genrsa -traditional`, securesystemslib's old RSA keys |
//! | SEC1, with or without its parameters | `openssl ecparam -genkey` |
//! | `keytype`, `scheme`, `keyval` with `private` in hex or PEM | securesystemslib's old key files, go-tuf |
//! | hex of an ed25519 seed, or of seed and public key | libsodium, Go's crypto/ed25519 |

use aws_lc_rs::{
    rsa,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use ed25519_dalek::{SigningKey, pkcs8::DecodePrivateKey as _};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::pair::Secret;
use crate::tuf::key::Algorithm;

pub(super) const PLAIN: &str = "PRIVATE KEY";
pub(super) const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Why a text gives no key.
#[derive(Debug)]
pub(super) enum Refused {
    /// Encrypted, and there is no passphrase.
    Locked,
    /// The passphrase does not open it; a damaged body cannot be told from that.
    Passphrase,
    /// What is wrong; never the content.
    Not(String),
}

impl From<String> for Refused {
    fn from(detail: String) -> Self {
        Self::Not(detail)
    }
}

fn not(detail: impl std::fmt::Display) -> Refused {
    Refused::Not(detail.to_string())
}

/// Reads a private key. A plain one opens whether or not there is a passphrase.
pub(super) fn secret(text: &str, passphrase: Option<&str>) -> Result<Secret, Refused> {
    let trimmed = text.trim();
    if trimmed.starts_with('{') {
        return from_json(trimmed, passphrase);
    }
    if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return from_hex(trimmed);
    }
    let block = block(text).ok_or_else(|| not("it is no PEM, no JSON and no hex"))?;
    let label = label(block).unwrap_or_default();
    match label {
        "OPENSSH PRIVATE KEY" => {
            return Err(not(
                "an OpenSSH key: an ssh agent can sign through a command, see `keys.*.command`",
            ));
        }
        PLAIN | ENCRYPTED | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {}
        other => return Err(not(format_args!("the PEM holds a `{other}`"))),
    }
    if block.contains("Proc-Type:") {
        return Err(not(
            "it is encrypted in OpenSSL's old way: `openssl pkcs8 -topk8 -scrypt -in OLD -out NEW` writes it anew",
        ));
    }
    let (_, document) = SecretDocument::from_pem(block).map_err(not)?;
    match label {
        ENCRYPTED => {
            let passphrase = passphrase.ok_or(Refused::Locked)?;
            let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(not)?;
            if sealed.encryption_algorithm.pbes2().is_none() {
                return Err(not(
                    "it is encrypted with PBES1: `openssl pkcs8 -topk8 -scrypt -in OLD -out NEW` writes it anew",
                ));
            }
            let plain = sealed.decrypt(passphrase).map_err(|_| Refused::Passphrase)?;
            from_pkcs8(plain.as_bytes())
        }
        PLAIN => from_pkcs8(document.as_bytes()),
        "RSA PRIVATE KEY" => rsa::KeyPair::from_der(document.as_bytes())
            .map(Secret::RsaPss)
            .map_err(rsa_refused),
        _ => {
            let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_bytes());
            pair.map(Secret::EcdsaP256)
                .map_err(|_| not("it is no key on the curve P-256"))
        }
    }
}

/// The first block of a PEM that is more than parameters of a curve, which OpenSSL writes before a key.
pub(super) fn block(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find("-----BEGIN ")?..];
        let name = label(rest)?;
        let end = format!("-----END {name}-----");
        let length = rest.find(&end)? + end.len();
        let (block, after) = rest.split_at(length);
        if name != "EC PARAMETERS" {
            return Some(block);
        }
        rest = after;
    }
}

fn label(block: &str) -> Option<&str> {
    Some(block.strip_prefix("-----BEGIN ")?.split_once("-----")?.0)
}

fn from_pkcs8(der: &[u8]) -> Result<Secret, Refused> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(not)?;
    match super::public::supported(&info.algorithm)? {
        Algorithm::Ed25519 => {
            let key = SigningKey::from_pkcs8_der(der).map_err(not)?;
            Ok(Secret::Ed25519(Box::new(key)))
        }
        Algorithm::EcdsaP256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(not)?;
            Ok(Secret::EcdsaP256(pair))
        }
        Algorithm::RsaPss => rsa::KeyPair::from_pkcs8(der).map(Secret::RsaPss).map_err(rsa_refused),
    }
}

fn rsa_refused(error: aws_lc_rs::error::KeyRejected) -> Refused {
    match error.to_string().as_str() {
        "TooSmall" | "TooLarge" => not("it is an RSA key of another size than 2048 to 8192 bits"),
        other => not(format_args!("its RSA key is refused: {other}")),
    }
}

/// A seed of 32 bytes, alone or followed by its public key.
fn from_hex(text: &str) -> Result<Secret, Refused> {
    let mut bytes = Zeroizing::new([0; 64]);
    let length = match text.len() {
        64 => 32,
        128 => 64,
        other => {
            return Err(not(format_args!(
                "{other} digits of hex are no ed25519 key: it has 64 or 128"
            )));
        }
    };
    hex::decode_to_slice(text, &mut bytes[..length]).map_err(not)?;
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&bytes[..32]);
    let key = SigningKey::from_bytes(&seed);
    if length == 64 && key.verifying_key().as_bytes()[..] != bytes[32..] {
        return Err(not("its second half is not the public key of its first"));
    }
    Ok(Secret::Ed25519(Box::new(key)))
}

#[derive(Deserialize)]
struct Listed {
    keytype: String,
    keyval: Values,
}

#[derive(Deserialize)]
struct Values {
    private: Option<Zeroizing<String>>,
}

fn from_json(text: &str, passphrase: Option<&str>) -> Result<Secret, Refused> {
    // serde's own messages quote what they met.
    let listed: Listed = serde_json::from_str(text).map_err(|_| not("it is no key in JSON"))?;
    let private = listed.keyval.private.filter(|private| !private.is_empty());
    let private = private.ok_or_else(|| not("the JSON holds no private key"))?;
    match (listed.keytype.as_str(), private.trim().starts_with('{')) {
        ("ed25519" | "ecdsa" | "ecdsa-sha2-nistp256" | "rsa", false) => secret(&private, passphrase),
        (other, _) => Err(not(format_args!("the JSON holds a key of type `{other}`"))),
    }
}
