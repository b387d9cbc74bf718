//! Which redirects of a target are followed. Pure.
//!
//! Whole repositories keep targets behind redirects (a store's signed URLs, a CDN), and what arrives must have the listed
//! length and hash wherever it comes from; so hosts are not restricted. A question is a GET without credentials, cookies
//! or a referrer, and none of that is ever added. Metadata is not redirected: whoever could answer a `timestamp.json`
//! with a redirect would choose, for as long as caches keep it, whom the client asks from then on.

use http::{HeaderValue, StatusCode};
use url::Url;

/// Whether the status sends the client elsewhere.
pub(super) fn is_one(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, or why it is not followed.
pub(super) fn next(from: &Url, location: Option<&HeaderValue>) -> Result<Url, String> {
    let location = location.and_then(|location| location.to_str().ok());
    let to = location.ok_or("it does not say where to")?;
    let mut to = from.join(to).map_err(|error| format!("it leads to no URL: {error}"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err("it leads from https to http".to_owned()),
        (_, "http" | "https") => {}
        (_, other) => return Err(format!("it leads to `{other}:`")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it leads to a URL with credentials".to_owned());
    }
    to.set_fragment(None);
    Ok(to)
}

/// A URL without its query, which may hold a signature that opens it.
pub(super) fn shown(mut url: Url) -> String {
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn follow(from: &str, to: &str) -> Result<String, String> {
        next(&Url::parse(from).unwrap(), Some(&HeaderValue::from_str(to).unwrap())).map(String::from)
    }

    #[test]
    fn a_redirect_leads_to_http_or_https_and_never_back_to_http() {
        assert_eq!(follow("http://h/a/b", "c?d#e").unwrap(), "http://h/a/c?d");
        assert_eq!(follow("http://h/a", "https://o/x").unwrap(), "https://o/x");
        assert_eq!(follow("http://h/a", "//o:1/x").unwrap(), "http://o:1/x");
        for (from, to) in [
            ("https://h/", "http://h/"),
            ("http://h/", "file:///etc/passwd"),
            ("http://h/", "http://u:p@o/"),
            ("http://h/", "http://u@o/"),
            ("http://h/", "http://"),
        ] {
            assert!(follow(from, to).is_err(), "{from} {to}");
        }
        assert!(next(&Url::parse("http://h/").unwrap(), None).is_err());
    }

    proptest! {
        #[test]
        fn no_location_leads_out_of_https(to in "[ -~]{0,40}") {
            if let Ok(to) = follow("https://h/x", &to) {
                prop_assert!(to.starts_with("https://"), "{}", to);
            }
        }
    }
}
