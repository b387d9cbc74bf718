//! The artifacts that quickstart's own web server starts with: a copy of `fixtures/artifacts/`, compiled in because the
//! program may run far from its source.

use std::{fs, io, path::Path};

macro_rules! artifacts {
    ($($name:literal),+ $(,)?) => {
        /// Name below the folder, bytes.
        pub const ARTIFACTS: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/artifacts/", $name)))),+
        ];
    };
}

artifacts![
    "empty.bin",
    "generic/hello-1.0.0.tar.gz",
    "generic/numbers.txt",
    "hello.txt",
    "maven/org/acme/hello/1.0.0+build.7/hello-1.0.0+build.7.jar",
    "names/a b+c@1~2.txt",
    "names/héllo.txt",
    "npm/@acme/hello/-/hello-1.0.0.tgz",
    "pypi/hello-tufgate/hello_tufgate-1.0.0-py3-none-any.whl",
];

/// Writes them all below `www`.
pub fn unpack(www: &Path) -> io::Result<()> {
    for (name, bytes) in ARTIFACTS {
        let file = www.join(name);
        fs::create_dir_all(file.parent().unwrap_or(www))?;
        fs::write(file, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => names(&entry.path(), &format!("{name}/"), found),
                false => found.push(name),
            }
        }
    }

    #[test]
    fn every_artifact_of_the_folder_is_compiled_in() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let [mut unpacked, mut source] = [Vec::new(), Vec::new()];
        names(dir.path(), "", &mut unpacked);
        names(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/artifacts"),
            "",
            &mut source,
        );
        unpacked.sort();
        source.sort();
        assert_eq!(unpacked, source);
    }
}
