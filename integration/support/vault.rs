//! Where operators keep keys: SoftHSM2 with a token in a temporary folder, moto's KMS, a program.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::clients::python;

/// Runs OpenSSL to its end.
pub fn openssl(folder: &Path, line: &str) {
    let done = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A fresh key of OpenSSL's in `NAME.pem`, its public half in `NAME.pub`.
pub fn make_key(folder: &Path, name: &str, algorithm: &str) {
    let how = match algorithm {
        "ed25519" => "genpkey -algorithm ed25519",
        "ecdsa" => "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        _ => "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    };
    openssl(folder, &format!("{how} -out {name}.pem"));
    openssl(folder, &format!("pkey -in {name}.pem -pubout -out {name}.pub"));
}

/// Writes a file that is its owner's alone.
pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A token named `tufgate` with the PIN `1234`.
pub struct SoftHsm {
    folder: tempfile::TempDir,
}

impl SoftHsm {
    pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

    /// A token with these keys: label and algorithm.
    pub fn start(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        fs::create_dir(dir.join("tokens")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            dir.join("tokens").display()
        );
        fs::write(dir.join("softhsm2.conf"), conf).unwrap();
        write_private(&dir.join("pin"), "1234\n");
        write_private(&dir.join("wrong-pin"), "4321\n");
        let this = Self { folder };
        this.util("--init-token --free --label tufgate --pin 1234 --so-pin 5678");
        for (at, (label, algorithm)) in keys.iter().enumerate() {
            make_key(&dir, label, algorithm);
            let id = format!("{:02x}", at + 1);
            let line = format!("--import {label}.pem --token tufgate --label {label} --id {id} --pin 1234");
            this.util(&line);
        }
        this
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// `SOFTHSM2_CONF`, which its library reads.
    pub fn conf(&self) -> String {
        self.dir().join("softhsm2.conf").display().to_string()
    }

    fn util(&self, line: &str) {
        let done = Command::new("softhsm2-util")
            .args(line.split(' '))
            .current_dir(self.dir())
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .expect("softhsm2-util; `integration/install tests` gets it");
        assert!(
            done.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// What stands under `[keys.ROLE]`.
    pub fn table(&self, role: &str, label: &str, pin: &str) -> String {
        let module = Self::MODULE;
        let pin = self.dir().join(pin);
        format!(
            "[keys.{role}.pkcs11]\nmodule = {module:?}\ntoken = \"tufgate\"\nlabel = {label:?}\npin_file = {pin:?}\n\
             timeout = \"20s\"\n"
        )
    }

    /// Pulls the token out.
    pub fn unplug(&self) {
        fs::rename(self.dir().join("tokens"), self.dir().join("away")).unwrap();
        fs::create_dir(self.dir().join("tokens")).unwrap();
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        fs::remove_dir(self.dir().join("tokens")).unwrap();
        fs::rename(self.dir().join("away"), self.dir().join("tokens")).unwrap();
    }
}

/// moto's KMS; ends with its standard input, or when dropped.
pub struct Kms {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Kms {
    /// With these keys: alias and spec.
    pub fn start(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/clients/kms.py"))
            .arg(folder.path().join("trouble"))
            .args(keys.iter().map(|(alias, spec)| format!("{alias}={spec}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python; `integration/install tests` gets it");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("moto's port");
        Self { child, port, folder }
    }

    /// What stands under `[keys.ROLE]`.
    pub fn table(&self, role: &str, alias: &str) -> String {
        format!(
            "[keys.{role}.aws_kms]\nkey = \"alias/{alias}\"\nregion = \"eu-west-1\"\n\
             endpoint = \"http://127.0.0.1:{}\"\n",
            self.port
        )
    }

    /// Every answer is this exception from now on.
    pub fn trouble(&self, exception: &str) {
        fs::write(self.trouble_file(), exception).unwrap();
    }

    /// Answers again.
    pub fn mend(&self) {
        fs::remove_file(self.trouble_file()).unwrap();
    }

    fn trouble_file(&self) -> PathBuf {
        self.folder.path().join("trouble")
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keys of OpenSSL's behind a shell script that fails while the file `broken` exists.
pub struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    /// With these keys: name and algorithm.
    pub fn start(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        for (name, algorithm) in keys {
            make_key(&dir, name, algorithm);
        }
        let script = format!(
            "#!/bin/sh\n\
             # sign NAME ALGORITHM FORM\n\
             set -e\n\
             cd {}\n\
             if [ -e broken ]; then echo 'the vault is sealed' >&2; exit 7; fi\n\
             message=$(mktemp -p .)\n\
             trap 'rm -f \"$message\"' EXIT\n\
             cat >\"$message\"\n\
             case $2 in\n\
             ed25519) openssl pkeyutl -sign -rawin -inkey $1.pem -in \"$message\" ;;\n\
             ecdsa) openssl dgst -sha256 -sign $1.pem \"$message\" ;;\n\
             rsa) openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sign $1.pem \
             \"$message\" ;;\n\
             esac | if [ \"$3\" = base64 ]; then base64; else cat; fi\n",
            dir.display()
        );
        let path = dir.join("sign");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder }
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// What stands under `[keys.ROLE]`.
    pub fn table(&self, role: &str, name: &str, algorithm: &str, form: &str) -> String {
        let (sign, public) = (self.dir().join("sign"), self.dir().join(format!("{name}.pub")));
        format!(
            "[keys.{role}.command]\nrun = [{sign:?}, {name:?}, {algorithm:?}, {form:?}]\npublic = {public:?}\n\
             timeout = \"20s\"\n"
        )
    }

    pub fn break_down(&self) {
        fs::write(self.dir().join("broken"), "").unwrap();
    }

    pub fn mend(&self) {
        fs::remove_file(self.dir().join("broken")).unwrap();
    }
}
