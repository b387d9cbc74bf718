//! `fixtures/framing.jsonl`: what clients send, what RFC 9110 and 9112 say to it, and what becomes of it.

use serde::Deserialize;

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, and the last segment of its path.
    pub name: String,
    /// The RFC and section that judge it.
    pub rfc: String,
    send: Vec<Piece>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The status of a refusal.
    pub status: Option<u16>,
    /// `METHOD TARGET BODY` of what the upstream gets, `{p}` for the path.
    #[serde(default)]
    pub upstream: Vec<String>,
    /// Only where a rule tracks the path, or only where none does.
    pub only: Option<Prefix>,
    /// The message stops before its end; nothing may follow it.
    #[serde(default)]
    pub incomplete: bool,
    /// A further message is in the same bytes. The gate answers the first and closes.
    #[serde(default)]
    pub pipelined: bool,
    /// Each octet comes in a segment of its own.
    #[serde(default)]
    pub dripped: bool,
    /// Why, where the RFC does not say it.
    #[serde(default)]
    #[expect(dead_code, reason = "for readers of the fixture")]
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Times { text: String, times: usize },
    LengthOf { length_of: String },
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The upstream may have heard its head, never its end; nothing is recorded.
    Cut,
    /// The upstream never hears of it.
    Refused,
    /// The upstream gets it, and nothing else.
    Served,
}

/// Where a path lies.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Prefix {
    /// A rule tracks it and learns by uploads and fetches.
    Tracked,
    /// No rule does.
    Untracked,
}

impl Case {
    /// Every case.
    pub fn all() -> Vec<Case> {
        include_str!("../../../fixtures/framing.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The octets for this path; a character stands for the octet of its number.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let filled = |text: &str| text.replace("{p}", path);
        let text: String = self
            .send
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => filled(text),
                Piece::Times { text, times } => text.repeat(*times),
                Piece::LengthOf { length_of } => filled(length_of).len().to_string(),
            })
            .collect();
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
    }

    /// Method, target and body of what the upstream gets.
    pub fn expected(&self, path: &str) -> Vec<(String, String, Vec<u8>)> {
        let split = |line: &String| {
            let line = line.replace("{p}", path);
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut next = || words.next().unwrap();
            (next(), next(), next().into_bytes())
        };
        self.upstream.iter().map(split).collect()
    }
}
