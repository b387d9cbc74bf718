//! Whatever happens in whatever order: bounds hold, and no other bytes come out.

use std::{collections::HashSet, os::unix::fs::FileExt};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Act {
    Fill(usize, Body),
    Find(usize),
    Forget(usize),
    Tamper(usize, u64),
    Remove(usize),
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Right,
    Wrong,
    Short,
    Dropped,
}

/// Lengths on both sides of `memory_max_object`, together more than there is room for.
const LENGTHS: [usize; 10] = [1, 700, 4_096, 4_097, 9_000, 20_000, 30_000, 50_000, 70_000, 200_000];
const DISK: u64 = 240_000;

fn act() -> impl Strategy<Value = Act> {
    let which = 0..LENGTHS.len();
    let body = prop_oneof![
        4 => Just(Body::Right), 1 => Just(Body::Wrong), 1 => Just(Body::Short), 1 => Just(Body::Dropped),
    ];
    prop_oneof![
        6 => (which.clone(), body).prop_map(|(which, body)| Act::Fill(which, body)),
        6 => which.clone().prop_map(Act::Find),
        1 => which.clone().prop_map(Act::Forget),
        1 => (which.clone(), any::<u64>()).prop_map(|(which, at)| Act::Tamper(which, at)),
        1 => which.prop_map(Act::Remove),
        1 => Just(Act::Restart),
    ]
}

async fn play(acts: Vec<Act>) {
    let mut world = World::new();
    world.config = config::Cache {
        memory: 8_000,
        memory_max_object: 4_096,
        disk: DISK,
        max_object: 200_000,
        ..world.config.clone()
    };
    let bodies: Vec<Bytes> = (0..).zip(LENGTHS).map(|(seed, length)| body(seed, length)).collect();
    let mut cache = world.open();
    let mut absent: HashSet<usize> = (0..bodies.len()).collect();
    let mut reading = Vec::new();
    for act in acts {
        match act {
            Act::Fill(which, how) => {
                let right = &bodies[which];
                let Some(mut fill) = cache.fill(Expected::of(right)) else {
                    continue;
                };
                let mut bytes = right.to_vec();
                match how {
                    Body::Right | Body::Dropped => {}
                    Body::Wrong => bytes[right.len() / 3] ^= 0x40,
                    Body::Short => drop(bytes.pop()),
                }
                pour(&mut fill, &bytes.into(), 1_500).await;
                match how {
                    Body::Dropped => drop(fill),
                    Body::Right => {
                        if fill.finish(|| {}).await.is_ok() {
                            absent.remove(&which);
                        }
                    }
                    Body::Wrong | Body::Short => {
                        assert!(matches!(fill.finish(|| {}).await, Err(FillError::Mismatch(_))));
                    }
                }
            }
            Act::Find(which) => {
                let found = cache.find(&Expected::of(&bodies[which])).await;
                if let Some(bytes) = found {
                    assert_eq!(bytes, bodies[which]);
                    assert!(!absent.contains(&which), "{which} was never kept, or forgotten");
                    reading.push(bytes);
                    if reading.len() > 2 {
                        reading.remove(0);
                    }
                }
            }
            Act::Forget(which) => {
                cache.forget(&Expected::of(&bodies[which]).digest);
                absent.insert(which);
            }
            Act::Tamper(which, at) => {
                let file = world.file(&bodies[which]);
                if file.exists() {
                    tamper(&file, |file| {
                        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
                        let at = at % bodies[which].len() as u64;
                        file.write_all_at(&[!bodies[which][at as usize]], at).unwrap();
                    });
                    // What is mapped is the file: readers of a rewritten one are the limit of `mapping.rs`.
                    reading.clear();
                    absent.insert(which);
                }
            }
            Act::Remove(which) => {
                let _ = fs::remove_file(world.file(&bodies[which]));
            }
            Act::Restart => {
                reading.clear();
                drop(cache);
                // What was dropped halfway may still be at work.
                cache = world.reopen().await;
            }
        }
        assert!(world.on_disk() <= DISK, "{act:?}: {} bytes on disk", world.on_disk());
        assert!(world.bytes("disk") as u64 <= DISK, "{act:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bounds_hold_and_no_other_bytes_come_out(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(acts));
    }
}
