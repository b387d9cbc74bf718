//! What the signer asks of a ledger.

use super::*;

suite! {
    what_is_applied_is_recorded
    what_is_published_is_pending_no_more
    a_publication_leaves_a_line_when_it_lists_anything
    applying_again_after_a_crash_changes_nothing
    the_last_target_of_a_path_stands
    forgotten_paths_are_gone
    bins_hold_live_targets_by_path
    each_live_target_comes_once_by_id
    versions_are_handed_out_once
    versions_are_raised_and_never_lowered
    an_older_publication_lowers_nothing
    a_lease_has_one_holder
    only_the_newest_fence_writes
    a_refused_batch_leaves_nothing
    submissions_wait_one_version_after_another
    one_offer_a_role_stands
    what_a_submission_claims_is_what_may_be_uploaded
}

fn target(text: &str, seq: Seq, state: State) -> Target {
    Target {
        path: path(text),
        digest: digest(1),
        length: 10,
        provenance: Provenance::Fetched,
        state,
        seq,
        who: "gate".into(),
        at: at(3),
        superseded: vec![],
    }
}

fn publication(upto: Seq, roles: &[(&str, u64)]) -> Publication {
    Publication {
        snapshot: 3,
        timestamp: 4,
        upto,
        at: at(50),
        roles: roles
            .iter()
            .map(|(name, version)| ((*name).into(), *version, at(900)))
            .collect(),
    }
}

async fn what_is_applied_is_recorded(ledger: &dyn Ledger) {
    let mut known = target("a/b", 1, State::Live);
    known.superseded = (2..5)
        .map(|of| crate::ledger::Superseded {
            digest: digest(of),
            length: of.into(),
            at: at(of.into()),
        })
        .collect();
    let fence = leased(ledger).await;
    let batch = Batch {
        targets: vec![
            known.clone(),
            target("c", 2, State::Deleted),
            target("d", 3, State::Retracted),
        ],
        audit: vec![line("record"), line("delete")],
        ..Batch::default()
    };
    assert!(ledger.apply(fence, batch).await.unwrap().is_empty());
    assert_eq!(ledger.lookup(&path("a/b")).await.unwrap().target, Some(known.clone()));
    let asked = [path("d"), path("none"), path("a/b")];
    let recorded = [target("d", 3, State::Retracted), known];
    assert_eq!(ledger.targets(&asked).await.unwrap(), recorded);
    assert_eq!(ledger.audit_lines(5).await.unwrap(), [line("delete"), line("record")]);
    assert_eq!(ledger.counts().await.unwrap(), (1, 0));
}

async fn what_is_published_is_pending_no_more(ledger: &dyn Ledger) {
    for text in ["a", "b", "c"] {
        ledger.observe(observation(text, record(1))).await.unwrap();
    }
    let fence = leased(ledger).await;
    let pending = ledger.pending(10).await.unwrap();
    let published = publication(pending[1].seq, &[("snapshot", 3), ("timestamp", 4)]);
    assert_eq!(ledger.publication().await.unwrap(), None);
    ledger.publish(fence, published.clone()).await.unwrap();
    assert_eq!(ledger.publication().await.unwrap(), Some(published.clone()));
    assert_eq!(ledger.pending(10).await.unwrap(), pending[2..]);
    assert_eq!(ledger.lookup(&path("a")).await.unwrap(), Entry::default());
    // A refresh covers nothing new.
    let refresh = Publication {
        timestamp: 5,
        roles: vec![("timestamp".into(), 5, at(901))],
        ..published
    };
    ledger.publish(fence, refresh.clone()).await.unwrap();
    assert_eq!(ledger.publication().await.unwrap(), Some(refresh));
    assert_eq!(ledger.pending(10).await.unwrap(), pending[2..]);
}

