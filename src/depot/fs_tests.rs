#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::depot::conformance;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn hidden(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = walk(dir)
        .into_iter()
        .filter(|name| name.starts_with(TEMPORARY))
        .collect();
    names.sort();
    names
}

fn walk(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let a = Arc::new(FsDepot::open(&dir.path().join("new/depot")).unwrap());
    let b = Arc::new(FsDepot::open(&dir.path().join("new/depot")).unwrap());
    conformance::suite(a, b).await;
    assert_eq!(hidden(dir.path()), [] as [String; 0]);
}

#[tokio::test]
async fn a_large_batch_is_written_by_several_threads_and_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let depot = FsDepot::open(dir.path()).unwrap();
    let batch: Vec<_> = (0..37)
        .map(|n| (format!("1.bins6-{n:02x}.json"), Bytes::from(vec![n; 100])))
        .collect();
    depot.put_all(batch.clone()).await.unwrap();
    for (name, body) in batch {
        assert_eq!(depot.read(&name).await.unwrap(), Some(body));
    }
    let mode = fs::metadata(dir.path().join("1.bins6-00.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o222, 0o200, "only the owner writes");
    assert_eq!(hidden(dir.path()), [] as [String; 0]);
}

#[tokio::test]
async fn what_a_crash_left_is_removed_at_open_but_not_under_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let depot = FsDepot::open(dir.path()).unwrap();
    depot
        .put_all(vec![("succinct/1.bins.json".into(), bytes("x"))])
        .await
        .unwrap();
    for leftover in [".tmp-a", "succinct/.tmp-b"] {
        fs::write(dir.path().join(leftover), "half").unwrap();
    }
    assert_eq!(depot.list().await.unwrap().len(), 1, "leftovers are not listed");

    let writer = depot.folder.lock(false).unwrap();
    FsDepot::open(dir.path()).unwrap();
    assert_eq!(
        hidden(dir.path()),
        [".tmp-a", ".tmp-b"],
        "they may be a living writer's"
    );
    drop(writer);

    FsDepot::open(dir.path()).unwrap();
    assert_eq!(hidden(dir.path()), [] as [String; 0]);
    assert_eq!(depot.read("succinct/1.bins.json").await.unwrap(), Some(bytes("x")));
}

#[tokio::test]
async fn a_batch_with_one_conflict_writes_nothing_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let depot = FsDepot::open(dir.path()).unwrap();
    depot.put_all(vec![("2.b.json".into(), bytes("old"))]).await.unwrap();
    let batch = vec![("1.a.json".into(), bytes("a")), ("2.b.json".into(), bytes("new"))];
    assert!(matches!(depot.put_all(batch).await, Err(DepotError::Exists { name }) if name == "2.b.json"));
    assert_eq!(depot.list().await.unwrap().len(), 1);
    assert_eq!(hidden(dir.path()), [] as [String; 0]);
}

#[test]
fn a_place_that_cannot_be_a_folder_is_unusable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below")] {
        let refused = FsDepot::open(&place).unwrap_err();
        assert!(
            matches!(&refused, DepotError::Unusable { place: named, .. } if named.contains("file")),
            "{refused}"
        );
    }
}

#[test]
fn a_full_disk_has_an_error_of_its_own() {
    let full = failed("7.snapshot.json", io::Error::from(io::ErrorKind::StorageFull));
    assert!(matches!(full, DepotError::Full { name } if name == "7.snapshot.json"));
    let denied = failed("7.snapshot.json", io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(matches!(denied, DepotError::Io { .. }));
}
