#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;

use super::*;
use crate::policy::Kind;

fn policy(rules: &[(&str, Kind, Learn, Option<u64>)]) -> Policy {
    let rules = rules.iter().map(|(glob, kind, learn, max)| {
        let mut rule = Rule::new(glob, *kind).unwrap();
        rule.learn = *learn;
        rule.max_targets = *max;
        rule
    });
    Policy::new(rules.collect())
}

fn open() -> Policy {
    policy(&[("**", Kind::Immutable, Learn::Fetch, None)])
}

fn seen(seq: Seq, path: &str, act: Act) -> Observation {
    Observation {
        seq,
        path: TargetPath::new(path).unwrap(),
        act,
        who: "client".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn record(seq: Seq, path: &str, bytes: &str, provenance: Provenance) -> Observation {
    let act = Act::Record {
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
        provenance,
    };
    seen(seq, path, act)
}

fn put(seq: Seq, path: &str, bytes: &str) -> Observation {
    record(seq, path, bytes, Provenance::Published)
}

/// A bin between turns, decided on again and again.
struct Desk {
    policy: Policy,
    caps: Caps,
    quota: HashMap<usize, u64>,
    bin: Bin,
    current: HashMap<TargetPath, Target>,
    audited: Seq,
}

impl Desk {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            caps: Caps {
                targets: 100,
                bytes: 1_000_000,
            },
            quota: HashMap::new(),
            bin: Bin::default(),
            current: HashMap::new(),
            audited: 0,
        }
    }

    fn decide(&mut self, observations: &[Observation]) -> Decided {
        let mut judge = Judge {
            policy: &self.policy,
            caps: self.caps,
            quota: &mut self.quota,
            audited: self.audited,
        };
        judge.decide(&mut self.bin, &mut self.current, observations, &[])
    }

    fn listed(&self) -> Vec<&str> {
        self.bin.rows.keys().map(TargetPath::as_str).collect()
    }
}

#[test]
fn what_is_published_is_listed_and_audited() {
    let mut desk = Desk::new(open());
    let decided = desk.decide(&[put(1, "a", "x"), put(2, "b", "y"), seen(3, "b", Act::Delete)]);
    assert!(decided.dirty);
    assert_eq!(decided.grown, 1);
    assert_eq!(desk.listed(), ["a"]);
    let states: Vec<_> = decided
        .targets
        .iter()
        .map(|target| (target.seq, target.state))
        .collect();
    assert_eq!(states, [(1, State::Live), (3, State::Deleted)]);
    let actions: Vec<_> = decided.audit.iter().map(|(_, line)| line.action.as_str()).collect();
    assert_eq!(actions, ["record", "record", "delete"]);
}

#[test]
fn other_bytes_on_an_immutable_path_are_refused_and_written_down() {
    let mut desk = Desk::new(open());
    desk.decide(&[put(1, "a", "x")]);
    let decided = desk.decide(&[put(2, "a", "other"), put(3, "a", "x")]);
    assert!(!decided.dirty && decided.targets.is_empty());
    assert_eq!(decided.refused[0].label(), "conflict");
    assert_eq!(decided.audit.len(), 1);
    assert!(decided.audit[0].1.detail.contains(&Digest::of("other").to_string()));
}

#[test]
fn a_turn_done_again_is_dirty_again_but_audited_once() {
    let mut desk = Desk::new(open());
    let all = [put(1, "a", "x"), put(2, "a", "other"), seen(3, "b", Act::Forget)];
    desk.decide(&all);
    desk.audited = 3;
    let again = desk.decide(&all);
    assert!(again.dirty, "what was applied is not published yet");
    assert!(again.targets.is_empty() && again.audit.is_empty());
    assert_eq!(again.grown, 0);
}

#[test]
fn only_what_tracks_and_learns_is_recorded() {
    let rules = [
        ("ignored/**", Kind::Ignore, Learn::Fetch, None),
        ("uploads/**", Kind::Immutable, Learn::Publish, None),
        ("import/**", Kind::Immutable, Learn::None, None),
    ];
    let mut desk = Desk::new(policy(&rules));
    let decided = desk.decide(&[
        put(1, "elsewhere", "x"),
        put(2, "ignored/a", "x"),
        record(3, "uploads/a", "x", Provenance::Fetched),
        put(4, "uploads/b", "x"),
        put(5, "import/a", "x"),
        record(6, "import/b", "x", Provenance::Declared),
    ]);
    assert_eq!(desk.listed(), ["import/b", "uploads/b"]);
    let labels: Vec<_> = decided.refused.iter().map(Refusal::label).collect();
    assert_eq!(labels, ["untracked", "untracked", "not-learned", "not-learned"]);
}

#[test]
fn a_rule_has_no_more_targets_than_its_limit() {
    let mut desk = Desk::new(policy(&[("**", Kind::Immutable, Learn::Publish, Some(2))]));
    let decided = desk.decide(&[put(1, "a", "x"), put(2, "b", "x"), put(3, "c", "x")]);
    assert_eq!(decided.refused, [Refusal::Quota("**".to_owned(), 2)]);
    let decided = desk.decide(&[seen(4, "a", Act::Delete), put(5, "d", "x")]);
    assert!(decided.refused.is_empty(), "a deleted target makes room");
    assert_eq!(desk.listed(), ["b", "d"]);
}

#[test]
fn a_bin_stays_within_its_caps() {
    let mut desk = Desk::new(open());
    desk.caps.targets = 2;
    let decided = desk.decide(&[put(1, "a", "x"), put(2, "b", "x"), put(3, "c", "x")]);
    assert_eq!(decided.refused, [Refusal::BinTargets(2)]);
    desk.caps = Caps {
        targets: 100,
        bytes: build::bin_size(desk.bin.bytes + 200),
    };
    let decided = desk.decide(&[put(4, &"n".repeat(150), "x"), put(5, "e", "x")]);
    assert_eq!(
        decided.refused.len(),
        1,
        "only the long name does not fit: {:?}",
        decided.refused
    );
    assert_eq!(desk.listed(), ["a", "b", "e"]);
}

#[test]
fn names_that_clients_sort_differently_do_not_meet_in_a_bin() {
    let mut desk = Desk::new(open());
    let decided = desk.decide(&[
        put(1, "a b", "x"),
        put(2, "a", "x"),
        put(3, "b!c", "x"),
        put(4, "b", "x"),
    ]);
    assert_eq!(desk.listed(), ["a b", "b!c"]);
    assert_eq!(decided.refused.len(), 2);
    assert!(decided.refused.iter().all(|refusal| refusal.label() == "name-order"));
}

#[test]
fn bytes_are_counted_as_they_come_and_go() {
    let rules = [("**", Kind::Track, Learn::Publish, None)];
    let mut desk = Desk::new(policy(&rules));
    desk.decide(&[
        put(1, "a", "x"),
        put(2, "a", &"y".repeat(1000)),
        put(3, "b", "x"),
        seen(4, "b", Act::Forget),
        put(5, "c", "x"),
        seen(6, "c", Act::Retract { reason: "r".to_owned() }),
    ]);
    let rows = [(TargetPath::new("a").unwrap(), 1000)];
    let expected: u64 = rows.iter().map(|(path, length)| row_size(path, *length)).sum();
    assert_eq!(desk.bin.bytes, expected);
    assert_eq!(desk.listed(), ["a"]);
}
