//! A metadata file ready to be sent: its bytes in every encoding, each with its own strong ETag.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;

use crate::digest::Digest;

/// Below this size an encoding saves nothing that a packet would notice.
const SMALLEST_ENCODED: usize = 256;
/// From this size on encoding takes milliseconds, and moves off the event loop.
const LARGE: usize = 16 << 10;
/// A compromise for metadata that is encoded at every publication; higher levels gain a few per cent.
const ZSTD_LEVEL: i32 = 6;

/// How often a name's content changes, which decides how it may be cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// A versioned file: never.
    Immutable,
    /// `timestamp.json` and `root.json`.
    Moving,
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// As signed.
    Identity,
    /// `gzip`.
    Gzip,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Encoding {
    /// All of them, most preferred first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Gzip, Self::Identity];

    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// A metadata file with its encodings.
#[derive(Clone, Debug)]
pub struct Document {
    body: Bytes,
    gzip: Option<Bytes>,
    zstd: Option<Bytes>,
    /// In the order of [`Encoding`]; made once, sent often.
    etags: [HeaderValue; 3],
    class: Class,
}

impl Document {
    /// Encodes a file.
    pub fn new(body: Bytes, class: Class) -> Self {
        let smaller = |encoded: std::io::Result<Vec<u8>>| {
            // Encoding into memory does not fail; if it did, the plain bytes are served.
            encoded
                .ok()
                .filter(|encoded| encoded.len() < body.len())
                .map(Bytes::from)
        };
        let worth = body.len() >= SMALLEST_ENCODED;
        Self {
            gzip: worth.then(|| smaller(gzip(&body))).flatten(),
            zstd: worth
                .then(|| smaller(zstd::bulk::compress(&body, ZSTD_LEVEL)))
                .flatten(),
            etags: etags(&body),
            class,
            body,
        }
    }

    /// Encodes a file off the event loop when it is large.
    pub async fn prepare(body: Bytes, class: Class) -> Self {
        if body.len() < LARGE {
            return Self::new(body, class);
        }
        let plain = body.clone();
        match tokio::task::spawn_blocking(move || Self::new(body, class)).await {
            Ok(document) => document,
            // Only at shutdown, or if an encoder panicked: serve it unencoded.
            Err(_) => Self {
                etags: etags(&plain),
                body: plain,
                gzip: None,
                zstd: None,
                class,
            },
        }
    }

    /// The bytes as signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes in an encoding, where it is smaller than the plain one.
    pub fn encoded(&self, encoding: Encoding) -> Option<&Bytes> {
        match encoding {
            Encoding::Identity => Some(&self.body),
            Encoding::Gzip => self.gzip.as_ref(),
            Encoding::Zstd => self.zstd.as_ref(),
        }
    }

    /// How it may be cached.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The same bytes under a name of another class.
    pub fn with_class(&self, class: Class) -> Self {
        Self { class, ..self.clone() }
    }

    /// The strong ETag of one encoding, quoted (RFC 9110 section 8.8.3).
    pub fn etag(&self, encoding: Encoding) -> &HeaderValue {
        &self.etags[encoding as usize]
    }

    /// Bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let encoded = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        self.body.len() + encoded(&self.gzip) + encoded(&self.zstd) + size_of::<Self>()
    }
}

fn etags(body: &[u8]) -> [HeaderValue; 3] {
    let base = hex::encode(&Digest::of(body).as_bytes()[..16]);
    let quoted = [
        format!("\"{base}\""),
        format!("\"{base}-gzip\""),
        format!("\"{base}-zstd\""),
    ];
    // Hex digits and a fixed word always make a header value.
    quoted.map(|tag| HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\"")))
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn encodings_decode_to_the_body() {
        for size in [SMALLEST_ENCODED, 5_000, LARGE * 4] {
            let body = Bytes::from("metadata ".repeat(size).into_bytes());
            let document = Document::prepare(body.clone(), Class::Immutable).await;
            let mut plain = Vec::new();
            let gzip = document.encoded(Encoding::Gzip).unwrap();
            flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, body);
            let zstd = document.encoded(Encoding::Zstd).unwrap();
            assert_eq!(zstd::stream::decode_all(&zstd[..]).unwrap(), body);
            let etags: std::collections::HashSet<_> = Encoding::ALL.map(|e| document.etag(e)).into();
            assert_eq!(etags.len(), 3);
            assert!(document.weight() > body.len() + gzip.len() + zstd.len());
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_encoded() {
        let tiny = Document::new(Bytes::from_static(b"{}"), Class::Moving);
        assert_eq!(tiny.encoded(Encoding::Gzip), None);
        let random: Vec<u8> = (0..2000_u32).flat_map(|n| Digest::of(n.to_be_bytes()).0).collect();
        let random = Document::new(random.into(), Class::Moving);
        assert_eq!(random.encoded(Encoding::Gzip), None);
        assert_eq!(random.encoded(Encoding::Zstd), None);
    }
}