async fn a_publication_leaves_a_line_when_it_lists_anything(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    ledger
        .publish(fence, publication(0, &[("timestamp", 4)]))
        .await
        .unwrap();
    ledger.publish(fence, publication(7, &[])).await.unwrap();
    let stale = ledger
        .publish(Fence(fence.0 + 1), publication(9, &[("timestamp", 5)]))
        .await;
    assert!(stale.is_err());
    let expected = AuditLine {
        at: at(50),
        who: "signer".into(),
        action: "publish".into(),
        path: String::new(),
        detail: "snapshot 3, timestamp 4".into(),
    };
    assert_eq!(ledger.audit_lines(9).await.unwrap(), [expected]);
}

async fn applying_again_after_a_crash_changes_nothing(ledger: &dyn Ledger) {
    ledger.observe(observation("a/b", record(1))).await.unwrap();
    ledger.observe(observation("a/b", Act::Delete)).await.unwrap();
    let fence = leased(ledger).await;
    let seen = ledger.pending(1).await.unwrap();
    let rule::Verdict::Changed(first) = rule::decide(None, &seen[0], false) else {
        panic!("nothing stands in the way")
    };
    let batch = Batch {
        targets: vec![first],
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    // What is applied is not pending for its path, though it is not published either.
    let entry = ledger.lookup(&path("a/b")).await.unwrap();
    assert_eq!(entry.pending.len(), 1);
    let expected = rule::fold(&entry, false);
    sign(ledger, fence, 1).await.unwrap();
    let entry = ledger.lookup(&path("a/b")).await.unwrap();
    assert_eq!((entry.target, entry.pending), (expected, vec![]));
}

async fn the_last_target_of_a_path_stands(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let batch = Batch {
        targets: vec![
            target("a", 1, State::Live),
            target("b", 2, State::Live),
            target("a", 3, State::Deleted),
        ],
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    let recorded = ledger.targets(&[path("a")]).await.unwrap();
    assert_eq!(recorded, [target("a", 3, State::Deleted)]);
    assert_eq!(ledger.counts().await.unwrap(), (1, 0));
}

async fn forgotten_paths_are_gone(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let all = ["a", "b", "c"].map(|text| target(text, 1, State::Live));
    let batch = Batch {
        targets: all.to_vec(),
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    let batch = Batch {
        forgotten: vec![path("a"), path("b"), path("none")],
        targets: vec![target("b", 5, State::Live)],
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    assert_eq!(ledger.lookup(&path("a")).await.unwrap(), Entry::default());
    let left = ledger.targets(&["b", "c"].map(path)).await.unwrap();
    assert_eq!(left, [target("b", 5, State::Live), target("c", 1, State::Live)]);
    assert_eq!(ledger.counts().await.unwrap(), (2, 0));
}

async fn bins_hold_live_targets_by_path(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let targets: Vec<_> = (0..200).map(|n| target(&format!("dir/{n}"), 1, State::Live)).collect();
    let mut gone = target("gone", 1, State::Deleted);
    gone.superseded.clear();
    let batch = Batch {
        targets: [targets.clone(), vec![gone]].concat(),
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    for bits in [0, 1, 4, 6] {
        let mut found = 0;
        for bin in 0..1_u32 << bits {
            let mut expected: Vec<_> = targets.iter().filter(|t| t.path.bin(bits) == bin).cloned().collect();
            expected.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
            let mut names = ledger.bin_names(bits, bin).await.unwrap();
            names.sort_unstable();
            assert!(
                names
                    .iter()
                    .map(String::as_str)
                    .eq(expected.iter().map(|target| target.path.as_str()))
            );
            found += expected.len();
            assert_eq!(ledger.bin(bits, bin).await.unwrap(), expected);
        }
        assert_eq!(found, targets.len());
    }
    assert_eq!(ledger.bin(4, 16).await.unwrap(), []);
    assert_eq!(ledger.bin_names(4, 16).await.unwrap(), Vec::<String>::new());
}

async fn each_live_target_comes_once_by_id(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    // More than any ledger reads at once.
    let state = |n| if n % 5 == 0 { State::Deleted } else { State::Live };
    let targets: Vec<_> = (0..6000).map(|n| target(&format!("dir/{n}"), 1, state(n))).collect();
    let batch = Batch {
        targets: targets.clone(),
        ..Batch::default()
    };
    ledger.apply(fence, batch).await.unwrap();
    let mut seen = Vec::new();
    ledger
        .each_target(&mut |target| seen.push(target.clone()))
        .await
        .unwrap();
    let mut expected: Vec<_> = targets.into_iter().filter(|t| t.state == State::Live).collect();
    expected.sort_by_key(|target| target.path.id());
    assert!(seen == expected, "{} of {}", seen.len(), expected.len());
    assert_eq!(ledger.counts().await.unwrap(), (expected.len() as u64, 0));
}

async fn versions_are_handed_out_once(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let ask = |names: &[&str]| Batch {
        versions: names.iter().map(|&name| name.into()).collect(),
        ..Batch::default()
    };
    let names = ["snapshot", "bins4-0", "snapshot"];
    assert_eq!(ledger.apply(fence, ask(&names)).await.unwrap(), [1, 1, 2]);
    assert_eq!(ledger.apply(fence, ask(&["bins4-0"])).await.unwrap(), [2]);
    let roles = ledger.roles().await.unwrap();
    let rows: Vec<_> = roles
        .iter()
        .map(|row| (&*row.name, row.reserved, row.published, row.expires))
        .collect();
    assert_eq!(rows, [("bins4-0", 2, 0, None), ("snapshot", 2, 0, None)]);
}

async fn versions_are_raised_and_never_lowered(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let row = async || {
        let roles = ledger.roles().await.unwrap();
        (roles[0].reserved, roles[0].published)
    };
    ledger.raise_version(fence, "targets", 5, false).await.unwrap();
    assert_eq!(row().await, (5, 0));
    ledger.raise_version(fence, "targets", 3, true).await.unwrap();
    assert_eq!(row().await, (5, 3));
    ledger.raise_version(fence, "targets", 2, true).await.unwrap();
    assert_eq!(row().await, (5, 3));
    ledger.raise_version(fence, "targets", 9, true).await.unwrap();
    assert_eq!(row().await, (9, 9));
    let batch = Batch {
        versions: vec!["targets".into()],
        ..Batch::default()
    };
    assert_eq!(ledger.apply(fence, batch).await.unwrap(), [10]);
}

async fn an_older_publication_lowers_nothing(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    ledger
        .publish(fence, publication(0, &[("snapshot", 7), ("timestamp", 8)]))
        .await
        .unwrap();
    ledger.publish(fence, publication(0, &[("snapshot", 6)])).await.unwrap();
    let roles = ledger.roles().await.unwrap();
    let rows: Vec<_> = roles
        .iter()
        .map(|row| (&*row.name, row.reserved, row.published, row.expires))
        .collect();
    assert_eq!(
        rows,
        [("snapshot", 7, 7, Some(at(900))), ("timestamp", 8, 8, Some(at(900)))]
    );
}

async fn a_lease_has_one_holder(ledger: &dyn Ledger) {
    let lease = async |who: &str, second| ledger.lease(who, 10, at(second)).await.unwrap();
    let first = lease("a", 0).await.unwrap();
    assert_eq!(lease("b", 9).await, None);
    assert_eq!(lease("a", 9).await, Some(first));
    assert_eq!(lease("b", 18).await, None);
    let second = lease("b", 19).await.unwrap();
    assert_eq!(second, Fence(first.0 + 1));
    assert_eq!(lease("a", 20).await, None);
    // The first holder has nothing to give up any more.
    ledger.end_lease(first).await.unwrap();
    assert_eq!(lease("a", 20).await, None);
    ledger.end_lease(second).await.unwrap();
    assert_eq!(lease("a", 20).await, Some(Fence(second.0 + 1)));
}

async fn only_the_newest_fence_writes(ledger: &dyn Ledger) {
    let none = LedgerError::Fenced { ours: 1, newest: 0 };
    assert_eq!(ledger.apply(Fence(1), Batch::default()).await, Err(none));
    let old = ledger.lease("a", 10, at(0)).await.unwrap().unwrap();
    // Past its time, but nobody else took it.
    ledger.raise_version(old, "targets", 1, false).await.unwrap();
    let new = ledger.lease("b", 10, at(10)).await.unwrap().unwrap();
    let fenced = LedgerError::Fenced {
        ours: old.0,
        newest: new.0,
    };
    assert_eq!(ledger.apply(old, Batch::default()).await, Err(fenced.clone()));
    assert_eq!(ledger.raise_version(old, "targets", 9, true).await, Err(fenced.clone()));
    assert_eq!(
        ledger.publish(old, publication(9, &[("snapshot", 9)])).await,
        Err(fenced)
    );
    assert_eq!(ledger.publication().await.unwrap(), None);
    assert_eq!(ledger.roles().await.unwrap()[0].reserved, 1);
    ledger.raise_version(new, "targets", 2, false).await.unwrap();
}

async fn a_refused_batch_leaves_nothing(ledger: &dyn Ledger) {
    let fence = leased(ledger).await;
    let batch = Batch {
        targets: vec![target("a", 1, State::Live)],
        audit: vec![line("record")],
        versions: vec!["snapshot".into()],
        ..Batch::default()
    };
    assert!(ledger.apply(Fence(fence.0 + 1), batch).await.is_err());
    assert_eq!(ledger.lookup(&path("a")).await.unwrap(), Entry::default());
    assert_eq!(ledger.roles().await.unwrap(), []);
    assert_eq!(ledger.audit_lines(1).await.unwrap(), []);
    assert_eq!(ledger.counts().await.unwrap(), (0, 0));
}

fn submission(role: &str, version: u64, body: &str) -> Submission {
    Submission {
        id: 0,
        versions: [(role.to_owned(), version)].into(),
        body: body.to_owned(),
        who: "client 127.0.0.1".into(),
        at: at(5),
    }
}

async fn submissions_wait_one_version_after_another(ledger: &dyn Ledger) {
    let submit =
        async |role: &str, version, body: &str| ledger.submit(submission(role, version, body), vec![]).await.unwrap();
    let taken = |wanted| Submitted::Taken {
        role: "team-a".into(),
        wanted,
    };
    let Submitted::Waits(first) = submit("team-a", 1, "one").await else {
        panic!("the first is refused")
    };
    assert_eq!(
        submit("team-a", 1, "one").await,
        Submitted::Waits(first),
        "the very same"
    );
    assert_eq!(submit("team-a", 1, "other").await, taken(2));
    assert_eq!(submit("team-a", 3, "three").await, taken(2));
    let Submitted::Waits(second) = submit("team-a", 2, "two").await else {
        panic!("the second is refused")
    };
    assert!(second > first);
    let waiting = ledger.submissions().await.unwrap();
    assert_eq!(
        waiting.iter().map(|waits| &*waits.body).collect::<Vec<_>>(),
        ["one", "two"]
    );
    let expected = Submission {
        id: first,
        ..submission("team-a", 1, "one")
    };
    assert_eq!(waiting[0], expected);

    let fence = leased(ledger).await;
    ledger.raise_version(fence, "team-a", 2, true).await.unwrap();
    let ended = vec![line("delegate")];
    ledger.end_submissions(fence, &[first, second], ended).await.unwrap();
    assert_eq!(ledger.submissions().await.unwrap(), []);
    assert_eq!(ledger.audit_lines(9).await.unwrap()[0].action, "delegate");
    assert_eq!(submit("team-a", 2, "two").await, taken(3), "what was listed counts");
    let Submitted::Waits(third) = submit("team-a", 3, "three").await else {
        panic!("the third is refused")
    };
    assert!(third > second, "a number is never handed out twice");

    let refused = ledger.end_submissions(Fence(fence.0 - 1), &[third], vec![]).await;
    assert!(matches!(refused, Err(LedgerError::Fenced { .. })));
    for more in 1..crate::ledger::QUEUED as u64 {
        assert!(matches!(
            submit("team-b", more, &more.to_string()).await,
            Submitted::Waits(_)
        ));
    }
    assert_eq!(submit("team-c", 1, "more").await, Submitted::Full);
}

async fn what_a_submission_claims_is_what_may_be_uploaded(ledger: &dyn Ledger) {
    let claim = |of: u8, superseding: bool| Claim {
        submission: 0,
        path: path("a/b"),
        digest: digest(of),
        length: 1000,
        superseding,
    };
    let submit = async |version, claim| {
        let new = submission("team-a", version, &version.to_string());
        ledger.submit(new, vec![claim]).await.unwrap()
    };
    let refused = |conflict| Submitted::Conflict {
        path: path("a/b"),
        conflict,
    };
    // An upload that is under way, then one that was acknowledged.
    let open = granted(ledger, "a/b", 1).await;
    assert_eq!(submit(1, claim(2, true)).await, refused(rule::Conflict::Uploading));
    ledger.release(open).await.unwrap();
    let Submitted::Waits(first) = submit(1, claim(2, false)).await else {
        panic!("the first is refused")
    };
    let waits = Claim {
        submission: first,
        ..claim(2, false)
    };
    assert_eq!(ledger.lookup(&path("a/b")).await.unwrap().claims, [waits]);
    let recorded = |of| rule::Conflict::Recorded { recorded: digest(of) };
    for superseding in [false, true] {
        let upload = ledger.reserve(reservation("a/b", 1), superseding).await.unwrap();
        assert_eq!(upload, Reserved::Conflict(recorded(2)), "acknowledged as 2");
    }
    let open = granted(ledger, "a/b", 2).await;
    ledger.confirm(open, at(101)).await.unwrap();
    granted(ledger, "a/c", 1).await;
    assert_eq!(submit(2, claim(3, false)).await, refused(recorded(2)));
    let Submitted::Waits(second) = submit(2, claim(3, true)).await else {
        panic!("a tracked path may not move on")
    };
    let upload = ledger.reserve(reservation("a/b", 2), true).await.unwrap();
    assert_eq!(upload, Reserved::Conflict(recorded(3)), "the newest counts");

    let fence = leased(ledger).await;
    ledger.end_submissions(fence, &[second], vec![]).await.unwrap();
    let upload = ledger.reserve(reservation("a/b", 3), false).await.unwrap();
    assert_eq!(upload, Reserved::Conflict(recorded(2)));
    ledger.end_submissions(fence, &[first], vec![]).await.unwrap();
    assert_eq!(ledger.lookup(&path("a/b")).await.unwrap().claims, []);
    ledger.observe(observation("a/d", record(1))).await.unwrap();
    let other = Claim {
        path: path("a/d"),
        ..claim(2, false)
    };
    let late = ledger
        .submit(submission("team-a", 1, "late"), vec![claim(2, false), other])
        .await;
    let conflict = Submitted::Conflict {
        path: path("a/d"),
        conflict: recorded(1),
    };
    assert_eq!(late.unwrap(), conflict);
    assert_eq!(
        ledger.lookup(&path("a/b")).await.unwrap().claims,
        [],
        "nothing of it stays"
    );
}

async fn one_offer_a_role_stands(ledger: &dyn Ledger) {
    let offer = |body: &str| Offer {
        role: "docs".into(),
        body: body.into(),
    };
    let fence = leased(ledger).await;
    for body in ["one", "two"] {
        ledger.offer(fence, offer(body)).await.unwrap();
        assert_eq!(ledger.offered("docs").await.unwrap(), Some(offer(body)));
        assert_eq!(ledger.offers().await.unwrap(), [offer(body)]);
    }
    assert_eq!(ledger.offered("other").await.unwrap(), None);
    let stale = ledger.offer(Fence(fence.0 - 1), offer("three")).await;
    assert!(matches!(stale, Err(LedgerError::Fenced { .. })));
    ledger.offer(fence, offer("")).await.unwrap();
    assert_eq!(ledger.offered("docs").await.unwrap(), None);
    assert_eq!(ledger.offers().await.unwrap(), []);
}
