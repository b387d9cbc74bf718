//! `tufgate policy explain PATH`: what the gate makes of a path, and who else signs it, without asking upstream or ledger.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    catalog::roles::{Roles, Speaker},
    cli::block_on,
    config::{Config, ConfigError, Layout},
    depot::fs::FsDepot,
    policy::{Admission, Kind, Learn, OnDrift, Policy, Rule, Unsigned},
    target::{TargetPath, split_target},
    terminal::printable,
    tuf::layout::Generation,
};

/// Ask what the rules make of a path
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which rule a path falls under, what becomes of a GET and a PUT, and which teams' roles speak for it
    Explain(Explain),
}

#[derive(Args, Debug)]
struct Explain {
    /// Path as a client asks for it: `/dir/a%20b.jar`; a URL or a path without the leading `/` will do
    path: String,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why `tufgate policy` failed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The configuration is bad.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl PolicyArgs {
    /// Runs the subcommand; its answer goes to `out`.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), PolicyError> {
        let Command::Explain(explain) = &self.command;
        let config = Config::load(&explain.config)?;
        let generation = Generation::of(config.tuf.bins).filter(|_| config.tuf.layout == Layout::Bins);
        let mut answer = explanation(&explain.path, &config.policy, generation, &config.gate.metadata_prefix);
        if let Some(path) = answer.target.as_deref().and_then(|path| TargetPath::new(path).ok()) {
            // Rules are explained without a depot, too.
            let depot = FsDepot::look(&config.depot);
            let roles = Roles::new(Arc::new(depot));
            let listed = block_on(roles.newest()).ok().and_then(Result::ok);
            answer.delegated = listed.map(|listed| listed.speaking(&path)).unwrap_or_default();
        }
        if explain.json {
            serde_json::to_writer(&mut *out, &answer).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            answer.write(out)?;
        }
        Ok(())
    }
}

