//! The files of `config/`, and what bad ones are told.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use proptest::prelude::*;

use super::*;
use crate::policy::{Admission, Kind};

const UPSTREAM: &str = "[upstream]\nurl = \"http://127.0.0.1:8000\"\n";

/// Every table, with a line that makes it whole apart from an unknown key.
const TABLES: [(&str, &str); 23] = [
    ("", ""),
    ("[gate]", ""),
    ("[gate.tls]", ""),
    ("[upstream]", ""),
    ("[upstream.identity]", ""),
    ("[metadata]", ""),
    ("[cache]", ""),
    ("[ledger]", ""),
    ("[depot]", ""),
    ("[signer]", ""),
    ("[tuf]", ""),
    ("[keys]", ""),
    ("[keys.timestamp]", ""),
    ("[keys.timestamp.command]", ""),
    ("[keys.timestamp.pkcs11]", ""),
    ("[keys.timestamp.aws_kms]", ""),
    ("[keys.bins]", ""),
    ("[keys.targets]", ""),
    ("[keys.old]", ""),
    ("[keys.old.timestamp]", ""),
    ("[admin]", ""),
    ("[log]", ""),
    ("[[rule]]", "path = \"a\"\nkind = \"mutable\"\n"),
];

fn example(name: &str) -> (String, PathBuf) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    (fs::read_to_string(&file).unwrap(), file)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "tufgate.toml")
}

