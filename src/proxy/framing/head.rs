//! A request's head as it came: where the body ends, or why nobody can know. Pure.

use http::StatusCode;
use memchr::{memchr, memchr_iter};

use crate::proxy::problem::Problem;

/// How a request's body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// With its last chunk.
    Chunked,
    /// After so many bytes.
    Length(u64),
    /// There is none.
    None,
}

/// Why a request head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// RFC 9112 section 6.1.
    #[error("it has both Content-Length and Transfer-Encoding")]
    Both,
    /// RFC 9112 section 7: chunked is applied once, and last.
    #[error("chunked is not its one, last transfer coding")]
    Chunked,
    /// RFC 9112 section 6.1: 501.
    #[error("the gate knows no transfer coding but chunked")]
    Coding,
    /// RFC 9110 section 7.6.1: what is meant for every recipient is not the connection's.
    #[error("Connection names a field that is not the connection's")]
    Connection,
    /// RFC 9110 section 10.1.1: 417.
    #[error("the gate knows no expectation but 100-continue")]
    Expectation,
    /// RFC 9112 section 5.2.
    #[error("a header line is continued on the next")]
    Fold,
    /// RFC 9110 section 7.2, RFC 9112 section 3.2.
    #[error("it must have one Host, and that must be a host")]
    Host,
    /// RFC 9110 section 5.4.
    #[error("its head is too long")]
    Large,
    /// RFC 9110 section 8.6.
    #[error("Content-Length is not one number")]
    Length,
    /// RFC 9112 sections 2.2 and 5: a line is a token, a colon and a value, and ends in CR LF.
    #[error("a line of its head is not one of HTTP")]
    Line,
    /// RFC 9110 section 9.1: methods differ by case, but not every server knows.
    #[error("no method is spelt with small letters")]
    Method,
    /// RFC 9112 section 6.1: HTTP/1.0 has no Transfer-Encoding.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    Old,
    /// Servers that hand requests to CGI or WSGI programs read `_` in a name as `-`.
    #[error("a field's name is that of a length or coding but for an underscore")]
    Twin,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match fault {
            Fault::Coding | Fault::Method => StatusCode::NOT_IMPLEMENTED,
            Fault::Expectation => StatusCode::EXPECTATION_FAILED,
            Fault::Large => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, "request", format!("the request cannot be read: {fault}"))
    }
}

/// Longest head, in bytes: as of HTTP/2 (`server/http2.rs`).
const MAX_HEAD: usize = 64 << 10;

/// Fields that a request's `Connection` may name: those that are the connection's own. To let it name others would let
/// a client take away what a server in front of the gate put in.
const OWN: [&[u8]; 9] = [
    b"close",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// The fields that decide where a message ends and whom it is for, as they stand in a head.
#[derive(Default)]
struct Fields<'a> {
    codings: Vec<&'a [u8]>,
    connection: Vec<&'a [u8]>,
    expectations: Vec<&'a [u8]>,
    hosts: Vec<&'a [u8]>,
    lengths: Vec<&'a [u8]>,
}

/// A request line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// A token without small letters.
    pub method: &'a [u8],
    /// Neither empty nor with blanks or controls in it.
    pub target: &'a [u8],
    /// It is HTTP/1.0.
    pub old: bool,
}

/// How long the head is that begins here, once all of it came; before its first `seen` bytes it does not end. Lines may end
/// as any server would have them end: that, and all else, is judged when it is whole.
///
/// Errors: it grows too long, or begins as no request does, such as one of TLS, which may never end.
pub fn end_of_head(came: &[u8], seen: usize) -> Result<Option<usize>, Fault> {
    let method = came.split(|b| *b == b' ').next().unwrap_or_default();
    if !(is_token(method) || matches!(came, b"" | b"\r")) {
        return Err(Fault::Line);
    }
    let from = seen.saturating_sub(2);
    let end = memchr_iter(b'\n', &came[from..]).find_map(|at| {
        let after = from + at + 1;
        let empty = [&b"\n"[..], b"\r\n"]
            .into_iter()
            .find(|empty| came[after..].starts_with(empty))?;
        Some(after + empty.len())
    });
    match end.unwrap_or(came.len()) > MAX_HEAD {
        true => Err(Fault::Large),
        false => Ok(end),
    }
}

/// Judges a head of HTTP/1 as it came, empty lines before it included.
pub fn judge(head: &[u8]) -> Result<Body, Fault> {
    read(head, |_, _| {}).map(|(_, body)| body)
}

/// The same, telling each field's name and value on the way.
pub fn read<'a>(head: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8])) -> Result<(Line<'a>, Body), Fault> {
    if head.len() > MAX_HEAD {
        return Err(Fault::Large);
    }
    let mut text = head.strip_suffix(b"\r\n\r\n").ok_or(Fault::Line)?;
    while let Some(after) = text.strip_prefix(b"\r\n") {
        text = after;
    }
    let mut lines = lines(text);
    let line = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for line in lines {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Fault::Fold);
        }
        let (name, value) = field(line).ok_or(Fault::Line)?;
        fields.add(name, value)?;
        each(name, value);
    }
    fields.connection(text)?;
    Ok((line, fields.judge(line.old)?))
}

