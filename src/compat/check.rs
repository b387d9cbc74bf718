//! Before something is published: whom it would break. One call for a target, a role, a root, a whole repository.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

use super::{
    Client, Effect, Facts, Forms, Names, Sized,
    limits::File,
    rules::{Reason, reasons},
};

/// Something that some clients cannot read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// The kind of limit, a stable name: `file-size`, `name`, `integer-size` …
    pub rule: &'static str,
    /// What is too much: a metadata file, a role or a target.
    #[serde(rename = "where")]
    pub place: String,
    /// Whether they fail, or are slow.
    pub effect: Effect,
    /// Whom it breaks.
    pub clients: Vec<Client>,
    /// How, said of each of them: "it reads …".
    pub message: String,
    /// Where the limits stand in their sources, in the order of `clients`.
    pub sources: Vec<&'static str>,
}

impl Violation {
    /// The clients' names, for people.
    pub fn whom(&self) -> String {
        let names: Vec<_> = self.clients.iter().map(|client| client.name()).collect();
        names.join(", ")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.effect == Effect::Slow { "slows" } else { "breaks" };
        write!(f, "`{}` {verb} {}: {}", self.place, self.whom(), self.message)
    }
}

/// What one target's row would break, beyond the target itself: its bin, or the repository. Fast where nothing is odd.
pub fn target(path: &str, length: u64, clients: &[Client]) -> Vec<Violation> {
    // What no client minds: the rest is built only for others.
    if length <= i32::MAX as u64 && is_plain(path) {
        return Vec::new();
    }
    let mut facts = Facts::served();
    facts.names.note(path);
    facts.integer(length, || format!("the length of `{path}`"));
    violations(path, &facts, clients)
}

/// As [`target()`], of a name whose length nobody knows yet.
pub fn names(path: &str, clients: &[Client]) -> Vec<Violation> {
    target(path, 0, clients)
}

/// What a targets role of any team would break: its name, its `signed` object, and the bytes of its file, which snapshot
/// lists. Delegations below it are read in both views, so every form in it must suit every client.
pub fn role(name: &str, signed: &Value, bytes: u64, clients: &[Client]) -> Vec<Violation> {
    let mut facts = Facts::served();
    facts.targets_role(name, signed);
    let size = sized(name, bytes, true);
    match signed.get("delegations") {
        Some(_) => facts.delegator = size,
        None => facts.leaf = size,
    }
    violations(name, &facts, clients)
}

/// What a root would break: its `signed` object and the bytes of its file. How many came before it is no fault of its own.
pub fn root(signed: &Value, bytes: u64, clients: &[Client]) -> Vec<Violation> {
    let mut facts = Facts::served();
    facts.keys(signed.get("keys"));
    facts.root = sized("root", bytes, false);
    if let Some(version) = signed.get("version").and_then(Value::as_u64) {
        facts.integer(version, || "the version of `root`".to_owned());
    }
    violations("root", &facts, clients)
}

/// What a file of so many bytes would break, whatever is in it; `listed`: its length stands in what lists it.
pub fn size(kind: File, name: &str, bytes: u64, listed: bool, clients: &[Client]) -> Vec<Violation> {
    let mut facts = Facts::served();
    let size = sized(name, bytes, listed);
    match kind {
        File::Root => facts.root = size,
        File::Timestamp => facts.timestamp = size,
        File::Snapshot => facts.snapshot = size,
        File::Targets => facts.delegator = size,
    }
    violations(name, &facts, clients)
}

/// What the delegator of bins would break, in the better of its two views, by the bytes of its file in each.
pub fn bins(prefix_bytes: u64, succinct_bytes: u64, clients: &[Client]) -> Vec<Violation> {
    let view = |forms, bytes| Facts {
        forms,
        delegated_targets: true,
        depth: 2,
        delegator: sized("bins", bytes, false),
        ..Facts::served()
    };
    let prefixes = Forms {
        prefixes: true,
        ..Forms::default()
    };
    let succinct = Forms {
        succinct: true,
        ..Forms::default()
    };
    let mut found = lint(
        "bins",
        &[&view(prefixes, prefix_bytes), &view(succinct, succinct_bytes)],
        clients,
    );
    found.retain(|violation| violation.effect == Effect::Fails);
    found
}

/// What breaks or slows a client in the view that is best for it, of what was gathered in each view.
pub fn lint(place: &str, views: &[&Facts], clients: &[Client]) -> Vec<Violation> {
    let best = |client: Client| {
        let views = views.iter().map(|facts| reasons(client, facts));
        views.min_by_key(|reasons| reasons.iter().map(|reason| reason.effect).max())
    };
    let told = clients.iter().filter_map(|client| Some((*client, best(*client)?)));
    gathered(place, told, |reason| reason.effect > Effect::Works)
}

/// What breaks one of the clients, and not only the target that has it.
fn violations(place: &str, facts: &Facts, clients: &[Client]) -> Vec<Violation> {
    let told = clients.iter().map(|client| (*client, reasons(*client, facts)));
    gathered(place, told, |reason| reason.effect == Effect::Fails && !reason.alone)
}

/// By reason, for all whom it concerns.
fn gathered(
    place: &str,
    told: impl Iterator<Item = (Client, Vec<Reason>)>,
    wanted: impl Fn(&Reason) -> bool,
) -> Vec<Violation> {
    let mut all: BTreeMap<(Effect, String), Violation> = BTreeMap::new();
    for (client, reasons) in told {
        for reason in reasons.into_iter().filter(&wanted) {
            let found = all
                .entry((reason.effect, reason.text.clone()))
                .or_insert_with(|| Violation {
                    rule: reason.rule,
                    place: place.to_owned(),
                    effect: reason.effect,
                    clients: Vec::new(),
                    message: reason.text,
                    sources: Vec::new(),
                });
            found.clients.push(client);
            found.sources.push(reason.source);
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|violation| std::cmp::Reverse(violation.effect));
    all
}

fn sized(name: &str, bytes: u64, listed: bool) -> Sized {
    Sized {
        name: name.to_owned(),
        bytes,
        listed,
    }
}

/// A name that no client minds.
fn is_plain(path: &str) -> bool {
    let mut names = Names::default();
    path.is_ascii() && {
        names.note(path);
        names == Names::default()
    }
}
