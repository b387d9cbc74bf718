//! Keys, drafts and signers of a ceremony, as an operator has them: files and the program.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::gate::{Gate, tufgate};

/// Makes an Ed25519 key with OpenSSL: `NAME.pem`, of mode 600, and `NAME.pub`.
pub fn new_key(dir: &Path, name: &str) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
}

/// What a command wrote to both of its outputs.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

/// Runs the program in the gate's folder and expects it to do what it is told.
#[track_caller]
pub fn done(gate: &Gate, arguments: &[&str]) -> String {
    let output = tufgate(&gate.dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// Runs the program and expects this exit code and these words.
#[track_caller]
pub fn refused(gate: &Gate, arguments: &[&str], code: i32, why: &str) {
    let output = tufgate(&gate.dir, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    assert!(said(&output).contains(why), "{arguments:?}: {}", said(&output));
}

/// A whole ceremony: draft, every signature, publication. `role` is `root` or `targets`.
#[track_caller]
pub fn ceremony(gate: &Gate, role: &str, draft: &str, edits: &[&str], signers: &[&str], publish: &[&str]) {
    done(gate, &[&[role, "draft", "--out", draft, "--yes"], edits].concat());
    for signer in signers {
        let sealed = format!("{signer}.pem");
        done(gate, &[role, "sign", draft, "--yes", "--key", &sealed]);
    }
    done(gate, &[&[role, "publish", draft], publish].concat());
}
