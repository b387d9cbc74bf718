//! Ranges and preconditions as RFC 9110 reads them, written apart from the gate's own reading.

use super::{case::Case, stage::Artifact, wire::Answer};

/// What a request's Range asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Nothing that counts: no Range, not a GET, malformed, or its `If-Range` does not hold.
    Whole,
    /// Nothing that the artifact has.
    Unsatisfiable,
    /// First and last byte of each part.
    Parts(Vec<(usize, usize)>),
}

fn line<'a>(case: &'a Case, name: &str) -> Option<&'a str> {
    let found = case.headers.iter().find(|(other, _)| *other == name);
    found.map(|(_, value)| value.as_str())
}

/// What is asked of an artifact whose validators stand in `truth` (sections 13.1.5, 14.1.2 and 14.2).
pub fn asked(case: &Case, artifact: &Artifact, truth: &Answer) -> Asked {
    let length = artifact.bytes.len();
    let holds = match line(case, "If-Range") {
        None => true,
        Some(weak) if weak.starts_with("W/") => false,
        Some(tag) if tag.starts_with('"') => truth.one("etag") == Some(tag),
        Some(date) => truth.one("last-modified") == Some(date),
    };
    let set = line(case, "Range").and_then(|range| range.strip_prefix("bytes="));
    let Some(set) = set.filter(|_| holds && !case.head) else {
        return Asked::Whole;
    };
    let mut parts = Vec::new();
    for member in set.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let Some((first, last)) = member.split_once('-') else {
            return Asked::Whole;
        };
        let number = |text: &str| text.parse::<usize>().ok();
        match (number(first), number(last)) {
            (Some(first), Some(last)) if last < first => return Asked::Whole,
            (Some(first), Some(last)) if first < length => parts.push((first, last.min(length - 1))),
            (Some(first), None) if last.is_empty() && first < length => parts.push((first, length - 1)),
            (None, Some(suffix)) if first.is_empty() && suffix > 0 => {
                parts.push((length.saturating_sub(suffix), length - 1));
            }
            (Some(_), Some(_)) => {}
            (Some(_), None) if last.is_empty() => {}
            (None, Some(_)) if first.is_empty() => {}
            _ => return Asked::Whole,
        }
    }
    match (parts.is_empty(), set.trim().is_empty()) {
        (_, true) => Asked::Whole,
        (true, false) => Asked::Unsatisfiable,
        (false, false) => Asked::Parts(parts),
    }
}

/// Whether the preconditions allow a 304 of what has the validators in `truth` (section 13.2.2): If-None-Match by weak
/// comparison, or, without it, If-Modified-Since.
pub fn unmodified(case: &Case, truth: &Answer) -> bool {
    if let Some(tags) = line(case, "If-None-Match") {
        let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let current = truth.one("etag").map(bare);
        return tags.trim() == "*" || tags.split(',').any(|tag| Some(bare(tag)) == current);
    }
    let date = |text: Option<&str>| text.and_then(|text| httpdate::parse_http_date(text).ok());
    let since = date(line(case, "If-Modified-Since"));
    since.is_some() && date(truth.one("last-modified")).is_some_and(|modified| Some(modified) <= since)
}

/// A 206: every part of it is what its Content-Range says, and a single one is what was asked for.
pub fn check(case: &Case, artifact: &Artifact, asked: &Asked, answer: &Answer) -> Result<(), String> {
    let of = |range: &str| -> Option<(usize, usize)> {
        let (span, length) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let within = length == artifact.bytes.len().to_string() && first <= last && last < artifact.bytes.len();
        within.then_some((first, last))
    };
    if let Some(range) = answer.one("content-range") {
        let (first, last) = of(range).ok_or_else(|| format!("`content-range: {range}`"))?;
        if let Asked::Parts(parts) = asked
            && parts.len() == 1
            && parts[0] != (first, last)
        {
            return Err(format!("asked for {:?}, got {range}", parts[0]));
        }
        let expected: &[u8] = if case.head { &[] } else { &artifact.bytes[first..=last] };
        return match answer.body == expected {
            true => Ok(()),
            false => Err("other bytes in a part".to_owned()),
        };
    }
    if case.head {
        return Ok(());
    }
    let boundary = answer.one("content-type").and_then(|kind| kind.split_once("boundary="));
    let boundary = boundary
        .map(|(_, text)| text.trim_matches('"'))
        .ok_or("a 206 without Content-Range")?;
    let mut rest = answer.body.as_slice();
    let mut parts = 0;
    // Parts are taken by the length that their Content-Range says, since an artifact may hold any bytes.
    loop {
        let text = String::from_utf8_lossy(&rest[..rest.len().min(1024)]).into_owned();
        let opened = text.trim_start_matches("\r\n");
        let skipped = text.len() - opened.len();
        let Some(after) = opened.strip_prefix(&format!("--{boundary}")) else {
            return Err("a part does not begin with the boundary".to_owned());
        };
        if after.starts_with("--") {
            return if parts > 0 { Ok(()) } else { Err("no parts".to_owned()) };
        }
        let head = after.split("\r\n\r\n").next().unwrap_or_default();
        let range = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-range")
                .then(|| value.trim().to_owned())
        });
        let (first, last) = range.as_deref().and_then(of).ok_or("a part without Content-Range")?;
        let begin = skipped + boundary.len() + 2 + head.len() + 4;
        let end = begin + last - first + 1;
        if rest.get(begin..end) != Some(&artifact.bytes[first..=last]) {
            return Err("other bytes in one of several parts".to_owned());
        }
        rest = &rest[end..];
        parts += 1;
    }
}
