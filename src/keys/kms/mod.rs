//! Keys in AWS Key Management Service, over its JSON protocol (API Reference, `GetPublicKey` and `Sign`).
//!
//! Credentials come from where AWS's own tools find them: environment, profile, web identity, container, instance. What
//! is throttled or lost on the way is tried again at once, a few times; the signer's own pauses follow.

mod wire;

use std::time::Duration;

use async_trait::async_trait;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::wire::{Answer, Wire};
use super::{
    KeyError, SigningKey,
    public::{self, Public},
    verified,
};
use crate::{config::KeyInKms, digest::Digest, terminal::printable, tuf::key::Algorithm};

/// Longest message that KMS hashes itself (`Sign`, `MessageType`).
const MAX_RAW: usize = 4096;
/// Pauses between tries of one request.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
];

/// A key that KMS signs with.
pub struct KmsKey {
    name: String,
    key: String,
    wire: Wire,
    public: Public,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    public_key: String,
    key_usage: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    signature: String,
}

impl KmsKey {
    /// Asks for the public key.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] when the service does not answer, [`KeyError::Unusable`] when it refuses, or when the
    /// key is none that signs metadata.
    pub async fn open(name: String, kms: &KeyInKms) -> Result<Self, KeyError> {
        let unusable = |detail: String| KeyError::Unusable {
            key: name.clone(),
            detail: format!("`{}` in KMS: {detail}", printable(&kms.key)),
            hint: "a key with the usage SIGN_VERIFY and the spec ECC_NIST_P256, RSA_2048, RSA_3072 or RSA_4096",
        };
        let wire = Wire::new(kms).map_err(unusable)?;
        let described: Described = request(&name, &wire, "GetPublicKey", json!({"KeyId": kms.key})).await?;
        if described.key_usage != "SIGN_VERIFY" {
            return Err(unusable(format!("its usage is {}", printable(&described.key_usage))));
        }
        let der = Base64::decode_vec(&described.public_key).map_err(|error| unusable(error.to_string()))?;
        let public = Public::new(public::from_spki(&der).map_err(unusable)?)?;
        if public.algorithm() == Algorithm::Ed25519 {
            return Err(unusable(format!(
                "ed25519 there signs no more than {MAX_RAW} bytes, and metadata is larger"
            )));
        }
        Ok(Self {
            name,
            key: kms.key.clone(),
            wire,
            public,
        })
    }
}

#[async_trait]
impl SigningKey for KmsKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> &Public {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let algorithm = match self.public.algorithm() {
            Algorithm::RsaPss => "RSASSA_PSS_SHA_256",
            _ => "ECDSA_SHA_256",
        };
        let (kind, message64) = match message.len() {
            ..=MAX_RAW => ("RAW", Base64::encode_string(message)),
            _ => ("DIGEST", Base64::encode_string(Digest::of(message).as_bytes())),
        };
        let body = json!({
            "KeyId": self.key,
            "Message": message64,
            "MessageType": kind,
            "SigningAlgorithm": algorithm,
        });
        let signed: Signed = request(&self.name, &self.wire, "Sign", body).await?;
        let signature = Base64::decode_vec(&signed.signature).map_err(|error| KeyError::Unavailable {
            key: self.name.clone(),
            detail: format!("KMS answered what is no base64: {error}"),
        })?;
        verified(&self.name, &self.public, message, signature)
    }
}

/// One request, again where that may help.
async fn request<T: for<'de> Deserialize<'de>>(
    name: &str,
    wire: &Wire,
    operation: &str,
    body: Value,
) -> Result<T, KeyError> {
    let unavailable = |detail: String| KeyError::Unavailable {
        key: name.to_owned(),
        detail: format!("KMS, {operation}: {detail}"),
    };
    let body = body.to_string();
    let mut pauses = PAUSES.iter();
    loop {
        let (again, error) = match wire.send(operation, body.clone()).await {
            Ok(Answer { status: 200, body }) => {
                // serde would quote what it met.
                let read = serde_json::from_slice(&body);
                return read.map_err(|_| unavailable("it answered what is no answer".to_owned()));
            }
            Ok(Answer { status, body }) => {
                let refusal = Refusal::read(status, &body);
                (refusal.transient(), refusal.error(name, operation))
            }
            Err(why) => (true, unavailable(why)),
        };
        match pauses.next() {
            Some(pause) if again => sleep(*pause).await,
            _ => return Err(error),
        }
    }
}

/// What KMS says when it does not.
struct Refusal {
    status: u16,
    kind: String,
    message: String,
}

impl Refusal {
    fn read(status: u16, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        // `com.amazonaws.kms#NotFoundException`, or without what comes before `#`.
        let kind = text("__type");
        let message = [text("message"), text("Message")].concat();
        Self {
            status,
            kind: printable(kind.rsplit('#').next().unwrap_or_default())
                .chars()
                .take(100)
                .collect(),
            message: printable(&message).chars().take(300).collect(),
        }
    }

    /// Throttled, out of order, or between two states.
    fn transient(&self) -> bool {
        let kinds = [
            "ThrottlingException",
            "LimitExceededException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KeyUnavailableException",
            "RequestLimitExceeded",
        ];
        self.status >= 500 || self.status == 429 || kinds.contains(&self.kind.as_str())
    }

    fn error(&self, name: &str, operation: &str) -> KeyError {
        let detail = format!("KMS, {operation}: {} ({}) {}", self.kind, self.status, self.message);
        let hint = match self.kind.as_str() {
            "NotFoundException" => "`key` and `region` under `aws_kms` say which key: an id, an ARN or `alias/NAME`",
            "DisabledException" | "KMSInvalidStateException" => "enable the key, or cancel its deletion",
            _ => {
                "the credentials that AWS's own tools would find here need kms:GetPublicKey and kms:Sign on the key; \
                 `aws sts get-caller-identity` shows whose they are"
            }
        };
        let (key, detail) = (name.to_owned(), detail.trim_end().to_owned());
        match self.transient() {
            true => KeyError::Unavailable { key, detail },
            false => KeyError::Unusable { key, detail, hint },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let refused = |status, body: &str| Refusal::read(status, body.as_bytes());
        let throttled = refused(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
        assert!(throttled.transient());
        let error = throttled.error("timestamp", "Sign").to_string();
        assert_eq!(
            error,
            "key `timestamp` does not sign: KMS, Sign: ThrottlingException (400) Rate exceeded"
        );
        let missing = refused(
            400,
            r#"{"__type":"com.amazonaws.kms#NotFoundException","message":"no \u001b key"}"#,
        );
        let error = missing.error("timestamp", "Sign");
        assert!(
            !error.transient() && error.to_string().ends_with(r"NotFoundException (400) no \u{1b} key"),
            "{error}"
        );
        assert!(refused(503, "<html>").transient() && !refused(403, "{}").transient());
    }
}
