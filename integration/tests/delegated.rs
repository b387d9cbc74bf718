//! Roles that teams sign: delegated by ceremony, filled by submissions, read by every client.

use std::{fs, io::Write as _};

use serde_json::{Value, json};

use crate::support::{
    ceremony::{ceremony, done, refused},
    gate::{Gate, Setup, signal, until},
    http,
    nginx::Nginx,
    readers::{Readers, sound},
    team::{Member, envelope, role, submission, submit, submitted, write},
};

const TOOL: (&str, &[u8]) = ("team-a/tool-1.tgz", b"a tool");
const LIB: (&str, &[u8]) = ("team-a/lib/lib-1.tgz", b"a library");

/// Version of a role in the snapshot that the gate serves.
fn listed(gate: &Gate, role: &str) -> Option<u64> {
    let file = |name: &str| -> Value { serde_json::from_slice(&gate.get(&format!("/metadata/{name}")).body).unwrap() };
    let snapshot = &file("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"];
    let snapshot = file(&format!("{snapshot}.snapshot.json"));
    snapshot["signed"]["meta"][format!("{role}.json")]["version"].as_u64()
}

/// A gate whose operator delegated `team-a/*` and `team-a/*/*` to a role of alice's and bob's, two of whom sign.
fn delegated(nginx: &Nginx, extra: &str, signer: &str) -> (Gate, [Member; 2], Readers) {
    let gate = Gate::start(&Setup::learning(nginx.url()).extra(extra));
    gate.publish("/a/one.txt", b"one");
    gate.publish(&format!("/{}", TOOL.0), TOOL.1);
    let readers = Readers::new(&gate);
    readers.all_read(&gate, TOOL.0, TOOL.1);
    let team = [Member::new(&gate, "alice"), Member::new(&gate, "bob")];
    let edits = [
        "--role",
        "team-a=team-a/*,team-a/*/*",
        "--terminating",
        "team-a",
        "--add-key",
        "team-a:alice=alice.pub",
        "--add-key",
        "team-a:bob=bob.pub",
        "--threshold",
        "team-a=2",
    ];
    let drafted = done(
        &gate,
        &[&["targets", "draft", "--yes", "--out", "2.json"], &edits[..]].concat(),
    );
    for line in [
        "team-a: a new role",
        "team-a: + alice (key ",
        "team-a: threshold 2 of 2",
        "team-a: paths: + team-a/*/*",
    ] {
        assert!(drafted.contains(line), "{drafted}");
    }
    done(&gate, &["targets", "sign", "2.json", "--yes", "--key", signer]);
    refused(
        &gate,
        &["targets", "publish", "2.json"],
        1,
        "it is delegated to, and has no file",
    );
    write(
        &gate,
        "one.json",
        &[("team-a", envelope(&role(1, &[TOOL]), &[&team[0]]))],
    );
    refused(
        &gate,
        &["targets", "publish", "2.json", "--with", "one.json"],
        1,
        "1 of 2 needed signatures",
    );
    assert!(!gate.dir.join("metadata/2.targets.json").exists());
    let both = [&team[0], &team[1]];
    write(&gate, "both.json", &[("team-a", envelope(&role(1, &[TOOL]), &both))]);
    done(&gate, &["targets", "publish", "2.json", "--with", "both.json"]);
    until("team-a to be listed", || listed(&gate, "team-a") == Some(1));
    assert_eq!(listed(&gate, "targets"), Some(2));
    (gate, team, readers)
}

