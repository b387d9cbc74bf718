//! The client, `tufgate verify` and python-tuf against `fixtures/repositories/`: each state of each scenario is served to
//! one client of each kind, and what they say must be what the scenario says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};

use crate::support::{
    scenario::{Kind, Scenario, Step, folder},
    stage::Stage,
    verdict::{Begun, Place, Python, init, said_of, verified},
};

/// Scenarios at once: some wait for the clock, most for a process.
const WORKERS: usize = 4;

/// A folder's files by relative path.
type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn every_scenario_gets_its_verdicts() {
    let only = std::env::var("TUFGATE_SCENARIO").ok();
    let scenarios: Vec<_> = Scenario::all()
        .into_iter()
        .filter(|scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only)))
        .collect();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let stage = runtime.block_on(Stage::start());
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut python = Python::start();
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let outcome = run(scenario, &stage, runtime.handle(), &mut python);
                    if begun.elapsed() > Duration::from_secs(3) {
                        println!("{} took {:?}", scenario.name, begun.elapsed());
                    }
                    outcomes.lock().unwrap().insert(scenario.name.clone(), outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    for (name, outcome) in &outcomes {
        println!("{name:<44} {}", outcome.row);
    }
    if only.is_none() && std::env::var_os("UPDATE_FIXTURES").is_some() {
        let said: BTreeMap<_, _> = outcomes.iter().map(|(name, outcome)| (name, &outcome.verify)).collect();
        let text = serde_json::to_string_pretty(&said).unwrap();
        fs::write(folder().join("making/verify.json"), text + "\n").unwrap();
    }
    let wrong: Vec<_> = outcomes.into_values().flat_map(|outcome| outcome.faults).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    crate::figure(&format!(
        "scenarios: {} repositories, every verdict as it should be",
        scenarios.len()
    ));
}

/// What became of a scenario.
struct Outcome {
    /// The last step's verdicts, as a line of a table.
    row: String,
    verify: Value,
    /// What is not as the scenario says.
    faults: Vec<String>,
}

fn run(scenario: &Scenario, stage: &Stage, runtime: &Handle, python: &mut Python) -> Outcome {
    let scratch = tempfile::tempdir().unwrap();
    let place = Place {
        root: scratch.path().join("trusted-root.json"),
        metadata: scratch.path().join("ours/metadata"),
        targets: scratch.path().join("ours/targets"),
        theirs: scratch.path().join("theirs"),
        metadata_url: stage.url(&scenario.name, "metadata/"),
        targets_url: stage.url(&scenario.name, "targets/"),
        hurry: scenario.hurry,
    };
    for folder in [&place.metadata, &place.targets] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(&place.root, &scenario.files(0)["metadata/1.root.json"]).unwrap();
    let mut begun = init(&place);

    let (mut row, mut faults) = (String::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let mut fault = |what: String| faults.push(format!("{} step {}: {what}", scenario.name, number + 1));
        let files = scenario.files(number);
        seen.extend(files.values().cloned());
        stage.serve(&scenario.name, files, step.http.clone());
        let before = (files_in(&place.metadata), files_in(&place.targets));
        let said = said_of(
            step,
            std::mem::replace(&mut begun, Begun::Before),
            &place,
            runtime,
            python,
        );
        if (&said.ours, &said.python_tuf) != (&step.ours, &step.python_tuf) {
            fault(format!(
                "expected {} | {}, got {} | {}\n    {}",
                step.ours, step.python_tuf, said.ours, said.python_tuf, said.reasons
            ));
        }
        let after = (files_in(&place.metadata), files_in(&place.targets));
        for what in misplaced(step, &before, &after, &seen) {
            fault(format!("{what} ({})", said.reasons));
        }
        if !agree(step) && step.why.as_ref().is_none_or(|why| why.is_empty()) {
            fault("python-tuf differs and nothing says why".to_owned());
        }
        row = format!(
            "{:<20} {:<28} {}",
            said.ours,
            said.python_tuf,
            step.why.as_deref().unwrap_or("")
        );
    }
    let (verify, finds) = match scenario.hurry {
        // `tufgate verify` waits as long as a user would.
        true => (scenario.verify.expect.clone(), scenario.verify.finds.clone()),
        false => verified(&place, !scenario.crowded),
    };
    if (&verify, &finds) != (&scenario.verify.expect, &scenario.verify.finds) {
        faults.push(format!(
            "{}: verify: expected {:?}, got {verify} {finds:?}",
            scenario.name, scenario.verify
        ));
    }
    row = format!("{verify:<8} {row}");
    let mut around: Vec<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    around.sort();
    if around != ["ours", "theirs", "trusted-root.json"] {
        faults.push(format!("{}: left {around:?}", scenario.name));
    }
    Outcome {
        row,
        verify: json!({"expect": verify, "finds": finds}),
        faults,
    }
}

/// Whether both clients take it, or both refuse it.
fn agree(step: &Step) -> bool {
    (step.ours == "ok") == (step.python_tuf == "ok")
}

