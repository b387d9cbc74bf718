//! What is right, and what is right for a moment: no finding.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::world::{Dying, World, observe, record, settle, told};
use crate::{
    audit::{Code, Severity},
    depot::fs::FsDepot,
    ledger::{Act, Ledger as _},
};

#[tokio::test]
async fn a_gate_that_was_stopped_is_clean() {
    let world = World::furnished().await;
    let report = world.audit().await;
    assert_eq!(told(&report), [""; 0]);
    assert_eq!(report.exit_code(), 0);
    let checked = &report.checked;
    println!("{report}");
    assert_eq!(checked.files, world.names().await.len() as u64);
    assert_eq!((checked.targets, checked.withdrawn, checked.roles), (5, 2, 6));
    // Six records, then the first publication; a deletion, a retraction, a replacement; the last record; publications.
    assert_eq!(checked.audit_lines, 6 + 3 + 1 + 3);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checked"]["targets"], 5);
    assert_eq!(json["findings"][0]["severity"], "note");
}

#[tokio::test]
async fn an_audit_changes_nothing() {
    let world = World::furnished().await;
    let before = world.copy();
    world.audit().await;
    for place in ["ledger.db", "metadata/timestamp.json", "tufgate.toml"] {
        let [old, new] = [before.path(), world.folder.path()].map(|folder| std::fs::read(folder.join(place)).unwrap());
        assert!(old == new, "{place}");
    }
    assert_eq!(
        std::fs::metadata(world.folder.path().join("ledger.db-wal")).map_or(0, |meta| meta.len()),
        0
    );
}

#[tokio::test]
async fn a_gate_that_never_published_is_clean() {
    for tuf in ["", "[keys.targets]\noffline = true\n", "[tuf]\nlayout = \"flat\"\n"] {
        let world = World::initialised(tuf).await;
        assert_eq!(told(&world.audit().await), [""; 0], "{tuf}");
    }
}

#[tokio::test]
async fn other_layouts_are_clean() {
    for tuf in [
        "[tuf]\nbins = 4\n[keys.targets]\noffline = true\n",
        "[tuf]\nlayout = \"flat\"\n",
    ] {
        let world = World::initialised(tuf).await;
        let (ledger, mut signer) = (world.ledger(), world.signer());
        for text in ["a", "b", "c/d"] {
            observe(&ledger, text, record(text)).await;
        }
        settle(&mut signer).await;
        observe(&ledger, "b", Act::Delete).await;
        settle(&mut signer).await;
        let report = world.audit().await;
        assert_eq!(told(&report), [""; 0], "{tuf}");
        assert_eq!((report.checked.targets, report.checked.withdrawn), (2, 1));
    }
}

#[tokio::test]
async fn a_publication_may_be_seen_at_every_step() {
    for (swaps, noted) in [(false, None), (true, Some(Code::Publication))] {
        let world = World::furnished().await;
        let ledger = world.ledger();
        for (text, act) in [
            ("a", Act::Delete),
            ("new", record("new")),
            ("gone", Act::Forget),
            ("dir/b", Act::Delete),
        ] {
            observe(&ledger, text, act).await;
        }
        let report = world.audit().await;
        assert_eq!(told(&report), [""; 0], "observed");
        let inner = FsDepot::open(&world.config.depot).unwrap();
        let mut dying = world.signer_of(Arc::new(Dying { inner, swaps }));
        assert!(dying.turn().await.is_err());
        let report = world.audit().await;
        assert_eq!(told(&report), [""; 0], "applied and written; swapped: {swaps}");
        let notes = report.findings().filter(|finding| finding.code != Code::Unencrypted);
        assert_eq!(notes.map(|finding| finding.code).next(), noted);
        settle(&mut world.signer()).await;
        assert_eq!(told(&world.audit().await), [""; 0], "gone on");
        // What the death left behind is a note, once it cannot belong to anything that goes on; and the time that has
        // passed is told where it matters.
        let later = Timestamp::now() + SignedDuration::from_hours(1);
        let report = world.audit_at(later).await;
        assert_eq!(told(&report), [""; 0]);
        let left = report
            .findings()
            .filter(|finding| finding.code == Code::Leftover)
            .count();
        assert_eq!(left, 0, "superseded files are covered by the grace");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_beside_a_signer_at_work() {
    let world = Arc::new(World::furnished().await);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let busy = tokio::spawn({
        let (world, stop, done) = (world.clone(), stop.clone(), done.clone());
        async move {
            let (ledger, mut signer) = (world.ledger(), world.signer());
            while !stop.load(Ordering::SeqCst) {
                let turns = done.load(Ordering::SeqCst);
                let text = format!("busy/{}", turns % 50);
                let act = if turns % 3 == 2 {
                    Act::Forget
                } else {
                    record(&turns.to_string())
                };
                observe(&ledger, &text, act).await;
                settle(&mut signer).await;
                done.store(turns + 1, Ordering::SeqCst);
            }
        }
    });
    let mut audits = 0;
    while audits < 10 || (done.load(Ordering::SeqCst) <= 10 && !busy.is_finished()) {
        assert_eq!(told(&world.audit().await), [""; 0]);
        audits += 1;
    }
    stop.store(true, Ordering::SeqCst);
    busy.await.unwrap();
}

#[tokio::test]
async fn time_that_passed_is_told() {
    let world = World::furnished().await;
    let ledger = world.ledger();
    observe(&ledger, "waiting", record("waiting")).await;
    let drift = crate::ledger::Drift {
        path: crate::target::TargetPath::new("a").unwrap(),
        recorded: crate::digest::Digest([1; 32]),
        observed: crate::digest::Digest([2; 32]),
        observed_length: 1,
        at: Timestamp::now(),
    };
    let path = drift.path.clone();
    ledger
        .set_drift(&path, Some(drift), "gate", Timestamp::now())
        .await
        .unwrap();
    let codes = async |hours: i64| {
        let report = world
            .audit_at(Timestamp::now() + SignedDuration::from_hours(hours))
            .await;
        let mut codes: Vec<_> = report
            .findings()
            .map(|finding| (finding.severity, finding.code))
            .collect();
        codes.dedup();
        codes
    };
    let always = (Severity::Note, Code::Unencrypted);
    assert_eq!(codes(0).await, [(Severity::Warning, Code::Drift), always]);
    let pending = (Severity::Warning, Code::Pending);
    assert_eq!(codes(1).await, [(Severity::Warning, Code::Drift), pending, always]);
    let expiry = (Severity::Warning, Code::Expiry);
    assert_eq!(
        codes(20).await,
        [(Severity::Warning, Code::Drift), pending, expiry, always]
    );
    assert_eq!(codes(24 * 30).await.last(), Some(&always));
    // A clock that stands before everything it signed.
    let clock = codes(-24).await;
    assert!(clock.contains(&(Severity::Warning, Code::Clock)), "{clock:?}");
}
