#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::target::TargetPath;

fn digest(of: u8) -> Digest {
    Digest([of; 32])
}

fn seen(seq: u64, act: Act) -> Observation {
    Observation {
        seq,
        path: TargetPath::new("a/b").unwrap(),
        act,
        who: format!("client {seq}"),
        at: Timestamp::from_second(seq.cast_signed()).unwrap(),
    }
}

fn record(of: u8, provenance: Provenance) -> Act {
    Act::Record {
        digest: digest(of),
        length: of.into(),
        provenance,
    }
}

fn replace(of: u8) -> Act {
    Act::Replace {
        digest: digest(of),
        length: of.into(),
    }
}

fn retract() -> Act {
    Act::Retract {
        reason: "malware".into(),
    }
}

/// What stands after these acts, numbered from 1.
fn after(acts: &[Act], superseding: bool) -> Option<Target> {
    apply(None, &numbered(acts), superseding)
}

fn numbered(acts: &[Act]) -> Vec<Observation> {
    (1..).zip(acts).map(|(seq, act)| seen(seq, act.clone())).collect()
}

fn apply(target: Option<Target>, pending: &[Observation], superseding: bool) -> Option<Target> {
    let entry = Entry {
        target,
        pending: pending.to_vec(),
        ..Entry::default()
    };
    fold(&entry, superseding)
}

fn old_digests(target: &Target) -> Vec<Digest> {
    target.superseded.iter().map(|old| old.digest).collect()
}

use Provenance::{Declared, Fetched, Published, Reported};

#[test]
fn an_immutable_path_keeps_its_first_bytes() {
    for provenance in [Fetched, Reported, Declared, Published] {
        let first = after(&[record(1, Published)], false).unwrap();
        let refused = decide(Some(&first), &seen(2, record(2, provenance)), false);
        assert_eq!(refused, Verdict::Refused(Conflict::Recorded { recorded: digest(1) }));
    }
}

#[test]
fn an_upload_takes_the_place_of_a_fetch_and_of_nothing_else() {
    let won = after(&[record(1, Fetched), record(2, Published)], false).unwrap();
    assert_eq!(
        (won.digest, won.provenance, won.length, won.seq),
        (digest(2), Published, 2, 2)
    );
    assert_eq!(old_digests(&won), [digest(1)]);
    for provenance in [Reported, Declared, Published] {
        let kept = after(&[record(1, provenance), record(2, Published)], false).unwrap();
        assert_eq!(kept.digest, digest(1));
    }
    let squatter = after(&[record(1, Fetched), record(2, Fetched)], false).unwrap();
    assert_eq!(squatter.digest, digest(1));
}

#[test]
fn a_tracked_path_moves_on_and_never_back() {
    let moved = after(&[record(1, Fetched), record(2, Fetched), record(3, Published)], true).unwrap();
    assert_eq!(old_digests(&moved), [digest(2), digest(1)]);
    for (of, provenance) in [(1, Fetched), (1, Published), (2, Declared)] {
        let back = decide(Some(&moved), &seen(9, record(of, provenance)), true);
        assert_eq!(back, Verdict::Refused(Conflict::Superseded));
    }
    assert_eq!(upload(Some(&moved), &digest(1), true), Err(Conflict::Superseded));
}

#[test]
fn a_better_witness_changes_nothing_that_is_signed() {
    let known = after(&[record(1, Fetched), record(1, Published)], false).unwrap();
    assert_eq!((known.provenance, known.seq), (Published, 1));
    assert_eq!(known.who, "client 2");
    let worse = decide(Some(&known), &seen(3, record(1, Fetched)), false);
    assert_eq!(worse, Verdict::Same);
}

#[test]
fn a_better_witness_corrects_the_length() {
    let declared = after(
        &[Act::Record {
            digest: digest(1),
            length: 99,
            provenance: Declared,
        }],
        false,
    )
    .unwrap();
    let Verdict::Changed(corrected) = decide(Some(&declared), &seen(2, record(1, Published)), false) else {
        panic!("the upload counted the bytes")
    };
    assert_eq!((corrected.length, corrected.seq), (1, 2));
}

