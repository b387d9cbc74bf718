//! The scenarios of `fixtures/repositories/`, as they lie there.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::stage::Rule;

/// One folder. Its README says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    pub about: String,
    pub kind: Kind,
    pub by: String,
    pub base: Option<String>,
    /// The server is slow: the clients get short timeouts.
    #[serde(default)]
    pub hurry: bool,
    /// Thousands of roles: `tufgate verify` is asked for a sample instead of `--all`.
    #[serde(default)]
    pub crowded: bool,
    pub steps: Vec<Step>,
    pub verify: Verify,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Honest,
    Hostile,
}

/// One state and one question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    ask: Ask,
    pub ours: String,
    pub python_tuf: String,
    pub why: Option<String>,
    /// Files of the client's folder that a refusal changes all the same, since they were valid.
    #[serde(default)]
    pub moves: Vec<String>,
    #[serde(default)]
    pub http: HashMap<String, Rule>,
    #[serde(default)]
    removed: Vec<String>,
}

impl Step {
    /// Targets to download after the refresh.
    pub fn targets(&self) -> &[String] {
        match &self.ask {
            Ask::Refresh(word) => {
                assert_eq!(word, "refresh");
                &[]
            }
            Ask::Targets(targets) => targets,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ask {
    Refresh(String),
    Targets(Vec<String>),
}

/// What `tufgate verify` says of the last state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// `clean`, `warned`, or `found`.
    pub expect: String,
    /// The codes of its warnings and errors.
    pub finds: Vec<String>,
    pub why: Option<String>,
}

/// `fixtures/repositories`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repositories")
}

impl Scenario {
    /// Every scenario, by name.
    pub fn all() -> Vec<Self> {
        let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = folders.filter(|folder| folder.join("scenario.json").exists()).collect();
        names.sort();
        names.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join("scenario.json")).unwrap();
        let mut scenario: Self =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        scenario.name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        scenario
    }

    /// What is served at a step, counted from 0: its files on top of those before.
    pub fn files(&self, step: usize) -> BTreeMap<String, Vec<u8>> {
        let mut files = match &self.base {
            Some(base) => {
                let base = Self::read(&folder().join(base));
                base.files(base.steps.len() - 1)
            }
            None => BTreeMap::new(),
        };
        for (number, step) in self.steps[..=step].iter().enumerate() {
            let state = folder().join(&self.name).join((number + 1).to_string());
            lay(&state, &state, &mut files);
            for path in &step.removed {
                files.remove(path).expect("a file that was there");
            }
        }
        files
    }
}

/// Lays a step's files on top of others. `packed.jsonl.gz` holds files too large or too many to lie there.
fn lay(state: &Path, at: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    #[derive(Deserialize)]
    struct Packed {
        path: String,
        body: String,
    }
    for entry in fs::read_dir(at).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lay(state, &path, files);
        } else if path.ends_with("packed.jsonl.gz") {
            let unpacked = flate2::read::GzDecoder::new(fs::File::open(&path).unwrap());
            for line in io::BufRead::lines(io::BufReader::new(unpacked)) {
                let packed: Packed = serde_json::from_str(&line.unwrap()).unwrap();
                files.insert(packed.path, packed.body.into_bytes());
            }
        } else {
            let name = path.strip_prefix(state).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}
