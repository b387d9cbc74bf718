//! Herds: one fetch, many readers.

use futures_util::{FutureExt, future::join_all};

use super::*;
use crate::cache::{Broken, Follower, Herd, Joined, Leader, Opening, Relay, Stop};

type Shared = Herd<u32, &'static str, &'static str>;
type Reader = Follower<&'static str, &'static str>;

fn lead(herd: &Shared, key: u32) -> (Leader<u32, &'static str, &'static str>, Reader) {
    match herd.join(key) {
        Joined::Lead(leader, follower) => (leader, follower),
        Joined::Follow(_) => panic!("{key} is led already"),
    }
}

fn follow(herd: &Shared, key: u32) -> Reader {
    match herd.join(key) {
        Joined::Follow(follower) => follower,
        Joined::Lead(..) => panic!("nobody leads {key}"),
    }
}

/// Pushes `body[from..to]` in chunks.
async fn push(
    relay: &mut Relay<u32, &'static str, &'static str>,
    body: &Bytes,
    range: std::ops::Range<usize>,
    chunk: usize,
) -> Result<(), Stop> {
    for at in range.clone().step_by(chunk) {
        relay.push(body.slice(at..range.end.min(at + chunk))).await?;
    }
    Ok(())
}

/// Everything a follower gets until it must wait.
async fn so_far(follower: &mut Reader, got: &mut Vec<u8>, until: usize) {
    while got.len() < until {
        got.extend_from_slice(&follower.next().await.unwrap().unwrap());
    }
    assert!(
        follower.next().now_or_never().is_none(),
        "{} bytes, then it waits",
        got.len()
    );
}

async fn all(follower: &mut Reader) -> Result<Vec<u8>, Broken<&'static str>> {
    let mut got = Vec::new();
    while let Some(bytes) = follower.next().await? {
        got.extend_from_slice(&bytes);
    }
    Ok(got)
}

#[tokio::test]
async fn the_last_chunk_waits_for_the_verdict() {
    let mut world = World::new();
    let herd = Shared::new(world.open());
    // In memory, in a file, and too large for the cache.
    for (key, length) in (0..).zip([40_000, 2 * MIB, 40 * MIB]) {
        let whole = body(key, length);
        let (leader, mut first) = lead(&herd, key);
        let mut second = follow(&herd, key);
        assert!(first.opening().now_or_never().is_none());
        let mut relay = leader.open("head", Expected::of(&whole));
        assert_eq!(first.opening().await, Ok(Opening::Shared("head")));
        let streams = length < 40 * MIB;
        let mut got = Vec::new();
        if streams {
            assert_eq!(second.opening().await, Ok(Opening::Shared("head")));
            push(&mut relay, &whole, 0..length, 3_000).await.unwrap();
            let before = length - (length - 1) % 3_000 - 1;
            so_far(&mut first, &mut got, before).await;
            assert_eq!(got.len(), before, "all but the last chunk");
        } else {
            assert_eq!(second.opening().await, Ok(Opening::EachForItself));
            let reading = async {
                so_far(&mut first, &mut got, length - 8_192).await;
                assert_eq!(got.len(), length - 8_192);
            };
            let (pushed, ()) = tokio::join!(push(&mut relay, &whole, 0..length, 8_192), reading);
            pushed.unwrap();
        }
        let kept = relay.finish(|| {}).await.unwrap();
        assert_eq!(kept.map(Expected::of), streams.then(|| Expected::of(&whole)));
        got.extend(all(&mut first).await.unwrap());
        assert!(got == whole);
        if streams {
            assert!(all(&mut second).await.unwrap() == whole);
        }
    }
    assert_eq!(herd.flights(), 0);
}

