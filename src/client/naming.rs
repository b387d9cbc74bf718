//! URLs of metadata files and targets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::error::ClientError;
use crate::{digest::Digest, target::UNSAFE, tuf::layout::SUCCINCT};

/// The name under which a target is asked for when the repository has consistent snapshots.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TargetNaming {
    /// `dir/name`: as published.
    Bare,
    /// `H.dir/name`: as tough asks.
    HashedFolder,
    /// `dir/H.name`: as the specification says (TUF spec 6.2) and most clients ask.
    #[default]
    HashedName,
}

/// Python's `quote(name, safe="")`: a role name is one path segment, whatever it holds.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A base URL that ends in `/`.
#[derive(Clone, Debug)]
pub struct Base(String);

impl Base {
    /// Reads a base URL.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let refuse = |why: &str| ClientError::Url {
            url: without_credentials(text),
            why: why.to_owned(),
        };
        if !text.contains("://") {
            // Written without its scheme, `localhost:80` reads as a URL of the scheme `localhost`.
            let meant = format!("http://{}", without_credentials(text));
            let whole = !text.starts_with('/') && Url::parse(&meant).is_ok_and(|url| url.has_host());
            return Err(refuse(&match whole {
                true => format!("it does not begin with http:// or https://; is `{meant}` meant?"),
                false => "it does not begin with http:// or https://".to_owned(),
            }));
        }
        let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("only http:// and https:// URLs are supported"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("credentials in a URL are not supported"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("a base URL has no query and no fragment"));
        }
        let mut base = String::from(url);
        if !base.ends_with('/') {
            base.push('/');
        }
        Ok(Self(base))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of a metadata file.
    pub fn metadata(&self, role: &str, version: Option<u64>) -> String {
        let role = utf8_percent_encode(role, SEGMENT);
        match version {
            Some(version) => format!("{}{version}.{role}.json", self.0),
            None => format!("{}{role}.json", self.0),
        }
    }

    /// The URL of a role's file in the succinct view.
    pub fn succinct(&self, role: &str, version: u64) -> String {
        format!(
            "{}{SUCCINCT}{version}.{}.json",
            self.0,
            utf8_percent_encode(role, SEGMENT)
        )
    }

    /// The URL of a target; `digest` is what its hash-prefixed name holds.
    pub fn target(&self, path: &str, digest: &str, naming: TargetNaming) -> String {
        let named = match (naming, path.rsplit_once('/')) {
            (TargetNaming::Bare, _) => path.to_owned(),
            (TargetNaming::HashedName, Some((folder, name))) => format!("{folder}/{digest}.{name}"),
            (TargetNaming::HashedName, None) | (TargetNaming::HashedFolder, _) => format!("{digest}.{path}"),
        };
        format!("{}{}", self.0, encode(&named))
    }
}

/// The local file for a role's metadata.
pub fn stored(role: &str) -> String {
    file_name(role, ".json")
}

/// A file name for any text: percent-encoded; `+` and a digest where that is no name of its own or longer than a file
/// system takes (255 bytes). Encoded text holds no `+`.
pub fn file_name(text: &str, suffix: &str) -> String {
    let name = format!("{}{suffix}", utf8_percent_encode(text, SEGMENT));
    match &*name {
        "" | "." | ".." => format!("+{}{suffix}", Digest::of(text)),
        long if long.len() > 255 => format!("+{}{suffix}", Digest::of(text)),
        _ => name,
    }
}

/// A URL as it may be shown: a password in it ends in no log.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(end) => text.split_at(end + 3),
        None => ("", text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(end) => format!("{scheme}{}", &rest[end + 1..]),
        None => text.to_owned(),
    }
}