/// Judges a request of HTTP/2, whose end its frames tell, by the same rules: what an upstream of HTTP/1 gets is to mean
/// one thing there.
pub fn judge_framed<'a>(method: &'a [u8], named: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Fault> {
    is_method(method)?;
    let mut fields = Fields::default();
    for (name, value) in named {
        fields.add(name, trim(value))?;
    }
    fields.judge(false).map(|_| ())
}

/// What stands between one CR LF and the next.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr_iter(b'\n', text).find(|&end| text[..end].ends_with(b"\r"));
        rest = end.map(|end| &text[end + 1..]);
        Some(end.map_or(text, |end| &text[..end - 1]))
    })
}

/// A field's name and value.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    (is_token(name) && is_value(value)).then_some((name, value))
}

fn request_line(line: &[u8]) -> Result<Line<'_>, Fault> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::Line);
    };
    let stray = target.iter().any(u8::is_ascii_control);
    if !is_token(method) || target.is_empty() || stray {
        return Err(Fault::Line);
    }
    is_method(method)?;
    let old = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return Err(Fault::Line),
    };
    Ok(Line { method, target, old })
}

fn is_method(token: &[u8]) -> Result<(), Fault> {
    match token.iter().any(u8::is_ascii_lowercase) {
        true => Err(Fault::Method),
        false => Ok(()),
    }
}

impl<'a> Fields<'a> {
    fn add(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Fault> {
        let known = [
            (&b"connection"[..], &mut self.connection),
            (b"content-length", &mut self.lengths),
            (b"expect", &mut self.expectations),
            (b"host", &mut self.hosts),
            (b"transfer-encoding", &mut self.codings),
        ];
        let alike = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
        let found = known
            .into_iter()
            .find(|(known, _)| known.len() == name.len() && name.iter().zip(*known).all(|(a, b)| alike(*a, *b)));
        match found {
            Some(_) if name.contains(&b'_') => return Err(Fault::Twin),
            Some((_, values)) => values.push(value),
            None => {}
        }
        Ok(())
    }

    fn judge(&self, old: bool) -> Result<Body, Fault> {
        self.host(old)?;
        self.expectation()?;
        self.body(old)
    }

    fn host(&self, old: bool) -> Result<(), Fault> {
        match self.hosts.as_slice() {
            [] if old => Ok(()),
            [host] if is_host(host) => Ok(()),
            _ => Err(Fault::Host),
        }
    }

    fn connection(&self, head: &[u8]) -> Result<(), Fault> {
        let mut options = self
            .connection
            .iter()
            .flat_map(|line| line.split(|b| *b == b','))
            .map(trim);
        let foreign = |option: &[u8]| {
            let own = OWN.iter().any(|own| own.eq_ignore_ascii_case(option));
            !own && lines(head)
                .skip(1)
                .filter_map(field)
                .any(|(name, _)| name.eq_ignore_ascii_case(option))
        };
        match options.any(foreign) {
            true => Err(Fault::Connection),
            false => Ok(()),
        }
    }

    fn expectation(&self) -> Result<(), Fault> {
        match self.expectations.as_slice() {
            [] => Ok(()),
            [one] if one.eq_ignore_ascii_case(b"100-continue") => Ok(()),
            _ => Err(Fault::Expectation),
        }
    }

    fn body(&self, old: bool) -> Result<Body, Fault> {
        match (self.codings.as_slice(), self.lengths.as_slice()) {
            ([], []) => Ok(Body::None),
            ([], [length]) => decimal(length).map(Body::Length).ok_or(Fault::Length),
            ([], _) => Err(Fault::Length),
            (_, [_, ..]) => Err(Fault::Both),
            _ if old => Err(Fault::Old),
            ([one], []) if one.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
            (lines, []) => Err(other_coding(lines)),
        }
    }
}

/// What is wrong with transfer codings that are not just `chunked`.
fn other_coding(lines: &[&[u8]]) -> Fault {
    let codings: Vec<&[u8]> = lines
        .iter()
        .flat_map(|line| line.split(|b| *b == b','))
        .map(trim)
        .collect();
    let chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match codings.split_last() {
        Some((last, others)) if chunked(last) && others.iter().all(|other| is_token(other) && !chunked(other)) => {
            Fault::Coding
        }
        _ => Fault::Chunked,
    }
}

/// A length that every server can count, whatever the sign of its integers.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()?;
    (number <= i64::MAX.unsigned_abs()).then_some(number)
}

/// `token` of RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(tchar)
}

/// `field-value` of RFC 9110 section 5.5. Looks at every byte, which is faster than to stop at the first bad one.
fn is_value(text: &[u8]) -> bool {
    let stray = |b: &u8| (*b < b' ' && *b != b'\t') || *b == 0x7f;
    !text.iter().fold(false, |found, b| found | stray(b))
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), the host not empty.
fn is_host(text: &[u8]) -> bool {
    let literal = text.starts_with(b"[");
    let end = match literal {
        true => text.iter().position(|b| *b == b']').map_or(0, |end| end + 1),
        false => text.iter().position(|b| *b == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let fits = |b: &u8| match literal {
        true => b.is_ascii_hexdigit() || b"[]:.".contains(b),
        false => b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b),
    };
    let digits = |port: &[u8]| port.iter().all(u8::is_ascii_digit);
    !host.is_empty() && host.iter().all(fits) && (port.is_empty() || port.strip_prefix(b":").is_some_and(digits))
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