#[tokio::test]
async fn other_bytes_never_arrive_whole() {
    let mut world = World::new();
    let cache = world.open();
    let herd = Shared::new(cache.clone());
    for (key, length) in (0..).zip([40_000, 2 * MIB, 33 * MIB]) {
        let recorded = body(key, length);
        let mut other = recorded.to_vec();
        other[0] ^= 1;
        let other = Bytes::from(other);
        let (leader, mut first) = lead(&herd, key);
        let mut relay = leader.open("head", Expected::of(&recorded));
        let reading = async {
            let mut got = 0;
            loop {
                match first.next().await {
                    Ok(Some(bytes)) => got += bytes.len(),
                    Ok(None) => panic!("an end after {got} bytes"),
                    Err(why) => return (got, why),
                }
            }
        };
        let leading = async {
            push(&mut relay, &other, 0..length, 10_000).await.unwrap();
            relay.finish(|| {}).await.unwrap_err()
        };
        let ((got, why), mismatch) = tokio::join!(reading, leading);
        assert!(got < length && why == Broken::Mismatch(mismatch), "{got} {why:?}");
        assert_eq!(cache.find(&Expected::of(&recorded)).await.map(Expected::of), None);
        assert_eq!(cache.find(&Expected::of(&other)).await.map(Expected::of), None);
    }
    // More bytes than recorded: found out at once.
    let recorded = body(9, 10_000);
    let (leader, mut first) = lead(&herd, 9);
    let mut relay = leader.open("head", Expected::of(&recorded));
    push(&mut relay, &recorded, 0..10_000, 10_000).await.unwrap();
    let Err(Stop::Mismatch(mismatch)) = relay.push(Bytes::from_static(b"x")).await else {
        panic!("one too many")
    };
    assert_eq!(first.next().await, Err(Broken::Mismatch(mismatch)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_readers_of_every_speed_make_one_fetch() {
    let mut world = World::new();
    world.config.memory = 8 << 20; // the file stays mapped when all are gone
    let cache = world.open();
    let herd = Shared::new(cache.clone());
    let whole = body(1, 5 * MIB + 4_321);
    let expected = Expected::of(&whole);
    let (leader, first) = lead(&herd, 1);
    let mut readers = vec![tokio::spawn(read(first, 0, whole.clone()))];
    for number in 1..50 {
        readers.push(tokio::spawn(read(follow(&herd, 1), number, whole.clone())));
    }
    let mut relay = leader.open("head", expected);
    let chunk = 60_000;
    for (number, at) in (50..).zip((0..whole.len()).step_by(chunk)) {
        relay.push(whole.slice(at..whole.len().min(at + chunk))).await.unwrap();
        // They come all the way through.
        if number < 100 {
            readers.push(tokio::spawn(read(follow(&herd, 1), number, whole.clone())));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(Expected::of(relay.finish(|| {}).await.unwrap().unwrap()), expected);
    let outcomes = join_all(readers).await;
    let whole_ones = outcomes.into_iter().map(Result::unwrap).filter(|whole| *whole).count();
    assert_eq!(whole_ones, 90, "every tenth leaves");
    assert_eq!(
        (herd.flights(), cache.ready(&expected).map(Expected::of)),
        (0, Some(Expected::of(&whole)))
    );
    assert_eq!((world.fills("kept"), world.fills("aborted")), (1, 0));
}

/// Reads to the end, or leaves in the middle; checks every byte.
async fn read(mut follower: Reader, number: usize, whole: Bytes) -> bool {
    assert_eq!(follower.opening().await, Ok(Opening::Shared("head")));
    let mut at = 0;
    while let Some(bytes) = follower.next().await.unwrap() {
        assert!(bytes == whole.slice(at..at + bytes.len()));
        at += bytes.len();
        if number % 10 == 9 && at > number * 10_000 {
            return false;
        }
        for _ in 0..number % 7 * 10 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(at, whole.len());
    true
}

#[tokio::test]
async fn a_reader_that_sleeps_costs_neither_memory_nor_time() {
    let mut world = World::new();
    let herd = Shared::new(world.open());
    let whole = body(2, 8 * MIB);
    let (leader, mut fast) = lead(&herd, 2);
    let mut asleep = follow(&herd, 2);
    let mut relay = leader.open("head", Expected::of(&whole));
    let mut got = Vec::new();
    for at in (0..whole.len()).step_by(64 * KIB) {
        relay.push(whole.slice(at..at + 64 * KIB)).await.unwrap();
        so_far(&mut fast, &mut got, at).await;
        assert!(relay.held() <= 2 * MIB as u64, "{} bytes in memory", relay.held());
    }
    relay.finish(|| {}).await.unwrap();
    assert!(all(&mut asleep).await.unwrap() == whole);
}

#[tokio::test]
async fn readers_that_lag_read_from_the_file() {
    let mut world = World::new();
    let herd = Shared::new(world.open());
    let whole = body(3, 6 * MIB);
    let (leader, mut first) = lead(&herd, 3);
    let mut relay = leader.open("head", Expected::of(&whole));
    push(&mut relay, &whole, 0..5 * MIB, 64 * KIB).await.unwrap();
    let mut late = follow(&herd, 3);
    for reader in [&mut first, &mut late] {
        let mut got = Vec::new();
        so_far(reader, &mut got, 5 * MIB - 64 * KIB).await;
        assert!(got == whole[..5 * MIB - 64 * KIB]);
    }
    relay.fail("the upstream hung up");
    assert_eq!(first.next().await, Err(Broken::Failed("the upstream hung up")));
    drop((first, late));
    world.settled().await;
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn a_leader_that_is_lost_or_has_no_answer_is_told_of() {
    let mut world = World::new();
    let herd = Shared::new(world.open());
    let (leader, mut first) = lead(&herd, 1);
    drop(leader);
    assert_eq!(first.opening().await, Err(Broken::Lost));
    let (leader, mut first) = lead(&herd, 1);
    leader.fail("refused");
    assert_eq!(first.opening().await, Err(Broken::Failed("refused")));
    let (leader, mut first) = lead(&herd, 1);
    let mut second = follow(&herd, 1);
    leader.each_for_itself();
    assert_eq!(first.opening().await, Ok(Opening::EachForItself));
    assert_eq!(second.opening().await, Ok(Opening::EachForItself));
    let whole = body(4, 20_000);
    let (leader, mut first) = lead(&herd, 1);
    let mut relay = leader.open("head", Expected::of(&whole));
    push(&mut relay, &whole, 0..20_000, 10_000).await.unwrap();
    drop(relay);
    assert_eq!(first.next().await, Err(Broken::Lost));
    assert_eq!(herd.flights(), 0);
}

#[tokio::test]
async fn without_room_the_first_streams_at_its_own_pace() {
    let mut world = World::new();
    world.config.disk = 0;
    let herd = Shared::new(world.open());
    let whole = body(5, 3 * MIB);
    let (leader, mut first) = lead(&herd, 5);
    let mut relay = leader.open("head", Expected::of(&whole));
    let mut late = follow(&herd, 5);
    assert_eq!(late.opening().await, Ok(Opening::EachForItself));
    assert_eq!(late.next().await, Err(Broken::Lost));
    // The leader cannot run ahead.
    assert!(push(&mut relay, &whole, 0..3 * MIB, 100_000).now_or_never().is_none());
    assert!(relay.held() <= MIB as u64, "{}", relay.held());
    let at = relay.end() as usize;
    let reading = all(&mut first);
    let leading = async {
        push(&mut relay, &whole, at..3 * MIB, 100_000).await.unwrap();
        assert_eq!(relay.finish(|| {}).await, Ok(None));
    };
    let (got, ()) = tokio::join!(reading, leading);
    assert!(got.unwrap() == whole);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_is_stopped_unless_little_is_missing() {
    let mut world = World::new();
    let cache = world.open();
    let herd = Shared::new(cache.clone());
    let whole = body(6, 4 * MIB);
    let expected = Expected::of(&whole);
    let (leader, second) = lead(&herd, 6);
    // With much missing.
    let mut relay = leader.open("head", expected);
    push(&mut relay, &whole, 0..MIB, 100_000).await.unwrap();
    assert!(relay.abandoned().now_or_never().is_none());
    drop(second);
    assert_eq!(relay.push(whole.slice(MIB..MIB + 9)).await, Err(Stop::Abandoned));
    drop(relay);
    // With little missing it ends, and is kept.
    let (leader, third) = lead(&herd, 6);
    let mut relay = leader.open("head", expected);
    push(&mut relay, &whole, 0..3 * MIB, 100_000).await.unwrap();
    drop(third);
    assert!(relay.abandoned().now_or_never().is_none());
    push(&mut relay, &whole, 3 * MIB..4 * MIB, 100_000).await.unwrap();
    relay.finish(|| {}).await.unwrap();
    assert_eq!(
        (herd.flights(), cache.ready(&expected).map(Expected::of)),
        (0, Some(Expected::of(&whole)))
    );
}

#[tokio::test]
async fn a_range_waits_for_the_verdict() {
    let mut world = World::new();
    let herd = Shared::new(world.open());
    let whole = body(7, MIB);
    let (leader, first) = lead(&herd, 7);
    let mut relay = leader.open("head", Expected::of(&whole));
    let mut range = Box::pin(first.verified());
    push(&mut relay, &whole, 0..MIB, 100_000).await.unwrap();
    assert!(range.as_mut().now_or_never().is_none());
    relay.finish(|| {}).await.unwrap();
    assert_eq!(range.await.unwrap().unwrap().slice(5..9), whole.slice(5..9));
    // Too large to keep: the reader asks for itself, and nobody waits for it.
    let huge = body(8, 33 * MIB);
    let (leader, first) = lead(&herd, 8);
    let relay = leader.open("head", Expected::of(&huge));
    assert_eq!(first.verified().await, Ok(None));
    assert!(relay.abandoned().now_or_never().is_some());
}
