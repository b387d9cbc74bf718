#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use super::*;
use crate::keys::conformance;

const ALL: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::RsaPss];

fn configured(path: &Path, passphrase: Option<Passphrase>) -> KeyFile {
    KeyFile {
        path: path.to_owned(),
        passphrase,
    }
}

fn passphrase_file(dir: &Path, name: &str, text: &str) -> Option<Passphrase> {
    let path = dir.join(name);
    write_new(&path, text.as_bytes(), 0o600).unwrap();
    Some(Passphrase::File(path))
}

/// Runs OpenSSL in a folder; what it writes there is for the owner alone.
fn openssl(dir: &Path, line: &str) -> Vec<u8> {
    let done = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    for entry in fs::read_dir(dir).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    done.stdout
}

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    for (at, algorithm) in ALL.into_iter().enumerate() {
        let (plain, sealed) = (dir.path().join(format!("{at}a")), dir.path().join(format!("{at}b")));
        let a = FileKey::create_as(&plain, algorithm, "alice", None).unwrap();
        FileKey::create_as(&sealed, algorithm, "bob", Some("correct horse")).unwrap();
        let passphrase = passphrase_file(dir.path(), &format!("{at}pass"), "correct horse\n");
        let b = FileKey::open(&configured(&sealed, passphrase)).unwrap();
        assert_eq!(FileKey::open(&configured(&plain, None)).unwrap().key_id(), a.key_id());
        assert_eq!((a.name(), b.name()), ("alice", "bob"));
        conformance::suite(&a, &b).await;
        assert!(fs::read_to_string(&sealed).unwrap().contains(ENCRYPTED));
        let mode = fs::metadata(&plain).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn openssl_reads_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for (at, algorithm) in ALL.into_iter().enumerate() {
        for passphrase in [None, Some("password")] {
            let name = format!("{at}{}.pem", passphrase.is_some());
            let key = FileKey::create_as(&dir.path().join(&name), algorithm, "x", passphrase).unwrap();
            let public = openssl(dir.path(), &format!("pkey -pubout -passin pass:password -in {name}"));
            assert_eq!(String::from_utf8(public).unwrap(), key.public_key().to_pem().unwrap());
        }
    }
}

/// Every form that OpenSSL writes a key in is the same key.
#[tokio::test]
async fn what_openssl_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = |line: &str| openssl(dir.path(), line);
    let forms: [(&str, &str, &[&str]); 3] = [
        (
            "ed",
            "genpkey -algorithm ed25519",
            &[
                "pkcs8 -topk8 -scrypt",
                "pkcs8 -topk8 -v2 aes-256-cbc",
                "pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA512",
            ],
        ),
        (
            "ec",
            "ecparam -name prime256v1 -genkey",
            &["pkey", "ec", "pkcs8 -topk8 -scrypt", "pkcs8 -topk8 -v2 aes-256-cbc"],
        ),
        (
            "rsa",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            &["pkey -traditional", "rsa -traditional", "pkcs8 -topk8 -scrypt"],
        ),
    ];
    for (name, make, others) in forms {
        run(&format!("{make} -out {name}"));
        let first = FileKey::read(&dir.path().join(name), None).unwrap();
        assert_eq!(first.name(), name);
        crate::keys::check(&first).await.unwrap();
        let spki = run(&format!("pkey -in {name} -pubout -outform DER"));
        assert_eq!(
            first.public_key().fingerprint().unwrap(),
            crate::digest::Digest::of(spki)
        );
        for (at, form) in others.iter().enumerate() {
            let out = format!("{name}-{at}");
            let sealed = if form.contains("topk8") {
                " -passout pass:secret"
            } else {
                ""
            };
            run(&format!("{form} -in {name} -out {out}{sealed}"));
            let other = FileKey::read(&dir.path().join(&out), Some("secret")).unwrap();
            assert_eq!(other.key_id(), first.key_id(), "{form}");
            if !sealed.is_empty() {
                let path = dir.path().join(&out);
                assert!(matches!(
                    FileKey::read(&path, None),
                    Err(KeyError::NeedsPassphrase { .. })
                ));
                assert!(matches!(
                    FileKey::read(&path, Some("no")),
                    Err(KeyError::Passphrase { .. })
                ));
            }
        }
    }
}

#[test]
fn keys_in_hex_and_json_are_read() {
    let dir = tempfile::tempdir().unwrap();
    // RFC 8032, 7.1, test 1.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let json = |private: &str| {
        format!(
            r#"{{"keytype": "ed25519", "scheme": "ed25519", "keyid_hash_algorithms": ["sha256", "sha512"],
                "keyval": {{"public": "{public}", "private": "{private}"}}}}"#
        )
    };
    let both = format!("{seed}{public}");
    for (at, text) in [
        format!("{}\n", seed.to_uppercase()),
        both.clone(),
        json(seed),
        json(&both),
    ]
    .iter()
    .enumerate()
    {
        let path = dir.path().join(at.to_string());
        write_new(&path, text.as_bytes(), 0o600).unwrap();
        let key = FileKey::read(&path, None).unwrap();
        let listed = serde_json::to_value(key.public()).unwrap();
        assert_eq!(listed["keyval"]["public"], public);
    }
}

