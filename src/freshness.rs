//! What a shared cache may do with an answer (RFC 9111): keep its bytes, use them again after asking, or for a while
//! without. Pure. Where the RFC leaves a choice, the narrower one is taken: a gate must never widen access.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName,
    header::{AGE, CACHE_CONTROL, DATE, EXPIRES, PRAGMA, SET_COOKIE, VARY},
};

/// What may be done with an answer of status 200.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Keeping {
    /// Neither bytes nor header may be kept: `no-store`, `private`, `Vary: *`.
    Never,
    /// Kept; the upstream is asked, with the reader's own credentials, before the bytes are used again.
    Ask,
    /// The same, but anonymous readers need no question for this long after the answer came.
    Fresh(Duration),
}

/// Judges an answer. `anonymous`: asked for without credentials. `heuristic`: how long an answer that names no lifetime
/// may go unasked, which is also the most that one which does is given.
pub fn keeping(answer: &HeaderMap, anonymous: bool, heuristic: Duration) -> Keeping {
    let directives = Directives::of(answer);
    let varies = names(answer, &VARY);
    if directives.forbid || varies.iter().any(|name| name == "*") {
        return Keeping::Never;
    }
    // The gate asks with the same headers for everybody, so a variant other than by credentials cannot arise; an answer
    // that says it varies is asked about all the same.
    let one_for_all = varies.iter().all(|name| name == "accept-encoding") && !answer.contains_key(SET_COOKIE);
    if !anonymous || !one_for_all || directives.ask {
        return Keeping::Ask;
    }
    let lifetime = match directives.lifetime {
        Some(seconds) => Some(seconds),
        None if answer.contains_key(EXPIRES) => Some(until_expiry(answer)),
        None => None,
    };
    let fresh = match lifetime {
        Some(lifetime) => lifetime.saturating_sub(age(answer)).min(heuristic),
        None => heuristic,
    };
    match fresh.is_zero() {
        true => Keeping::Ask,
        false => Keeping::Fresh(fresh),
    }
}

/// What `Cache-Control` says to a shared cache; of several, the most restrictive (section 4.2.1).
#[derive(Default)]
struct Directives {
    forbid: bool,
    ask: bool,
    lifetime: Option<Duration>,
}

impl Directives {
    fn of(answer: &HeaderMap) -> Self {
        let mut found = Self::default();
        let (mut shared, mut any): (Option<Duration>, Option<Duration>) = (None, None);
        let least = |old: Option<Duration>, new: Duration| Some(old.map_or(new, |old| old.min(new)));
        for line in answer.get_all(CACHE_CONTROL) {
            let Ok(line) = line.to_str() else {
                // Unreadable: it may say anything.
                found.forbid = true;
                continue;
            };
            for directive in split_list(line) {
                let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-store" | "private" => found.forbid = true,
                    "no-cache" => found.ask = true,
                    "s-maxage" => shared = least(shared, seconds(value)),
                    "max-age" => any = least(any, seconds(value)),
                    _ => {}
                }
            }
        }
        let legacy = answer
            .get_all(PRAGMA)
            .iter()
            .any(|line| line.as_bytes().eq_ignore_ascii_case(b"no-cache"));
        found.ask |= legacy && !answer.contains_key(CACHE_CONTROL);
        found.lifetime = shared.or(any);
        found
    }
}

/// The members of a list, commas within quotes left alone.
fn split_list(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|member| !member.is_empty())
}

/// Delta-seconds (section 1.2.2); what cannot be read is stale.
fn seconds(text: &str) -> Duration {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match digits {
        true => Duration::from_secs(text.parse().unwrap_or(1 << 31)),
        false => Duration::ZERO,
    }
}

/// From `Date` to `Expires`; nothing when either cannot be read (section 5.3).
fn until_expiry(answer: &HeaderMap) -> Duration {
    let date = |name| {
        let mut lines = answer.get_all(name).iter();
        let only = lines.next().filter(|_| lines.next().is_none())?;
        httpdate::parse_http_date(only.to_str().ok()?).ok()
    };
    let lifetime = date(EXPIRES)
        .zip(date(DATE))
        .and_then(|(end, from)| end.duration_since(from).ok());
    lifetime.unwrap_or_default()
}

/// How old the answer was when it came (section 5.1); for ever when that cannot be read.
pub fn age(answer: &HeaderMap) -> Duration {
    let lines = answer.get_all(AGE).iter();
    lines
        .map(|line| {
            line.to_str().map_or(Duration::MAX, |text| match text.trim() {
                text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => seconds(text),
                _ => Duration::MAX,
            })
        })
        .max()
        .unwrap_or_default()
}

