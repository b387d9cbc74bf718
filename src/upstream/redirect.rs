//! Where a redirect may lead: pure decisions over URLs.

use http::HeaderValue;
use url::{Host, Position, Url};

use super::UpstreamError;

/// Most redirects followed for one request.
pub const MAX_REDIRECTS: usize = 5;

/// A server's host and port, normalised by the `url` crate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Its name or address.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
}

impl Origin {
    /// The origin of an `http` URL.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// As the Host header names it (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        match self.port {
            80 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// How far a redirect's target is trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust {
    /// The upstream itself: credentials may follow.
    Home,
    /// Named by the operator: any address, no credentials.
    Listed,
    /// Matched by a wildcard only: a public address, no credentials. Whoever answers for names below the wildcard could
    /// point one at the gate's own network.
    Matched,
}

/// A permitted redirect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Where to, without fragment.
    pub url: Url,
    /// Its server.
    pub origin: Origin,
    /// How far it is trusted.
    pub trust: Trust,
}

/// The upstream and the further hosts its redirects may lead to.
#[derive(Clone, Debug)]
pub struct Redirects {
    home: Origin,
    listed: Vec<Origin>,
    wildcards: Vec<(String, u16)>,
}

impl Redirects {
    /// Entries are `host`, `host:port` or `*.domain[:port]`; without a port they mean 80. Errors name the entry.
    pub fn new(home: Origin, entries: &[String]) -> Result<Self, UpstreamError> {
        let (mut listed, mut wildcards) = (Vec::new(), Vec::new());
        for entry in entries {
            let (wild, name) = match entry.strip_prefix("*.") {
                Some(rest) => (true, rest),
                None => (false, entry.as_str()),
            };
            let origin = Url::parse(&format!("http://{name}/"))
                .ok()
                .filter(|url| url.path() == "/" && url.username().is_empty() && url.query().is_none())
                .and_then(|url| Origin::of(&url));
            match (wild, origin) {
                (false, Some(origin)) => listed.push(origin),
                (
                    true,
                    Some(Origin {
                        host: Host::Domain(domain),
                        port,
                    }),
                ) => wildcards.push((format!(".{domain}"), port)),
                _ => {
                    let why = format!("`{entry}` in redirect_hosts is not `host[:port]` or `*.domain[:port]`");
                    return Err(UpstreamError::Connect(why));
                }
            }
        }
        Ok(Self {
            home,
            listed,
            wildcards,
        })
    }

    /// The upstream.
    pub fn home(&self) -> &Origin {
        &self.home
    }

    /// Follows `location` as sent by `from`. Errors: [`UpstreamError::Redirect`].
    pub fn next(&self, from: &Url, location: &HeaderValue) -> Result<Hop, UpstreamError> {
        let target = location.to_str().ok().and_then(|text| from.join(text).ok());
        let Some(mut url) = target else {
            return Err(refused("an unreadable place".to_owned(), "its Location is not a URL"));
        };
        url.set_fragment(None);
        if url.scheme() == "https" {
            return Err(refused(shown(&url), "https is not supported yet"));
        }
        if url.scheme() != "http" {
            return Err(refused(shown(&url), "it is not http"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(shown(&url), "it carries credentials"));
        }
        let Some((origin, trust)) = Origin::of(&url).and_then(|origin| Some((origin.clone(), self.trust(&origin)?)))
        else {
            return Err(refused(shown(&url), "its host is not in redirect_hosts"));
        };
        Ok(Hop { url, origin, trust })
    }

    fn trust(&self, origin: &Origin) -> Option<Trust> {
        if *origin == self.home {
            return Some(Trust::Home);
        }
        if self.listed.contains(origin) {
            return Some(Trust::Listed);
        }
        let Host::Domain(name) = &origin.host else { return None };
        let mut wildcards = self.wildcards.iter();
        let matched = wildcards.any(|(suffix, port)| *port == origin.port && name.ends_with(suffix));
        matched.then_some(Trust::Matched)
    }
}

/// A URL as it may be shown: its query may hold a signature, its user a password.
pub fn shown(url: &Url) -> String {
    match Origin::of(url) {
        Some(origin) => format!(
            "{}://{}{}",
            url.scheme(),
            origin.authority(),
            &url[Position::BeforePath..Position::AfterPath]
        ),
        None => format!("a {} URL", url.scheme()),
    }
}

/// The error of a redirect that is not followed.
pub fn refused(to: String, why: &str) -> UpstreamError {
    UpstreamError::Redirect {
        to,
        why: why.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn follow(entries: &[&str], location: &str) -> Result<(String, Trust), String> {
        let from = Url::parse("http://files.test:8081/repo/a/b.tgz?x=1").unwrap();
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Redirects::new(Origin::of(&from).unwrap(), &entries)
            .unwrap()
            .next(&from, &HeaderValue::from_str(location).unwrap())
            .map(|hop| (hop.url.to_string(), hop.trust))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_upstream_itself_is_home_whatever_the_spelling() {
        for (location, url) in [
            ("c.tgz", "http://files.test:8081/repo/a/c.tgz"),
            ("/x?sig=1#frag", "http://files.test:8081/x?sig=1"),
            ("//FILES.test:8081/y", "http://files.test:8081/y"),
        ] {
            assert_eq!(follow(&[], location), Ok((url.to_owned(), Trust::Home)));
        }
    }

    #[test]
    fn other_hosts_need_the_operators_word() {
        let listed = &["cdn.test", "store.test:9000", "[::1]:81", "*.wild.test"];
        let trust = |location: &str| follow(listed, location).map(|(_, trust)| trust).ok();
        assert_eq!(trust("http://cdn.test/a"), Some(Trust::Listed));
        assert_eq!(trust("http://cdn.test:81/a"), None);
        assert_eq!(trust("http://store.test:9000/a"), Some(Trust::Listed));
        assert_eq!(trust("http://store.test/a"), None);
        assert_eq!(trust("http://[::1]:81/a"), Some(Trust::Listed));
        assert_eq!(trust("http://a.b.wild.test/a"), Some(Trust::Matched));
        assert_eq!(trust("http://wild.test/a"), None);
        assert_eq!(trust("http://evilwild.test/a"), None);
        assert_eq!(trust("http://files.test/a"), None, "another port is another server");
        assert_eq!(trust("http://127.0.0.1/a"), None);
    }

    #[test]
    fn a_refusal_names_the_place_without_its_secrets() {
        let refusal = |location: &str| follow(&["cdn.test"], location).unwrap_err();
        assert_eq!(
            refusal("https://cdn.test/a?X-Amz-Signature=s3cret"),
            "the upstream redirects to https://cdn.test:443/a: https is not supported yet"
        );
        for secret in [
            "http://u:s3cret@cdn.test/a",
            "http://other.test/a?t=s3cret#s3cret",
            "ftp://x:s3cret@cdn.test/",
        ] {
            assert!(!refusal(secret).contains("s3cret"), "{}", refusal(secret));
        }
        refusal("http://[::1");
        refusal("file:///etc/passwd");
    }

    #[test]
    fn entries_that_say_nothing_are_errors() {
        for entry in ["", "a/b", "u@h", "*.", "*.10.0.0.1", "h:99999", "http://h", "h?x"] {
            let home = Origin::of(&Url::parse("http://h/").unwrap()).unwrap();
            assert!(Redirects::new(home, &[entry.to_owned()]).is_err(), "{entry}");
        }
    }
}
