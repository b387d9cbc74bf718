//! Errors with file, line, column and hint.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What is wrong with a configuration, and where. Displays as `file:line:column: message`, then a `hint:` line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; none where the file itself is the matter.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigError {
    /// The same error with a hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The text of a configuration, with the places of its keys.
pub(super) struct Source<'a> {
    text: &'a str,
    pub file: &'a Path,
    table: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Source<'a> {
    /// Text of any kind; what is not TOML has no places.
    pub fn new(text: &'a str, file: &'a Path) -> Self {
        Self {
            text,
            file,
            table: DeTable::parse(text).ok(),
        }
    }

    /// Deserialises the whole.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| self.translate(&error))
    }

    /// An error at a key, such as `["rule", "0", "path"]`; where the key is absent, at the innermost table that is there.
    pub fn at(&self, key: &[&str], message: impl Into<String>) -> ConfigError {
        self.error(self.place(key), message.into())
    }

    fn error(&self, offset: Option<usize>, message: String) -> ConfigError {
        let before = offset.and_then(|offset| self.text.get(..offset));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let column = before.map(|before| before.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
        ConfigError {
            file: self.file.to_owned(),
            line,
            column,
            message,
            hint: None,
        }
    }

    fn place(&self, key: &[&str]) -> Option<usize> {
        let mut table = self.table.as_ref()?.get_ref();
        let mut place = None;
        let mut steps = key.iter();
        while let Some(step) = steps.next() {
            let Some((name, value)) = table.get_key_value(*step) else {
                break;
            };
            place = Some(name.span().start);
            table = match value.get_ref() {
                DeValue::Table(inner) => inner,
                DeValue::Array(items) => {
                    let item = steps.next().and_then(|at| items.get(at.parse::<usize>().ok()?));
                    let Some(item) = item else { break };
                    place = Some(item.span().start);
                    let DeValue::Table(inner) = item.get_ref() else { break };
                    inner
                }
                _ => break,
            };
        }
        place
    }

    /// Puts what the parser says into our words.
    fn translate(&self, error: &toml::de::Error) -> ConfigError {
        let message = error.message().replace('\n', ", ");
        let span = error.span();
        let key = span.as_ref().and_then(|span| self.key_at(span)).unwrap_or_default();
        let wrap = |message| self.error(span.as_ref().map(|span| span.start), message);
        let mut quoted = message.split('`').skip(1).step_by(2);
        let wrong = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.collect();
        if message.starts_with("unknown field") {
            let table = match key.split_last() {
                Some((_, [])) | None => "at the top level".to_owned(),
                Some((_, [array, at])) if at.parse::<usize>().is_ok() => format!("in this `[[{array}]]`"),
                Some((_, table)) => format!("in `[{}]`", table.join(".")),
            };
            return wrap(format!("unknown key `{wrong}` {table}")).hint(suggestion(wrong, &known));
        }
        let name = key.iter().filter(|step| step.parse::<usize>().is_err());
        let name = name.cloned().collect::<Vec<_>>().join(".");
        if message.starts_with("unknown variant") {
            return wrap(format!("`{name}` cannot be `{wrong}`")).hint(suggestion(wrong, &known));
        }
        if message.starts_with("missing field") {
            return wrap(format!("`{wrong}` is missing in this `[[{name}]]`"));
        }
        if name == "rule" && message.contains("expected a sequence") {
            return wrap("`[rule]` is one table, not a list of rules".to_owned())
                .hint("write `[[rule]]` for each rule");
        }
        if let Some(word) = span.as_ref().and_then(|span| self.bare_word(span.start)) {
            return wrap(format!("`{word}` is text without quotes")).hint(format!("write `\"{word}\"`"));
        }
        match (
            name.is_empty() || self.table.is_none(),
            message.split_once(super::value::HINT),
        ) {
            (true, _) => wrap(message),
            (false, Some((message, hint))) => wrap(format!("`{name}`: {message}")).hint(hint),
            (false, None) => wrap(format!("`{name}`: {message}")),
        }
    }

    /// The word that is the value of the line at `offset`, where that is what keeps the whole from being TOML.
    fn bare_word(&self, offset: usize) -> Option<&str> {
        if self.table.is_some() {
            return None;
        }
        let start = self.text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
        let (_, value) = self.text.get(start..)?.lines().next()?.split_once('=')?;
        let value = value.trim_start();
        let end = value.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
        let word = value.get(..end.unwrap_or(value.len()))?;
        let text = word.starts_with(|c: char| c.is_ascii_alphabetic());
        (text && !["true", "false", "inf", "nan"].contains(&word)).then_some(word)
    }

    /// The innermost key whose name or value covers a span.
    fn key_at(&self, span: &Range<usize>) -> Option<Vec<String>> {
        let mut key = Vec::new();
        find(self.table.as_ref()?.get_ref(), span, &mut key).then_some(key)
    }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn find(table: &DeTable<'_>, span: &Range<usize>, key: &mut Vec<String>) -> bool {
    for (name, value) in table {
        key.push(name.get_ref().to_string());
        if covers(&name.span(), span) || find_value(value, span, key) {
            return true;
        }
        key.pop();
    }
    false
}

fn find_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, key: &mut Vec<String>) -> bool {
    match value.get_ref() {
        // A table's own span is its header, so its content is searched whatever that span is.
        DeValue::Table(inner) if find(inner, span, key) => true,
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                key.push(at.to_string());
                if find_value(item, span, key) {
                    return true;
                }
                key.pop();
            }
            covers(&value.span(), span)
        }
        _ => covers(&value.span(), span),
    }
}

/// `did you mean …?` where one is near, else all of them.
fn suggestion(wrong: &str, known: &[&str]) -> String {
    let near = known.iter().map(|word| (strsim::jaro_winkler(wrong, word), word));
    match near.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((likeness, word)) if likeness > 0.75 => format!("did you mean `{word}`?"),
        _ => format!("known here: `{}`", known.join("`, `")),
    }
}
