#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// A folder with a certificate and its key.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        home.issue((2026, 1), (2027, 1));
        home
    }

    /// Writes a fresh pair, valid from the first of one month to the first of another.
    fn issue(&self, from: (i32, u8), to: (i32, u8)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, 1);
        params.not_after = date_time_ymd(to.0, to.1, 1);
        self.put("chain.pem", &params.self_signed(&key).unwrap().pem());
        self.put("key.pem", &key.serialize_pem());
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<Certificate, TlsError> {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Certificate::load(&self.path("chain.pem"), &self.path("key.pem"), now)
    }

    /// What is said, and what to do.
    fn refusal(&self) -> (String, String) {
        let error = self.load().unwrap_err();
        (error.to_string(), error.hint().unwrap())
    }
}

#[test]
fn a_pair_is_loaded_with_its_end() {
    let home = Home::new();
    let loaded = home.load().unwrap();
    assert_eq!(loaded.expires.to_string(), "2027-01-01T00:00:00Z");
    server(Shown::new(&loaded), &[b"h2"]).unwrap();
}

#[test]
fn a_chain_may_hold_issuers_and_text_between() {
    let home = Home::new();
    let own = fs::read_to_string(home.path("chain.pem")).unwrap();
    let key = fs::read_to_string(home.path("key.pem")).unwrap();
    home.issue((2026, 1), (2027, 1));
    let issuer = fs::read_to_string(home.path("chain.pem")).unwrap();
    home.put("chain.pem", &format!("the server\n{own}\nits issuer\n{issuer}"));
    home.put("key.pem", &key);
    assert_eq!(home.load().unwrap().key.cert.len(), 2);
}

#[test]
fn what_clients_would_stumble_over_is_told() {
    let home = Home::new();
    home.issue((2025, 1), (2026, 5));
    let (said, hint) = home.refusal();
    assert!(said.contains("expired at 2026-05-01T00:00:00Z"), "{said}");
    assert!(hint.contains("renew"), "{hint}");

    home.issue((2026, 7), (2027, 5));
    assert!(home.refusal().0.contains("valid only from 2026-07-01"));

    let chain = fs::read_to_string(home.path("chain.pem")).unwrap();
    home.issue((2026, 1), (2027, 1));
    let key = fs::read_to_string(home.path("key.pem")).unwrap();
    home.put("chain.pem", &chain);
    assert!(home.refusal().0.contains("does not belong to the certificate"));

    home.put("key.pem", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let (said, hint) = home.refusal();
    assert!(
        said.ends_with("is encrypted") && hint.contains("openssl pkey"),
        "{said}"
    );
    home.put("key.pem", &chain);
    assert!(home.refusal().0.contains("no private key in PEM"));
    home.put(
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    assert!(home.refusal().0.starts_with("the key `"));
    home.put("key.pem", &key);
    for text in ["", "no PEM", &key] {
        home.put("chain.pem", text);
        assert!(home.refusal().0.contains("no certificate in PEM"), "{text}");
    }
    home.put(
        "chain.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let (said, _) = home.refusal();
    assert!(said.starts_with("the certificate `"), "{said}");
    fs::remove_file(home.path("chain.pem")).unwrap();
    assert!(home.refusal().0.starts_with("cannot read the certificate"));
}

#[test]
fn a_key_is_not_everybodys() {
    let home = Home::new();
    let mode = |mode| fs::set_permissions(home.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let (said, hint) = home.refusal();
    assert!(
        said.contains("has mode 644") && hint.starts_with("chmod o-rwx"),
        "{said}"
    );
    for good in [0o600, 0o640, 0o400] {
        mode(good);
        home.load().unwrap();
    }
    // Through a link it is the file's mode that counts.
    fs::rename(home.path("key.pem"), home.path("archived")).unwrap();
    std::os::unix::fs::symlink(home.path("archived"), home.path("key.pem")).unwrap();
    home.load().unwrap();
}

#[test]
fn authorities_are_certificates_and_at_least_one() {
    let home = Home::new();
    let roots = Roots::file(&home.path("chain.pem")).unwrap();
    assert_eq!(roots.certificates().len(), 1);
    roots.client().unwrap();
    assert!(Roots::system_and(&roots).unwrap().certificates().len() > roots.certificates().len() - 1);
    let error = Roots::file(&home.path("key.pem")).unwrap_err();
    assert!(error.to_string().contains("no certificate in PEM"), "{error}");
    let error = Roots::file(&home.path("none.pem")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the authorities"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), body in "[A-Za-z0-9+/=\n]{0,200}") {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        for text in [bytes, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()] {
            fs::write(home.path("chain.pem"), &text).unwrap();
            home.put("key.pem", &format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"));
            prop_assert!(home.load().is_err());
            let _ = Roots::pem(&text);
        }
    }
}
