//! The rules: what a line of the table means for a repository.

use serde::{Serialize, Serializer};

use super::{
    Client, Effect,
    cost::{CROWDED, TOUGH_ROLES, TUF_JS_LISTED, tuf_js_seconds},
    facts::{Facts, KeyFact, Served, Sized},
    limits::{File, Limit, Line},
};

/// Why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// What it means.
    pub effect: Effect,
    /// For people.
    pub text: String,
    /// A stable name of the kind of limit.
    pub rule: &'static str,
    /// Where the limit stands in the client's source; empty for what breaks every client.
    pub source: &'static str,
    /// It harms nothing but the target that has it.
    pub alone: bool,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A reason for every client to fail.
pub fn fails(text: impl Into<String>) -> Reason {
    Reason {
        effect: Effect::Fails,
        text: text.into(),
        rule: "broken",
        source: "",
        alone: false,
    }
}

/// Every reason that the facts give.
pub fn reasons(client: Client, facts: &Facts) -> Vec<Reason> {
    let reason = |line: &Line| {
        let (effect, text) = judge(line, facts)?;
        Some(Reason {
            effect,
            text,
            rule: line.limit.rule(),
            source: line.source,
            alone: matches!(line.limit, Limit::Proto | Limit::Colon),
        })
    };
    let mut reasons: Vec<_> = client.limits().filter_map(reason).collect();
    reasons.extend(asked_for(client, facts));
    reasons
}

impl Limit {
    /// A stable name.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Succinct(_) | Self::Prefixes(_) | Self::NoDelegations | Self::OneDelegation => "delegation-form",
            Self::Visits(_) => "delegation-count",
            Self::Bytes(..) | Self::LengthIgnored => "file-size",
            Self::Roots(_) => "root-chain",
            Self::RootEnd(_) => "root-end",
            Self::KeyIds => "key-id",
            Self::Kinds(_) | Self::KnownKinds => "key-kind",
            Self::Integers(_) => "integer-size",
            Self::EmptyFields => "empty-field",
            Self::HashedFolder | Self::Bare => "target-name",
            Self::Sha256 => "hash-list",
            Self::NoEncoding => "content-coding",
            Self::Utf16Order | Self::QuotedOrder => "name-order",
            Self::Proto | Self::Nfc | Self::Colon | Self::WindowsNames | Self::Ascii => "name",
            Self::Quadratic | Self::Eager => "cost",
        }
    }
}

fn judge(line: &Line, facts: &Facts) -> Option<(Effect, String)> {
    let fails = |text: String| Some((Effect::Fails, text));
    let name = |name: &Option<String>, why: &str| name.as_ref().and_then(|name| fails(format!("{why}: {name}")));
    let forms = facts.forms;
    match line.limit {
        Limit::Succinct(why) if forms.succinct => fails(why.to_owned()),
        Limit::Prefixes(why) if forms.prefixes => fails(why.to_owned()),
        Limit::NoDelegations if forms.any() && facts.delegated_targets => {
            fails("it reads no delegations: it finds targets of targets.json only".to_owned())
        }
        Limit::OneDelegation if facts.depth > 1 && facts.delegated_targets && !forms.prefixes && !forms.succinct => {
            fails("it loses what it finds below a second delegation".to_owned())
        }
        Limit::Visits(most) if facts.visited > most => {
            let visited = facts.visited;
            fails(format!(
                "some target is found after {visited} roles, and it reads {most}"
            ))
        }
        Limit::Bytes(kind, most) => over(line.client, kind, most, facts).and_then(fails),
        Limit::Roots(most) if facts.root_steps > most => {
            let steps = facts.root_steps;
            fails(format!(
                "{steps} roots follow the given one, and it takes {most} in one update"
            ))
        }
        Limit::RootEnd(ends) if facts.root_end != 0 && !ends.contains(&facts.root_end) => {
            let end = facts.root_end;
            fails(format!(
                "a root that is not there is answered with {end}, which it takes for a failure"
            ))
        }
        Limit::KeyIds => {
            let odd = facts.keys.iter().find(|key| !key.computed)?;
            fails(format!("it computes key ids, and `{}` is not its key's digest", odd.id))
        }
        Limit::Kinds(kinds) => {
            let odd = |key: &&KeyFact| !kinds.contains(&&*key.kind);
            let kind = &facts.keys.iter().find(odd)?.kind;
            fails(format!(
                "it verifies Ed25519 only, and there is a key of the kind `{kind}`"
            ))
        }
        Limit::KnownKinds => {
            let kind = &facts.keys.iter().find(|key| !key.known)?.kind;
            fails(format!("it refuses a file with a key of the kind `{kind}`"))
        }
        // The same words for every client, so that one violation names them all.
        Limit::Integers(most) if facts.largest.0 > most => {
            let (largest, place) = &facts.largest;
            fails(format!(
                "{place} is {largest}, more than it reads exactly: it refuses the file"
            ))
        }
        Limit::EmptyFields => {
            let file = facts.empty.as_ref()?;
            fails(format!(
                "it leaves out an empty `hashes` or a `length` of 0, as `{file}` has, and verifies other bytes"
            ))
        }
        Limit::Sha256 => {
            let path = facts.no_sha256.as_ref()?;
            fails(format!("it needs a sha256 of every target, and `{path}` has none"))
        }
        Limit::NoEncoding => {
            let file = facts.encoded.as_ref()?;
            fails(format!(
                "it asks for no encoding and undoes none, and `{file}` came with one"
            ))
        }
        Limit::Utf16Order => name(
            &facts.names.utf16_order,
            "it sorts by UTF-16 units, and cannot verify a role with",
        ),
        Limit::Proto => name(&facts.names.proto, "it never finds a target of this name"),
        Limit::Nfc => name(
            &facts.names.not_nfc,
            "it turns text into NFC, and refuses the whole repository for",
        ),
        Limit::QuotedOrder => name(
            &facts.names.quoted_order,
            "it sorts names with their quotes, and refuses the whole repository for",
        ),
        Limit::WindowsNames => name(
            &facts.names.unsafe_path,
            "it refuses a role with a name that Windows cannot have",
        ),
        Limit::Ascii => name(
            &facts.names.non_ascii,
            "it escapes what is not ASCII, and cannot verify a role with",
        ),
        Limit::Colon => {
            let name = facts.names.colon.as_ref()?;
            Some((
                Effect::Works,
                format!("it can take a hash before `{name}` for a URL scheme"),
            ))
        }
        Limit::Quadratic => quadratic(facts).map(|text| (Effect::Slow, text)),
        Limit::Eager if facts.listed > TOUGH_ROLES && !forms.succinct => {
            let listed = facts.listed;
            let text = format!("it loads all roles before the first target, one after another: {listed} requests");
            Some((Effect::Slow, text))
        }
        _ => None,
    }
}

