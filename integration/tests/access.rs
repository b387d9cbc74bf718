//! The gate never widens access: what the upstream refuses a client, the gate refuses it too, in the upstream's words;
//! what the upstream gives, the gate gives in the bytes that are recorded. Each request is put to both.

mod case;
mod login;
mod oracle;
mod ranges;
mod stage;
mod wire;
mod zones;

use std::{
    collections::BTreeMap,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use self::{
    case::{Case, Credential},
    oracle::Verdict,
    stage::{FILES, Stage},
    zones::{ZONES, Zone, named},
};
use crate::figure;

/// Requests of the mixed run.
const REQUESTS: usize = 10_000;

/// How many of them are asked before the upstream changes its mind on who may read.
const BEFORE: usize = 6_000;

/// Clients that ask at the same time.
const CLIENTS: usize = 4;

/// Failures after which a run ends.
const ENOUGH: usize = 10;

/// What a run saw.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, usize>,
    verdicts: BTreeMap<Verdict, usize>,
    /// Given and refused, by zone.
    zones: BTreeMap<&'static str, [usize; 2]>,
    failures: Vec<String>,
}

impl Tally {
    fn count(&mut self, zone: &'static Zone, status: u16, verdict: Verdict) {
        *self.statuses.entry(status).or_default() += 1;
        *self.verdicts.entry(verdict).or_default() += 1;
        let refused = matches!(verdict, Verdict::Refused | Verdict::RefusedByGate);
        self.zones.entry(zone.name).or_default()[usize::from(refused)] += 1;
    }

    fn show(&self) {
        let verdicts: Vec<_> = self
            .verdicts
            .iter()
            .map(|(verdict, n)| format!("{n} {verdict:?}"))
            .collect();
        figure(&format!(
            "access: {} requests: {}",
            self.verdicts.values().sum::<usize>(),
            verdicts.join(", ")
        ));
        let statuses: Vec<_> = self
            .statuses
            .iter()
            .map(|(status, n)| format!("{status}: {n}"))
            .collect();
        figure(&format!("access: by status: {}", statuses.join(", ")));
        let zones: Vec<_> = self
            .zones
            .iter()
            .map(|(zone, [given, refused])| format!("{zone} {given}/{refused}"))
            .collect();
        figure(&format!("access: answered/refused by zone: {}", zones.join(", ")));
    }
}

/// The run's seed: always the same one, unless `TUFGATE_ACCESS_SEED` says another.
fn seed() -> u64 {
    let given = std::env::var("TUFGATE_ACCESS_SEED").ok();
    given.map_or(4, |text| text.parse().unwrap())
}

/// Puts the requests of these numbers to both, from several clients at once.
fn run(stage: &Stage, seed: u64, numbers: std::ops::Range<usize>, tally: &Mutex<Tally>) {
    let next = AtomicUsize::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut lines = stage.lines();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end || tally.lock().unwrap().failures.len() >= ENOUGH {
                        return;
                    }
                    let case = Case::numbered(seed, number, stage);
                    let truth = lines.upstream(stage, &case);
                    let sent = Instant::now();
                    let answer = lines.gate(stage, &case);
                    let judged = stage.oracle.judge(stage, &case, &truth, &answer, sent);
                    let mut tally = tally.lock().unwrap();
                    match judged {
                        Ok(verdict) => tally.count(case.zone, answer.status, verdict),
                        Err(why) => tally.failures.push(format!(
                            "request {number}: {why}\n  {case:?}\n  gate {}\n  upstream {}",
                            answer.shown(),
                            truth.1.shown()
                        )),
                    }
                }
            });
        }
    });
}

