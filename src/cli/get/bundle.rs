//! `--from`: a list of targets in a file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::GetError;

/// The most bytes of a list.
const MOST: u64 = 64 << 20;

/// The targets that a file, or standard input, lists.
pub(super) fn read(path: &Path) -> Result<Vec<String>, GetError> {
    let unreadable = |source| GetError::Bundle {
        path: path.to_owned(),
        source,
    };
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(path).map_err(unreadable)?),
    };
    let mut text = Vec::new();
    input.take(MOST + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MOST {
        return Err(unreadable(io::Error::other("it is longer than 64 MiB")));
    }
    parse(&text).map_err(|line| unreadable(io::Error::other(format!("line {line} is not UTF-8"))))
}

/// One target a line; the number of the line that cannot be read.
fn parse(text: &[u8]) -> Result<Vec<String>, usize> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut targets = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = str::from_utf8(line).map_err(|_| number + 1)?.trim();
        if !line.is_empty() && !line.starts_with('#') {
            targets.push(line.to_owned());
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_a_target_a_comment_or_nothing() {
        let text = "\u{feff}a/b c.txt\r\n\n  # no\n#neither\n\té.bin \nlast";
        assert_eq!(parse(text.as_bytes()).unwrap(), ["a/b c.txt", "é.bin", "last"]);
        assert_eq!(parse(b"").unwrap(), [] as [&str; 0]);
        assert_eq!(parse(b"a\nb\n\xff\n"), Err(3));
    }

    #[test]
    fn a_missing_list_is_named() {
        let error = read(Path::new("/nowhere/list")).unwrap_err().to_string();
        assert!(error.starts_with("`/nowhere/list`: "), "{error}");
    }

    proptest! {
        #[test]
        fn no_list_gives_a_target_with_a_line_end_in_it(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(targets) = parse(&text) {
                prop_assert!(targets.iter().all(|target| !target.is_empty() && !target.contains(['\n', '\r'])));
            }
        }
    }
}
