//! The Range header (RFC 9110 section 14): which part of a representation is asked for. If-Range is the caller's.

use std::ops::Range;

/// Most ranges of one request that are answered. A request for more is a mistake or an attack (RFC 9110 section 17.15) and
/// gets the whole.
pub const MAX_RANGES: usize = 16;

/// What a Range header asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ranges {
    /// Answer 200 with everything: another unit, malformed, too many ranges, overlapping ones, or together no less than
    /// the whole. A server may always ignore Range.
    Whole,
    /// Answer 416.
    Unsatisfiable,
    /// Answer 206 with these bytes: never empty, within the length, the end exclusive.
    Single(Range<u64>),
    /// Answer 206 with these parts, two at least, in the order asked for; none overlap.
    Several(Vec<Range<u64>>),
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
    let members = set
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty());
    let (mut parts, mut asked) = (Vec::new(), 0_usize);
    for member in members {
        asked += 1;
        if asked > MAX_RANGES {
            return Ranges::Whole;
        }
        match member
            .split_once('-')
            .and_then(|(first, last)| one(first, last, length))
        {
            None | Some(One::Whole) => return Ranges::Whole,
            Some(One::Unsatisfiable) => {}
            Some(One::Part(part)) => parts.push(part),
        }
    }
    if asked == 0 {
        return Ranges::Whole;
    }
    match <[Range<u64>; 1]>::try_from(parts) {
        Ok([part]) => Ranges::Single(part),
        Err(parts) if parts.is_empty() => Ranges::Unsatisfiable,
        Err(parts) if worthwhile(&parts, length) => Ranges::Several(parts),
        Err(_) => Ranges::Whole,
    }
}

/// Whether parts are answered as such: none overlaps another, and together they are less than the whole.
fn worthwhile(parts: &[Range<u64>], length: u64) -> bool {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    let apart = sorted.windows(2).all(|pair| match pair {
        [left, right] => left.end <= right.start,
        _ => true,
    });
    // Apart, they cannot sum up beyond 64 bits.
    apart && parts.iter().map(|part| part.end - part.start).sum::<u64>() < length
}

/// One member of the list.
enum One {
    /// Everything: satisfiable by the RFC, but Content-Range cannot name it.
    Whole,
    Unsatisfiable,
    Part(Range<u64>),
}

/// One range of a valid form, or `None`.
fn one(first: &str, last: &str, length: u64) -> Option<One> {
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(match (suffix, length) {
            (0, _) => One::Unsatisfiable,
            (_, 0) => One::Whole,
            _ => One::Part(length.saturating_sub(suffix)..length),
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(match first < length {
        true => One::Part(first..last.saturating_add(1).min(length)),
        false => One::Unsatisfiable,
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
            ("bytes=0-1,3-4", 1000, Several(vec![0..2, 3..5])),
            ("bytes=-1, 0-0", 1000, Several(vec![999..1000, 0..1])),
            ("bytes=0-1,2000-", 1000, Single(0..2)),
            ("bytes=2000-,3000-", 1000, Unsatisfiable),
            ("bytes=0-1,1-2", 1000, Whole),
            ("bytes=0-499,500-", 1000, Whole),
            ("bytes=0-,0-,0-", 1000, Whole),
            (&format!("bytes={}", "0-0,".repeat(17)), 1000, Whole),
            (&format!("bytes={}", "2000-,".repeat(17)), 1000, Whole),
            ("bytes=0-1,x", 1000, Whole),
            ("bytes=0-1,5-4", 1000, Whole),
            ("bytes=0-1,-5", 0, Whole),
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
            let parts = match parse(&header, length) {
                Single(range) => vec![range],
                Several(parts) => parts,
                Whole | Unsatisfiable => vec![],
            };
            prop_assert!(parts.iter().all(|range| range.start < range.end && range.end <= length));
            prop_assert!(parts.len() <= MAX_RANGES);
            prop_assert!(parts.len() < 2 || parts.iter().map(|part| part.end - part.start).sum::<u64>() < length);
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
