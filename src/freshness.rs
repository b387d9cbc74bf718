//! What a shared cache may do with an answer (RFC 9111): keep its bytes, use them again after asking, or for a while
//! without. Pure but for the clock, by which an answer is judged as it comes. Where the RFC leaves a choice, the narrower one is taken: a gate must never widen access.

use std::time::{Duration, SystemTime};

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

/// Judges an answer that came just now. `anonymous`: asked for without credentials. `heuristic`: how long an answer that names no lifetime
/// may go unasked, which is also the most that one which does is given.
pub fn keeping(answer: &HeaderMap, anonymous: bool, heuristic: Duration) -> Keeping {
    keeping_at(SystemTime::now(), answer, anonymous, heuristic)
}

fn keeping_at(now: SystemTime, answer: &HeaderMap, anonymous: bool, heuristic: Duration) -> Keeping {
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
        Some(lifetime) => lifetime.saturating_sub(age_at(now, answer)).min(heuristic),
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
            let Some(directives) = directives(line) else {
                found.forbid = true;
                continue;
            };
            for (name, value) in directives {
                match name.as_str() {
                    "no-store" | "private" => found.forbid = true,
                    "no-cache" => found.ask = true,
                    "s-maxage" => shared = least(shared, seconds(&value)),
                    "max-age" => any = least(any, seconds(&value)),
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

/// Names in lower case and values of a line's directives (section 5.2), quotes removed; `None` when it is not a list of
/// them: somebody else may read `private` in it.
fn directives(line: &str) -> Option<Vec<(String, String)>> {
    const BLANK: [char; 2] = [' ', '\t'];
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, after) = token(rest)?;
        let (value, after) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(after) => match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => token(after).map(|(value, after)| (value.to_owned(), after))?,
            },
        };
        found.push((name.to_ascii_lowercase(), value));
        rest = after.trim_start_matches(BLANK);
        if !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
    }
}

/// A token (RFC 9110 section 5.6.2) and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !tchar(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A quoted string behind its first quote (RFC 9110 section 5.6.4), and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
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
    let lifetime = date(answer, &EXPIRES)
        .zip(date(answer, &DATE))
        .and_then(|(end, from)| end.duration_since(from).ok());
    lifetime.unwrap_or_default()
}

/// The one date that a field names.
fn date(answer: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = answer.get_all(name).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?).ok()
}

/// How old an answer is that came just now (section 4.2.3): what `Age` says, and no less than since `Date`; for ever when
/// one of them cannot be read.
pub fn age(answer: &HeaderMap) -> Duration {
    age_at(SystemTime::now(), answer)
}

fn age_at(now: SystemTime, answer: &HeaderMap) -> Duration {
    let lines = answer.get_all(AGE).iter();
    let told = lines.map(|line| {
        line.to_str().map_or(Duration::MAX, |text| match text.trim() {
            text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => seconds(text),
            _ => Duration::MAX,
        })
    });
    let apparent = answer.contains_key(DATE).then(|| match date(answer, &DATE) {
        Some(date) => now.duration_since(date).unwrap_or_default(),
        None => Duration::MAX,
    });
    told.chain(apparent).max().unwrap_or_default()
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
    /// When answers come.
    const DAY: &str = "Sun, 22 Nov 2026 00:00:00 GMT";

    fn judged(lines: &[(&str, &str)], anonymous: bool) -> Keeping {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let now = httpdate::parse_http_date(DAY).unwrap();
        keeping_at(now, &map, anonymous, MINUTE)
    }

    #[test]
    fn answers_are_kept_as_rfc_9111_allows() {
        const HOUR_AGO: &str = "Sat, 21 Nov 2026 23:00:00 GMT";
        const TEN_AGO: &str = "Sat, 21 Nov 2026 23:59:50 GMT";
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
            (&[("cache-control", "max-age=60"), ("date", HOUR_AGO)], Ask),
            (&[("cache-control", "max-age=15"), ("date", TEN_AGO)], seconds(5)),
            (
                &[("cache-control", "max-age=15"), ("date", TEN_AGO), ("age", "12")],
                seconds(3),
            ),
            (&[("cache-control", "max-age=15"), ("date", TEN_LATER)], seconds(15)),
            (&[("cache-control", "max-age=15"), ("date", "now")], Ask),
            (&[("expires", DAY), ("date", HOUR_AGO)], Ask),
            (&[("expires", TEN_LATER), ("date", TEN_AGO)], seconds(10)),
            (&[("cache-control", "No-Cache")], Ask),
            (&[("cache-control", "no-cache=\"set-cookie, x\"")], Ask),
            (&[("cache-control", "no-store")], Never),
            (&[("cache-control", "max-age=10, Private")], Never),
            (&[("cache-control", "private=\"x\"")], Never),
            (&[("cache-control", "public"), ("cache-control", "no-store")], Never),
            // Another list than that of section 5.2 may be read as more than it says.
            (&[("cache-control", "x=\"\\\"\", private")], Never),
            (&[("cache-control", "public, x=\"\\\\\", no-store")], Never),
            (&[("cache-control", "x=\"a, private")], Never),
            (&[("cache-control", "private; max-age=5")], Never),
            (&[("cache-control", "no-store;max-age=0")], Never),
            (&[("cache-control", "\"private\"")], Never),
            (&[("cache-control", "max-age=60 private")], Never),
            (&[("cache-control", "=private")], Never),
            (&[("cache-control", "x=a private, no-store=\"a")], Never),
            (&[("cache-control", "x=\"a\"private")], Never),
            (&[("cache-control", "x=\"a\\")], Never),
            (&[("cache-control", ", ,max-age=9 ,\tx=\"\\\",\"")], seconds(9)),
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
