//! Public keys as metadata lists them (TUF spec 4.2).

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tough::schema::key::{EcdsaScheme, Ed25519Scheme, Key, RsaScheme};

/// A public key. One whose type or scheme is unknown to us, or whose value is no key of its type, is kept as it came but
/// can verify nothing: metadata may list keys of the future beside those of today.
#[derive(Clone, Debug)]
pub struct PublicKey {
    listed: Value,
    usable: Option<Arc<Key>>,
}

impl PublicKey {
    /// The key, if it is of a type and scheme that we verify.
    pub fn usable(&self) -> Option<&Arc<Key>> {
        self.usable.as_ref()
    }

    /// What makes two listed keys one, whatever their ids and spellings; `None` for an unusable key.
    pub fn identity(&self) -> Option<impl Ord + use<'_>> {
        self.usable().map(|key| identity(key))
    }

    /// The id that clients compute: SHA-256 of the key as it is listed; `None` for one without canonical form.
    pub fn id(&self) -> Option<String> {
        let form = super::canonical::to_vec(&self.listed).ok()?;
        Some(crate::digest::Digest::of(form).to_string())
    }
}

impl From<Key> for PublicKey {
    fn from(key: Key) -> Self {
        Self {
            listed: serde_json::to_value(&key).unwrap_or_default(),
            usable: Some(Arc::new(key)),
        }
    }
}

/// Equal as listed, whatever that means.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.listed == other.listed
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let listed = Value::deserialize(reader)?;
        let key = Key::deserialize(&listed).ok().filter(is_bare);
        Ok(Self {
            listed,
            usable: key.map(Arc::new),
        })
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        self.listed.serialize(writer)
    }
}

/// The algorithms by which a key verifies (TUF spec 4.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// `ed25519` (RFC 8032).
    Ed25519,
    /// `ecdsa-sha2-nistp256`: ECDSA on P-256 with SHA-256; signatures in DER (RFC 3279, 2.2.3).
    EcdsaP256,
    /// `rsassa-pss-sha256`: RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes (RFC 8017, 8.1).
    RsaPss,
}

impl Algorithm {
    /// Its `keytype` and `scheme` in metadata.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ed25519 => ("ed25519", "ed25519"),
            Self::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256"),
            Self::RsaPss => ("rsa", "rsassa-pss-sha256"),
        }
    }
}

/// How a key verifies, and its value in bytes: 32 bytes; a point (SEC 1, 2.3.3); an RSAPublicKey (RFC 8017, A.1.1).
pub fn material(key: &Key) -> (Algorithm, &[u8]) {
    match key {
        Key::Ed25519 {
            keyval,
            scheme: Ed25519Scheme::Ed25519,
            ..
        } => (Algorithm::Ed25519, &keyval.public),
        Key::Ecdsa {
            keyval,
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            ..
        }
        | Key::EcdsaOld {
            keyval,
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            ..
        } => (Algorithm::EcdsaP256, &keyval.public),
        Key::Rsa {
            keyval,
            scheme: RsaScheme::RsassaPssSha256,
            ..
        } => (Algorithm::RsaPss, &keyval.public),
    }
}

/// Whether a value is the key itself. What verifies also takes keys wrapped in DER: one key could then stand in two
/// spellings, and count twice.
fn is_bare(key: &Key) -> bool {
    match material(key) {
        (Algorithm::Ed25519, value) => value.len() == 32,
        (Algorithm::EcdsaP256, point) => matches!((point.first(), point.len()), (Some(4), 65) | (Some(2 | 3), 33)),
        // Read from PEM, of which tough keeps one form.
        (Algorithm::RsaPss, _) => true,
    }
}

/// What makes two listed keys one: whoever signs with one can sign with the other. Ids, spellings and further fields do
/// not matter. Of a point of P-256 only its first coordinate does (SEC 1, 2.3.3): the compressed form holds no more, and
/// the private key of a point is that of its mirror image.
pub(super) fn identity(key: &Key) -> (Algorithm, &[u8]) {
    match material(key) {
        (Algorithm::EcdsaP256, point) => (Algorithm::EcdsaP256, point.get(1..33).unwrap_or(point)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn keys_of_the_future_are_kept_and_unusable() {
        for listed in [
            json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": {"public": "00", "x": [1]}, "note": 1}),
            json!({"keytype": "ed25519", "scheme": "ed25519ph", "keyval": {"public": "00"}}),
            json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "no PEM"}}),
            // A point and a key of ed25519 in the DER around them (RFC 5480, RFC 8410).
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {
                "public": format!("302a300506032b6570032100{}", "2a".repeat(32))}}),
            json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {
                "public": format!("3059301306072a8648ce3d020106082a8648ce3d03010703420004{}", "2a".repeat(64))}}),
            json!({"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a@b", "issuer": "c"}}),
            json!({}),
        ] {
            let key: PublicKey = serde_json::from_value(listed.clone()).unwrap();
            assert!(key.usable().is_none(), "{listed}");
            assert_eq!(serde_json::to_value(&key).unwrap(), listed);
        }
    }

    #[test]
    fn one_key_in_two_spellings_is_one() {
        let point = "2a".repeat(32);
        let ecdsa = |keytype: &str, public: String| {
            let listed = json!({"keytype": keytype, "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": public}});
            serde_json::from_value::<PublicKey>(listed).unwrap()
        };
        let whole = ecdsa("ecdsa", format!("04{point}{}", "7b".repeat(32)));
        let shouted = ecdsa(
            "ecdsa-sha2-nistp256",
            format!("04{}{}", point.to_uppercase(), "7B".repeat(32)),
        );
        let short = ecdsa("ecdsa", format!("02{point}"));
        let identities = [&whole, &shouted, &short].map(|key| identity(key.usable().unwrap()));
        assert_eq!(identities[0], identities[1]);
        assert_eq!(identities[0], identities[2]);
        assert_ne!(whole, shouted);
    }
}
