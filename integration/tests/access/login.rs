//! Upstreams that do not say 401: a page to log in, in the artifact's place or where a redirect leads; and one that guards
//! GET and not HEAD. Nobody's reading opens anything to those who get the page.

use std::{
    thread,
    time::{Duration, Instant},
};

use tufgate::Digest;

use crate::support::{
    gate::{Gate, Setup, until},
    http::{self, Response},
    nginx::Nginx,
};

const INSIDE: (&str, &str) = ("Authorization", "Bearer inside");

const MAPS: &str = r#"
    map "$request_method:$http_authorization" $in { default ""; "~^PUT:" 1; "~^DELETE:" 1; "~:Bearer inside$" 1; }
    map "$request_method:$http_authorization" $head { default ""; "~^PUT:" 1; "~^HEAD:" 1; "~:Bearer inside$" 1; }
"#;

const SERVER: &str = r#"
    location /page/ { if ($in = "") { rewrite ^ /login.html last; } }
    location /stream/ { if ($in = "") { rewrite ^ /login.shtml last; } }
    location /led/ { if ($in = "") { return 302 /login.html; } }
    location /led-to-stream/ { if ($in = "") { return 302 /login.shtml; } }
    location /head/ { if ($head = "") { return 401; } }
    location = /login.html { add_header Cache-Control max-age=600; }
    location = /login.shtml { ssi on; ssi_types *; add_header Cache-Control max-age=600; }
"#;

fn ask(gate: &Gate, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    http::request(gate.addr, method, path, headers, b"")
}

fn stage() -> (Nginx, Gate) {
    let nginx = Nginx::start_as(MAPS, SERVER, &[]);
    for page in ["login.html", "login.shtml"] {
        std::fs::write(nginx.file(page), "who are you?").unwrap();
    }
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[metadata]\naccess = \"public\"\n"));
    (nginx, gate)
}

fn artifact(name: &str, length: usize) -> Vec<u8> {
    name.bytes().cycle().take(length).collect()
}

/// Not a byte of it for somebody outside, however it is asked for.
fn nothing_outside(gate: &Gate, folder: &str, name: &str, body: &[u8]) {
    let digest = Digest::of(body);
    for path in [format!("/{folder}/{name}"), format!("/{folder}/{digest}.{name}")] {
        for headers in [
            &[][..],
            &[("Range", "bytes=10-99")],
            &[("Authorization", "Bearer outside")],
        ] {
            let response = ask(gate, "GET", &path, headers);
            // Artifacts say the same again and again.
            let leaked = response.body.windows(24).any(|given| *given == body[..24]);
            assert!(
                !leaked && response.status != 206,
                "{path} {headers:?}: {}",
                response.status
            );
            let whole = response.status == 200 && response.whole;
            assert!(!whole, "{path} {headers:?}: {:?}", response.body.len());
        }
        ask(gate, "HEAD", &path, &[]);
    }
}

#[test]
fn a_page_to_log_in_opens_nothing() {
    let (_nginx, gate) = stage();
    for folder in ["page", "stream", "led", "led-to-stream"] {
        for (name, length) in [("small", 1_000), ("large", 400_000)] {
            let (path, body) = (
                format!("/{folder}/{name}"),
                artifact(&format!("{folder}-{name}."), length),
            );
            gate.publish(&path, &body);
            nothing_outside(&gate, folder, name, &body);
            // Kept now, and fresh for whoever may have it.
            for _ in 0..2 {
                let inside = ask(&gate, "GET", &path, &[INSIDE]);
                if inside.status == 200 {
                    assert_eq!(inside.body, body, "{path}");
                }
            }
            nothing_outside(&gate, folder, name, &body);
            nothing_outside(&gate, folder, name, &body);
        }
    }
}

#[test]
fn a_head_opens_no_get() {
    let (_nginx, gate) = stage();
    for (name, length) in [("small", 1_000), ("large", 400_000)] {
        let (path, body) = (format!("/head/{name}"), artifact(name, length));
        gate.publish(&path, &body);
        assert_eq!(ask(&gate, "GET", &path, &[INSIDE]).body, body);
        for _ in 0..3 {
            assert_eq!(ask(&gate, "GET", &path, &[]).status, 401, "{path}");
            assert_eq!(ask(&gate, "HEAD", &path, &[]).status, 200, "{path}");
        }
    }
}

/// A refusal ends what others were given without a question, and so does a deletion, whoever read in between.
#[test]
fn what_was_ready_ends_with_a_refusal_and_with_a_deletion() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[cache]\nfresh_for = \"1h\"\n"));
    for round in 0..6 {
        let (path, body) = (format!("/gone-{round}"), artifact("ready.", 700));
        gate.publish(&path, &body);
        for _ in 0..3 {
            assert_eq!(gate.get(&path).status, 200);
        }
        // Another answer takes the place of the one that made it ready.
        assert_eq!(ask(&gate, "GET", &path, &[INSIDE]).status, 200);
        assert_eq!(ask(&gate, "DELETE", &path, &[]).status, 204);
        assert_eq!(gate.get(&path).status, 404, "round {round}");
    }
}

/// One path that is refused all the time does not keep another from being kept.
#[test]
fn refusals_at_one_path_are_nothing_to_another() {
    let (nginx, gate) = stage();
    let body = artifact("other.", 900);
    gate.publish("/open.bin", &body);
    gate.publish("/head/shut", b"shut");
    let end = Instant::now() + Duration::from_secs(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                ask(&gate, "GET", "/head/shut", &[]);
            }
        });
        let hits = gate.metric("tufgate_cache_hits_total");
        while Instant::now() < end {
            assert_eq!(gate.get("/open.bin").body, body);
        }
        until("hits to be counted", || gate.metric("tufgate_cache_hits_total") >= hits);
    });
    let log = nginx.access_log();
    let asked = log.lines().filter(|line| line.contains("GET /open.bin")).count();
    assert!(asked < 10, "the upstream was asked {asked} times");
}

/// Whoever may not read what is recorded now hears so in the upstream's words, when asking for what was before.
#[test]
fn a_refusal_of_superseded_bytes_is_whole() {
    let nginx = Nginx::start_as(MAPS, SERVER, &[]);
    let rules = "[[rule]]\npath = \"**\"\nkind = \"track\"\nlearn = \"publish\"\n";
    let setup = Setup::learning(nginx.url())
        .rules(rules)
        .extra("[metadata]\naccess = \"public\"\n");
    let gate = Gate::start(&setup);
    let (path, old) = ("/head/moving", artifact("old.", 500));
    gate.publish(path, &old);
    assert_eq!(ask(&gate, "GET", path, &[INSIDE]).body, old);
    gate.publish(path, b"new");
    let name = format!("/head/{}.moving", Digest::of(&old));
    assert_eq!(ask(&gate, "GET", &name, &[INSIDE]).body, old);
    let refused = ask(&gate, "GET", &name, &[]);
    assert!(
        refused.status == 401 && refused.whole && !refused.body.is_empty(),
        "{}",
        refused.status
    );
}
