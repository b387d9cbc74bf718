//! Strict JSON read by the grammar of RFC 8259, one function a rule, for comparison with the gate's.

use serde_json::{Map, Value};

/// Most arrays and objects inside each other.
const DEPTH: usize = 64;

/// The value, or nothing where the text is none that metadata may be.
pub fn parse(text: &[u8]) -> Option<Value> {
    let mut rest = str::from_utf8(text).ok()?;
    let value = value(&mut rest, DEPTH)?;
    space(&mut rest);
    rest.is_empty().then_some(value)
}

fn space(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
}

/// Whether `what` comes next; it is then behind us.
fn next(rest: &mut &str, what: &str) -> bool {
    let found = rest.strip_prefix(what);
    *rest = found.unwrap_or(rest);
    found.is_some()
}

fn value(rest: &mut &str, depth: usize) -> Option<Value> {
    space(rest);
    match rest.chars().next()? {
        '{' => object(rest, depth.checked_sub(1)?),
        '[' => array(rest, depth.checked_sub(1)?),
        '"' => Some(string(rest)?.into()),
        '-' | '0'..='9' => number(rest),
        _ if next(rest, "null") => Some(Value::Null),
        _ if next(rest, "true") => Some(true.into()),
        _ if next(rest, "false") => Some(false.into()),
        _ => None,
    }
}

fn object(rest: &mut &str, depth: usize) -> Option<Value> {
    let mut fields = Map::new();
    next(rest, "{");
    space(rest);
    if next(rest, "}") {
        return Some(fields.into());
    }
    loop {
        space(rest);
        let name = string(rest)?;
        space(rest);
        if !next(rest, ":") || fields.contains_key(&name) {
            return None;
        }
        fields.insert(name, value(rest, depth)?);
        space(rest);
        if next(rest, "}") {
            return Some(fields.into());
        }
        next(rest, ",").then_some(())?;
    }
}

fn array(rest: &mut &str, depth: usize) -> Option<Value> {
    let mut items = Vec::new();
    next(rest, "[");
    space(rest);
    if next(rest, "]") {
        return Some(items.into());
    }
    loop {
        items.push(value(rest, depth)?);
        space(rest);
        if next(rest, "]") {
            return Some(items.into());
        }
        next(rest, ",").then_some(())?;
    }
}

/// An integer of 64 bits, and nothing that another reader might take for a float.
fn number(rest: &mut &str) -> Option<Value> {
    let end = rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'));
    let (written, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after;
    let digits = written.strip_prefix('-').unwrap_or(written);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !plain || digits.len() > 1 && digits.starts_with('0') || written == "-0" {
        return None;
    }
    let number: i128 = written.parse().ok()?;
    let signed = i64::try_from(number).map(Value::from);
    u64::try_from(number).map(Value::from).or(signed).ok()
}

fn string(rest: &mut &str) -> Option<String> {
    if !next(rest, "\"") {
        return None;
    }
    let mut text = String::new();
    loop {
        let first = rest.chars().next()?;
        *rest = &rest[first.len_utf8()..];
        match first {
            '"' => return Some(text),
            '\\' => text.push(escape(rest)?),
            '\0'..='\u{1f}' => return None,
            _ => text.push(first),
        }
    }
}

fn escape(rest: &mut &str) -> Option<char> {
    let first = rest.chars().next()?;
    *rest = &rest[first.len_utf8()..];
    Some(match first {
        '"' | '\\' | '/' => first,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let unit = unit(rest)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return char::from_u32(unit);
            }
            next(rest, "\\u").then_some(())?;
            let low = self::unit(rest)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low);
        }
        _ => return None,
    })
}

/// Four hex digits.
fn unit(rest: &mut &str) -> Option<u32> {
    let digits = rest
        .get(..4)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).ok()
}
