//! Where files may be written, and where not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::symlink};

use super::*;

fn put(place: &Place, bytes: &str) {
    let part = place.path().parent().unwrap().join("part");
    fs::write(&part, bytes).unwrap();
    place.take("part", &File::open(part).unwrap()).unwrap();
}

fn refused(place: Result<Place, ClientError>) -> String {
    place.unwrap_err().to_string()
}

#[test]
fn folders_are_made_and_links_in_them_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "theirs").unwrap();
    let below = |path: &str| Place::below(&inside, &relative(path).unwrap());
    let place = below("a/b/c").unwrap();
    assert_eq!(place.path(), inside.join("a/b/c"));
    put(&place, "ours");
    assert_eq!(fs::read_to_string(inside.join("a/b/c")).unwrap(), "ours");

    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("file"), inside.join("a/leaf")).unwrap();
    symlink("b", inside.join("a/near")).unwrap();
    for bad in ["link/x", "link/file", "link/new/x", "a/near/c"] {
        let said = refused(below(bad));
        assert!(said.contains("a link, which is not followed"), "{bad}: {said}");
    }
    let leaf = below("a/leaf").unwrap();
    assert!(leaf.open().is_err(), "what a link leads to is not what lies here");
    put(&leaf, "ours");
    assert!(!inside.join("a/leaf").is_symlink(), "the link is what is replaced");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made out there");

    assert!(refused(below("a/b")).contains("it is a folder"));
    assert!(refused(below("a/b/c/d")).contains("no folder"));
}

#[test]
fn a_part_is_nobody_elses_until_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(&dir.path().join("x")).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
    let part = place.beside("part").unwrap().unwrap();
    assert_eq!(mode("part"), 0o600);
    place.take("part", &part).unwrap();
    fs::write(dir.path().join("plain"), "").unwrap();
    assert_eq!(mode("x"), mode("plain"), "as any new file of the user's");
    // What others may write, or hold open already, is no beginning of ours.
    let left = File::create(dir.path().join("left")).unwrap();
    left.set_permissions(Permissions::from_mode(0o666)).unwrap();
    assert!(place.beside("left").unwrap().is_none());
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert!(place.beside("socket").unwrap().is_none());
}

#[test]
fn no_target_is_called_as_another_ones_beginning() {
    for bad in [".tufgate-ab.part", "a/.tufgate-0.tmp", ".tufgate-.part/x"] {
        assert_eq!(relative(bad), Err(OURS), "{bad}");
    }
    assert!(relative("a/.tufgate-notes").is_ok() && relative("x.part").is_ok());
    assert!(refused(Place::of(Path::new(".tufgate-ab.part"))).contains(OURS));
}

#[test]
fn the_folder_that_was_checked_is_the_folder_that_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir(&outside).unwrap();
    let place = Place::below(&inside, Path::new("a/b")).unwrap();
    fs::rename(inside.join("a"), inside.join("was")).unwrap();
    symlink(&outside, inside.join("a")).unwrap();
    let part = place.beside("part").unwrap().unwrap();
    place.take("part", &part).unwrap();
    assert!(inside.join("was/b").exists());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn only_files_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("/dev/null", at("null")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::write(at("file"), "old").unwrap();
    symlink("file", at("link")).unwrap();
    for bad in ["pipe", "null"] {
        assert!(refused(Place::of(&at(bad))).contains("it is no regular file"), "{bad}");
    }
    assert!(refused(Place::of(Path::new("/dev/null"))).contains("it is no regular file"));
    assert!(refused(Place::of(dir.path())).contains("it is a folder"));
    assert!(refused(Place::of(Path::new("/"))).contains("names no file"));
    assert!(refused(Place::of(&at("missing/x"))).contains("No such file"));
    for good in ["dangling", "file", "link", "new"] {
        put(&Place::of(&at(good)).unwrap(), good);
        assert_eq!(fs::read_to_string(at(good)).unwrap(), good);
    }
    let pipe = Place::below(dir.path(), Path::new("pipe"));
    assert!(refused(pipe).contains("no regular file"));
}

#[test]
fn a_file_beside_is_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(&dir.path().join("x")).unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(place.beside("own").unwrap().is_some());
    fs::hard_link(at("own"), at("twice")).unwrap();
    symlink("own", at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for bad in ["twice", "link", "folder", "pipe"] {
        assert!(place.beside(bad).unwrap().is_none(), "{bad}");
    }
    assert!(place.new_beside("link").is_err(), "a new file is new");
}

#[test]
fn names_that_lead_elsewhere_have_no_place() {
    for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0"] {
        assert!(relative(bad).is_err(), "{bad:?}");
    }
    for good in ["a", "a/b", "...", "a/..b", "-", "é/ ", "a\\..\\b"] {
        assert_eq!(relative(good).unwrap(), Path::new(good));
    }
}
