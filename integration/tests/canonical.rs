//! The canonical encoder against python-tuf's, on random input.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Map, Value};

/// Reads JSON lines, writes each in hex as securesystemslib (python-tuf's encoder) puts it.
const PYTHON: &str = "
import json, sys
from securesystemslib.formats import encode_canonical
for line in sys.stdin:
    print(encode_canonical(json.loads(line)).encode('utf-8').hex())
";

fn random_text(random: &mut impl FnMut() -> u64) -> String {
    let length = random() % 12;
    (0..length)
        .map(|_| match random() % 6 {
            0 => char::from_u32(random() as u32 % 0x20).unwrap(),
            1 => ['"', '\\', '/', ' ', '!', '\u{7f}'][random() as usize % 6],
            2 => char::from_u32(0xa0 + random() as u32 % 0x500).unwrap(),
            3 => char::from_u32(0x4e00 + random() as u32 % 0x1000).unwrap(),
            _ => char::from(b'a' + (random() % 26) as u8),
        })
        .collect()
}

fn random_value(random: &mut impl FnMut() -> u64, depth: u32) -> Value {
    match random() % if depth == 0 { 4 } else { 6 } {
        0 => Value::Null,
        1 => Value::Bool(random().is_multiple_of(2)),
        2 => Value::from(random() as i64 >> (random() % 64)),
        3 => Value::from(random_text(random)),
        4 => (0..random() % 5).map(|_| random_value(random, depth - 1)).collect(),
        _ => {
            let map: Map<String, Value> = (0..random() % 6)
                .map(|_| (random_text(random), random_value(random, depth - 1)))
                .collect();
            map.into()
        }
    }
}

#[test]
fn python_tuf_encodes_the_same_bytes() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let seed = state;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let values: Vec<Value> = (0..3_000).map(|_| random_value(&mut random, 4)).collect();
    let built = std::env::var("TUFGATE_CLIENTS")
        .unwrap_or_else(|_| format!("{}/target/integration", env!("CARGO_MANIFEST_DIR")));
    let mut python = Command::new(format!("{built}/venv/bin/python"))
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines: Vec<u8> = Vec::new();
    for value in &values {
        serde_json::to_writer(&mut lines, value).unwrap();
        lines.push(b'\n');
    }
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&lines).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().count(), values.len(), "seed {seed}");
    for (value, theirs) in values.iter().zip(theirs.lines()) {
        let ours = tufgate::internals::tuf::canonical::to_vec(value).unwrap();
        assert_eq!(hex::encode(ours), theirs, "seed {seed}: {value}");
    }
}