#[test]
fn a_team_signs_its_own_targets_and_every_client_reads_them() {
    let nginx = Nginx::start();
    let (mut gate, [alice, bob], readers) = delegated(&nginx, "", "keys/targets.pem");
    readers.all_read(&gate, TOOL.0, TOOL.1);
    Readers::new(&gate).all_read(&gate, "a/one.txt", b"one");

    // Signed first, uploaded then: the bytes are held to what was signed.
    submitted(&gate, "team-a", &role(2, &[TOOL, LIB]), &[&alice, &bob]);
    let other = gate.put(&format!("/{}", LIB.0), b"other bytes");
    assert_eq!((other.status, other.problem().as_deref()), (409, Some("conflict")));
    gate.publish(&format!("/{}", LIB.0), LIB.1);
    readers.all_read(&gate, LIB.0, LIB.1);
    Readers::new(&gate).all_read(&gate, LIB.0, LIB.1);
    sound(&gate, &gate.root());

    // The same again is no news; the answer to who does not wait comes once it cannot be lost.
    let third = submission(&[("team-a", envelope(&role(3, &[LIB]), &[&alice, &bob]))]);
    let answer = submit(&gate, &third, false);
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    gate.kill();
    gate.run();
    until("version 3 to be listed", || listed(&gate, "team-a") == Some(3));
    let again = submit(&gate, &third, true);
    assert_eq!(again.status, 200, "{}", String::from_utf8_lossy(&again.body));
    readers.all_read(&gate, LIB.0, LIB.1);
    let failing = readers.failing(&gate.url(), TOOL.0, TOOL.1);
    assert!(
        failing.len() >= 5,
        "what a team dropped is gone, in its bins too: {failing:?}"
    );
    sound(&gate, &gate.root());

    // A role inside the role, with a key of its own, handed in with what delegates to it.
    let carol = Member::new(&gate, "carol");
    let mut parent = role(4, &[]);
    parent["delegations"] = json!({
        "keys": {carol.id(): carol.public()},
        "roles": [{
            "name": "team-a.lib", "keyids": [carol.id()], "threshold": 1, "terminating": false, "paths": ["team-a/lib/*"],
        }],
    });
    let parent = envelope(&parent, &[&alice, &bob]);
    let alone = submit(&gate, &submission(&[("team-a", parent.clone())]), true);
    assert_eq!(alone.status, 404, "{}", String::from_utf8_lossy(&alone.body));
    let nested = envelope(&role(1, &[LIB]), &[&carol]);
    let answer = submit(&gate, &submission(&[("team-a", parent), ("team-a.lib", nested)]), true);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    readers.all_read(&gate, LIB.0, LIB.1);
    Readers::new(&gate).all_read(&gate, LIB.0, LIB.1);
    sound(&gate, &gate.root());
    assert!(gate.metric("tufgate_role_expires_seconds{role=\"team-a.lib\"}") > 2e9);
    let explained = done(&gate, &["policy", "explain", LIB.0]);
    assert!(
        explained.contains("or by a team in team-a, which does not list it; team-a.lib, which lists it"),
        "{explained}"
    );
    let explained = done(&gate, &["policy", "explain", "a/one.txt", "--json"]);
    assert!(!explained.contains("delegated"), "{explained}");

    // Withdrawn here, it is still what the team signed: good to know, and no fault.
    done(&gate, &["retract", LIB.0, "--reason", "malware"]);
    let audit = || -> Value { serde_json::from_slice(&gate.command(&["audit", "--json"]).stdout).unwrap() };
    let withdrawn = |report: &Value| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["code"] == "withdrawn").cloned()
    };
    until("the retraction to be taken up", || withdrawn(&audit()).is_some());
    let note = withdrawn(&audit()).unwrap();
    assert_eq!(note["severity"], "note", "{note}");
    assert!(
        note["message"]
            .as_str()
            .unwrap()
            .contains("retracted here, and the role `team-a.lib` lists it"),
        "{note}"
    );
}

