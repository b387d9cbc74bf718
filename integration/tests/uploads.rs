//! Uploads to upstreams that answer early, fail, lie or go away: what was acknowledged is signed, what is doubtful is
//! settled by the gate's own read.

use tufgate::internals::ledger::{Ledger, sqlite::SqliteLedger};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http,
        origin::Behaviour,
    },
};

fn signed(gate: &Gate, path: &str) -> bool {
    gate.get(path)
        .header("tufgate-status")
        .is_some_and(|status| status.starts_with("signed"))
}

const SERVE: Behaviour = Behaviour::Serve(crate::support::origin::Framing::Length);

#[test]
fn a_5xx_leaves_doubt_that_a_neutral_read_settles() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\n"));
    origin.script("/failed", Behaviour::Status(500));
    assert_eq!(gate.put("/failed", b"one").status, 500);
    origin.script("/failed", SERVE);
    // Nothing was stored: other bytes are welcome.
    until("the doubt to be settled", || gate.put("/failed", b"two").status == 201);
    assert_eq!(origin.stored("/failed").unwrap(), b"two");
}

#[test]
fn bytes_stored_without_an_answer_are_recorded() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\n"));
    origin.script("/silent", Behaviour::StoreSilently);
    let response = gate.put("/silent", b"stored");
    assert!(response.status == 502 || response.status == 0, "{response:?}");
    origin.script("/silent", SERVE);
    until("the doubt to become a record", || signed(&gate, "/silent"));
    assert_eq!(gate.put("/silent", b"other").status, 409);
}

#[test]
fn doubt_survives_a_crash() {
    let (runtime, origin) = hostile_origin();
    let mut gate = Gate::start(&Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\n"));
    let ledger = SqliteLedger::open(&gate.dir.join("ledger.db")).unwrap();
    origin.script("/held", Behaviour::Silent);
    let addr = gate.addr;
    let upload = std::thread::spawn(move || http::put(addr, "/held", b"in flight"));
    until("the upload to reach the upstream", || origin.count("/held") > 0);
    until("the reservation", || {
        !runtime.block_on(ledger.reservations()).unwrap().is_empty()
    });
    gate.kill();
    let _ = upload.join();
    origin.put_file("/held", b"in flight".to_vec());
    origin.script("/held", SERVE);
    gate.run();
    until("the reservation to be settled", || signed(&gate, "/held"));
    assert_eq!(gate.put("/held", b"other").status, 409);
}

#[test]
fn early_answers_are_re_read() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\n"));
    let body = vec![4; 400_000];
    origin.script("/early", Behaviour::Early(201));
    let response = gate.put("/early", &body);
    assert_eq!(response.status, 201, "{response:?}");
    origin.script("/early", SERVE);
    until("the re-read", || signed(&gate, "/early"));
    assert_eq!(gate.get("/early").body, origin.stored("/early").unwrap());
    assert_eq!(
        origin.stored("/early").unwrap(),
        body,
        "the rest of the body went through whole"
    );
    for (path, behaviour) in [
        ("/denied", Behaviour::Early(403)),
        ("/closed", Behaviour::EarlyClose(413)),
    ] {
        origin.script(path, behaviour);
        let refused = gate.put(path, &body);
        assert!(
            (400..500).contains(&refused.status) || refused.status == 502 || refused.status == 0,
            "{path}: {refused:?}"
        );
        origin.script(path, SERVE);
        assert_eq!(gate.get(path).status, 404, "{path}");
        assert_eq!(gate.put(path, b"later").status, 201, "{path}");
    }
}

#[test]
fn an_upstream_that_hangs_up_mid_body_is_502_and_nothing_is_recorded() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    origin.script("/hung", Behaviour::HangUp(1000));
    let response = gate.put("/hung", &vec![1; 5_000_000]);
    assert!(response.status == 502 || response.status == 0, "{response:?}");
    origin.script("/hung", SERVE);
    until("another upload", || gate.put("/hung", b"whole").status == 201);
    assert_eq!(origin.stored("/hung").unwrap(), b"whole");
}

#[test]
fn uploads_never_ride_a_stale_connection() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    for n in 0..50 {
        assert_eq!(
            gate.put(&format!("/n{n}"), format!("{n}").as_bytes()).status,
            201,
            "{n}"
        );
        assert_eq!(origin.count(&format!("/n{n}")), 1, "a body was sent twice");
    }
}
