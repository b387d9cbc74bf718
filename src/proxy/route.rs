//! Routing: what a request is to the gate, decided from its target, method and headers alone. Pure.

use http::Method;

use super::{problem::Problem, submit::SUBMIT};
use crate::{
    digest::Digest,
    policy::{Admission, Policy, Rule},
    target::{TargetPath, split_target},
};

/// What to do with a request.
#[derive(Debug)]
pub enum Route<'a> {
    /// A file below the metadata prefix, named without it.
    Metadata(String),
    /// Files of roles, handed in below the metadata prefix.
    Submission,
    /// Passed to the upstream as it came, unsigned, never recorded.
    Pass,
    /// The same, of a path by its canonical name that no rule tracks.
    Untracked,
    /// Answered with a problem.
    Refuse(Problem),
    /// GET or HEAD of a tracked path.
    Read(Read<'a>),
    /// PUT of a tracked path.
    Put(Tracked<'a>),
    /// DELETE of a tracked path.
    Delete(Tracked<'a>),
    /// COPY or MOVE, with the source if it is a tracked path; [`destination`] says where it leads, which may be a tracked
    /// path whatever the source is.
    Transfer(Option<Tracked<'a>>),
    /// PATCH and other changes of a tracked path that do not carry it whole; the query, if any.
    Change(Tracked<'a>, Option<String>),
}

impl Route<'_> {
    /// The path in canonical encoding, when the request names a tracked path by its own name.
    pub fn canonical(&self) -> Option<String> {
        match self {
            Self::Put(at) | Self::Delete(at) | Self::Change(at, _) => Some(at.path.encoded()),
            Self::Transfer(at) => at.as_ref().map(|at| at.path.encoded()),
            Self::Read(read) => match read.names.as_slice() {
                [(at, None)] => Some(at.path.encoded()),
                _ => None,
            },
            Self::Metadata(_) | Self::Submission | Self::Pass | Self::Untracked | Self::Refuse(_) => None,
        }
    }
}

/// A path and the rule that tracks it.
#[derive(Debug)]
pub struct Tracked<'a> {
    /// The path.
    pub path: TargetPath,
    /// Its rule.
    pub rule: &'a Rule,
}

/// A read of a tracked path.
#[derive(Debug)]
pub struct Read<'a> {
    /// By its own name, or the readings of a hash-prefixed one in order.
    pub names: Vec<(Tracked<'a>, Option<Digest>)>,
    /// The query, if any.
    pub query: Option<String>,
}

/// Routes a request target.
pub fn route<'a>(policy: &'a Policy, metadata_prefix: &str, method: &Method, target: &[u8]) -> Route<'a> {
    let Some((path, query)) = split_target(target) else {
        // `OPTIONS *` asks about the server. What else names no path is refused: some servers would find one in it.
        return match (method, target) {
            (&Method::OPTIONS, b"*") => Route::Pass,
            _ => Route::Refuse(Problem::new(
                http::StatusCode::BAD_REQUEST,
                "target",
                "the request target names no path",
            )),
        };
    };
    if let Some(file) = below(path, metadata_prefix) {
        return match *method {
            Method::GET | Method::HEAD => Route::Metadata(file),
            Method::POST if file == SUBMIT && query.is_none() => Route::Submission,
            _ => Route::Refuse(Problem::new(
                http::StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "metadata can only be read",
            )),
        };
    }
    let admission = policy.admit(path);
    if matches!(method.as_str(), "COPY" | "MOVE") && !matches!(admission, Admission::Refused(_)) {
        return Route::Transfer(match admission {
            Admission::Tracked { path, rule } => Some(Tracked { path, rule }),
            _ => None,
        });
    }
    match admission {
        Admission::Index | Admission::Unnamed(_) => Route::Pass,
        Admission::Untracked { .. } => Route::Untracked,
        Admission::Refused(why) => Route::Refuse(Problem::name(why)),
        Admission::Tracked { path, rule } => by_method(method, Tracked { path, rule }, query),
        Admission::Hashed { readings, .. } => {
            let tracked = |(path, digest): (TargetPath, Digest)| {
                let rule = policy.tracked(path.as_str())?;
                Some((Tracked { path, rule }, Some(digest)))
            };
            let names: Vec<_> = readings.into_iter().filter_map(tracked).collect();
            // Never recorded under such a name; a change to it cannot be a change to a target.
            match names.is_empty() || !matches!(*method, Method::GET | Method::HEAD) {
                true => Route::Pass,
                false => Route::Read(Read {
                    names,
                    query: text(query),
                }),
            }
        }
    }
}

/// Where a COPY or MOVE leads: the raw path of its `Destination` (RFC 4918 section 10.3), which may be an absolute URL.
pub fn destination(value: &str) -> &str {
    match value.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => value,
    }
}

