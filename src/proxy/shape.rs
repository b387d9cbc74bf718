//! What an upload's headers say of its body.

use http::{HeaderMap, header};

use crate::digest::Digest;

/// How a PUT carries its artifact.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// No body: an empty artifact.
    Empty,
    /// The body is not the artifact, or only a part: checksum deploy, exploded archive, `aws-chunked`, a content coding,
    /// a range. The sha256 it states, if any.
    Elsewhere(Option<Digest>),
    /// The body is the artifact.
    Whole,
}

impl Shape {
    /// `reference` traps 1, 6 and 10: which headers say that the bytes are elsewhere.
    pub(super) fn of(headers: &HeaderMap, empty: bool) -> Self {
        let is_true = |name: &str| {
            headers
                .get(name)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
        };
        let streaming = headers
            .get("x-amz-content-sha256")
            .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
        let elsewhere = is_true("x-checksum-deploy")
            || is_true("x-explode-archive")
            || is_true("x-explode-archive-atomic")
            || streaming
            || headers.contains_key("x-amz-copy-source")
            || headers.contains_key(header::CONTENT_RANGE)
            || headers.contains_key(header::CONTENT_ENCODING);
        let stated = || {
            let values = ["x-checksum-sha256", "x-checksum"].map(|name| headers.get(name));
            values
                .into_iter()
                .flatten()
                .find_map(|value| value.to_str().ok()?.parse().ok())
        };
        match (elsewhere, empty) {
            (true, _) => Self::Elsewhere(stated()),
            (false, true) => Self::Empty,
            (false, false) => Self::Whole,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn bodies_that_are_not_the_artifact_are_told_by_their_headers() {
        let shape = |pairs: &[(&'static str, &'static str)], empty| {
            let map: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            Shape::of(&map, empty)
        };
        const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(shape(&[], false), Shape::Whole);
        assert_eq!(shape(&[], true), Shape::Empty);
        assert_eq!(shape(&[("x-checksum-deploy", "false")], true), Shape::Empty);
        let stated = Some(SUM.parse().unwrap());
        assert_eq!(
            shape(&[("x-checksum-deploy", "true"), ("x-checksum", SUM)], true),
            Shape::Elsewhere(stated)
        );
        assert_eq!(
            shape(&[("content-encoding", "aws-chunked")], false),
            Shape::Elsewhere(None)
        );
        assert_eq!(
            shape(&[("content-range", "bytes 0-1/9")], false),
            Shape::Elsewhere(None)
        );
        assert_eq!(
            shape(&[("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")], false),
            Shape::Elsewhere(None)
        );
    }
}
