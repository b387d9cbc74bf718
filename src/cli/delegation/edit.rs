//! Changes to a team's role, as flags.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    ceremony::team::{Below, TeamProposal},
    cli::{
        CliError,
        draft::{edit::public_key, failed},
    },
    digest::{Digest, Hasher},
};

/// What is to change.
#[derive(Args, Clone, Debug, Default)]
pub struct Edits {
    /// List a file's digest and length under a target path
    #[arg(long, value_name = "FILE=PATH", value_parser = pair)]
    add: Vec<(String, String)>,
    /// List every file of a folder, and of those in it, below a target path
    #[arg(long, value_name = "DIR=PREFIX", value_parser = pair)]
    add_tree: Vec<(String, String)>,
    /// List a target whose digest and length are known
    #[arg(long, value_name = "PATH=SHA256:LENGTH", value_parser = stated)]
    add_digest: Vec<Stated>,
    /// List a target no more
    #[arg(long, value_name = "PATH")]
    remove: Vec<String>,
    /// Delegate some of the role's paths to a role below it, or change how
    #[arg(long, value_name = "NAME")]
    delegate: Option<String>,
    /// With `--delegate`: patterns of its target paths; `*` and `?` stop at `/`
    #[arg(long, value_name = "PATTERN", requires = "delegate", num_args = 1..)]
    paths: Vec<String>,
    /// With `--delegate`: its public keys
    #[arg(long, value_name = "NAME=FILE", requires = "delegate", value_parser = pair)]
    key: Vec<(String, String)>,
    /// With `--delegate`: signatures it needs
    #[arg(long, value_name = "N", requires = "delegate")]
    threshold: Option<u64>,
    /// With `--delegate`: nobody after it speaks for its paths
    #[arg(long, requires = "delegate")]
    terminating: bool,
    /// Delegate to a role below no more
    #[arg(long, value_name = "NAME")]
    undelegate: Vec<String>,
}

/// `--add-digest`
#[derive(Clone, Debug)]
struct Stated {
    path: String,
    digest: Digest,
    length: u64,
}

impl Edits {
    /// Makes them; files are read and hashed.
    pub fn apply(&self, proposal: &mut TeamProposal) -> Result<(), CliError> {
        for path in &self.remove {
            proposal.remove(path).map_err(failed)?;
        }
        for (folder, prefix) in &self.add_tree {
            let folder = Path::new(folder);
            for file in files_of(folder)? {
                let below = file.strip_prefix(folder).unwrap_or(&file);
                let name = below.to_str().ok_or_else(|| {
                    CliError::usage(format_args!("`{}` has a name that is not UTF-8", file.display()))
                })?;
                let path = match prefix.trim_end_matches('/') {
                    "" => name.to_owned(),
                    prefix => format!("{prefix}/{name}"),
                };
                add(proposal, &file, &path)?;
            }
        }
        for (file, path) in &self.add {
            add(proposal, Path::new(file), path)?;
        }
        for stated in &self.add_digest {
            proposal
                .add(&stated.path, stated.digest, stated.length)
                .map_err(failed)?;
        }
        for name in &self.undelegate {
            proposal.undelegate(name).map_err(failed)?;
        }
        if let Some(name) = &self.delegate {
            let key = |(name, file): &(String, String)| Ok((name.clone(), public_key(Path::new(file))?));
            let below = Below {
                paths: self.paths.clone(),
                keys: self.key.iter().map(key).collect::<Result<_, CliError>>()?,
                threshold: self.threshold,
                terminating: self.terminating,
            };
            proposal.delegate(name, &below).map_err(failed)?;
        }
        Ok(())
    }
}

fn add(proposal: &mut TeamProposal, file: &Path, path: &str) -> Result<(), CliError> {
    let (digest, length) = hashed(file).map_err(|error| CliError::io(file, &error))?;
    proposal.add(path, digest, length).map_err(failed)
}

/// Digest and length of a file.
fn hashed(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finish())
}

/// Every file of a folder and of those in it, sorted.
///
/// # Errors
/// Something there is neither file nor folder: whether a link or a pipe is meant, nobody can tell.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| CliError::io(&folder, &error))? {
            let path = entry.map_err(|error| CliError::io(&folder, &error))?.path();
            let kind = path.symlink_metadata().map_err(|error| CliError::io(&path, &error))?;
            match (kind.is_dir(), kind.is_file()) {
                (true, _) => folders.push(path),
                (_, true) => files.push(path),
                _ => {
                    let odd = format!("`{}` is neither a file nor a folder", path.display());
                    return Err(CliError::failed(odd).hint("name what it leads to with `--add`"));
                }
            }
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(CliError::failed(format_args!("`{}` holds no file", folder.display()))),
        false => Ok(files),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (left, right) = text.split_once('=').ok_or("write LEFT=RIGHT")?;
    match left.is_empty() {
        true => Err("nothing stands before `=`".to_owned()),
        false => Ok((left.to_owned(), right.to_owned())),
    }
}

fn stated(text: &str) -> Result<Stated, String> {
    let read = || {
        let (path, bytes) = text.rsplit_once('=')?;
        let (digest, length) = bytes.split_once(':')?;
        Some(Stated {
            path: path.to_owned(),
            digest: digest.parse().ok()?,
            length: length.parse().ok()?,
        })
    };
    read().ok_or_else(|| "write PATH=SHA256:LENGTH, the digest in hex".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_stated_target_has_a_digest_and_a_length() {
        let hex = "ab".repeat(32);
        let good = stated(&format!("a/x=y={hex}:12")).unwrap();
        assert_eq!((&*good.path, good.length), ("a/x=y", 12));
        for bad in [
            "a/x",
            "a/x=12",
            &format!("a/x={hex}"),
            &format!("a/x={hex}:-1"),
            "a/x=ab:1",
        ] {
            assert!(stated(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_is_listed_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        assert!(files_of(folder.path()).is_err());
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/x"), "abc").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let files = files_of(folder.path()).unwrap();
        assert_eq!(files, [folder.path().join("a"), folder.path().join("b/x")]);
        assert_eq!(hashed(&files[1]).unwrap(), (Digest::of("abc"), 3));
        std::os::unix::fs::symlink("a", folder.path().join("c")).unwrap();
        assert!(files_of(folder.path()).unwrap_err().message.contains("neither"));
    }
}
