//! The fuzzer: libFuzzer's `main` around the target that `TUFGATE_FUZZ` names. `run` is the way to start it.
#![no_main]

use std::{env, fs, path::Path, process, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use tufgate_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

/// Picks the target and writes its first corpus to the folder that `TUFGATE_FUZZ_SEEDS` names.
fn begin() {
    let wanted = env::var("TUFGATE_FUZZ").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == wanted) else {
        for target in TARGETS {
            println!("{}", target.name);
        }
        process::exit(i32::from(wanted != "list"));
    };
    TARGET.get_or_init(|| target);
    if let Some(folder) = env::var_os("TUFGATE_FUZZ_SEEDS") {
        for (at, seed) in (target.seeds)().into_iter().enumerate() {
            let written = fs::write(Path::new(&folder).join(format!("seed-{at}")), seed);
            written.unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        }
    }
}

fuzz_target!(init: begin(), |input: &[u8]| if let Some(target) = TARGET.get() {
    (target.run)(input);
});