#[test]
fn a_tombstone_takes_only_the_old_bytes() {
    let gone = after(&[record(1, Published), Act::Delete], false).unwrap();
    assert_eq!((gone.state, gone.seq), (State::Deleted, 2));
    for superseding in [false, true] {
        let conflict = Conflict::Deleted { deleted: digest(1) };
        assert_eq!(upload(Some(&gone), &digest(2), superseding), Err(conflict));
        assert_eq!(upload(Some(&gone), &digest(1), superseding), Ok(()));
    }
    let Verdict::Changed(back) = decide(Some(&gone), &seen(3, record(1, Published)), false) else {
        panic!("the old bytes may return")
    };
    assert_eq!((back.state, back.superseded), (State::Live, vec![]));
    assert_eq!(after(&[Act::Delete], false), None);
}

#[test]
fn a_retraction_takes_nothing() {
    let gone = after(&[record(1, Fetched), retract()], false).unwrap();
    assert_eq!(gone.state, State::Retracted);
    for of in [1, 2] {
        assert_eq!(upload(Some(&gone), &digest(of), true), Err(Conflict::Retracted));
    }
    assert_eq!(decide(Some(&gone), &seen(3, Act::Delete), false), Verdict::Same);
    assert_eq!(decide(Some(&gone), &seen(3, retract()), false), Verdict::Same);
    let deleted = after(&[record(1, Published), Act::Delete, retract()], false).unwrap();
    assert_eq!(deleted.state, State::Retracted);
}

#[test]
fn forgetting_lets_a_path_be_learned_anew() {
    for end in [Act::Delete, retract(), record(1, Published)] {
        let anew = after(&[record(1, Published), end, Act::Forget, record(2, Fetched)], false).unwrap();
        assert_eq!((anew.digest, anew.superseded), (digest(2), vec![]));
    }
    assert_eq!(after(&[Act::Forget], false), None);
}

#[test]
fn an_operator_replaces_whatever_stands() {
    let replaced = after(&[record(1, Published), replace(2)], false).unwrap();
    assert_eq!((replaced.digest, replaced.provenance), (digest(2), Declared));
    assert_eq!(old_digests(&replaced), [digest(1)]);
    // Back again: only an operator can, and no digest is both current and old.
    let back = after(&[record(1, Published), replace(2), replace(1)], false).unwrap();
    assert_eq!((back.digest, old_digests(&back)), (digest(1), vec![digest(2)]));
    let same = decide(Some(&back), &seen(9, replace(1)), false);
    assert_eq!(same, Verdict::Same);
}

#[test]
fn an_upload_waits_for_another_one_with_other_bytes() {
    let open = |id, of| Reservation {
        id,
        path: TargetPath::new("a/b").unwrap(),
        digest: digest(of),
        length: 1,
        who: "client".into(),
        at: Timestamp::UNIX_EPOCH,
        doubtful: false,
    };
    let mut entry = Entry {
        reservations: vec![open(1, 1), open(2, 2)],
        ..Entry::default()
    };
    assert_eq!(admit(&entry, &digest(1), false), Some(Reserved::Held(open(2, 2))));
    assert_eq!(admit(&entry, &digest(3), false), Some(Reserved::Held(open(1, 1))));
    entry.reservations.pop();
    assert_eq!(admit(&entry, &digest(1), false), None);
    // What is pending counts, and outweighs what is open.
    entry.pending = numbered(&[record(1, Published)]);
    let conflict = Conflict::Recorded { recorded: digest(1) };
    assert_eq!(admit(&entry, &digest(3), false), Some(Reserved::Conflict(conflict)));
    assert_eq!(admit(&entry, &digest(1), false), None);
}

fn provenances() -> impl Strategy<Value = Provenance> {
    prop_oneof![Just(Fetched), Just(Reported), Just(Declared), Just(Published)]
}

