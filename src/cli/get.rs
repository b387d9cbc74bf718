//! `tufgate get`: downloads one target through the TUF client.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    client::{Attack, Client, ClientError, ClientOptions, Downloaded, TargetNaming, Timeouts, Trust},
    clock::SystemClock,
    digest::Digest,
    tuf::layout::SUCCINCT,
};

/// Download a target and verify it with TUF
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// The target path, as the metadata lists it: decoded, without leading `/`
    pub target: String,

    /// The gate: metadata at URL/metadata/, targets at URL/
    #[arg(long, required_unless_present_all = ["metadata_url", "targets_url"])]
    pub url: Option<String>,

    /// Trust begins with this root file
    #[arg(long, value_name = "FILE", conflicts_with = "root_sha256")]
    pub root: Option<PathBuf>,

    /// Trust begins with the root that has this sha256; without it and --root, with what was trusted last time
    #[arg(long, value_name = "HEX")]
    pub root_sha256: Option<Digest>,

    /// Where to write the target; by default its last segment, in this folder
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Which delegation to the bins to follow
    #[arg(long, value_enum, default_value_t)]
    pub view: View,

    /// Under which name to ask for the target
    #[arg(long, value_enum, default_value_t)]
    pub naming: Naming,

    /// Where metadata lies, if not at URL/metadata/
    #[arg(long, value_name = "URL", conflicts_with = "view")]
    pub metadata_url: Option<String>,

    /// Where targets lie, if not at URL/
    #[arg(long, value_name = "URL")]
    pub targets_url: Option<String>,

    /// Folder for trusted metadata; by default one for each metadata URL below the user's data folder
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A way to delegate to the same bins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum View {
    /// path_hash_prefixes
    #[default]
    Prefixes,
    /// succinct_roles (TAP 15)
    Succinct,
}

/// Names that stand for a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Naming {
    /// dir/name
    Bare,
    /// HASH.dir/name
    HashedFolder,
    /// dir/HASH.name
    #[default]
    HashedName,
}

impl From<Naming> for TargetNaming {
    fn from(naming: Naming) -> Self {
        match naming {
            Naming::Bare => Self::Bare,
            Naming::HashedFolder => Self::HashedFolder,
            Naming::HashedName => Self::HashedName,
        }
    }
}

/// What the command line lacks, or why the download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The download failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is nowhere to keep trusted metadata.
    #[error("there is no folder for trusted metadata: neither `XDG_DATA_HOME` nor `HOME` is set")]
    NoDataFolder,
    /// The target's last segment is no file name.
    #[error("`{0}` does not end in a file name")]
    NoFileName(String),
    /// The outcome cannot be printed.
    #[error("the outcome cannot be printed: {0}")]
    Print(#[from] io::Error),
}

impl GetError {
    /// What the user can do, for the line after the error.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoDataFolder => "give a folder with `--store`",
            Self::NoFileName(_) => "give an output file with `--output`",
            Self::Client(ClientError::NoRoot(_)) => "give `--root FILE` or `--root-sha256 HEX` from a trusted source",
            Self::Client(ClientError::NotFound(path)) if path.starts_with('/') => "a target path has no leading `/`",
            Self::Client(ClientError::NotFound(_)) => {
                "a target shows once it was published or first fetched through the gate, and signed"
            }
            Self::Client(ClientError::Refused { attack, .. }) => match attack {
                Attack::Freeze => "check this machine's clock; if it is right, the repository is stale or held back",
                _ => "nothing was written; try another network, then tell the repository's operators",
            },
            Self::Client(error) => return error.hint(),
            _ => return None,
        })
    }
}