#[test]
fn what_a_team_may_not_hand_in_changes_nothing() {
    let nginx = Nginx::start();
    let (gate, [alice, bob], readers) = delegated(&nginx, "", "keys/targets.pem");
    let mallory = Member::new(&gate, "mallory");
    gate.publish("/team-a/recorded", b"as it was uploaded");
    let by_both = |signed: &Value| submission(&[("team-a", envelope(signed, &[&alice, &bob]))]);
    let changed = |field: &str, value: Value| {
        let mut signed = role(2, &[TOOL]);
        signed[field] = value;
        by_both(&signed)
    };
    let twice = envelope(&role(2, &[TOOL]), &[&alice, &alice]);
    let once = envelope(&role(2, &[TOOL]), &[&alice]);
    let named = |name: &str| submission(&[(name, envelope(&role(1, &[]), &[&alice, &bob]))]);
    let mut huge = role(2, &[TOOL]);
    huge["targets"][TOOL.0]["custom"] = json!({"pad": "x".repeat(10_000_000)});
    let mut large = role(2, &[TOOL]);
    large["targets"][TOOL.0]["custom"] = json!({"pad": "x".repeat(1_100_000)});
    let before = gate.get("/metadata/timestamp.json").body;
    for (body, status, why) in [
        (submission(&[("team-a", once)]), 403, "1 of 2 needed"),
        (submission(&[("team-a", twice)]), 403, "signs twice"),
        (
            submission(&[("team-a", envelope(&role(2, &[TOOL]), &[&alice, &mallory]))]),
            403,
            "1 of 2 needed",
        ),
        (by_both(&role(2, &[("team-b/x", b"x")])), 400, "not inside the paths"),
        (by_both(&role(2, &[("team-a/../a/one.txt", b"x")])), 400, "canonical"),
        (
            by_both(&role(2, &[("team-a/.hidden", b"x")])),
            400,
            "not inside the paths",
        ),
        (by_both(&role(1, &[LIB])), 409, "after 1 comes 2"),
        (by_both(&role(3, &[TOOL])), 409, "after 1 comes 2"),
        (
            by_both(&role(2, &[("team-a/recorded", b"other")])),
            409,
            "other bytes are recorded",
        ),
        (changed("expires", json!("2020-01-01T00:00:00Z")), 400, "expired"),
        (changed("x-more", json!({})), 400, "x-more"),
        (
            changed("delegations", json!({"keys": {}, "roles": []})),
            400,
            "left out",
        ),
        (named("../x"), 400, "no name for a role"),
        (named("2foo"), 400, "no name for a role"),
        (named("bins4-0"), 400, "the gate's own"),
        (named("team-b"), 404, "nobody delegates to it"),
        (by_both(&huge), 413, "at most"),
        (by_both(&large), 413, "more than"),
        (b"{".to_vec(), 400, "EOF"),
        (b"{\"roles\": {}}".to_vec(), 400, "roles"),
    ] {
        let answer = submit(&gate, &body, true);
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (status, Some("submission")),
            "{why}: {said}"
        );
        assert!(said.contains(why), "{said}");
    }
    let text = http::request(
        gate.addr,
        "POST",
        "/metadata/submit",
        &[("Content-Type", "text/plain")],
        b"{}",
    );
    assert_eq!(text.status, 415);
    assert_eq!(
        gate.get("/metadata/timestamp.json").body,
        before,
        "nothing was published"
    );
    gate.publish(&format!("/{}", LIB.0), LIB.1);
    gate.publish("/team-a/other", b"other");
    let bodies = [LIB, ("team-a/other", b"other")].map(|target| by_both(&role(2, &[TOOL, target])));
    let answers = std::thread::scope(|scope| {
        let running: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(|| submit(&gate, body, true).status))
            .collect();
        running
            .into_iter()
            .map(|answer| answer.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(
        answers == [200, 409] || answers == [409, 200],
        "one of two wins: {answers:?}"
    );
    readers.all_read(&gate, TOOL.0, TOOL.1);
    sound(&gate, &gate.root());
}

#[test]
fn what_a_team_hands_in_is_held_to_and_has_its_bounds() {
    let nginx = Nginx::start();
    let few = "[tuf]\nsubmissions_per_hour = 3\n";
    let (gate, [alice, bob], readers) = delegated(&nginx, few, "keys/targets.pem");
    let by_both = |version: u64, targets: &[(&str, &[u8])]| {
        submission(&[("team-a", envelope(&role(version, targets), &[&alice, &bob]))])
    };
    let answered = |body: &[u8], status: u16, why: &str| {
        let answer = submit(&gate, body, true);
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{why}: {said}");
        assert!(said.contains(why), "{said}");
        answer
    };
    // Acknowledged, and not taken up yet: what is uploaded meanwhile is what will be listed.
    let signer = gate.signer_pid().unwrap();
    signal("STOP", signer);
    let waits = submit(&gate, &by_both(2, &[TOOL, LIB]), false);
    let other = gate.put(&format!("/{}", LIB.0), b"other bytes");
    signal("CONT", signer);
    assert_eq!((waits.status, other.status), (202, 409), "{other:?}");
    until("version 2 to be listed", || listed(&gate, "team-a") == Some(2));
    gate.publish(&format!("/{}", LIB.0), LIB.1);
    readers.all_read(&gate, LIB.0, LIB.1);

    // Retracted, it stays in what stands, and comes into nothing new.
    let retracted = done(&gate, &["retract", LIB.0, "--reason", "bad"]);
    assert!(retracted.contains("the role `team-a` still lists it"), "{retracted}");
    answered(&by_both(3, &[TOOL, LIB]), 409, "retracted by an operator");
    answered(&by_both(3, &[TOOL]), 200, "snapshot");

    answered(&by_both(4, &[TOOL, LIB]), 409, "retracted by an operator");
    answered(&by_both(4, &[TOOL]), 200, "snapshot");
    let often = answered(&by_both(5, &[TOOL]), 429, "3 submissions an hour");
    let wait: u64 = often.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_601).contains(&wait), "{wait}");
    answered(&by_both(4, &[TOOL]), 200, "snapshot");

    // Who sends large bodies slowly keeps out large ones, and nobody whose body is small.
    let open = || {
        let mut stream = http::connect(gate.addr);
        let head = "POST /metadata/submit HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n\
                    Content-Length: 1000000\r\n\r\n";
        // One that finds no place hears so before it is done.
        let _ = stream.write_all(&[head.as_bytes(), &[b' '; 70_000]].concat());
        stream
    };
    let mut slow: Vec<_> = (0..32).map(|_| open()).collect();
    let large = [vec![b' '; 70_000], by_both(4, &[TOOL])].concat();
    until("all places to be taken", || {
        // The question itself may have had one of the places.
        slow.push(open());
        submit(&gate, &large, false).status == 503
    });
    answered(&by_both(4, &[TOOL]), 200, "snapshot");
    drop(slow);
    until("a place to be free", || submit(&gate, &large, false).status == 202);
    sound(&gate, &gate.root());
}