/// A file that is too large for a client.
fn over(client: Client, kind: File, most: u64, facts: &Facts) -> Option<String> {
    let has = |limit| client.limits().any(|line| line.limit == limit);
    let (by_length, delegations) = (!has(Limit::LengthIgnored), !has(Limit::NoDelegations));
    let read = |file: &&Sized| delegations || kind != File::Targets || file.name == "targets";
    let of_kind: &[&Sized] = match kind {
        File::Root => &[&facts.root],
        File::Timestamp => &[&facts.timestamp],
        File::Snapshot => &[&facts.snapshot],
        File::Targets => &[&facts.delegator, &facts.leaf],
    };
    let large = |file: &&Sized| file.bytes > most && !(by_length && file.listed);
    let file = of_kind.iter().copied().filter(read).find(large)?;
    Some(format!("`{}` has {} bytes, and it reads {most}", file.name, file.bytes))
}

/// Names under which the client asks for targets and does not find them.
fn asked_for(client: Client, facts: &Facts) -> Option<Reason> {
    let line = client
        .limits()
        .find(|line| matches!(line.limit, Limit::HashedFolder | Limit::Bare));
    let (served, form): (Served, _) = match line.map(|line| line.limit) {
        _ if !facts.consistent => (facts.bare, "dir/name"),
        Some(Limit::HashedFolder) => (facts.hashed_folder, "H.dir/name"),
        Some(_) => (facts.bare, "dir/name"),
        None => (facts.hashed_name, "dir/H.name"),
    };
    let Served { good, missing } = served;
    let all = good + missing;
    (missing > 0).then(|| Reason {
        effect: Effect::Fails,
        text: format!("it asks for targets as {form}, under which {missing} of {all} were not there"),
        rule: Limit::Bare.rule(),
        source: line.map_or("TUF specification 5.7.3", |line| line.source),
        alone: false,
    })
}

fn quadratic(facts: &Facts) -> Option<String> {
    if facts.listed > TUF_JS_LISTED {
        let (listed, seconds) = (facts.listed, tuf_js_seconds(facts.listed, 0));
        return Some(format!(
            "a snapshot of {listed} roles takes it about {seconds:.0} s to read"
        ));
    }
    let (most, role) = &facts.crowded;
    let seconds = tuf_js_seconds(0, *most);
    (*most > CROWDED).then(|| format!("`{role}` lists {most} targets, which takes it about {seconds:.0} s to read"))
}