/// Downloads the target and prints where it lies.
pub async fn run(args: GetArgs) -> Result<(), GetError> {
    let output = output(&args)?;
    let options = options(&args, |name| env::var_os(name).map(PathBuf::from))?;
    let mut client = Client::open(options)?;
    let bar = (!args.json && io::stderr().is_terminal()).then(progress_bar);
    let progress = |bytes, length| {
        if let Some(bar) = &bar {
            bar.set_length(length);
            bar.set_position(bytes);
        }
    };
    let done = client.download(&args.target, &output, progress).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let line = report(&done?, client.snapshot_version(), args.json);
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn output(args: &GetArgs) -> Result<PathBuf, GetError> {
    if let Some(output) = &args.output {
        return Ok(output.clone());
    }
    match args.target.rsplit('/').next() {
        None | Some("" | "." | "..") => Err(GetError::NoFileName(args.target.clone())),
        Some(name) => Ok(PathBuf::from(name)),
    }
}

/// `folder` looks an environment variable up.
fn options(args: &GetArgs, folder: impl Fn(&str) -> Option<PathBuf>) -> Result<ClientOptions, GetError> {
    let base = args.url.as_deref().unwrap_or_default().trim_end_matches('/');
    let metadata_url = args.metadata_url.clone().unwrap_or_else(|| {
        let view = match args.view {
            View::Prefixes => "",
            View::Succinct => SUCCINCT,
        };
        format!("{base}/metadata/{view}")
    });
    let store = match &args.store {
        Some(store) => store.clone(),
        None => {
            // A relative XDG path is to be ignored (XDG Base Directory Specification).
            let data = folder("XDG_DATA_HOME").filter(|data| data.is_absolute());
            let home = || Some(folder("HOME")?.join(".local/share"));
            let data = data.or_else(home).ok_or(GetError::NoDataFolder)?;
            data.join("tufgate").join(Digest::of(&metadata_url).to_string())
        }
    };
    Ok(ClientOptions {
        targets_url: args.targets_url.clone().unwrap_or_else(|| format!("{base}/")),
        trust: match (&args.root, args.root_sha256) {
            (Some(file), _) => Trust::RootFile(file.clone()),
            (None, Some(digest)) => Trust::RootSha256(digest),
            (None, None) => Trust::Stored,
        },
        metadata_url,
        store,
        naming: args.naming.into(),
        clock: Arc::new(SystemClock),
        timeouts: Timeouts::default(),
        offline: false,
    })
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn report(done: &Downloaded, snapshot: Option<u64>, as_json: bool) -> String {
    let Downloaded { target, path, present } = done;
    let snapshot = snapshot.unwrap_or_default();
    if as_json {
        let line = json!({
            "target": target.path, "output": shown(path), "length": target.length, "sha256": target.hashes.sha256(),
            "role": target.role, "snapshot": snapshot, "present": present,
        });
        return line.to_string();
    }
    let what = if *present { "already there" } else { "verified" };
    format!(
        "{} {what}: {} bytes, {}, snapshot {snapshot}",
        shown(path),
        target.length,
        target.hashes
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;
    use crate::client::TargetFile;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        get: GetArgs,
    }

    fn parse(line: &str) -> Result<GetArgs, clap::Error> {
        Cli::try_parse_from(["get"].into_iter().chain(line.split_whitespace())).map(|cli| cli.get)
    }

    fn read(line: &str) -> ClientOptions {
        options(&parse(line).unwrap(), |name| (name == "HOME").then(|| "/home/x".into())).unwrap()
    }

    #[test]
    fn the_gates_url_gives_metadata_targets_and_store() {
        let prefixes = read("a/b --url http://gate:8080");
        assert_eq!(prefixes.metadata_url, "http://gate:8080/metadata/");
        assert_eq!(prefixes.targets_url, "http://gate:8080/");
        assert_eq!(prefixes.naming, TargetNaming::HashedName);
        assert!(matches!(prefixes.trust, Trust::Stored));
        let folder = format!(
            "/home/x/.local/share/tufgate/{}",
            Digest::of("http://gate:8080/metadata/")
        );
        assert_eq!(prefixes.store, Path::new(&folder));
        let succinct = read("a/b --url http://gate:8080/ --view succinct --naming bare --root r.json --store /s");
        assert_eq!(succinct.metadata_url, "http://gate:8080/metadata/succinct/");
        assert_eq!(succinct.naming, TargetNaming::Bare);
        assert_eq!(succinct.store, Path::new("/s"));
        assert!(matches!(succinct.trust, Trust::RootFile(file) if file == Path::new("r.json")));
        let both = read("a/b --metadata-url http://m/ --targets-url http://t/");
        assert_eq!((&*both.metadata_url, &*both.targets_url), ("http://m/", "http://t/"));
    }

    #[test]
    fn an_absolute_data_folder_wins() {
        let args = parse("a --url http://g").unwrap();
        let store = |xdg: &'static str| {
            let folder = move |name: &str| Some(PathBuf::from(if name == "HOME" { "/h" } else { xdg }));
            options(&args, folder).unwrap().store
        };
        assert!(store("/data").starts_with("/data/tufgate"));
        assert!(store("data").starts_with("/h/.local/share/tufgate"));
        assert!(matches!(options(&args, |_| None), Err(GetError::NoDataFolder)));
    }

    #[test]
    fn command_lines_that_contradict_themselves_are_refused() {
        for bad in [
            "a",
            "--url http://g",
            "a --metadata-url http://m/",
            "a --url http://g --root-sha256 12",
            "a --url http://g --view both",
            "a --url http://g --metadata-url http://m/ --view succinct",
            &format!("a --url http://g --root r --root-sha256 {}", Digest::of("r")),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        parse(&format!("a --url http://g --root-sha256 {}", Digest::of("r"))).unwrap();
    }

    #[test]
    fn the_output_is_the_last_segment() {
        let named = |line: &str| output(&parse(line).unwrap());
        assert_eq!(named("a/b/c.txt --url http://g").unwrap(), Path::new("c.txt"));
        assert_eq!(named("a/b/c.txt --url http://g -o /x/y").unwrap(), Path::new("/x/y"));
        for bad in ["a/", "a/..", "."] {
            assert!(
                matches!(named(&format!("{bad} --url http://g")), Err(GetError::NoFileName(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_outcome_is_one_line() {
        let target = TargetFile {
            path: "a/b".into(),
            length: 3,
            hashes: Digest::of("abc").into(),
            custom: None,
            role: "bins4-a".into(),
        };
        let done = Downloaded {
            target,
            path: "b".into(),
            present: false,
        };
        let line = report(&done, Some(7), false);
        assert_eq!(
            line,
            format!("b verified: 3 bytes, sha256 {}, snapshot 7", Digest::of("abc"))
        );
        let json: serde_json::Value = serde_json::from_str(&report(&done, Some(7), true)).unwrap();
        assert_eq!(
            (&json["output"], &json["snapshot"], &json["present"]),
            (&json!("b"), &json!(7), &json!(false))
        );
    }
}
