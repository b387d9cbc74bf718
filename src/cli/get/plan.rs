//! Which target goes where. Pure but for one look whether `--output` is a folder; whatever makes no sense is refused
//! here, before anything is fetched.

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
        Some(file) if alone && !is_folder(file) => Output::File(file.to_owned()),
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
    let mut jobs = Vec::new();
    let mut places = BTreeMap::new();
    for target in targets {
        let relative = place::relative(&target).map_err(|why| GetError::NoPlace {
            target: target.clone(),
            why,
        })?;
        // Distinct targets can name one file only as a file system sees them: `a` as a file and as the folder of `a/b`,
        // or names that differ by case where case does not count.
        if let Some(other) = places.insert(folded(&relative), target.clone()) {
            return Err(GetError::SamePlace(other, target));
        }
        jobs.push(Job {
            number: jobs.len() + 1,
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
        for bad in ["../a", "a/../../b", "/etc/passwd", "a//b", "./a", "a/", "a\0b", ""] {
            assert!(
                matches!(plan(&["x", bad], None), Err(GetError::NoPlace { .. })),
                "{bad:?}"
            );
            assert!(
                matches!(plan(&[bad], Some("x/")), Err(GetError::NoPlace { .. })),
                "{bad:?}"
            );
        }
        for same in [["a", "a/b"], ["a/b/c", "a"], ["a/b/c/d", "a/b"]] {
            assert!(
                matches!(plan(&same, Some("x")), Err(GetError::SamePlace(..))),
                "{same:?}"
            );
        }
        plan(&["a", "a.b", "ab/c", "a-b/c"], None).unwrap();
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