/// What became of the client's folders that must not have: a refusal changes nothing but what was found valid before it,
/// and nothing is ever kept that the server did not serve.
fn misplaced(step: &Step, before: &(Files, Files), after: &(Files, Files), seen: &BTreeSet<Vec<u8>>) -> Vec<String> {
    let changed = |before: &Files, after: &Files| -> BTreeSet<String> {
        let names = before.keys().chain(after.keys());
        names
            .filter(|name| before.get(*name) != after.get(*name))
            .cloned()
            .collect()
    };
    let mut faults = Vec::new();
    let metadata: BTreeSet<_> = changed(&before.0, &after.0)
        .into_iter()
        .filter(|name| !name.starts_with("root_history/"))
        .collect();
    let moves: BTreeSet<String> = step.moves.iter().cloned().collect();
    if step.ours != "ok" && metadata != moves {
        faults.push(format!("refused, but {metadata:?} changed and not {moves:?}"));
    }
    // What a cut download leaves, so that the next one goes on from there.
    let is_part = |name: &str| name.starts_with(".tufgate-") && name.ends_with(".part");
    let mut targets = changed(&before.1, &after.1);
    targets.retain(|name| !is_part(name));
    if step.ours != "ok" && targets.len() >= step.targets().len().max(1) {
        faults.push(format!("refused, but {targets:?} changed"));
    }
    let whole = after.1.keys().filter(|name| !is_part(name)).count();
    if step.ours == "ok" && whole < step.targets().len() {
        faults.push("fewer files than targets".to_owned());
    }
    for (name, bytes) in after.0.iter().chain(&after.1) {
        let begins = |whole: &Vec<u8>| is_part(name) && whole.starts_with(bytes);
        if !seen.contains(bytes) && !seen.iter().any(begins) {
            faults.push(format!("`{name}` holds what nobody served"));
        }
    }
    faults
}

/// Everything below a folder.
fn files_in(folder: &Path) -> Files {
    fn walk(base: &Path, at: &Path, files: &mut Files) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, files);
            } else if !path.ends_with("lock") {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    walk(folder, folder, &mut files);
    files
}

/// The line of the README that the table follows.
const TABLE_START: &str = "<!-- scenarios: drawn from scenario.json -->\n";

#[test]
fn the_readme_shows_the_scenarios() {
    let file = folder().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let (prose, shown) = readme.split_once(TABLE_START).unwrap();
    let drawn = table(&Scenario::all());
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&file, format!("{prose}{TABLE_START}{drawn}")).unwrap();
    } else {
        assert_eq!(shown, drawn, "run `UPDATE_FIXTURES=1 cargo test scenarios`");
    }
}

fn table(scenarios: &[Scenario]) -> String {
    let mut out = "\n| scenario | what | ours | python-tuf | verify | where they differ |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for scenario in scenarios {
        let each = |verdict: fn(&Step) -> &str| {
            let verdicts: Vec<_> = scenario.steps.iter().map(verdict).collect();
            verdicts.join(", ")
        };
        let whys: Vec<_> = scenario.steps.iter().filter_map(|step| step.why.as_deref()).collect();
        out += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            scenario.name,
            scenario.about.replace('|', "\\|").replace('*', "\\*"),
            each(|step| &step.ours),
            each(|step| &step.python_tuf),
            scenario.verify.expect,
            whys.join("; ").replace('|', "\\|").replace('*', "\\*"),
        );
    }
    out
}

#[test]
fn there_are_scenarios_enough_and_each_is_explained() {
    let scenarios = Scenario::all();
    let count = |kind| scenarios.iter().filter(|scenario| scenario.kind == kind).count();
    assert!(scenarios.len() >= 120, "{}", scenarios.len());
    assert!(count(Kind::Honest) >= 40 && count(Kind::Hostile) >= 80);
    for maker in ["python-tuf", "tuftool", "tufgate", "hand"] {
        assert!(
            scenarios.iter().any(|scenario| scenario.by.starts_with(maker)),
            "none by {maker}"
        );
    }
    for attack in [
        "arbitrary software",
        "endless data",
        "freeze",
        "mix-and-match",
        "rollback",
        "slow retrieval",
    ] {
        let met = scenarios
            .iter()
            .flat_map(|scenario| &scenario.steps)
            .any(|step| step.ours == attack);
        assert!(met, "no scenario is refused as {attack}");
    }
    for scenario in &scenarios {
        for step in &scenario.steps {
            assert!(
                agree(step) || step.why.is_some(),
                "{}: nothing says why they differ",
                scenario.name
            );
        }
        let last = scenario.steps.last().unwrap();
        let as_expected = match &*scenario.verify.expect {
            "clean" | "warned" => last.ours == "ok",
            "found" => last.ours != "ok",
            other => panic!("{}: `{other}` is no verdict of verify", scenario.name),
        };
        assert!(
            as_expected || scenario.verify.why.is_some(),
            "{}: verify says {}, the client {}, and nothing says why",
            scenario.name,
            scenario.verify.expect,
            last.ours
        );
    }
}
