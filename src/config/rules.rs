//! Rules that mean something: globs that can match, keys that are heeded.

use super::{check::Checked, error::Source, raw};
use crate::policy::{Kind, Policy, Rule};

/// Checks every `[[rule]]`, in order.
pub(super) fn check(source: &Source<'_>, raw: Vec<raw::Rule>) -> Checked<Policy> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, raw) in raw.into_iter().enumerate() {
        let at = |key, message: String| source.at(&["rule", &number.to_string(), key], message);
        let path = raw.path;
        let mut rule = Rule::new(&path, raw.kind).map_err(|why| {
            at("path", format!("`{path}` is not a glob: {}", why.kind()))
                .hint("`*` stops at `/`, `**` does not; write `[[]`, `[{]`, `[*]` for the characters themselves")
        })?;
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
            let error = at(
                "path",
                format!("`{path}` never matches: target paths neither start nor end with `/`"),
            );
            return Err(error.hint(format!(
                "`{}` means everything below",
                format!("{}/**", path.trim_matches('/')).trim_start_matches('/')
            )));
        }
        if let Some(earlier) = rules.iter().position(|rule| rule.path == path || rule.path == "**") {
            let message = format!(
                "this rule never matches: rule {}, `{}`, comes first",
                earlier + 1,
                rules[earlier].path
            );
            return Err(at("path", message).hint("the first rule that matches wins; move this one up"));
        }
        let ignored = [
            ("learn", raw.learn.is_some()),
            ("on_drift", raw.on_drift.is_some()),
            ("unsigned", raw.unsigned.is_some()),
            ("query", raw.query.is_some()),
            ("max_targets", raw.max_targets.is_some()),
        ];
        if let (Kind::Ignore | Kind::Mutable, Some((key, _))) = (raw.kind, ignored.iter().find(|(_, set)| *set)) {
            let error = at(
                key,
                format!("`{key}` means nothing here: such paths are passed unsigned"),
            );
            return Err(error.hint("it belongs to `kind = \"immutable\"` and `kind = \"track\"`"));
        }
        rule.learn = raw.learn.unwrap_or(rule.learn);
        rule.on_drift = raw.on_drift.unwrap_or(rule.on_drift);
        rule.unsigned = raw.unsigned.unwrap_or(rule.unsigned);
        rule.query = raw.query.unwrap_or_default();
        rule.max_targets = raw.max_targets;
        rules.push(rule);
    }
    Ok(Policy::new(rules))
}