fn refusal(text: &str) -> ConfigError {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

#[test]
fn every_example_loads() {
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    let listed = example("README.md").0.matches(".toml` |").count();
    assert_eq!((count, listed), (7, 7));
}

#[test]
fn full_toml_holds_the_defaults() {
    let (text, file) = example("full.toml");
    let full = Config::parse(&text, &file).unwrap();
    let least = Config::parse(UPSTREAM, &file).unwrap();
    assert_eq!(format!("{full:#?}"), format!("{least:#?}"));
}

#[test]
fn full_toml_names_every_key() {
    let (text, _) = example("full.toml");
    let plain = text.replace("# ", "");
    // Under `[keys.old.timestamp]` stands what stands under `[keys.timestamp]`.
    let told = |table: &str| !matches!(table, "" | "[keys]" | "[keys.old]" | "[keys.old.timestamp]");
    for (table, rest) in TABLES.iter().filter(|(table, _)| told(table)) {
        let wrong = format!("{table}\n{rest}no_such_key = 1\n");
        let message = toml::from_str::<raw::File>(&wrong).err().unwrap().message().to_owned();
        let (_, section) = plain
            .split_once(&format!("{table}\n"))
            .unwrap_or_else(|| panic!("{table} is missing"));
        let section = section.split("\n[").next().unwrap();
        let keys = message.split('`').skip(3).step_by(2);
        assert!(keys.clone().count() > 0, "{message}");
        for key in keys.filter(|key| !matches!(*key, "identity" | "tls" | "command" | "pkcs11" | "aws_kms")) {
            assert!(
                section.lines().any(|line| line.starts_with(&format!("{key} = "))),
                "{table} lacks {key}"
            );
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    for (table, rest) in TABLES {
        let text = format!("{table}\n{rest}no_such_key = 1\n");
        let error = refusal(&text);
        assert!(error.message.starts_with("unknown key `no_such_key`"), "{error}");
        assert_eq!(error.line, Some(2 + rest.lines().count()), "{error}");
        let place = if table.starts_with("[[") {
            "in this `[[rule]]`".into()
        } else {
            format!("in `{table}`")
        };
        assert!(table.is_empty() || error.message.ends_with(&place), "{error}");
    }
    let error = refusal("[upstream]\nurl = \"http://h\"\n\n[gate]\nlisen = \"127.0.0.1:1\"\n");
    assert_eq!(
        error.to_string(),
        "tufgate.toml:5:1: unknown key `lisen` in `[gate]`\nhint: did you mean `listen`?"
    );
}

/// What is written after the upstream's two lines → the error's line, a part of its message, a part of its hint.
#[test]
fn bad_values_are_told_where_and_what_to_do() {
    let cases = [
        (
            "[gate]\nlisten = \"localhost:8080\"",
            4,
            "not an address",
            "127.0.0.1:8080",
        ),
        ("[gate]\nlisten = 8080", 4, "`gate.listen`: invalid type", ""),
        (
            "[gate]\n\ngrace = \"10\"",
            5,
            "`gate.grace`: \"10\" is not a duration",
            "`ms`",
        ),
        ("[gate]\ngrace = 10", 4, "expected a duration", ""),
        ("[gate]\ngrace = \"2h\"", 4, "`gate.grace` is at most 3600s", ""),
        ("[gate]\nverify_first = \"1 kb\"", 4, "is not a size", "KiB"),
        ("[gate]\nverify_first = -1", 4, "invalid value", ""),
        (
            "[gate]\nmetadata_prefix = \"metadata/\"",
            4,
            "start and end with `/`",
            "/metadata/",
        ),
        (
            "[gate]\nmetadata_prefix = \"/metadata\"",
            4,
            "start and end with `/`",
            "",
        ),
        ("[gate]\nmetadata_prefix = \"/\"", 4, "name a folder", ""),
        ("[gate]\nmetadata_prefix = \"/a/../b/\"", 4, "must be plain", ""),
        ("[gate]\nmetadata_prefix = \"/a%20b/\"", 4, "must be plain", ""),
        ("[gate]\nthreads = 0", 4, "1 to 1024", ""),
        ("[gate]\ntimestamp_max_age = 4000", 4, "at most 3600", ""),
        (
            "[metadata]\naccess = \"probe\"",
            4,
            "needs `metadata.probe`",
            "a small file on the upstream",
        ),
        (
            "[metadata]\nprobe = \"/a\"",
            4,
            "means nothing without `access",
            "may read that path",
        ),
        (
            "[metadata]\naccess = \"public\"\nprobe = \"/a\"",
            5,
            "means nothing without `access",
            "",
        ),
        (
            "[metadata]\naccess = \"probe\"\nprobe = \"a/b\"",
            5,
            "not the path of a file",
            "`/releases/index.txt`",
        ),
        (
            "[metadata]\naccess = \"probe\"\nprobe = \"/a?b=c\"",
            5,
            "not the path of a file",
            "without a query",
        ),
        (
            "[metadata]\naccess = \"probe\"\nprobe = \"/a/../b\"",
            5,
            "not the path of a file",
            "",
        ),
        (
            "[metadata]\naccess = \"pubic\"",
            4,
            "`metadata.access` cannot be `pubic`",
            "did you mean `public`?",
        ),
        (
            "[cache]\nmemory = \"1MiB\"\nmemory_max_object = \"2MiB\"",
            5,
            "more than `cache.memory`",
            "nothing in memory",
        ),
        ("[cache]\nmemory_max_object = \"65MiB\"", 4, "at most 64 MiB", ""),
        (
            "[cache]\nmax_object = \"128KiB\"",
            3,
            "more than `cache.max_object`",
            "",
        ),
        (
            "[cache]\ndisk = \"1GB\"\nmax_object = \"1GiB\"",
            5,
            "`cache.max_object` is more than `cache.disk`",
            "lower `max_object`",
        ),
        (
            "[cache]\npath = \"metadata\"",
            4,
            "the folder of `depot.path`",
            "its own",
        ),
        ("[cache]\nfresh_for = \"2d\"", 4, "at most 86400s", ""),
        ("[signer]\nretain = \"30m\"", 4, "at least 3601 s", ""),
        ("[signer]\nbatch = 0", 4, "at least 1", ""),
        ("[tuf]\nbins = 24", 4, "power of two", "1,000 targets"),
        ("[tuf]\nbins = 32768", 4, "power of two", ""),
        (
            "[tuf]\ntimestamp_expiry = \"8d\"",
            4,
            "longer than `tuf.snapshot_expiry`",
            "",
        ),
        ("[tuf]\nbin_expiry = \"1500ms\"", 4, "`tuf.bin_expiry` is", ""),
        ("[tuf]\nbin_expiry = \"10001ms\"", 4, "whole seconds", ""),
        ("[tuf]\nmax_bin_bytes = \"6MB\"", 4, "1024 to 5000000", ""),
        ("[tuf]\nsubmissions_per_hour = 0", 4, "1 at least", ""),
        (
            "[keys.snapshot]\npassphrase_env = \"A\"\npassphrase_file = \"b\"",
            5,
            "one of",
            "",
        ),
        (
            "[keys.targets]\noffline = true\npath = \"x\"",
            4,
            "offline and has a place",
            "",
        ),
        (
            "[keys.snapshot]\npassphrase_fd = 3\npassphrase_credential = \"b\"",
            5,
            "one of `passphrase_fd` and `passphrase_credential`",
            "",
        ),
        (
            "[keys.snapshot]\npassphrase_credential = \"../b\"",
            4,
            "the name of a credential",
            "LoadCredential",
        ),
        (
            "[keys.snapshot]\npath = \"x\"\n[keys.snapshot.aws_kms]\nkey = \"k\"\nregion = \"r\"",
            5,
            "`keys.snapshot` is in one place: path, aws_kms",
            "all but one",
        ),
        (
            "[keys.bins.command]\nrun = []",
            4,
            "`keys.bins.command.run` names no program",
            "a list",
        ),
        ("[keys.bins.command]\nrun = [\"sign\"]", 3, "lacks `public`", "PEM"),
        (
            "[keys.bins.command]\nrun = [\"sign\"]\npublic = \"p\"\ntimeout = \"0s\"",
            6,
            "`keys.bins.command.timeout` is 1 ms to 1 h",
            "",
        ),
        (
            "[keys.bins.pkcs11]\ntoken = \"t\"",
            3,
            "`keys.bins.pkcs11` lacks `module`",
            "library",
        ),
        (
            "[keys.bins.pkcs11]\nmodule = \"m\"\ntoken = \"t\"",
            3,
            "lacks `label`",
            "`id`",
        ),
        (
            "[keys.bins.pkcs11]\nmodule = \"m\"\ntoken = \"t\"\nid = \"x\"",
            6,
            "`keys.bins.pkcs11.id` is not hex",
            "",
        ),
        ("[keys.bins.aws_kms]\nkey = \"alias/x\"", 3, "lacks `region`", "ARN"),
        (
            "[keys.bins.aws_kms]\nkey = \"alias/x\"\nregion = \"a.b/\"",
            5,
            "not the name of a region",
            "",
        ),
        (
            "[keys.bins.aws_kms]\nkey = \"alias/x\"\nregion = \"r\"\nendpoint = \"http://h/\"",
            6,
            "http is for loopback",
            "",
        ),
        (
            "[tuf]\nlayout = \"flat\"\n[keys.bins]\npath = \"x\"",
            5,
            "`keys.bins` means nothing without bins",
            "",
        ),
        (
            "[keys.old.targets]\npassphrase_env = \"X\"",
            3,
            "`keys.old.targets` says not where the key is",
            "`path`",
        ),
        (
            "[keys.old.snapshot.pkcs11]\ntoken = \"t\"",
            3,
            "`keys.old.snapshot.pkcs11` lacks `module`",
            "library",
        ),
        (
            "[keys.targets]\noffline = true\n[keys.old.targets]\npath = \"x\"",
            5,
            "`keys.old.targets` means nothing while `keys.targets` is offline",
            "",
        ),
        (
            "[keys.old.bins]\npath = \"x\"",
            3,
            "unknown key `bins` in `[keys.old]`",
            "",
        ),
        (
            "[keys.bins]\nname = \"\"",
            4,
            "`keys.bins.name` is 1 to 64 characters",
            "",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8081\"",
            4,
            "must be a loopback address",
            "ssh",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:8080\"",
            4,
            "the address of `gate.listen`",
            "",
        ),
        ("[log]\nfilter = \"tufgate=loud\"", 4, "is not a filter", ""),
        (
            "[[rule]]\npath = \"a/**\"\nkind = \"imutable\"",
            5,
            "`rule.kind` cannot be `imutable`",
            "`immutable`?",
        ),
        (
            "[[rule]]\npath = \"a/**\"",
            3,
            "`kind` is missing in this `[[rule]]`",
            "",
        ),
        (
            "[[rule]]\nkind = \"mutable\"\npath = \"a[b\"",
            5,
            "`a[b` is not a glob: unclosed character class",
            "`**` does not",
        ),
        (
            "[[rule]]\nkind = \"mutable\"\npath = \"/a/*\"",
            5,
            "never matches",
            "`a/*/**`",
        ),
        (
            "[[rule]]\nkind = \"mutable\"\npath = \"a/\"",
            5,
            "never matches",
            "`a/**`",
        ),
        (
            "[[rule]]\nkind = \"mutable\"\npath = \"**\"\n[[rule]]\nkind = \"mutable\"\npath = \"a\"",
            8,
            "never matches: rule 1",
            "",
        ),
        (
            "[[rule]]\nkind = \"mutable\"\npath = \"a\"\nlearn = \"fetch\"",
            6,
            "`learn` means nothing here",
            "",
        ),
        ("[upstream.identity]", 3, "takes one of", ""),
        (
            "[upstream.identity]\nauthorization_env = \"TUFGATE_TEST_NEVER_SET\"",
            4,
            "TUFGATE_TEST_NEVER_SET",
            "",
        ),
        (
            "[rule]\npath = \"**\"\nkind = \"mutable\"",
            3,
            "not a list of rules",
            "`[[rule]]`",
        ),
        (
            "[[rule]]\npath = \"**\"\nkind = \"immutable\"\nlearn = fetch",
            6,
            "`fetch` is text without quotes",
            "write `\"fetch\"`",
        ),
        ("[metadata]\naccess = public", 4, "`public` is text without quotes", ""),
        ("[gate\n", 3, "", ""),
        ("[gate]\nlisten = \"x\"\nlisten = \"y\"", 5, "duplicate key", ""),
    ];
    for (text, line, message, hint) in cases {
        let error = refusal(&format!("{UPSTREAM}{text}\n"));
        assert_eq!(error.line, Some(line), "{text}\n{error}");
        assert!(error.message.contains(message), "{text}\n{error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}\n{error}");
    }
}

#[test]
fn an_upstream_is_http_or_https() {
    for (url, message) in [
        ("https://a_b.h/", "holds `_`"),
        ("ftp://h/", "must be `http://"),
        ("127.0.0.1:80", "is not a URL"),
        ("http://u:p@h/", "holds credentials"),
        ("http://h/?q", "no query"),
        ("http://127.0.0.1:8080", "the upstream is the gate itself"),
    ] {
        let error = refusal(&format!("[upstream]\nurl = \"{url}\"\n"));
        assert!(error.message.contains(message) && error.line == Some(2), "{error}");
    }
    let error = refusal("# nothing\n");
    assert!(
        error.message.contains("`upstream.url` is missing") && error.hint.is_some(),
        "{error}"
    );
    for host in ["http://h", "h/x", "u@h", "", "h:x"] {
        let error = refusal(&format!("{UPSTREAM}redirect_hosts = [\"ok:80\", \"{host}\"]\n"));
        assert!(
            error.message.contains("is not a host") && error.line == Some(3),
            "{error}"
        );
    }
}

#[test]
fn credentials_are_headers_that_go_upstream() {
    let named = |name| format!("{UPSTREAM}credential_headers = [\"cookie\", \"{name}\"]\n");
    for (name, message) in [
        ("Proxy-Authorization", "never goes upstream"),
        ("a b", "is not a header name"),
    ] {
        let error = refusal(&named(name));
        assert!(error.message.contains(message) && error.line == Some(3), "{error}");
    }
    let usual = Config::parse(UPSTREAM, "tufgate.toml")
        .unwrap()
        .upstream
        .credential_headers;
    assert!(usual.contains(&AUTHORIZATION) && !usual.contains(&PROXY_AUTHORIZATION));
}

#[test]
fn an_identity_is_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "Bearer hush\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text =
        format!("{UPSTREAM}[upstream.identity]\nauthorization_file = \"secret\"\n[signer]\nsocket = \"/run/s\"\n");
    let config = Config::parse(&text, folder.path().join("tufgate.toml")).unwrap();
    assert_eq!(config.upstream.identity.as_ref().unwrap().0.as_str(), "Bearer hush");
    assert!(!format!("{config:?}").contains("hush"));
    let refusal = || Config::parse(&text, folder.path().join("tufgate.toml")).unwrap_err();
    fs::write(&secret, "two\nlines").unwrap();
    let error = refusal();
    assert!(error.message.contains("not an `Authorization` value") && !error.to_string().contains("lines"));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal();
    assert!(error.message.contains("has mode 644: others may read it"), "{error}");
    assert!(error.hint.unwrap().starts_with("chmod 600"));
    fs::remove_file(&secret).unwrap();
    assert!(refusal().hint.unwrap().contains("`Authorization` value"));
}

#[test]
fn what_is_kept_by_default_fits_the_disk() {
    for (disk, largest) in [
        ("10MB", 10_000_000),
        ("0", 1 << 30),
        ("100GiB", 1 << 30),
        ("1kB", 256 << 10),
    ] {
        let text = format!("{UPSTREAM}[cache]\ndisk = \"{disk}\"\n");
        let config = Config::parse(&text, "tufgate.toml").unwrap();
        assert_eq!(config.cache.max_object, largest, "{disk}");
    }
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let config = Config::parse(
        &format!("{UPSTREAM}[ledger]\npath = \"/var/l.db\"\n"),
        "/etc/gate/t.toml",
    )
    .unwrap();
    assert_eq!(config.ledger, Path::new("/var/l.db"));
    assert_eq!(
        config.keys.snapshot.file().unwrap().path,
        Path::new("/etc/gate/keys/snapshot.pem")
    );
    let deep = format!("/{}/t.toml", "d".repeat(120));
    let error = Config::parse(UPSTREAM, deep).unwrap_err();
    assert!(error.message.contains("Unix socket") && error.hint.is_some(), "{error}");
}

#[test]
fn a_cache_may_be_in_memory_alone_on_disk_alone_or_nowhere() {
    for (text, memory, disk) in [
        ("disk = 0", 256 << 20, 0),
        ("memory = 0\nmemory_max_object = 0", 0, 10 << 30),
        ("memory = 0\nmemory_max_object = 0\ndisk = 0", 0, 0),
    ] {
        let cache = parse(&format!("{UPSTREAM}[cache]\n{text}\n")).unwrap().cache;
        assert_eq!((cache.memory, cache.disk), (memory, disk), "{text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load("no/such/tufgate.toml").unwrap_err();
    assert!(
        error.to_string().starts_with("no/such/tufgate.toml: cannot read"),
        "{error}"
    );
}

/// The examples do what their comments say.
#[test]
fn examples_sort_paths_as_they_say() {
    let verdict = |name: &str, raw: &str| {
        let (text, file) = example(name);
        match Config::parse(&text, file).unwrap().policy.admit(raw.as_bytes()) {
            Admission::Tracked { rule, .. } => format!("{:?} {:?}", rule.kind, rule.learn),
            Admission::Untracked { rule, .. } => format!("{:?}", rule.map_or(Kind::Ignore, |rule| rule.kind)),
            other => format!("{other:?}")
                .chars()
                .take_while(char::is_ascii_alphabetic)
                .collect(),
        }
    };
    for (name, raw, expected) in [
        ("nginx.toml", "/releases/1.0/a.tar.gz", "Immutable Fetch"),
        ("nginx.toml", "/releases/index.html", "Mutable"),
        ("nginx.toml", "/index.html", "Mutable"),
        ("nginx.toml", "/other", "Immutable Publish"),
        (
            "artifactory.toml",
            "/artifactory/libs-release-local/a/1/a-1.jar",
            "Immutable Publish",
        ),
        (
            "artifactory.toml",
            "/artifactory/libs-release-local/a/maven-metadata.xml",
            "Mutable",
        ),
        (
            "artifactory.toml",
            "/artifactory/libs-release-local/a/1/a-1.jar.sha1",
            "Mutable",
        ),
        (
            "artifactory.toml",
            "/artifactory/libs-snapshot-local/a/1-SNAPSHOT/a.jar",
            "Mutable",
        ),
        (
            "artifactory.toml",
            "/artifactory/libs-release-local/a/1/a-1.jar;build=1",
            "Mutable",
        ),
        ("artifactory.toml", "/artifactory/api/storage/x/y", "Ignore"),
        (
            "artifactory.toml",
            "/artifactory/jcenter-remote/a/a-1.jar",
            "Immutable Fetch",
        ),
        ("pypi.toml", "/simple/pkg/", "Index"),
        ("pypi.toml", "/root/dev/+simple/pkg", "Ignore"),
        (
            "pypi.toml",
            "/root/dev/+f/123/456/pkg-1.0%2Bl-py3-none-any.whl",
            "Immutable Fetch",
        ),
        ("channels.toml", "/internal/app/app-1.0.tgz", "Immutable Publish"),
        ("channels.toml", "/external/app-1.0.tgz", "Immutable Publish"),
        ("channels.toml", "/status", "Ignore"),
        ("npm.toml", "/@acme%2ftuf-demo", "Unnamed"),
        ("npm.toml", "/@acme/tuf-demo/-/tuf-demo-1.0.0.tgz", "Immutable Fetch"),
        ("npm.toml", "/@acme%2ftuf-demo/-/tuf-demo-1.0.0.tgz", "Refused"),
        ("npm.toml", "/tuf-demo", "Ignore"),
    ] {
        assert_eq!(verdict(name, raw), expected, "{name} {raw}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", lines in prop::collection::vec(
        "(\\[{1,2}(gate|rule|keys\\.targets|upstream)\\]{1,2}|(listen|path|url|kind|grace|bins) ?= ?[\"0-9a-zé\\[\\]{}.,-]{0,12})", 0..12,
    )) {
        let _ = parse(&text);
        let _ = parse(&format!("{UPSTREAM}{}", lines.join("\n")));
    }

    #[test]
    fn any_unknown_key_is_refused_with_its_line(key in "[a-z]{1,3}_[0-9]{2}", table in 0..TABLES.len()) {
        let (header, rest) = TABLES[table];
        let error = refusal(&format!("{header}\n{rest}\n\n{key} = true\n"));
        prop_assert!(error.message.starts_with(&format!("unknown key `{key}`")), "{}", error);
        prop_assert_eq!(error.line, Some(4 + rest.lines().count()));
    }
}