#[test]
fn ten_thousand_mixed_requests_get_what_the_upstream_would_give() {
    let zones: Vec<&'static Zone> = ZONES.iter().collect();
    let mut stage = Stage::start(&zones, FILES);
    let seed = seed();
    let tally = Mutex::new(Tally::default());
    let begun = Instant::now();
    run(&stage, seed, 0..BEFORE, &tally);
    stage.change();
    run(&stage, seed, BEFORE..REQUESTS, &tally);
    stage.until_fresh();
    let tally = tally.into_inner().unwrap();
    assert!(tally.failures.is_empty(), "seed {seed}:\n{}", tally.failures.join("\n"));
    tally.show();
    figure(&format!(
        "access: seed {seed}, {:.1} s for both sides",
        begun.elapsed().as_secs_f64()
    ));
    assert_eq!(tally.verdicts.values().sum::<usize>(), REQUESTS);
    // The run is worth its name only if it met all there is to meet.
    use Verdict::{Given, NotModified, Part, Refused, RefusedByGate, Sent, Unsatisfiable};
    for verdict in [Given, Part, NotModified, Unsatisfiable, Refused, RefusedByGate, Sent] {
        assert!(
            tally.verdicts.get(&verdict).is_some_and(|n| *n >= 20),
            "{verdict:?} is hardly met"
        );
    }
    assert_eq!(tally.zones.len(), ZONES.len());
}

#[test]
fn what_one_client_fetched_opens_nothing_to_the_next() {
    use Credential::{Alice, Bad, Bob, Expired, Foreign, None};
    let zones = [
        "open",
        "open-private",
        "open-no-store",
        "basic",
        "basic-public",
        "bearer-public",
        "bearer-bare",
    ];
    let zones = zones
        .into_iter()
        .chain(["cookie-vary", "key", "moved-bearer", "closed"])
        .map(named);
    let mut stage = Stage::start(&[], &[]);
    // Each sequence begins at paths nobody has asked for: `H` a HEAD, `R` a part, `G` a GET.
    let sequences: [(&[(char, Credential)], &str); 6] = [
        (
            &[
                ('H', Alice),
                ('G', None),
                ('G', Bad),
                ('G', Bob),
                ('R', None),
                ('R', Bob),
            ],
            "head",
        ),
        (
            &[
                ('R', Alice),
                ('R', None),
                ('R', Expired),
                ('G', None),
                ('H', Bad),
                ('R', Bob),
            ],
            "part",
        ),
        (
            &[
                ('G', Alice),
                ('G', None),
                ('H', None),
                ('G', Foreign),
                ('R', Bad),
                ('G', Bob),
                ('G', None),
            ],
            "whole",
        ),
        (
            &[
                ('H', None),
                ('G', None),
                ('R', None),
                ('G', Alice),
                ('G', None),
                ('H', None),
            ],
            "head-first",
        ),
        (
            &[
                ('G', Bad),
                ('R', None),
                ('G', Bob),
                ('R', Alice),
                ('G', Bad),
                ('R', Expired),
            ],
            "refused-first",
        ),
        (
            &[
                ('R', None),
                ('G', None),
                ('G', None),
                ('G', Bob),
                ('G', Alice),
                ('R', None),
            ],
            "part-first",
        ),
    ];
    let mut asked = 0;
    for zone in zones {
        for (sequence, name) in sequences {
            for (length, kept) in [(1024, ""), (300 << 10, "large-"), (1024, "cold-"), (300 << 10, "new-")] {
                // Lives as long as the names of all other artifacts.
                let name: &'static str = format!("{kept}{name}").leak();
                stage.lay(zone, name, length, matches!(kept, "" | "large-"));
                for (step, (how, credential)) in sequence.iter().enumerate() {
                    let mut case = Case::plain(zone, name, *how == 'H', *credential);
                    if *how == 'R' {
                        case = case.with("Range", "bytes=100-163");
                    }
                    let judged = stage.judge(&case);
                    assert!(
                        judged.is_ok(),
                        "{}/{name}, step {step}: {judged:?}: {case:?}",
                        zone.name
                    );
                    asked += 1;
                }
            }
        }
    }
    figure(&format!(
        "access: {asked} requests in sequences, each to a path that was cold at its first"
    ));
}

