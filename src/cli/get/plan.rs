//! Which target goes where. Pure but for a look at what `--output` is; a command line that makes no sense is refused here,
//! before anything is fetched. A name that has no place fails alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::GetError;
use crate::client::place;

/// One target to download.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Job {
    /// Its number, from 1.
    pub number: usize,
    /// The target path.
    pub target: String,
    /// Where it goes.
    pub output: Output,
}

/// Where a target goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Output {
    /// To this file, in a folder that exists.
    File(PathBuf),
    /// To a file below a folder.
    Below(PathBuf, PathBuf),
    /// To standard output.
    Standard,
    /// It has no place below the folder: why.
    Nowhere(&'static str),
}

/// A job for each target; one that is named twice is downloaded once. `listed`: the targets come from a list, which
/// means a folder even where it has one line.
pub(super) fn jobs(targets: Vec<String>, output: Option<&Path>, listed: bool) -> Result<Vec<Job>, GetError> {
    let mut seen = BTreeSet::new();
    let mut targets: Vec<_> = targets
        .into_iter()
        .filter(|target| seen.insert(target.clone()))
        .collect();
    let standard = output == Some(Path::new("-"));
    if targets.is_empty() {
        return Err(GetError::NoTarget);
    }
    if standard && targets.len() > 1 {
        return Err(GetError::OneToStandardOutput);
    }
    let alone = !listed && targets.len() == 1;
    let output = match output {
        Some(_) if standard => Output::Standard,
        Some(file) if alone && !is_folder(file) => {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                return Err(GetError::no_folder("--output", folder));
            }
            Output::File(file.to_owned())
        }
        None if alone => {
            let name = targets[0].rsplit('/').next().unwrap_or_default();
            Output::File(place::relative(name).map_err(|_| GetError::NoFileName(targets[0].clone()))?)
        }
        folder => return below(targets, folder.unwrap_or(Path::new("."))),
    };
    let job = |target| Job {
        number: 1,
        target,
        output,
    };
    Ok(targets.pop().map(job).into_iter().collect())
}

fn below(targets: Vec<String>, folder: &Path) -> Result<Vec<Job>, GetError> {
    if folder.exists() && !folder.is_dir() {
        return Err(GetError::no_folder("--output", folder));
    }
    let mut jobs = Vec::new();
    let mut places = BTreeMap::new();
    for target in targets {
        let number = jobs.len() + 1;
        let relative = match place::relative(&target) {
            Ok(relative) => relative,
            Err(why) => {
                let output = Output::Nowhere(why);
                jobs.push(Job { number, target, output });
                continue;
            }
        };
        // Distinct targets can name one file only as a file system sees them: `a` as a file and as the folder of `a/b`,
        // or names that differ by case where case does not count.
        if let Some(other) = places.insert(folded(&relative), target.clone()) {
            return Err(GetError::SamePlace(other, target));
        }
        jobs.push(Job {
            number,
            output: Output::Below(folder.to_owned(), relative),
            target,
        });
    }
    for (place, target) in &places {
        let folders = place.ancestors().skip(1);
        if let Some(other) = folders.filter_map(|folder| places.get(folder)).next() {
            return Err(GetError::SamePlace(other.clone(), target.clone()));
        }
    }
    Ok(jobs)
}

/// A path as the platform's usual file system compares it.
fn folded(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(path) if cfg!(target_os = "macos") => PathBuf::from(path.to_lowercase()),
        _ => path.to_owned(),
    }
}

fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn plan(targets: &[&str], output: Option<&str>) -> Result<Vec<Output>, GetError> {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let jobs = jobs(targets, output.map(Path::new), false)?;
        Ok(jobs.into_iter().map(|job| job.output).collect())
    }

    fn file(path: &str) -> Output {
        Output::File(path.into())
    }

    fn inside(folder: &str, path: &str) -> Output {
        Output::Below(folder.into(), path.into())
    }

    #[test]
    fn one_target_goes_to_a_file_and_several_below_a_folder() {
        assert_eq!(plan(&["a/b/c.txt"], None).unwrap(), [file("c.txt")]);
        assert_eq!(plan(&["a/b"], Some("x")).unwrap(), [file("x")]);
        assert_eq!(plan(&["a/b"], Some("x/")).unwrap(), [inside("x/", "a/b")]);
        assert_eq!(plan(&["a/b"], Some("/")).unwrap(), [inside("/", "a/b")]);
        assert_eq!(plan(&["a/b"], Some("-")).unwrap(), [Output::Standard]);
        assert_eq!(
            plan(&["a/b", "c"], None).unwrap(),
            [inside(".", "a/b"), inside(".", "c")]
        );
        assert_eq!(
            plan(&["a/b", "c"], Some("x")).unwrap(),
            [inside("x", "a/b"), inside("x", "c")]
        );
        assert_eq!(plan(&["a", "a"], Some("x")).unwrap(), [file("x")], "named twice");
        let listed = jobs(vec!["a/b".into()], None, true).unwrap();
        assert_eq!(listed[0].output, inside(".", "a/b"), "a list of one is a list");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(plan(&[], None), Err(GetError::NoTarget)));
        assert!(matches!(
            plan(&["a", "b"], Some("-")),
            Err(GetError::OneToStandardOutput)
        ));
        for bad in ["a/", "a/..", ".", "", "a/\0"] {
            assert!(matches!(plan(&[bad], None), Err(GetError::NoFileName(_))), "{bad:?}");
        }
        for (output, words) in [
            ("/nonexistent/folder/x", "`/nonexistent/folder` does not exist"),
            ("Cargo.toml/x", "`Cargo.toml` is a file"),
        ] {
            let error = plan(&["a"], Some(output)).unwrap_err();
            assert!(
                error.to_string().starts_with(words) && error.hint().is_some(),
                "{error}"
            );
        }
        let file = plan(&["a", "b"], Some("Cargo.toml")).unwrap_err();
        assert_eq!(file.to_string(), "`Cargo.toml` is a file, not a folder");
        for same in [["a", "a/b"], ["a/b/c", "a"], ["a/b/c/d", "a/b"]] {
            assert!(
                matches!(plan(&same, Some("x")), Err(GetError::SamePlace(..))),
                "{same:?}"
            );
        }
        plan(&["a", "a.b", "ab/c", "a-b/c"], None).unwrap();
    }

    #[test]
    fn a_name_without_a_place_fails_alone() {
        for bad in ["../a", "a/../../b", "/etc/passwd", "a//b", "./a", "a/", "a\0b", ""] {
            let places = plan(&["x", bad, "y"], Some("in")).unwrap();
            assert!(matches!(places[1], Output::Nowhere(_)), "{bad:?}");
            assert_eq!((&places[0], &places[2]), (&inside("in", "x"), &inside("in", "y")));
            assert!(
                matches!(plan(&[bad], Some("x/")).unwrap()[..], [Output::Nowhere(_)]),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_target_leaves_the_folder(target in "[a./\\\\\0 ~-]{0,12}") {
            if let Ok(places) = plan(&[&target, "other"], Some("in"))
                && let Output::Below(folder, relative) = &places[0]
            {
                prop_assert_eq!(folder, Path::new("in"));
                prop_assert!(relative.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(relative.to_str(), Some(&*target));
            }
        }
    }
}