#[test]
fn what_the_gate_observes_for_a_team_is_listed_once_the_team_has_countersigned() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/docs/before.txt", b"before");
    let readers = Readers::new(&gate);
    let (own, dora) = (Member::gate(&gate, "keys/snapshot.pem"), Member::new(&gate, "dora"));
    let mallory = Member::new(&gate, "mallory");
    write(
        &gate,
        "first.json",
        &[("docs", envelope(&role(1, &[]), &[&own, &dora]))],
    );
    let edits = [
        "--role",
        "docs=docs/*",
        "--observed",
        "docs",
        "--add-key",
        "docs:dora=dora.pub",
    ];
    ceremony(
        &gate,
        "targets",
        "2.json",
        &edits,
        &["keys/targets"],
        &["--with", "first.json"],
    );
    until("docs to be listed", || listed(&gate, "docs") == Some(1));
    let guide: (&str, &[u8]) = ("docs/guide.txt", b"a guide");
    gate.publish("/docs/guide.txt", guide.1);
    gate.publish("/a/one.txt", b"one");
    assert!(
        readers.failing(&gate.url(), guide.0, guide.1).len() >= 5,
        "nobody countersigned it"
    );
    readers.all_read(&gate, "a/one.txt", b"one");

    let offered = || -> Option<Value> {
        let answer = gate.get("/metadata/pending/docs");
        (answer.status == 200).then(|| serde_json::from_slice::<Value>(&answer.body).unwrap()["roles"]["docs"].clone())
    };
    until("both to be offered", || {
        let count = |file: Value| file["signed"]["targets"].as_object().unwrap().len();
        offered().map(count) == Some(2)
    });
    let alone = submit(&gate, &submission(&[("docs", offered().unwrap())]), true);
    assert_eq!(alone.status, 403, "{}", String::from_utf8_lossy(&alone.body));
    let mut by_another = offered().unwrap();
    mallory.countersign(&mut by_another);
    assert_eq!(submit(&gate, &submission(&[("docs", by_another)]), true).status, 403);
    let forged = envelope(&role(2, &[("docs/forged.txt", b"forged")]), &[&dora]);
    assert_eq!(
        submit(&gate, &submission(&[("docs", forged)]), true).status,
        403,
        "a team alone lists nothing there"
    );
    let mut both = offered().unwrap();
    dora.countersign(&mut both);
    let answer = submit(&gate, &submission(&[("docs", both)]), true);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    readers.all_read(&gate, guide.0, guide.1);
    Readers::new(&gate).all_read(&gate, "docs/before.txt", b"before");
    until("nothing to wait", || offered().is_none());
    assert_eq!(gate.get("/metadata/pending/nobody").status, 404);
    sound(&gate, &gate.root());
}