/// What there is to say of a path.
#[derive(Debug, Default, Serialize)]
struct Explanation {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_canonical_form: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleShown>,
    get: String,
    put: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegated: Vec<Speaker>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hash_prefixed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stands_for: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RuleShown {
    number: usize,
    path: String,
    kind: Kind,
}

const UNSIGNED: &str = "passed unsigned";

fn explanation(path: &str, policy: &Policy, generation: Option<Generation>, metadata_prefix: &str) -> Explanation {
    let absolute = path.starts_with('/') || path.contains("://");
    let target = if absolute { path.to_owned() } else { format!("/{path}") };
    let Some((raw, query)) = split_target(target.as_bytes()) else {
        return Explanation {
            no_canonical_form: Some("no path in it".into()),
            get: "refused: 400".into(),
            put: "refused: 400".into(),
            ..Explanation::default()
        };
    };
    let decoded = percent_encoding::percent_decode(raw).decode_utf8_lossy();
    if decoded.starts_with(metadata_prefix) || decoded == metadata_prefix.trim_end_matches('/') {
        return Explanation {
            no_canonical_form: Some(format!("the gate's own: below `{metadata_prefix}`")),
            get: "the metadata of that name, or 404; never proxied".into(),
            put: "refused: 405".into(),
            ..Explanation::default()
        };
    }
    let mut shown = match policy.admit(raw) {
        Admission::Tracked { path, rule } => Explanation {
            get: get(rule),
            put: put(rule),
            role: Some(generation.map_or("targets".into(), |bins| {
                format!(
                    "{}, while there are {} bins",
                    bins.name(bins.bin_of(&path.id())),
                    bins.count()
                )
            })),
            hash_prefixed: hash_prefixed(&path),
            ..named(&path, policy)
        },
        Admission::Untracked { path, .. } => Explanation {
            get: UNSIGNED.into(),
            put: UNSIGNED.into(),
            ..named(&path, policy)
        },
        Admission::Hashed { readings, .. } => Explanation {
            no_canonical_form: Some("a hash-prefixed name, never recorded itself".into()),
            get: match readings.is_empty() {
                true => UNSIGNED.into(),
                false => "the bytes of that hash where the target was recorded with it; else passed unsigned".into(),
            },
            put: UNSIGNED.into(),
            stands_for: readings
                .iter()
                .map(|(path, digest)| format!("{path} with sha256 {digest}"))
                .collect(),
            ..Explanation::default()
        },
        Admission::Index => Explanation {
            no_canonical_form: Some("an index: the root, or a trailing `/`".into()),
            get: UNSIGNED.into(),
            put: UNSIGNED.into(),
            ..Explanation::default()
        },
        Admission::Unnamed(why) => Explanation {
            no_canonical_form: Some(why.to_string()),
            get: format!("{UNSIGNED} and uncached: no rule tracks what it may mean"),
            put: format!("{UNSIGNED}, never recorded"),
            ..Explanation::default()
        },
        Admission::Refused(why) => Explanation {
            no_canonical_form: Some(why.to_string()),
            get: "refused: 400, since a rule tracks what it may mean".into(),
            put: "refused: 400, since a rule tracks what it may mean".into(),
            ..Explanation::default()
        },
    };
    if let (Some(query), Some(rule)) = (query, shown.rule.as_ref().map(|rule| &policy.rules()[rule.number - 1]))
        && rule.tracks()
    {
        let recorded = match rule.allows_query(&String::from_utf8_lossy(query)) {
            true => "the rule allows the query",
            false => "refused once recorded: the rule does not allow the query",
        };
        shown.get = format!("{recorded}; a query never teaches");
        shown.put = format!("{UNSIGNED}: a query is never recorded");
    }
    shown
}

fn named(path: &TargetPath, policy: &Policy) -> Explanation {
    let rule = policy.position(path.as_str()).map(|(place, rule)| RuleShown {
        number: place + 1,
        path: rule.path.clone(),
        kind: rule.kind,
    });
    Explanation {
        target: Some(path.to_string()),
        rule,
        ..Explanation::default()
    }
}

fn get(rule: &Rule) -> String {
    let recorded = match rule.on_drift {
        OnDrift::Block => "recorded: its bytes or none",
        OnDrift::Report => "recorded: judged; drift, once confirmed, is passed and reported",
    };
    let pending = match rule.unsigned {
        Unsigned::Pass => "",
        Unsigned::Wait => "; not yet signed: held, at most 30 s",
        Unsigned::Deny => "; not yet signed: 403",
    };
    let new = match rule.learn {
        Learn::Fetch => "new: recorded from the first whole fetch",
        Learn::Publish | Learn::None => "new: passed, not recorded",
    };
    format!("{recorded}{pending}; {new}")
}

fn put(rule: &Rule) -> String {
    match (rule.learn, rule.kind) {
        (Learn::None, _) => "passed, not recorded".into(),
        (_, Kind::Track) => "recorded; other bytes supersede what is there".into(),
        _ => "recorded; other bytes than recorded ones are 409".into(),
    }
}

fn hash_prefixed(path: &TargetPath) -> Vec<String> {
    let mut names = path.hashed("SHA256").to_vec();
    names.dedup();
    names
}

impl Explanation {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let rule = self.rule.as_ref().map(|rule| {
            let kind = format!("{:?}", rule.kind).to_lowercase();
            format!("{}: `{}`, {kind}", rule.number, rule.path)
        });
        let none = self.target.is_some().then(|| "none matches".to_owned());
        let told = |speaker: &Speaker| match speaker.lists {
            true => format!("{}, which lists it", speaker.role),
            false => format!("{}, which does not list it", speaker.role),
        };
        let speakers: Vec<_> = self.delegated.iter().map(told).collect();
        let rows = [
            ("target path", self.target.clone()),
            ("no target path", self.no_canonical_form.clone()),
            ("rule", rule.or(none)),
            ("GET", Some(self.get.clone())),
            ("PUT", Some(self.put.clone())),
            ("signed in", self.role.clone()),
            (
                "or by a team in",
                (!speakers.is_empty()).then(|| printable(&speakers.join("; "))),
            ),
            (
                "asked for as",
                (!self.hash_prefixed.is_empty()).then(|| self.hash_prefixed.join(", ")),
            ),
            (
                "stands for",
                (!self.stands_for.is_empty()).then(|| self.stands_for.join(", or ")),
            ),
        ];
        for (name, value) in rows {
            if let Some(value) = value {
                writeln!(out, "{name:<15} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    const CONFIG: &str = r#"
        [upstream]
        url = "http://127.0.0.1:8000"
        [signer]
        socket = "/run/tufgate.sock"
        [[rule]]
        path = "Docs/**"
        kind = "ignore"
        [[rule]]
        path = "releases/**"
        kind = "immutable"
        learn = "fetch"
        query = ["v"]
    "#;

    fn run(arguments: &[&str]) -> Result<String, PolicyError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tufgate.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let file = file.to_str().unwrap();
        let cli = Cli::parse_from([&["policy", "explain", "--config", file], arguments].concat());
        let mut out = Vec::new();
        cli.policy.run(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_tracked_path_shows_rule_role_and_names() {
        let text = run(&["/releases/a%20b.jar"]).unwrap();
        let bin = TargetPath::new("releases/a b.jar").unwrap().bin(4);
        for line in [
            "target path     releases/a b.jar".to_owned(),
            "rule            2: `releases/**`, immutable".to_owned(),
            "GET             recorded: its bytes or none; new: recorded from the first whole fetch".to_owned(),
            "PUT             recorded; other bytes than recorded ones are 409".to_owned(),
            format!("signed in       bins4-{bin:x}, while there are 16 bins"),
            "asked for as    releases/SHA256.a b.jar, SHA256.releases/a b.jar".to_owned(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn other_paths_say_what_becomes_of_them() {
        let h = "ab".repeat(32);
        for (path, part) in [
            ("Docs/x", "1: `Docs/**`, ignore"),
            ("/other", "none matches"),
            ("/metadata/timestamp.json", "never proxied"),
            ("/metadata", "refused: 405"),
            ("/releases//x", "refused: 400"),
            ("/Docs//x", "uncached: no rule tracks"),
            ("/releases/", "an index"),
            ("*x", "target path     *x"),
            ("/releases/x?v=1", "the rule allows the query"),
            ("/releases/x?w=1", "the rule does not allow the query"),
            ("http://gate:1/releases/x", "target path     releases/x"),
            ("ftp://gate/x", "no path in it"),
            (&format!("/releases/{h}.x"), &format!("releases/x with sha256 {h}")),
        ] {
            let text = run(&[path]).unwrap();
            assert!(text.contains(part), "{path}\n{text}");
        }
    }

    #[test]
    fn json_is_one_object() {
        let text = run(&["/releases/x", "--json"]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["target"], "releases/x");
        assert_eq!(
            (&value["rule"]["number"], &value["rule"]["kind"]),
            (&2.into(), &"immutable".into())
        );
        assert_eq!(value["hash_prefixed"][0], "releases/SHA256.x");
        assert!(value.get("no_canonical_form").is_none());
    }

    #[test]
    fn a_bad_configuration_is_the_error() {
        let cli = Cli::parse_from(["policy", "explain", "x", "--config", "no/such.toml"]);
        assert!(matches!(cli.policy.run(&mut Vec::new()), Err(PolicyError::Config(_))));
    }
}