fn by_method<'a>(method: &Method, tracked: Tracked<'a>, query: Option<&[u8]>) -> Route<'a> {
    match method.as_str() {
        "GET" | "HEAD" => Route::Read(Read {
            names: vec![(tracked, None)],
            query: text(query),
        }),
        "PUT" if query.is_none() => Route::Put(tracked),
        "DELETE" if query.is_none() => Route::Delete(tracked),
        "PUT" | "DELETE" | "PATCH" => Route::Change(tracked, text(query)),
        _ => Route::Pass,
    }
}

/// The rest of a path below the metadata prefix, in any spelling that decodes to it: nothing below it is ever proxied.
pub(super) fn below(path: &[u8], prefix: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode(path).decode_utf8_lossy();
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let normal = format!("/{}", segments.join("/"));
    match normal.strip_prefix(prefix) {
        Some(rest) => Some(rest.to_owned()),
        None => (normal == prefix.trim_end_matches('/')).then(String::new),
    }
}

fn text(query: Option<&[u8]>) -> Option<String> {
    query.map(|query| String::from_utf8_lossy(query).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::Kind;

    fn policy() -> Policy {
        Policy::new(vec![
            Rule::new("index/**", Kind::Mutable).unwrap(),
            Rule::new("**", Kind::Immutable).unwrap(),
        ])
    }

    fn routed(method: &str, target: &str) -> String {
        let policy = policy();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match route(&policy, "/metadata/", &method, target.as_bytes()) {
            Route::Metadata(file) => format!("metadata {file}"),
            Route::Submission => "submission".to_owned(),
            Route::Pass => "pass".to_owned(),
            Route::Untracked => "untracked".to_owned(),
            Route::Refuse(problem) => format!("refuse {}", problem.status.as_u16()),
            Route::Read(read) => format!("read {}", read.names.len()),
            Route::Put(at) => format!("put {}", at.path),
            Route::Delete(at) => format!("delete {}", at.path),
            Route::Transfer(at) => at.map_or("transfer".to_owned(), |at| format!("transfer {}", at.path)),
            Route::Change(at, _) => format!("change {}", at.path),
        }
    }

    #[test]
    fn no_spelling_of_the_metadata_prefix_is_proxied() {
        for target in [
            "/metadata/1.root.json",
            "/metadata/1.root.json?x",
            "//metadata//1.root.json",
            "/%6detadata/1.root.json",
            "/a/../metadata/1.root.json",
            "/metadata%2f1.root.json",
        ] {
            assert_eq!(routed("GET", target), "metadata 1.root.json", "{target}");
            assert_eq!(routed("PUT", target), "refuse 405", "{target}");
        }
        assert_eq!(routed("POST", "/metadata/submit"), "submission");
        for target in ["/metadata/submit?x", "/metadata/1.root.json", "/metadata/submit/x"] {
            assert_eq!(routed("POST", target), "refuse 405", "{target}");
        }
        assert_eq!(routed("PUT", "/metadata/submit"), "refuse 405");
        assert_eq!(routed("GET", "/metadata"), "metadata ");
        assert_eq!(routed("GET", "/metadata2/x"), "read 1");
    }

    #[test]
    fn a_query_never_records() {
        assert_eq!(routed("PUT", "/a/b"), "put a/b");
        assert_eq!(routed("PUT", "/a/b?x=1"), "change a/b");
        assert_eq!(routed("DELETE", "/a/b"), "delete a/b");
        assert_eq!(routed("DELETE", "/a/b?versionId=1"), "change a/b");
    }

    #[test]
    fn untracked_kinds_and_listings_pass() {
        assert_eq!(routed("GET", "/index/a"), "untracked");
        assert_eq!(routed("PUT", "/index/a"), "untracked");
        assert_eq!(routed("GET", "/a/"), "pass");
        assert_eq!(routed("GET", "/"), "pass");
        assert_eq!(routed("GET", "/a/%2e%2e/b"), "refuse 400");
    }

    #[test]
    fn hashed_names_are_read_and_never_written() {
        let h = "0a".repeat(32);
        assert_eq!(routed("GET", &format!("/d/{h}.n")), "read 1");
        assert_eq!(routed("PUT", &format!("/d/{h}.n")), "pass");
        assert_eq!(routed("GET", &format!("/{h}.d/n")), "read 1");
    }

    #[test]
    fn transfers_are_routed_whatever_their_source() {
        assert_eq!(routed("MOVE", "/a/b"), "transfer a/b");
        for source in ["/index/a", "/a/", &format!("/{}.n", "0a".repeat(32))] {
            assert_eq!(routed("MOVE", source), "transfer", "{source}");
            assert_eq!(routed("COPY", source), "transfer", "{source}");
        }
    }

    #[test]
    fn a_target_without_a_path_is_refused() {
        assert_eq!(routed("OPTIONS", "*"), "pass");
        for target in ["*", "a/b", "host:443", "ftp://h/a", "http:/a"] {
            assert_eq!(routed("PUT", target), "refuse 400", "{target}");
        }
    }

    #[test]
    fn destinations_lose_scheme_and_authority() {
        assert_eq!(destination("http://h:1/a/b"), "/a/b");
        assert_eq!(destination("/a/b"), "/a/b");
        assert_eq!(destination("http://h"), "/");
    }
}