#[test]
fn what_is_no_key_of_the_clients_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let why = |name: &str| match FileKey::read(&dir.path().join(name), None) {
        Err(KeyError::Parse { detail, .. }) => detail,
        other => panic!("{name}: {other:?}"),
    };
    for (name, line, expected) in [
        (
            "p384",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
            "another curve than P-256",
        ),
        ("sec1", "ecparam -name secp384r1 -genkey", "no key on the curve P-256"),
        (
            "small",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024",
            "another size than 2048 to 8192 bits",
        ),
        (
            "pss",
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "an RSA key restricted to PSS",
        ),
        ("x25519", "genpkey -algorithm X25519", "an X25519 key"),
    ] {
        openssl(dir.path(), &format!("{line} -out {name}"));
        assert!(why(name).contains(expected), "{name}: {}", why(name));
    }
    openssl(
        dir.path(),
        "genrsa -traditional -aes128 -passout pass:secret -out old 2048",
    );
    assert!(why("old").contains("openssl pkcs8 -topk8"));
    let seed = "00".repeat(32);
    for (at, garbage) in [
        "",
        "not a key",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "00ff",
        &format!("{seed}{seed}"),
        "{}",
        r#"{"keytype": "ed25519", "keyval": {"public": "00", "private": ""}}"#,
        r#"{"keytype": "ml-dsa", "keyval": {"public": "00", "private": "00"}}"#,
    ]
    .iter()
    .enumerate()
    {
        let name = format!("garbage{at}");
        write_new(&dir.path().join(&name), garbage.as_bytes(), 0o600).unwrap();
        assert!(!why(&name).is_empty());
    }
}

#[test]
fn what_does_not_open_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let open = |passphrase| FileKey::open(&configured(&path, passphrase)).unwrap_err();
    assert!(matches!(open(None), KeyError::File { source, .. } if source.kind() == io::ErrorKind::NotFound));
    FileKey::create(&path, Some("right")).unwrap();
    assert!(matches!(open(None), KeyError::NeedsPassphrase { .. }));
    for missing in [
        Passphrase::Env("TUFGATE_NO_SUCH_PASSPHRASE".into()),
        Passphrase::Fd(987_654),
        Passphrase::Credential("tufgate-no-such".into()),
    ] {
        assert!(matches!(open(Some(missing)), KeyError::Secret { .. }));
    }
    let empty = passphrase_file(dir.path(), "empty", "\n");
    assert!(matches!(open(empty), KeyError::Secret { .. }));
    let wrong = passphrase_file(dir.path(), "wrong", "wrong");
    assert!(matches!(open(wrong.clone()), KeyError::Passphrase { .. }));
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(open(wrong.clone()), KeyError::Mode { mode: found, .. } if found == mode));
    }
}

#[test]
fn a_passphrase_comes_from_an_open_file_as_often_as_it_is_asked_for() {
    use std::os::fd::AsRawFd as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let key = FileKey::create(&path, Some("right")).unwrap();
    write_new(&dir.path().join("pass"), b"right\n", 0o600).unwrap();
    let open = File::open(dir.path().join("pass")).unwrap();
    for _ in 0..2 {
        let from = Passphrase::Fd(open.as_raw_fd().try_into().unwrap());
        let opened = FileKey::open(&configured(&path, Some(from))).unwrap();
        assert_eq!(opened.key_id(), key.key_id());
    }
}

#[test]
fn a_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let key = FileKey::create(&path, None).unwrap();
    let error = FileKey::create(&path, None).unwrap_err();
    assert!(matches!(error, KeyError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(FileKey::read(&path, None).unwrap().key_id(), key.key_id());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "a temporary file was left behind"
    );
}

#[test]
fn a_name_stays_on_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let odd = "a\n-----BEGIN PRIVATE KEY-----\u{1b}";
    FileKey::create_as(&path, Algorithm::Ed25519, odd, None).unwrap();
    let opened = FileKey::read(&path, None).unwrap();
    assert!(
        !opened.name().contains("-----") && !opened.name().contains(char::is_control),
        "{}",
        opened.name()
    );
}

#[test]
fn formatting_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let key = FileKey::create(&dir.path().join("key.pem"), None).unwrap();
    let shown = format!("{key:?}");
    let pkcs8 = key.pair.to_pkcs8().unwrap();
    let seed = &pkcs8.as_bytes()[pkcs8.as_bytes().len() - 32..];
    assert!(shown.contains("key.pem"));
    assert!(!shown.contains(&hex::encode(seed)));
}
