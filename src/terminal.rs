//! Text from others on somebody's terminal: names and messages may hold what moves its cursor, forges a line, turns what
//! follows around or is not seen.

/// The text with everything that a terminal obeys or hides written out as `\u{…}`: control characters, line ends among
/// them, marks of direction (UAX 9) and what has no width.
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

/// JSON with the same characters as `\uXXXX`, beyond the basic plane as a surrogate pair: a string means what it meant, and does nothing to a terminal.
pub fn printable_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match obeyed(letter) {
            // What stands between strings holds none of them.
            true => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    shown.push_str(&format!("\\u{unit:04x}"));
                }
            }
            false => shown.push(letter),
        }
    }
    shown
}

fn obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
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

    #[test]
    fn what_is_not_seen_is_written_out() {
        let hidden = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200d}\u{2028}\u{2029}\u{2060}\u{2064}\u{feff}\u{e0000}\u{e007f}";
        assert!(hidden.chars().all(obeyed));
        assert_eq!(printable("a\u{200b}b\u{e0041}"), r"a\u{200b}b\u{e0041}");
        let shown = printable_json("\"a\u{feff}\u{e0041}\"");
        assert_eq!(shown, r#""a\ufeff\udb40\udc41""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "a\u{feff}\u{e0041}");
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
