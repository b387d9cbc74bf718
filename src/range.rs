//! The Range header (RFC 9110 section 14): which part of a representation is asked for. If-Range is the caller's.

use std::ops::Range;

/// What a Range header asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ranges {
    /// Answer 200 with everything: another unit, malformed, or several ranges. A server may always ignore Range.
    Whole,
    /// Answer 416.
    Unsatisfiable,
    /// Answer 206 with these bytes: never empty, within the length, the end exclusive.
    Single(Range<u64>),
}

/// Parses a Range header for a representation of `length` bytes.
pub fn parse(header: &str, length: u64) -> Ranges {
    let Some((unit, set)) = header.split_once('=') else {
        return Ranges::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    // Empty list members are legal (RFC 9110 section 5.6.1.2).
    let mut members = set
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty());
    match (members.next().and_then(|member| member.split_once('-')), members.next()) {
        (Some((first, last)), None) => single(first, last, length).unwrap_or(Ranges::Whole),
        _ => Ranges::Whole,
    }
}

/// One range of a valid form, or `None`.
fn single(first: &str, last: &str, length: u64) -> Option<Ranges> {
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(match (suffix, length) {
            (0, _) => Ranges::Unsatisfiable,
            // Satisfiable by the RFC, but Content-Range cannot name zero bytes.
            (_, 0) => Ranges::Whole,
            _ => Ranges::Single(length.saturating_sub(suffix)..length),
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(match first < length {
        true => Ranges::Single(first..last.saturating_add(1).min(length)),
        false => Ranges::Unsatisfiable,
    })
}

/// Digits; a number beyond 64 bits lies beyond every length.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The Content-Range of a 206 (RFC 9110 section 14.4); `range` as [`parse`] gave it.
pub fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
}

/// The Content-Range of a 416.
pub fn unsatisfied_range(length: u64) -> String {
    format!("bytes */{length}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ranges::*, *};

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let huge = "99999999999999999999999";
        for (header, length, expected) in [
            ("bytes=0-499", 1000, Single(0..500)),
            ("Bytes=500-", 1000, Single(500..1000)),
            ("bytes=-300", 1000, Single(700..1000)),
            ("bytes=-3000", 1000, Single(0..1000)),
            ("bytes=999-5000", 1000, Single(999..1000)),
            ("bytes= , 0-0\t,", 1000, Single(0..1)),
            (&format!("bytes=0-{huge}"), 1000, Single(0..1000)),
            (&format!("bytes=-{huge}"), 1000, Single(0..1000)),
            ("bytes=0-18446744073709551615", u64::MAX, Single(0..u64::MAX)),
            ("bytes=1000-", 1000, Unsatisfiable),
            (&format!("bytes={huge}-{huge}"), 1000, Unsatisfiable),
            ("bytes=-0", 1000, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=5-4", 1000, Whole),
            ("bytes=0-1,3-4", 1000, Whole),
            ("bytes=0-1,x", 1000, Whole),
            ("bytes=", 1000, Whole),
            ("bytes=-", 1000, Whole),
            ("bytes=a-b", 1000, Whole),
            ("bytes=+1-2", 1000, Whole),
            ("bytes=1-2-3", 1000, Whole),
            ("bytes=1 -2", 1000, Whole),
            ("items=0-1", 1000, Whole),
            ("bytes 0-1", 1000, Whole),
            ("", 1000, Whole),
        ] {
            assert_eq!(parse(header, length), expected, "{header} of {length}");
        }
        assert_eq!(content_range(&(0..500), 1000), "bytes 0-499/1000");
        assert_eq!(unsatisfied_range(1000), "bytes */1000");
    }

    proptest! {
        #[test]
        fn a_range_never_leaves_the_representation(
            header in "(bytes|Bytes|b)?=?[ ,0-9-]{0,30}", length in prop_oneof![0u64..20, Just(u64::MAX)],
        ) {
            if let Single(range) = parse(&header, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }

        #[test]
        fn a_written_range_is_read_back(first in 0u64..2000, extra in 0u64..2000, length in 0u64..2000) {
            let last = first + extra;
            let expected = match first < length {
                true => Single(first..length.min(last + 1)),
                false => Unsatisfiable,
            };
            prop_assert_eq!(parse(&format!("bytes={first}-{last}"), length), expected);
        }

        #[test]
        fn nothing_makes_it_panic(header in "\\PC*", length: u64) {
            parse(&header, length);
        }
    }
}
