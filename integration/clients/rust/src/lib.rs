//! What the client programs share: the command line, the output lines and the HTTP client that names them.
//!
//! The protocol is the one of `integration/README.md`: `ok TARGET SHA256` or `err TARGET REASON`, one line a target.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use url::Url;

/// The command line all client programs understand.
#[derive(Debug)]
pub struct Args {
    /// Where `timestamp.json` and its kind lie; always ends in `/`.
    pub metadata_url: Url,
    /// What target paths are relative to; always ends in `/`.
    pub targets_url: Url,
    /// The bytes of the trusted root.
    pub root: Vec<u8>,
    /// The client's metadata cache, kept between runs.
    pub dir: PathBuf,
    /// Sent before the client's own name.
    pub user_agent: Option<String>,
    /// Target path and output file, in the order given.
    pub targets: Vec<(String, PathBuf)>,
}

impl Args {
    /// Reads the process's arguments; a message for the user if they do not fit.
    pub fn parse() -> Result<Args, String> {
        let (mut metadata, mut targets_url, mut root, mut dir, mut user_agent) = (None, None, None, None, None);
        let mut rest = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let slot = match word.as_str() {
                "--metadata-url" => &mut metadata,
                "--targets-url" => &mut targets_url,
                "--root" => &mut root,
                "--dir" => &mut dir,
                "--user-agent" => &mut user_agent,
                "--hashed" => continue,
                "--" => {
                    rest.extend(words.by_ref());
                    continue;
                }
                "--bare" => return Err("--bare: this client always asks for hash-prefixed names".into()),
                _ => {
                    rest.push(word);
                    continue;
                }
            };
            *slot = Some(words.next().ok_or(format!("{word} needs a value"))?);
        }
        if rest.len() % 2 != 0 {
            return Err("targets come in pairs: TARGET OUT".into());
        }
        let root = root.ok_or("--root is missing")?;
        let dir = PathBuf::from(dir.ok_or("--dir is missing")?);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Args {
            metadata_url: folder(metadata.ok_or("--metadata-url is missing")?)?,
            targets_url: folder(targets_url.ok_or("--targets-url is missing")?)?,
            root: std::fs::read(&root).map_err(|error| format!("{root}: {error}"))?,
            dir,
            user_agent,
            targets: rest
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), PathBuf::from(&pair[1])))
                .collect(),
        })
    }

    /// A `User-Agent` that ends in `name/version`.
    pub fn agent(&self, name: &str) -> String {
        match &self.user_agent {
            Some(prefix) => format!("{prefix} {name}"),
            None => name.to_owned(),
        }
    }

    /// An HTTP client whose `User-Agent` ends in `name/version`, so that an access log can be counted by it.
    pub fn http(&self, name: &str) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .user_agent(self.agent(name))
            .no_proxy()
            .build()
    }
}

/// A base URL that [`Url::join`] treats as a folder.
fn folder(url: String) -> Result<Url, String> {
    let url = if url.ends_with('/') { url } else { url + "/" };
    Url::parse(&url).map_err(|error| format!("{url}: {error}"))
}

/// Writes a verified target and reports it as `ok`.
pub fn save(target: &str, out: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(out, bytes)?;
    println!("ok {target} {}", hex::encode(Sha256::digest(bytes)));
    Ok(())
}

/// Reports one target as failed, with every cause, on one line.
pub fn failed(target: &str, error: &dyn Error) {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    println!("err {target} {}", reason.replace('\n', " "));
}

/// Reports every target as failed for the same reason: the refresh did not end.
pub fn all_failed(args: &Args, error: &dyn Error) -> ExitCode {
    for (target, _) in &args.targets {
        failed(target, error);
    }
    if args.targets.is_empty() {
        failed("-", error);
    }
    ExitCode::FAILURE
}
