//! Conditional requests (RFC 9110 section 13): what a request's conditions come to against a representation's
//! validators. Pure.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName,
    header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED},
};

/// What becomes of a GET or HEAD.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// 412.
    Failed,
    /// As if there were no conditions; of Range, [`if_range`] decides.
    Go,
    /// 304.
    NotModified,
}

/// The conditions of a GET or HEAD, in the order of RFC 9110 section 13.2.2. `validators` is the header of the
/// representation that would be sent.
pub fn verdict(request: &HeaderMap, validators: &HeaderMap) -> Verdict {
    if request.contains_key(IF_MATCH) {
        if !any(request, &IF_MATCH, |tag| strong(tag, validators)) {
            return Verdict::Failed;
        }
    } else if let (Some(limit), Some(modified)) =
        (date(request, &IF_UNMODIFIED_SINCE), date(validators, &LAST_MODIFIED))
        && modified > limit
    {
        return Verdict::Failed;
    }
    if request.contains_key(IF_NONE_MATCH) {
        return match any(request, &IF_NONE_MATCH, |tag| weak(tag, validators)) {
            true => Verdict::NotModified,
            false => Verdict::Go,
        };
    }
    match (date(request, &IF_MODIFIED_SINCE), date(validators, &LAST_MODIFIED)) {
        (Some(since), Some(modified)) if modified <= since => Verdict::NotModified,
        _ => Verdict::Go,
    }
}

/// Whether `If-Range` (section 13.1.5) lets Range hold: absent, or one validator that is the representation's by strong
/// comparison.
pub fn if_range(request: &HeaderMap, validators: &HeaderMap) -> bool {
    let mut conditions = request.get_all(IF_RANGE).iter();
    let Some(condition) = conditions.next() else {
        return true;
    };
    let validator = match condition.as_bytes() {
        [b'"', ..] => validators.get(ETAG),
        [b'W', b'/', ..] => None,
        _ => validators.get(LAST_MODIFIED),
    };
    conditions.next().is_none() && validator.is_some_and(|validator| validator == condition)
}

/// Whether a list of entity tags holds `*` or a tag that `matches`.
fn any(request: &HeaderMap, name: &HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    request.get_all(name).iter().any(|line| {
        let mut rest = line.as_bytes();
        while let Some((tag, after)) = next_tag(rest) {
            if tag == b"*" || matches(tag) {
                return true;
            }
            rest = after;
        }
        false
    })
}

/// The next tag of a list, quotes and `W/` with it, and what follows. A comma may stand inside of a tag.
fn next_tag(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let from = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
    let list = list.get(from..)?;
    let opening = match list {
        [b'W', b'/', b'"', ..] => 2,
        [b'"', ..] => 0,
        // `*`, or what is no tag and matches nothing.
        _ => {
            let end = list
                .iter()
                .position(|byte| matches!(byte, b' ' | b'\t' | b','))
                .unwrap_or(list.len());
            return Some(list.split_at(end));
        }
    };
    let closing = list.iter().skip(opening + 1).position(|byte| *byte == b'"')?;
    list.split_at_checked(opening + 1 + closing + 1)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn weak(tag: &[u8], validators: &HeaderMap) -> bool {
    validators
        .get(ETAG)
        .is_some_and(|etag| opaque(etag.as_bytes()) == opaque(tag))
}

fn strong(tag: &[u8], validators: &HeaderMap) -> bool {
    !tag.starts_with(b"W/") && validators.get(ETAG).is_some_and(|etag| etag.as_bytes() == tag)
}

/// A date, if there is exactly one that can be read.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::{Verdict::*, *};

    const EARLIER: &str = "Sat, 21 Nov 2026 00:00:00 GMT";
    const WHEN: &str = "Sun, 22 Nov 2026 00:00:00 GMT";
    const LATER: &str = "Mon, 23 Nov 2026 00:00:00 GMT";

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        map
    }

    fn ours() -> HeaderMap {
        headers(&[("etag", "\"a,b\""), ("last-modified", WHEN)])
    }

    #[test]
    fn conditions_are_weighed_as_rfc_9110_says() {
        let cases: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Go),
            (&[("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", "W/\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\", W/\"a,b\" ,")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"a\"")], Go),
            (&[("if-none-match", "\"a")], Go),
            (&[("if-none-match", "a,b")], Go),
            (&[("if-none-match", "")], Go),
            // If-None-Match makes If-Modified-Since mean nothing.
            (&[("if-none-match", "\"x\""), ("if-modified-since", LATER)], Go),
            (&[("if-modified-since", WHEN)], NotModified),
            (&[("if-modified-since", LATER)], NotModified),
            (&[("if-modified-since", EARLIER)], Go),
            (&[("if-modified-since", "yesterday")], Go),
            (&[("if-match", "\"a,b\"")], Go),
            (&[("if-match", "*")], Go),
            (&[("if-match", "W/\"a,b\"")], Failed),
            (&[("if-match", "\"x\"")], Failed),
            (&[("if-match", "\"a,b\""), ("if-unmodified-since", EARLIER)], Go),
            (&[("if-match", "\"a,b\""), ("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-unmodified-since", EARLIER)], Failed),
            (&[("if-unmodified-since", WHEN)], Go),
        ];
        for (request, expected) in cases {
            assert_eq!(verdict(&headers(request), &ours()), *expected, "{request:?}");
        }
        // What has no validators has nothing to compare.
        for (request, expected) in [
            (("if-none-match", "\"a\""), Go),
            (("if-modified-since", LATER), Go),
            (("if-match", "\"a\""), Failed),
        ] {
            assert_eq!(
                verdict(&headers(&[request]), &HeaderMap::new()),
                expected,
                "{request:?}"
            );
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let holds = |lines: &[(&str, &str)]| if_range(&headers(lines), &ours());
        assert!(holds(&[]));
        assert!(holds(&[("if-range", "\"a,b\"")]));
        assert!(holds(&[("if-range", WHEN)]));
        for other in ["\"b\"", "W/\"a,b\"", LATER, EARLIER, "", "a,b"] {
            assert!(!holds(&[("if-range", other)]), "{other}");
        }
        assert!(!holds(&[("if-range", "\"a,b\""), ("if-range", "\"a,b\"")]));
        // A weak tag of ours is never strong, whatever the request says.
        let weak = headers(&[("etag", "W/\"a\"")]);
        assert!(!if_range(&headers(&[("if-range", "W/\"a\"")]), &weak));
        assert!(!if_range(&headers(&[("if-range", "\"a\"")]), &weak));
    }

    proptest! {
        #[test]
        fn our_tag_is_found_wherever_it_stands(before in "(W/)?(\"[a-z,]{0,3}\" ?, ?){0,3}", after in "( ?,[ -!#-~]{0,3})?") {
            let list = format!("{}\"a,b\"{after}", before.strip_prefix("W/").unwrap_or(&before));
            prop_assert_eq!(verdict(&headers(&[("if-none-match", &list)]), &ours()), NotModified, "{}", list);
        }

        #[test]
        fn nothing_makes_it_panic(value in "[ -~]{0,40}") {
            for name in ["if-match", "if-none-match", "if-range", "if-modified-since", "if-unmodified-since"] {
                let request = headers(&[(name, &value)]);
                verdict(&request, &ours());
                if_range(&request, &ours());
            }
        }
    }
}