/// The members of a header that lists field names, in lower case.
fn names(answer: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = answer.get_all(name).iter();
    lines
        // What is not text names a header nobody knows.
        .flat_map(|line| line.to_str().unwrap_or("*").split(','))
        .map(|member| member.trim().to_ascii_lowercase())
        .filter(|member| !member.is_empty())
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::{Keeping::*, *};

    const MINUTE: Duration = Duration::from_secs(60);

    fn judged(lines: &[(&str, &str)], anonymous: bool) -> Keeping {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        keeping(&map, anonymous, MINUTE)
    }

    #[test]
    fn answers_are_kept_as_rfc_9111_allows() {
        const DAY: &str = "Sun, 22 Nov 2026 00:00:00 GMT";
        const TEN_LATER: &str = "Sun, 22 Nov 2026 00:00:10 GMT";
        let seconds = |count| Fresh(Duration::from_secs(count));
        let cases: &[(&[(&str, &str)], Keeping)] = &[
            (&[], Fresh(MINUTE)),
            (&[("cache-control", "public")], Fresh(MINUTE)),
            (&[("cache-control", "max-age=10")], seconds(10)),
            (&[("cache-control", "max-age=31536000, immutable")], Fresh(MINUTE)),
            (&[("cache-control", "max-age=99999999999999999999")], Fresh(MINUTE)),
            (&[("cache-control", "max-age=0")], Ask),
            (&[("cache-control", "max-age=10, max-age=5")], seconds(5)),
            (&[("cache-control", "max-age=5, s-maxage=20")], seconds(20)),
            (&[("cache-control", "s-maxage=0"), ("cache-control", "max-age=20")], Ask),
            (&[("cache-control", "max-age=\"7\"")], seconds(7)),
            (&[("cache-control", "max-age=x")], Ask),
            (&[("cache-control", "max-age")], Ask),
            (&[("cache-control", "max-age=10"), ("age", "4")], seconds(6)),
            (&[("cache-control", "max-age=10"), ("age", "40")], Ask),
            (&[("cache-control", "max-age=10"), ("age", "x")], Ask),
            (&[("cache-control", "No-Cache")], Ask),
            (&[("cache-control", "no-cache=\"set-cookie, x\"")], Ask),
            (&[("cache-control", "no-store")], Never),
            (&[("cache-control", "max-age=10, Private")], Never),
            (&[("cache-control", "private=\"x\"")], Never),
            (&[("cache-control", "public"), ("cache-control", "no-store")], Never),
            // A directive in a quoted string is none.
            (&[("cache-control", "x=\"a, no-store\", max-age=9")], seconds(9)),
            (&[("pragma", "no-cache")], Ask),
            (&[("pragma", "no-cache"), ("cache-control", "max-age=9")], seconds(9)),
            (&[("expires", TEN_LATER), ("date", DAY)], seconds(10)),
            (&[("expires", DAY), ("date", TEN_LATER)], Ask),
            (&[("expires", "0"), ("date", DAY)], Ask),
            (&[("expires", TEN_LATER)], Ask),
            (&[("vary", "Accept-Encoding")], Fresh(MINUTE)),
            (&[("vary", "Accept-Encoding, Cookie")], Ask),
            (&[("vary", "Authorization")], Ask),
            (&[("vary", "*")], Never),
            (&[("vary", "accept-encoding"), ("vary", "a, *")], Never),
            (&[("set-cookie", "a=b")], Ask),
        ];
        for (answer, expected) in cases {
            assert_eq!(judged(answer, true), *expected, "{answer:?}");
            assert_eq!(
                judged(answer, false),
                (*expected).min(Ask),
                "with credentials: {answer:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn more_directives_never_allow_more(first in "[a-z-]{0,10}", rest in "(, ?(public|x=\"[ -!#-~]{0,9}\"|max-age=[0-9]{1,3}|must-revalidate)){0,4}") {
            for forbidding in ["no-store", "private"] {
                let line = format!("{first}{rest}, {forbidding}");
                prop_assert_eq!(judged(&[("cache-control", &line)], true), Never, "{}", line);
            }
            let line = format!("no-cache{rest}");
            prop_assert!(judged(&[("cache-control", &line)], true) <= Ask, "{}", line);
        }

        #[test]
        fn freshness_is_bounded(value in "[ -~]{0,40}", expires in "[ -~]{0,30}") {
            if let Fresh(time) = judged(&[("cache-control", &value), ("expires", &expires)], true) {
                prop_assert!(time <= MINUTE && !time.is_zero());
            }
        }
    }
}
