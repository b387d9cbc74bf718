//! Keys behind a program: Vault, other clouds, a YubiKey's tools, an ssh agent.
//!
//! The program gets the bytes to be signed on its standard input, up to its end, and writes one signature to its standard
//! output: as it is, or as text in base64 or hex. ECDSA in DER (RFC 3279, 2.2.3), or as two numbers of 32 bytes (IEEE
//! P1363). RSASSA-PSS with a salt of 32 bytes. Which form it is shows by
//! verifying it, which is done in any case. An exit code other than 0 is a failure,
//! and what it says on standard error is shown. It runs without a shell, in a process group of its own that is killed
//! when its time is up.

use std::{
    fs, io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use base64ct::{Base64, Encoding as _};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::{KeyError, SigningKey, der, public::Public};
use crate::{config::KeyCommand, terminal::printable, tuf::key::Algorithm};

/// Longest output: RSA of 8,192 bits in hex takes 2 KiB.
const MAX_OUTPUT: u64 = 16 << 10;
/// How much of what it says on standard error is shown.
const MAX_SAID: u64 = 1 << 10;

/// A key that a program signs with.
pub struct CommandKey {
    name: String,
    run: Vec<String>,
    timeout: Duration,
    public: Public,
}

/// What a program left.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    said: Vec<u8>,
}

impl CommandKey {
    /// Reads the public key; the program is not run.
    ///
    /// # Errors
    /// [`KeyError::File`], [`KeyError::Unusable`] for what is no public key.
    pub fn open(name: String, command: &KeyCommand) -> Result<Self, KeyError> {
        let text = fs::read_to_string(&command.public).map_err(|source| KeyError::File {
            path: command.public.display().to_string(),
            source,
        })?;
        let public = Public::parse(&text).map_err(|why| KeyError::Unusable {
            key: name.clone(),
            detail: format!("`{}` holds no public key that clients know: {why}", command.public.display()),
            hint: "`public` is a PEM file: `openssl pkey -in KEY -pubout` writes one; ed25519, ECDSA P-256 or RSA of at \
                   least 2048 bits",
        })?;
        Ok(Self {
            name,
            run: command.run.clone(),
            timeout: command.timeout,
            public,
        })
    }

    fn failed(&self, detail: impl Into<String>) -> KeyError {
        KeyError::Unavailable {
            key: self.name.clone(),
            detail: detail.into(),
        }
    }

    fn start(&self) -> Result<Child, KeyError> {
        let [program, arguments @ ..] = &self.run[..] else {
            return Err(self.failed("there is no program"));
        };
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.failed(format!("`{program}` could not be started: {error}")))
    }
}

#[async_trait]
impl SigningKey for CommandKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> &Public {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut child = self.start()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let ended = timeout(self.timeout, attend(&mut child, message)).await;
        // What it may have started holds the pipes open and would outlive it.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let shown = self.run.first().map(String::as_str).unwrap_or_default();
        let ended = match ended {
            Ok(ended) => ended.map_err(|error| self.failed(format!("`{shown}`: {error}")))?,
            Err(_) => return Err(self.failed(format!("`{shown}` took longer than {:?} and was killed", self.timeout))),
        };
        if !ended.status.success() {
            let said = printable(String::from_utf8_lossy(&ended.said).trim());
            let said = if said.is_empty() {
                "and said nothing".to_owned()
            } else {
                format!("and said: {said}")
            };
            return Err(self.failed(format!("`{shown}` ended with {} {said}", ended.status)));
        }
        if ended.output.is_empty() {
            return Err(self.failed(format!("`{shown}` wrote nothing")));
        }
        let signature = readings(&ended.output, self.public.algorithm())
            .into_iter()
            .find(|signature| self.public.verifies(message, signature));
        signature.ok_or_else(|| {
            self.failed(format!(
                "what `{shown}` wrote ({} bytes) is no signature by {}: neither as it is nor as base64 or hex",
                ended.output.len(),
                self.public
            ))
        })
    }
}

/// Feeds it and hears it out. All three at once: a pipe that nobody empties stops the program.
async fn attend(child: &mut Child, message: &[u8]) -> io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read to the end may still have signed; its signature will tell.
            let _ = stdin.write_all(message).await;
        }
    };
    let ((), output, said) = tokio::join!(feed, bounded(stdout, MAX_OUTPUT), bounded(stderr, MAX_SAID));
    Ok(Ended {
        status: child.wait().await?,
        output: output?,
        said: said?,
    })
}