/// Encodes a target path, which by the specification is a URL string already (TUF spec 4.5): an escape in it is sent as
/// it is, a `%` that is none is encoded.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        encoded.extend(utf8_percent_encode(before, UNSAFE));
        let escape = after.as_bytes().get(..2);
        // An escaped dot is a dot to URL parsers: `%2e%2e` would lead out of the repository.
        let kept = |hex: &[u8]| hex.iter().all(u8::is_ascii_hexdigit) && !hex.eq_ignore_ascii_case(b"2e");
        encoded.push_str(match escape.is_some_and(kept) {
            true => "%",
            false => "%25",
        });
        rest = after;
    }
    encoded.extend(utf8_percent_encode(rest, UNSAFE));
    encoded
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_target_has_three_names() {
        let base = Base::parse("http://h:1/x").unwrap();
        let digest = &*"ab".repeat(32);
        let url = |path, naming| base.target(path, digest, naming);
        assert_eq!(url("d/e/n.txt", TargetNaming::Bare), "http://h:1/x/d/e/n.txt");
        assert_eq!(
            url("d/e/n.txt", TargetNaming::HashedName),
            format!("http://h:1/x/d/e/{digest}.n.txt")
        );
        assert_eq!(
            url("d/e/n.txt", TargetNaming::HashedFolder),
            format!("http://h:1/x/{digest}.d/e/n.txt")
        );
        for naming in [TargetNaming::HashedName, TargetNaming::HashedFolder] {
            assert_eq!(url("n.txt", naming), format!("http://h:1/x/{digest}.n.txt"));
        }
    }

    #[test]
    fn passwords_are_not_repeated() {
        for url in [
            "http://user:secret@h/x",
            "https://secret@h",
            "user:secret@h:80/x",
            "ftp://u:secret@h",
            "http://u:secret@h:x/",
        ] {
            let said = Base::parse(url).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn paths_go_out_as_python_tuf_sends_them() {
        for (path, sent) in [
            ("a/@ + ~;,=&:", "a/@%20+%20~;,=&:"),
            ("é/e\u{301}", "%C3%A9/e%CC%81"),
            ("100%/%2F%zz", "100%25/%2F%25zz"),
            ("%2e%2E/%2e.x", "%252e%252E/%252e.x"),
            ("[x]|^\\\"<>`{}", "%5Bx%5D%7C%5E%5C%22%3C%3E%60%7B%7D"),
            ("a?b#c", "a%3Fb%23c"),
            ("!$'()*", "!$'()*"),
            ("%", "%25"),
        ] {
            assert_eq!(encode(path), sent);
        }
    }

    #[test]
    fn the_gate_reads_what_is_sent() {
        for path in ["a b/c+d@1.0~x", "é/ü.txt", "x[1]/y|z^{}", "a;b,c=d&e/f:g"] {
            let target = crate::target::TargetPath::new(path).unwrap();
            assert_eq!(format!("/{}", encode(path)), target.encoded());
        }
    }

    #[test]
    fn role_names_are_one_segment() {
        let base = Base::parse("http://h/metadata/").unwrap();
        assert_eq!(base.metadata("bins4-a", Some(7)), "http://h/metadata/7.bins4-a.json");
        assert_eq!(base.metadata("timestamp", None), "http://h/metadata/timestamp.json");
        assert_eq!(
            base.metadata("../a b/é", Some(1)),
            "http://h/metadata/1...%2Fa%20b%2F%C3%A9.json"
        );
        assert_eq!(stored("../../x"), "..%2F..%2Fx.json");
        assert_eq!((stored(""), stored("..")), (".json".into(), "...json".into()));
        assert_eq!(stored(&"x".repeat(250)).len(), 255);
        for long in ["x".repeat(251), "é".repeat(60), "/".repeat(5_000)] {
            assert_eq!(stored(&long), format!("+{}.json", Digest::of(&long)));
        }
        assert_eq!(file_name("a/b c", ""), "a%2Fb%20c");
        assert_eq!(file_name("..", ""), format!("+{}", Digest::of("..")));
    }

    #[test]
    fn a_base_is_http_or_https_without_credentials() {
        for bad in [
            "ftp://h/",
            "h",
            "/x",
            "http://u:p@h/",
            "http://u@h/",
            "http://h/?q",
            "http://h/#f",
            "",
        ] {
            assert!(
                matches!(Base::parse(bad), Err(ClientError::Url { url, .. }) if url == without_credentials(bad)),
                "{bad}"
            );
        }
        for (bare, meant) in [
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("localhost:80/x", "http://localhost:80/x"),
        ] {
            let said = Base::parse(bare).unwrap_err().to_string();
            assert!(said.ends_with(&format!("is `{meant}` meant?")), "{said}");
        }
        assert!(!Base::parse("/x").unwrap_err().to_string().contains("meant"));
        assert_eq!(Base::parse("http://h").unwrap().as_str(), "http://h/");
        assert_eq!(Base::parse("https://h/x").unwrap().as_str(), "https://h/x/");
    }
}