/// Acts of clients and upstreams.
fn client_acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1_u8..5, provenances()).prop_map(|(of, provenance)| record(of, provenance)),
        // A witness with a wrong length.
        1 => (1_u8..5, provenances()).prop_map(|(of, provenance)| Act::Record {
            digest: digest(of), length: 99, provenance,
        }),
        2 => Just(Act::Delete),
    ]
}

/// Acts of anybody.
fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => client_acts(),
        1 => (1_u8..5).prop_map(replace),
        1 => Just(retract()),
        1 => Just(Act::Forget),
    ]
}

proptest! {
    #[test]
    fn deciding_twice_is_deciding_once(before in vec(acts(), 0..8), act in acts(), superseding: bool) {
        let current = after(&before, superseding);
        let seen = seen(before.len() as u64 + 1, act);
        let once = apply(current, std::slice::from_ref(&seen), superseding);
        let again = decide(once.as_ref(), &seen, superseding);
        prop_assert!(matches!(again, Verdict::Same | Verdict::Refused(_)), "{again:?}");
    }

    /// A crash between applying and publishing makes the signer see a part or all of its list again.
    #[test]
    fn a_list_applied_again_gives_the_same(
        before in vec(acts(), 0..6), acts in vec(acts(), 0..8), part in 0_usize..9, superseding: bool,
    ) {
        let known = after(&before, superseding);
        let all = numbered(&[before.clone(), acts].concat());
        let list = &all[before.len()..];
        let whole = apply(known.clone(), list, superseding);
        let part = apply(known, &list[..part.min(list.len())], superseding);
        prop_assert_eq!(apply(part, list, superseding), whole.clone());
        prop_assert_eq!(apply(whole.clone(), list, superseding), whole);
    }

    #[test]
    fn an_immutable_digest_changes_only_from_fetched_to_published(acts in vec(client_acts(), 0..12)) {
        let mut current: Option<Target> = None;
        for seen in numbered(&acts) {
            let Verdict::Changed(next) = decide(current.as_ref(), &seen, false) else { continue };
            if let Some(old) = &current && old.digest != next.digest {
                prop_assert_eq!((old.provenance, next.provenance, old.state), (Fetched, Published, State::Live));
            }
            current = Some(next);
        }
    }

    #[test]
    fn history_is_kept_and_never_returned_to(acts in vec(client_acts(), 0..16), superseding: bool) {
        let mut current: Option<Target> = None;
        for seen in numbered(&acts) {
            let Verdict::Changed(next) = decide(current.as_ref(), &seen, superseding) else { continue };
            let mut history = Vec::new();
            if let Some(old) = &current {
                prop_assert!(!old_digests(old).contains(&next.digest));
                history.extend((old.digest != next.digest).then_some(old.digest));
                history.extend(old_digests(old));
            }
            prop_assert_eq!(old_digests(&next), history);
            current = Some(next);
        }
    }

    /// Invariant: what is acknowledged is signed in the end. An upload that was admitted is never refused later when
    /// nothing came between.
    #[test]
    fn an_admitted_upload_is_recorded(acts in vec(acts(), 0..8), of in 1_u8..5, superseding: bool) {
        let entry = Entry { pending: numbered(&acts), ..Entry::default() };
        if admit(&entry, &digest(of), superseding).is_none() {
            let upload = [acts, vec![record(of, Published)]].concat();
            let target = after(&upload, superseding).unwrap();
            prop_assert_eq!((target.digest, target.state), (digest(of), State::Live));
        }
    }

    /// No digest is recorded and superseded at once, whatever anybody does.
    #[test]
    fn current_is_never_old(acts in vec(acts(), 0..16), superseding: bool) {
        if let Some(target) = after(&acts, superseding) {
            let mut digests = old_digests(&target);
            digests.push(target.digest);
            digests.sort();
            let count = digests.len();
            digests.dedup();
            prop_assert_eq!(digests.len(), count);
        }
    }
}