/// The first so many bytes; the rest is read and dropped.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    (&mut pipe).take(most).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// What the output may mean.
fn readings(output: &[u8], algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut readings = vec![output.to_vec()];
    if let Ok(text) = str::from_utf8(output) {
        let text: String = text.split_ascii_whitespace().collect();
        readings.extend(hex::decode(&text));
        readings.extend(Base64::decode_vec(&text));
    }
    if algorithm == Algorithm::EcdsaP256 {
        let fixed: Vec<_> = readings
            .iter()
            .filter_map(|reading| der::ecdsa_signature(reading))
            .collect();
        readings.extend(fixed);
    }
    readings
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::keys::conformance;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn openssl(&self, arguments: &str) {
            let done = std::process::Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(self.0.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }

        /// An ECDSA key of OpenSSL's.
        fn ecdsa(&self, name: &str) {
            self.openssl(&format!(
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.pem"
            ));
            self.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub"));
        }

        fn key(&self, public: &str, script: &str) -> CommandKey {
            let command = KeyCommand {
                run: ["sh", "-c", script].map(str::to_owned).to_vec(),
                public: self.path(public),
                timeout: Duration::from_secs(20),
            };
            CommandKey::open("test".to_owned(), &command).unwrap()
        }
    }

    fn by_openssl(folder: &Path, key: &str, then: &str) -> String {
        format!("openssl dgst -sha256 -sign {}/{key}.pem {then}", folder.display())
    }

    #[tokio::test]
    async fn openssl_signs_in_every_form() {
        let bench = Bench::new();
        bench.ecdsa("a");
        bench.ecdsa("b");
        let folder = bench.0.path();
        let key = |name: &str, then: &str| bench.key(&format!("{name}.pub"), &by_openssl(folder, name, then));
        conformance::suite(&key("a", ""), &key("b", "")).await;
        for then in ["| base64", "| base64 -w0", "| od -An -v -tx1"] {
            super::super::check(&key("a", then)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_message_larger_than_any_pipe_is_signed() {
        let bench = Bench::new();
        bench.ecdsa("a");
        let key = bench.key("a.pub", &by_openssl(bench.0.path(), "a", ""));
        let message = vec![b'x'; 1 << 20];
        let signature = key.sign(&message).await.unwrap();
        assert!(key.public_key().verifies(&message, &signature));
    }

    #[tokio::test]
    async fn what_is_no_signature_is_refused() {
        let bench = Bench::new();
        bench.ecdsa("a");
        bench.ecdsa("b");
        let says = async |script: &str| bench.key("a.pub", script).sign(b"x").await.unwrap_err().to_string();
        assert!(says("cat").await.contains("no signature"));
        assert!(says("cat >/dev/null").await.contains("wrote nothing"));
        let other = by_openssl(bench.0.path(), "b", "");
        assert!(says(&other).await.contains("no signature"));
        let said = says("printf 'no \\033[2J token' >&2; exit 3").await;
        assert!(
            said.contains("exit status: 3") && said.contains(r"no \u{1b}[2J token"),
            "{said}"
        );
        let long = says("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1").await;
        assert!(long.len() < 2_000, "{}", long.len());
        let missing = KeyCommand {
            run: vec!["/no/such/program".to_owned()],
            public: bench.path("a.pub"),
            timeout: Duration::from_secs(1),
        };
        let missing = CommandKey::open("test".to_owned(), &missing).unwrap();
        let error = missing.sign(b"x").await.unwrap_err();
        assert!(
            error.transient() && error.to_string().contains("could not be started"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_what_it_started() {
        let bench = Bench::new();
        bench.ecdsa("a");
        let id = bench.path("id");
        let mut key = bench.key(
            "a.pub",
            &format!("sleep 600 & echo $! >{}.new; mv {0}.new {0}; wait", id.display()),
        );
        key.timeout = Duration::from_secs(2);
        let error = key.sign(b"x").await.unwrap_err();
        assert!(error.to_string().contains("was killed"), "{error}");
        let id = fs::read_to_string(id).unwrap();
        let status = format!("/proc/{}/status", id.trim());
        // It is dead at once and gone when whoever inherited it has looked.
        let dead = || fs::read_to_string(&status).map_or(true, |status| status.contains("State:\tZ"));
        while !dead() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_public_key_that_clients_do_not_know_is_refused() {
        let bench = Bench::new();
        bench.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out c.pem");
        bench.openssl("pkey -in c.pem -pubout -out c.pub");
        for (public, why) in [("c.pub", "another curve than P-256"), ("c.pem", "a private key")] {
            let command = KeyCommand {
                run: vec!["true".to_owned()],
                public: bench.path(public),
                timeout: Duration::from_secs(1),
            };
            let error = CommandKey::open("test".to_owned(), &command).err().unwrap();
            assert!(!error.transient() && error.to_string().contains(why), "{error}");
        }
    }
}
