use std::os::unix::fs::PermissionsExt;

use futures_util::TryStreamExt;
use proptest::prelude::*;

use super::*;

async fn spooled(spool: &Spool, bytes: &[u8], pieces: usize) -> Spooled {
    let mut file = spool.reserve(bytes.len() as u64).await.unwrap();
    for piece in bytes.chunks(pieces) {
        file.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    file.finish().unwrap()
}

async fn range(file: &Spooled, range: Range<u64>) -> Result<Vec<u8>, SpoolError> {
    let chunks: Vec<Bytes> = file.read(range).try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn ranges_come_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 1 << 20, 1 << 20).unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let file = spooled(&spool, &bytes, 7_000).await;
    for (start, end) in [(0, 300_000), (1, 2), (131_071, 131_073), (299_999, 300_000), (5, 5)] {
        assert!(
            range(&file, start as u64..end as u64).await.unwrap() == bytes[start..end],
            "{start}..{end}"
        );
    }
    assert!(matches!(range(&file, 0..300_001).await, Err(SpoolError::Length { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
}

#[tokio::test]
async fn bytes_are_counted_until_the_last_reader_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 8, 10).unwrap();
    assert!(matches!(
        spool.reserve(9).await,
        Err(SpoolError::TooLarge { length: 9, max: 8 })
    ));
    let file = spooled(&spool, b"artifact", 3).await;
    let reading = Box::pin(file.read(0..8));
    drop(file);
    assert!(matches!(
        spool.reserve(3).await,
        Err(SpoolError::Full {
            length: 3,
            used: 8,
            max: 10
        })
    ));
    let small = spool.reserve(2).await.unwrap();
    assert_eq!(spool.used(), 10);
    drop((small, reading));
    assert_eq!(spool.used(), 0);
}

#[tokio::test]
async fn only_what_was_reserved_is_written_and_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 8, 8).unwrap();
    let mut file = spool.reserve(3).await.unwrap();
    file.write(Bytes::from_static(b"ab")).await.unwrap();
    let over = file.write(Bytes::from_static(b"cd")).await;
    assert!(matches!(over, Err(SpoolError::Length { length: 3, actual: 4 })));
    assert!(matches!(
        file.finish(),
        Err(SpoolError::Length { length: 3, actual: 2 })
    ));
    assert_eq!(spooled(&spool, b"", 1).await.length(), 0);
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_failures() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 8, 8).unwrap();
    let mut file = spool.reserve(1).await.unwrap();
    // Every write to it fails with ENOSPC (full(4)).
    file.file = Arc::new(File::options().write(true).open("/dev/full").unwrap());
    let error = file.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, SpoolError::NoSpace { .. }), "{error}");
    drop(file);

    fs::remove_dir(dir.path()).unwrap();
    let error = spool.reserve(1).await.err().unwrap();
    assert!(matches!(&error, SpoolError::Io { .. }) && error.to_string().contains(dir.path().to_str().unwrap()));
    assert_eq!(spool.used(), 0);
}

#[test]
fn a_start_clears_leftovers_and_nothing_else() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("a/spool");
    Spool::new(&dir, 1, 1).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(dir.join(".tmpAbC123"), "left").unwrap();
    fs::write(dir.join("mine.txt"), "kept").unwrap();
    Spool::new(&dir, 1, 1).unwrap();
    let left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["mine.txt"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_range_of_any_pieces_is_the_slice(
        bytes in proptest::collection::vec(any::<u8>(), 1..2_000), pieces in 1usize..700, a: u16, b: u16,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path(), 1 << 20, 1 << 20).unwrap();
        let (a, b) = (usize::from(a) % (bytes.len() + 1), usize::from(b) % (bytes.len() + 1));
        let (start, end) = (a.min(b), a.max(b));
        let seen = runtime.block_on(async {
            let file = spooled(&spool, &bytes, pieces).await;
            range(&file, start as u64..end as u64).await.unwrap()
        });
        prop_assert_eq!(&seen[..], &bytes[start..end]);
    }
}
