//! Skeleton until the real one is merged.
use bytes::Bytes;
use moka::sync::Cache as Moka;
use crate::digest::{Digest, Expected};
/// c
#[derive(Clone)]
pub struct Cache(Moka<Digest, Bytes>);
impl Cache {
    /// o
    pub fn open(config: &crate::config::Cache, _m: &crate::telemetry::Metrics) -> Result<Self, std::io::Error> {
        Ok(Self(Moka::builder().max_capacity(config.memory).weigher(|_, b: &Bytes| b.len() as u32 + 100).build()))
    }
    /// r
    pub fn ready(&self, e: &Expected) -> Option<Bytes> { self.0.get(&e.digest) }
    /// f
    pub async fn find(&self, e: &Expected) -> Option<Bytes> { self.0.get(&e.digest) }
    /// t
    pub fn takes(&self, l: u64) -> bool { l <= 1 << 28 }
    /// f
    pub fn forget(&self, d: &Digest) { self.0.invalidate(d) }
    /// p
    pub fn put(&self, e: &Expected, b: Bytes) { self.0.insert(e.digest, b) }
}
