//! Text from others on somebody's terminal: names and messages may hold what moves its cursor, forges a line or turns
//! what follows around.

/// The text with everything that a terminal obeys written out as `\u{…}`: control characters, line ends among them, and
/// marks of direction (UAX 9).
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match obeyed(letter) {
            true => shown.extend(letter.escape_unicode()),
            false => shown.push(letter),
        }
    }
    shown
}

/// JSON with the same characters as `\uXXXX`: a string means what it meant, and does nothing to a terminal.
pub fn printable_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match obeyed(letter) {
            // None of them is beyond the basic plane, and what stands between strings holds none.
            true => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => shown.push(letter),
        }
    }
    shown
}

fn obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_cursor_is_written_out() {
        assert_eq!(printable("é `a`"), "é `a`");
        assert_eq!(
            printable("a\n\u{1b}[2J\u{9b}\u{202e}"),
            r"a\u{a}\u{1b}[2J\u{9b}\u{202e}"
        );
    }

    proptest! {
        #[test]
        fn json_means_what_it_meant(text in any::<String>()) {
            let shown = printable_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!shown.contains(obeyed));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
