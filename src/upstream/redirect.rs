//! Where a redirect may lead: pure decisions over URLs.

use http::HeaderValue;
use url::{Host, Position, Url};

use super::UpstreamError;

/// Most redirects followed for one request.
pub const MAX_REDIRECTS: usize = 5;

/// A server: scheme, host and port, normalised by the `url` crate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Reached by TLS.
    pub https: bool,
    /// Its name or address.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
}

impl Origin {
    /// The origin of an `http` or `https` URL.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            https: url.scheme() == "https",
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// As the Host header names it (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        match self.port == self.usual_port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// As URLs begin: scheme and authority.
    pub fn shown(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    fn usual_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
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
    listed: Vec<(Host, Ports)>,
    wildcards: Vec<(String, Ports)>,
}

/// On which ports an entry's servers are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ports {
    /// On this one, with or without TLS.
    One(u16),
    /// On 80, and by TLS on 443.
    Usual,
}

impl Ports {
    fn hold(self, origin: &Origin) -> bool {
        match self {
            Self::One(port) => origin.port == port,
            Self::Usual => origin.port == origin.usual_port(),
        }
    }
}

impl Redirects {
    /// Entries are `host`, `host:port` or `*.domain[:port]`; without a port they mean 80, and 443 by TLS. Errors name the
    /// entry.
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
            // The `url` crate forgets a port that is the scheme's own.
            let ports = match name.rsplit_once(':') {
                Some((_, digits)) if !digits.ends_with(']') => Ports::One(origin.as_ref().map_or(0, |at| at.port)),
                _ => Ports::Usual,
            };
            match (wild, origin.map(|origin| origin.host)) {
                (false, Some(host)) => listed.push((host, ports)),
                (true, Some(Host::Domain(domain))) => wildcards.push((format!(".{domain}"), ports)),
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
        match (from.scheme(), url.scheme()) {
            ("https", "http") => return Err(refused(shown(&url), "it leads from https to http")),
            (_, "http" | "https") => {}
            _ => return Err(refused(shown(&url), "it is neither http nor https")),
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
        let mut listed = self.listed.iter();
        if listed.any(|(host, ports)| *host == origin.host && ports.hold(origin)) {
            return Some(Trust::Listed);
        }
        let Host::Domain(name) = &origin.host else { return None };
        let mut wildcards = self.wildcards.iter();
        let matched = wildcards.any(|(suffix, ports)| ports.hold(origin) && name.ends_with(suffix));
        matched.then_some(Trust::Matched)
    }
}

/// A URL as it may be shown: its query may hold a signature, its user a password.
pub fn shown(url: &Url) -> String {
    match Origin::of(url) {
        Some(origin) if matches!(url.scheme(), "http" | "https") => {
            format!("{}{}", origin.shown(), &url[Position::BeforePath..Position::AfterPath])
        }
        Some(origin) => format!("{}://{}", url.scheme(), origin.authority()),
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
        follow_from("http://files.test:8081/repo/a/b.tgz?x=1", entries, location)
    }

    fn follow_from(from: &str, entries: &[&str], location: &str) -> Result<(String, Trust), String> {
        let from = Url::parse(from).unwrap();
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
    fn https_is_another_server_and_never_left_for_http() {
        let listed = &["cdn.test", "store.test:9000", "old.test:80", "*.wild.test", "[::1]"];
        let trust = |location: &str| follow(listed, location).map(|(_, trust)| trust).ok();
        assert_eq!(trust("https://cdn.test/a"), Some(Trust::Listed));
        assert_eq!(trust("https://cdn.test:80/a"), None);
        assert_eq!(trust("https://[::1]/a"), Some(Trust::Listed));
        assert_eq!(trust("https://store.test:9000/a"), Some(Trust::Listed));
        assert_eq!(trust("https://store.test/a"), None);
        assert_eq!(trust("http://old.test/a"), Some(Trust::Listed));
        assert_eq!(
            trust("https://old.test/a"),
            None,
            "a port was named, and it is another one"
        );
        assert_eq!(trust("https://a.wild.test/a"), Some(Trust::Matched));
        assert_eq!(
            trust("https://files.test:8081/a"),
            None,
            "credentials must not follow there"
        );

        let from = |location: &str| follow_from("https://files.test/a", listed, location);
        assert_eq!(
            from("b").unwrap(),
            ("https://files.test/b".to_owned(), Trust::Home),
            "relative to https"
        );
        assert_eq!(from("https://cdn.test/a").unwrap().1, Trust::Listed);
        for down in ["http://files.test/a", "http://cdn.test/a", "http://files.test:443/a"] {
            assert!(
                from(down).unwrap_err().ends_with("it leads from https to http"),
                "{down}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_place_without_its_secrets() {
        let refusal = |location: &str| follow(&["cdn.test"], location).unwrap_err();
        assert_eq!(
            refusal("https://other.test/a?X-Amz-Signature=s3cret"),
            "the upstream redirects to https://other.test/a: its host is not in redirect_hosts"
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
