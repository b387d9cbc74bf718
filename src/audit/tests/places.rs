//! Files that should not be there, and files that others may touch.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};

use super::world::{World, told};
use crate::{
    audit::{Code, Severity},
    config::KeyPlace,
};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn what_others_may_touch_is_told() {
    let world = World::furnished().await;
    let at = |name: &str| world.folder.path().join(name);
    for (name, loose, tight, severity) in [
        ("keys/timestamp.pem", 0o640, 0o600, Severity::Warning),
        ("keys/snapshot.pem", 0o602, 0o600, Severity::Warning),
        ("keys", 0o777, 0o700, Severity::Warning),
        ("ledger.db", 0o666, 0o600, Severity::Warning),
        ("ledger.db", 0o640, 0o600, Severity::Note),
        ("metadata", 0o777, 0o755, Severity::Warning),
        ("metadata", 0o775, 0o755, Severity::Note),
        ("metadata/succinct", 0o777, 0o755, Severity::Warning),
        ("metadata/timestamp.json", 0o646, 0o644, Severity::Warning),
        ("tufgate.toml", 0o622, 0o600, Severity::Warning),
        ("", 0o703, 0o700, Severity::Warning),
    ] {
        let path = at(name);
        mode(&path, loose);
        let report = world.audit().await;
        let place = path.display().to_string();
        let place = place.trim_end_matches('/');
        let found = report
            .findings()
            .any(|finding| (finding.code, finding.severity, &*finding.place) == (Code::Mode, severity, place));
        assert!(found, "{name} {loose:o}: {report}");
        assert_eq!(
            report.exit_code(),
            if severity == Severity::Note { 0 } else { 1 },
            "{name}"
        );
        mode(&path, tight);
        assert_eq!(told(&world.audit().await), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn keys_that_root_does_not_list_are_told() {
    let mut world = World::furnished().await;
    let snapshot = world.config.keys.snapshot.clone();
    let ours = &world.config.keys.timestamp.file().unwrap().path.clone();
    let other = &snapshot.file().unwrap().path;
    let kept = fs::read(ours).unwrap();
    fs::write(ours, fs::read(other).unwrap()).unwrap();
    let lines = told(&world.audit().await);
    assert!(
        lines.len() == 1 && lines[0].starts_with("key ") && lines[0].contains("timestamp.pem"),
        "{lines:?}"
    );
    // Root lists the one on its way out.
    let last = ours.with_file_name("last.pem");
    fs::write(&last, &kept).unwrap();
    mode(&last, 0o600);
    let mut old = snapshot.clone();
    if let KeyPlace::File(file) = &mut old.place {
        file.path = last.clone();
    }
    world.config.keys.old.timestamp = Some(old);
    assert_eq!(told(&world.audit().await), [""; 0]);
    mode(&last, 0o640);
    let lines = told(&world.audit().await);
    assert!(lines.iter().any(|line| line.contains("last.pem")), "{lines:?}");
    world.config.keys.old.timestamp = None;
    fs::write(ours, "no key").unwrap();
    assert_eq!(world.audit().await.exit_code(), 1);
    fs::remove_file(ours).unwrap();
    let report = world.audit().await;
    assert_eq!(report.exit_code(), 65, "{report}");
    let said = report.to_string();
    assert!(
        said.contains("error[key]") && said.contains("restore it from a backup"),
        "{said}"
    );
    fs::write(ours, kept).unwrap();
    mode(ours, 0o600);
    assert_eq!(told(&world.audit().await), [""; 0]);
}

#[tokio::test]
async fn foreign_files_and_leftovers_are_told_apart() {
    let world = World::furnished().await;
    let old = SystemTime::now() - Duration::from_secs(3_600);
    for (name, young, aged) in [
        ("notes.txt", Some(Severity::Warning), Some(Severity::Warning)),
        (".hidden", Some(Severity::Warning), Some(Severity::Warning)),
        ("7.timestamp.json", Some(Severity::Warning), Some(Severity::Warning)),
        ("1.stranger.json", Some(Severity::Warning), Some(Severity::Warning)),
        (
            "succinct/1.snapshot.json",
            Some(Severity::Warning),
            Some(Severity::Warning),
        ),
        (".tmp-abcdef", None, Some(Severity::Note)),
        ("succinct/.tmp-abcdef", None, Some(Severity::Note)),
    ] {
        let path = world.file(name);
        fs::write(&path, "{}").unwrap();
        mode(&path, 0o644);
        for (modified, expected) in [(SystemTime::now(), young), (old, aged)] {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
            let report = world.audit().await;
            let found = report
                .findings()
                .find(|finding| finding.place == path.display().to_string());
            assert_eq!(found.map(|finding| finding.severity), expected, "{name}: {report}");
        }
        fs::remove_file(path).unwrap();
    }
    let folder = world.file("folder");
    fs::create_dir(&folder).unwrap();
    assert_eq!(world.audit().await.exit_code(), 1);
    fs::remove_dir(&folder).unwrap();

    // Superseded files that nobody collects, once the grace is long over.
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 3);
    let report = world.audit_at(later).await;
    let left = report
        .findings()
        .filter(|finding| finding.code == Code::Leftover)
        .count();
    assert_eq!(left, world.names().await.len() - 8, "all but the listed ones: {report}");
}
