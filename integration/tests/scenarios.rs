//! The client, `tufgate verify` and python-tuf against `fixtures/repositories/`: each state of each scenario is served to
//! one client of each kind, and what they say must be what the scenario says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tufgate::client::{Client, ClientOptions, TargetNaming, Timeouts, Trust};

use crate::support::{
    clients,
    scenario::{Scenario, Site, Step},
};

/// Scenarios at once: some wait for the clock, most for a process.
const WORKERS: usize = 4;

/// A folder's files by relative path.
type Files = BTreeMap<String, Vec<u8>>;

/// What was said at one step.
struct Said {
    ours: String,
    python_tuf: String,
    /// Reasons, for the message of a failure.
    reasons: String,
}

#[test]
fn every_scenario_gets_its_verdicts() {
    let only = std::env::var("TUFGATE_SCENARIO").ok();
    let scenarios: Vec<_> = Scenario::all()
        .into_iter()
        .filter(|scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only)))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let site = runtime.block_on(Site::start());
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut python = Python::start();
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = std::time::Instant::now();
                    let (row, faults) = run(scenario, &site, runtime.handle(), &mut python);
                    if begun.elapsed() > Duration::from_secs(3) {
                        println!("{} took {:?}", scenario.name, begun.elapsed());
                    }
                    rows.lock().unwrap().insert(scenario.name.clone(), row);
                    wrong.lock().unwrap().extend(faults);
                }
            });
        }
    });
    for (name, row) in rows.into_inner().unwrap() {
        println!("{name:<44} {row}");
    }
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    crate::figure(&format!("scenarios: {} repositories, every verdict as it should be", scenarios.len()));
}

/// The last step's verdicts as a line of the table, and what is not as the scenario says.
fn run(scenario: &Scenario, site: &Site, runtime: &tokio::runtime::Handle, python: &mut Python) -> (String, Vec<String>) {
    let scratch = tempfile::tempdir().unwrap();
    let place = Place {
        root: scratch.path().join("trusted-root.json"),
        metadata: scratch.path().join("ours/metadata"),
        targets: scratch.path().join("ours/targets"),
        theirs: scratch.path().join("theirs"),
        metadata_url: site.url(&scenario.name, "metadata/"),
        targets_url: site.url(&scenario.name, "targets/"),
        hurry: scenario.hurry,
    };
    for folder in [&place.metadata, &place.targets] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(&place.root, &scenario.files(0)["metadata/1.root.json"]).unwrap();
    fs::copy(&place.root, place.metadata.join("root.json")).unwrap();

    let (mut row, mut faults) = (String::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let mut fault = |what: String| faults.push(format!("{} step {}: {what}", scenario.name, number + 1));
        let files = scenario.files(number);
        seen.extend(files.values().cloned());
        site.serve(&scenario.name, files, step.http.clone());
        let before = (files_in(&place.metadata), files_in(&place.targets));
        let said = said_of(step, number, &place, runtime, python);
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
        row = format!("{:<20} {:<28} {}", said.ours, said.python_tuf, step.why.as_deref().unwrap_or(""));
    }
    let mut around: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    around.sort();
    if around != ["ours", "theirs", "trusted-root.json"] {
        faults.push(format!("{}: left {around:?}", scenario.name));
    }
    (row, faults)
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
        names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
    };
    let mut faults = Vec::new();
    let metadata: BTreeSet<_> = changed(&before.0, &after.0).into_iter().filter(|name| !name.starts_with("roots/")).collect();
    let moves: BTreeSet<String> = step.moves.iter().cloned().collect();
    if step.ours != "ok" && metadata != moves {
        faults.push(format!("refused, but {metadata:?} changed and not {moves:?}"));
    }
    let targets = changed(&before.1, &after.1);
    if step.ours != "ok" && targets.len() >= step.targets().len().max(1) {
        faults.push(format!("refused, but {targets:?} changed"));
    }
    if step.ours == "ok" && after.1.len() < step.targets().len() {
        faults.push("fewer files than targets".to_owned());
    }
    for (name, bytes) in after.0.iter().chain(&after.1) {
        if !seen.contains(bytes) {
            faults.push(format!("`{name}` holds what nobody served"));
        }
    }
    faults
}

/// Where the clients of one scenario keep and get things.
struct Place {
    root: PathBuf,
    metadata: PathBuf,
    targets: PathBuf,
    theirs: PathBuf,
    metadata_url: String,
    targets_url: String,
    hurry: bool,
}

fn said_of(step: &Step, number: usize, place: &Place, runtime: &tokio::runtime::Handle, python: &mut Python) -> Said {
    let (ours, our_reason) = match runtime.block_on(by_library(step, place)) {
        Ok(()) => ("ok".to_owned(), String::new()),
        Err(error) => (verdict(&error), error),
    };
    let (python_tuf, their_reason) = python.ask(&json!({
        "dir": place.theirs.join("metadata"), "out": place.theirs.join("targets"),
        "root": (number == 0).then_some(&place.root),
        "metadata_url": place.metadata_url, "targets_url": place.targets_url, "targets": step.targets(),
        "patience": if place.hurry { 0.5 } else { 20.0 },
    }));
    Said {
        ours,
        python_tuf,
        reasons: format!("ours: {our_reason}; python-tuf: {their_reason}"),
    }
}

/// One run of our client as a library.
async fn by_library(step: &Step, place: &Place) -> Result<(), String> {
    let hurried = Timeouts {
        idle: Duration::from_millis(500),
        total: Duration::from_millis(800),
        ..Timeouts::default()
    };
    let mut client = Client::open(ClientOptions {
        metadata_url: place.metadata_url.clone(),
        targets_url: place.targets_url.clone(),
        trust: Trust::RootFile(place.root.clone()),
        store: place.metadata.clone(),
        naming: TargetNaming::default(),
        clock: std::sync::Arc::new(tufgate::clock::SystemClock),
        timeouts: if place.hurry { hurried } else { Timeouts::default() },
    })
    .map_err(|error| error.to_string())?;
    client.refresh().await.map_err(|error| error.to_string())?;
    for path in step.targets() {
        let name = percent_encoding::utf8_percent_encode(path, percent_encoding::NON_ALPHANUMERIC).to_string();
        let output = place.targets.join(name);
        client.download(path, &output, |_, _| {}).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The verdict in an error's words.
fn verdict(error: &str) -> String {
    let looks = error.split_once("looks like a").map(|(_, rest)| rest.trim_start_matches('n').trim_start());
    match looks.and_then(|rest| rest.split_once(" attack")) {
        Some((attack, _)) => attack.to_owned(),
        None if error.contains("no role that may speak for") => "not found".to_owned(),
        None => "unavailable".to_owned(),
    }
}

/// python-tuf in a process of its own; it ends with its standard input.
struct Python {
    child: Child,
    requests: Option<ChildStdin>,
    verdicts: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/python_suite.py");
        let mut child = Command::new(clients::python())
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, verdicts) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, requests, verdicts }
    }

    /// A verdict and its reason.
    fn ask(&mut self, request: &Value) -> (String, String) {
        let pipe = self.requests.as_mut().unwrap();
        writeln!(pipe, "{request}").unwrap();
        let mut line = String::new();
        self.verdicts.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{request}: {error}: {line:?}"));
        (said["verdict"].as_str().unwrap().to_owned(), said["reason"].as_str().unwrap().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

/// Everything below a folder.
fn files_in(folder: &Path) -> Files {
    fn walk(base: &Path, at: &Path, files: &mut Files) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, files);
            } else {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    walk(folder, folder, &mut files);
    files
}
