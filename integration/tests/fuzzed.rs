//! Every fuzz target on its first corpus, and on every input that once broke it: what `integration/fuzz/run` begins with.

use std::{fs, path::Path};

use crate::fuzz::TARGETS;

#[test]
fn every_target_takes_its_seeds_and_what_once_broke_it() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in seeds {
            (target.run)(&seed);
        }
        let kept = Path::new("integration/fuzz/regressions").join(target.name);
        // Nothing there: it never broke.
        for entry in fs::read_dir(kept).into_iter().flatten() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            (target.run)(&fs::read(path).unwrap());
        }
    }
}