#[test]
fn a_herd_at_a_cold_path_gets_what_each_may_have() {
    use Credential::{Alice, Bad, Bob, Expired, Foreign, None};
    let mut stage = Stage::start(&[], &[]);
    let mut met: BTreeMap<Verdict, usize> = BTreeMap::new();
    for zone in [
        "open",
        "open-private",
        "open-set-cookie",
        "basic",
        "bearer",
        "bearer-public",
        "cookie",
        "moved-bearer",
    ]
    .map(named)
    {
        for (name, length, recorded) in [
            ("herd", 300 << 10, true),
            ("new-herd", 300 << 10, false),
            ("cold-herd", 1024, false),
        ] {
            stage.lay(zone, name, length, recorded);
            let (stage, start) = (&stage, Barrier::new(50));
            let judged = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..50)
                    .map(|number| {
                        let start = &start;
                        let credential = [None, Alice, Bad, Bob, Expired, Alice, Foreign, None][number % 8];
                        let mut case = Case::plain(zone, name, number % 7 == 6, credential);
                        if number % 5 == 4 {
                            case = case.with("Range", "bytes=64-127");
                        }
                        scope.spawn(move || {
                            start.wait();
                            (stage.judge(&case), case)
                        })
                    })
                    .collect();
                clients
                    .into_iter()
                    .map(|client| client.join().unwrap())
                    .collect::<Vec<_>>()
            });
            for (verdict, case) in judged {
                let verdict = verdict.unwrap_or_else(|why| panic!("{}/{name}: {why}: {case:?}", zone.name));
                *met.entry(verdict).or_default() += 1;
            }
        }
    }
    let met: Vec<_> = met.iter().map(|(verdict, n)| format!("{n} {verdict:?}")).collect();
    figure(&format!(
        "access: 24 herds of 50 clients at cold paths: {}",
        met.join(", ")
    ));
}

#[test]
fn a_revoked_token_and_a_closed_door_count_at_once() {
    use Credential::{Alice, Bob, None};
    let zones = ["revoked", "revoked-public", "closed", "closed-no-cache"].map(named);
    let mut stage = Stage::start(
        &zones,
        &[("kib", 1024, true), ("mid", 300 << 10, true), ("cold", 1024, false)],
    );
    let asked = |stage: &Stage, credential: Credential| {
        for zone in zones {
            for name in ["kib", "mid", "cold"] {
                for case in [
                    Case::plain(zone, name, false, credential),
                    Case::plain(zone, name, true, credential),
                    Case::plain(zone, name, false, credential).with("Range", "bytes=5-9"),
                    Case::plain(zone, name, false, credential).with("Range", "bytes=999999-"),
                    Case::plain(zone, name, false, credential)
                        .with("If-None-Match", stage.artifacts[&(zone.name, name)].etag.clone()),
                ] {
                    let judged = stage.judge(&case);
                    assert!(judged.is_ok(), "{}/{name}: {judged:?}: {case:?}", zone.name);
                }
            }
        }
    };
    // Everything is warm when the change comes.
    for credential in [Alice, None, Bob, Alice] {
        asked(&stage, credential);
    }
    stage.change();
    for credential in [Alice, None, Bob, Alice, None] {
        asked(&stage, credential);
    }
    stage.until_fresh();
    asked(&stage, None);
}

/// Nobody with credentials asks here, whom a refusal would count for at once.
#[test]
fn what_anybody_was_given_is_given_for_as_long_as_it_is_fresh() {
    use Credential::{Alice, None};
    let zone = named("closed");
    let mut stage = Stage::start(&[zone], &[("kib", 1024, true)]);
    let case = |credential| Case::plain(zone, "kib", false, credential);
    for credential in [Alice, None, None] {
        let judged = stage.judge(&case(credential));
        assert!(judged.is_ok(), "{judged:?}");
    }
    stage.change();
    stage.until_fresh();
    let judged = stage.judge(&case(None));
    assert!(judged.is_ok(), "{judged:?}");
}