#[test]
fn offline_targets_delegate_change_a_roles_keys_and_drop_it() {
    let nginx = Nginx::start();
    let offline = "[keys.targets]\noffline = true\n";
    let (gate, [alice, bob], readers) = delegated(&nginx, offline, "root/root-1.pem");
    readers.all_read(&gate, TOOL.0, TOOL.1);

    // bob's key goes: his signature on the listed file counts no more, so a new file must come with the change.
    let edits = ["--remove-key", "bob", "--threshold", "team-a=1"];
    done(
        &gate,
        &[&["targets", "draft", "--yes", "--out", "3.json"], &edits[..]].concat(),
    );
    done(
        &gate,
        &["targets", "sign", "3.json", "--yes", "--key", "root/root-1.pem"],
    );
    done(&gate, &["targets", "publish", "3.json"]);
    until("targets 3 to be listed", || listed(&gate, "targets") == Some(3));
    readers.all_read(&gate, TOOL.0, TOOL.1);
    let carol = Member::new(&gate, "carol");
    let edits = ["--remove-key", "alice", "--add-key", "team-a:carol=carol.pub"];
    done(
        &gate,
        &[&["targets", "draft", "--yes", "--out", "4.json"], &edits[..]].concat(),
    );
    done(
        &gate,
        &["targets", "sign", "4.json", "--yes", "--key", "root/root-1.pem"],
    );
    refused(
        &gate,
        &["targets", "publish", "4.json"],
        1,
        "role `team-a`: 0 of 1 needed signatures",
    );
    write(
        &gate,
        "carols.json",
        &[("team-a", envelope(&role(2, &[TOOL]), &[&carol]))],
    );
    // From the moment it lies there, alice's key holds it off no more: the signer is not there yet to take it up.
    let signer = gate.signer_pid().unwrap();
    signal("STOP", signer);
    done(&gate, &["targets", "publish", "4.json", "--with", "carols.json"]);
    let by_alice = submission(&[("team-a", envelope(&role(3, &[TOOL]), &[&alice]))]);
    let late = submit(&gate, &by_alice, false);
    signal("CONT", signer);
    let said = String::from_utf8_lossy(&late.body).into_owned();
    assert_eq!(late.status, 403, "{said}");
    assert!(said.contains("targets 4 waits"), "{said}");
    until("carol's file to be listed", || listed(&gate, "team-a") == Some(2));
    readers.all_read(&gate, TOOL.0, TOOL.1);
    let old = submit(
        &gate,
        &submission(&[("team-a", envelope(&role(3, &[]), &[&alice, &bob]))]),
        true,
    );
    assert_eq!(old.status, 403);
    sound(&gate, &gate.root());

    // Gone from the metadata; its name stays listed, with its last file.
    ceremony(
        &gate,
        "targets",
        "5.json",
        &["--remove-role", "team-a"],
        &["root/root-1"],
        &[],
    );
    until("targets 5 to be listed", || listed(&gate, "targets") == Some(5));
    assert_eq!(listed(&gate, "team-a"), Some(2));
    assert_eq!(gate.get("/metadata/2.team-a.json").status, 200);
    let gone = submit(
        &gate,
        &submission(&[("team-a", envelope(&role(3, &[]), &[&carol]))]),
        true,
    );
    assert_eq!(gone.status, 404, "{}", String::from_utf8_lossy(&gone.body));
    readers.all_read(&gate, "a/one.txt", b"one");
    Readers::new(&gate).all_read(&gate, "a/one.txt", b"one");
    assert!(
        readers.failing(&gate.url(), TOOL.0, TOOL.1).len() >= 5,
        "its targets went with it"
    );
    sound(&gate, &gate.root());
    // It may come back: its versions go on.
    let edits = ["--role", "team-a=team-a/*", "--add-key", "team-a:carol=carol.pub"];
    write(
        &gate,
        "back.json",
        &[("team-a", envelope(&role(3, &[TOOL]), &[&carol]))],
    );
    ceremony(
        &gate,
        "targets",
        "6.json",
        &edits,
        &["root/root-1"],
        &["--with", "back.json"],
    );
    until("team-a to be back", || listed(&gate, "team-a") == Some(3));
    readers.all_read(&gate, TOOL.0, TOOL.1);
    sound(&gate, &gate.root());
}

#[test]
fn drafts_that_delegate_what_clients_trip_over_are_refused() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    // Where nobody signs a role, nothing of a submission is looked at.
    let early = http::request(
        gate.addr,
        "POST",
        "/metadata/submit",
        &[("Content-Type", "text/plain")],
        b"{}",
    );
    assert_eq!(early.status, 404, "{early:?}");
    gate.publish("/a/one.txt", b"one");
    let alice = Member::new(&gate, "alice");
    let key = format!("team:{0}={0}.pub", alice.name);
    for (role, more, why) in [
        ("2foo=a/*", &[][..], "no name for a role"),
        ("../x=a/*", &[], "no name for a role"),
        ("bins9=a/*", &[], "the gate's own"),
        ("team=a/**", &["--add-key", &key], "clients disagree"),
        ("team=a/*", &[], "cannot be met with 0 keys"),
        (
            "team=a/*",
            &["--add-key", &key, "--threshold", "team=2"],
            "cannot be met with 1 keys",
        ),
        (
            "team=a/*",
            &["--add-key", &key, "--threshold", "team=0"],
            "threshold of 0",
        ),
        (
            "team=a/*",
            &["--add-key", &key, "--add-key", &key],
            "has the key `alice` already",
        ),
    ] {
        refused(
            &gate,
            &[&["targets", "draft", "--yes", "--out", "x.json", "--role", role], more].concat(),
            1,
            why,
        );
    }
    refused(
        &gate,
        &["root", "draft", "--yes", "--role", "team=a/*"],
        1,
        "only targets delegates",
    );
    assert!(!fs::exists(gate.dir.join("x.json")).unwrap());
}
