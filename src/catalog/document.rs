//! A metadata file ready to be sent: its bytes, and each encoding once somebody accepts it, each with its own strong ETag.

use std::{
    io::Write as _,
    sync::{Arc, OnceLock},
};

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

/// An encoding, once it was made; `None` when it is no smaller than the plain bytes.
type Encoded = OnceLock<Option<Bytes>>;

/// A metadata file with its encodings.
#[derive(Clone, Debug)]
pub struct Document {
    body: Bytes,
    gzip: Encoded,
    zstd: Encoded,
    /// In the order of [`Encoding`]; made once, sent often.
    etags: [HeaderValue; 3],
    class: Class,
}

impl Document {
    /// A file as it was read.
    pub fn new(body: Bytes, class: Class) -> Self {
        Self {
            gzip: Encoded::new(),
            zstd: Encoded::new(),
            etags: etags(&body),
            class,
            body,
        }
    }

    /// Makes an encoding, off the event loop where the file is large. Most files are read by few, and by none in every
    /// encoding; a publication must not wait for what nobody may ask for.
    pub async fn encode(self: &Arc<Self>, encoding: Encoding) {
        if self.is_encoded(encoding) {
            return;
        }
        if self.body.len() < LARGE {
            return self.encode_here(encoding);
        }
        let this = Arc::clone(self);
        // Fails only at shutdown, or if an encoder panicked: then the plain bytes are served.
        let _ = tokio::task::spawn_blocking(move || this.encode_here(encoding)).await;
    }

    /// Whether nothing is left to do for an encoding.
    pub fn is_encoded(&self, encoding: Encoding) -> bool {
        self.encoded_in(encoding).is_none_or(|encoded| encoded.get().is_some())
    }

    fn encode_here(&self, encoding: Encoding) {
        let Some(encoded) = self.encoded_in(encoding) else {
            return;
        };
        encoded.get_or_init(|| {
            if self.body.len() < SMALLEST_ENCODED {
                return None;
            }
            let made = match encoding {
                Encoding::Gzip => gzip(&self.body),
                _ => zstd::bulk::compress(&self.body, ZSTD_LEVEL),
            };
            // Encoding into memory does not fail; if it did, the plain bytes are served.
            let made = made.ok().filter(|made| made.len() < self.body.len());
            made.map(Bytes::from)
        });
    }

    fn encoded_in(&self, encoding: Encoding) -> Option<&Encoded> {
        match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(&self.gzip),
            Encoding::Zstd => Some(&self.zstd),
        }
    }

    /// The bytes as signed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes in an encoding that was made and is smaller than the plain one.
    pub fn encoded(&self, encoding: Encoding) -> Option<&Bytes> {
        match self.encoded_in(encoding) {
            None => Some(&self.body),
            Some(encoded) => encoded.get()?.as_ref(),
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

    /// Bytes it may come to take in memory: signed JSON shrinks to less than half.
    pub fn weight(&self) -> usize {
        2 * self.body.len() + size_of::<Self>()
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
            let document = Arc::new(Document::new(body.clone(), Class::Immutable));
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                assert_eq!(document.encoded(encoding), None, "nobody asked");
                document.encode(encoding).await;
            }
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

    #[tokio::test]
    async fn what_does_not_shrink_is_not_encoded() {
        let random: Vec<u8> = (0..2000_u32).flat_map(|n| Digest::of(n.to_be_bytes()).0).collect();
        for body in [Bytes::from_static(b"{}"), random.into()] {
            let document = Arc::new(Document::new(body, Class::Moving));
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                document.encode(encoding).await;
                assert!(document.is_encoded(encoding));
                assert_eq!(document.encoded(encoding), None);
            }
        }
    }
}
