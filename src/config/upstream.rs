//! What an upstream may be, and the gate's own credential there.

use std::{path::Path, time::Duration};

use http::{HeaderName, HeaderValue, header::PROXY_AUTHORIZATION};
use url::Url;
use zeroize::Zeroizing;

use super::{
    Secret, UpstreamConfig,
    check::{Checked, HOUR, within},
    error::Source,
    files::check_secret,
    raw,
};

/// Checks `[upstream]`.
pub(super) fn check(source: &Source<'_>, folder: &Path, raw: raw::Upstream) -> Checked<UpstreamConfig> {
    let at = |key, message: &str| source.at(&["upstream", key], message);
    let Some(text) = raw.url else {
        let error = at("url", "`upstream.url` is missing: the server to stand in front of");
        return Err(error.hint("[upstream] url = \"http://127.0.0.1:8000\""));
    };
    let url = Url::parse(&text).map_err(|why| {
        at("url", &format!("`upstream.url` {text:?} is not a URL: {why}")).hint("such as `http://127.0.0.1:8000`")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(at(
            "url",
            "`upstream.url` must be `http://host[:port]` or `https://…`, optionally with a path",
        ));
    }
    // Pingora asks such a name's certificate for another name: `-` in place of `_`, which may be somebody else's.
    let label = url.domain().and_then(|name| name.split('.').next());
    if url.scheme() == "https" && label.is_some_and(|label| label.contains('_')) {
        let error = at(
            "url",
            "no certificate can be checked against a host name that holds `_`",
        );
        return Err(error.hint("use another name of the same server"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = at("url", "`upstream.url` holds credentials");
        return Err(error.hint("the gate's own credential belongs in `[upstream.identity]`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(at("url", "`upstream.url` takes no query and no fragment"));
    }
    for host in &raw.redirect_hosts {
        let parsed = Url::parse(&format!("http://{host}/"));
        if !parsed
            .is_ok_and(|url| url.path() == "/" && url.username().is_empty() && !host.contains(['/', '?', '#', '@']))
        {
            let error = at("redirect_hosts", &format!("{host:?} is not a host"));
            return Err(error.hint("write `host` or `host:port`, without a scheme or a path"));
        }
    }
    if raw.ca.is_some() && url.scheme() == "http" && raw.redirect_hosts.is_empty() {
        let error = at(
            "ca",
            "`upstream.ca` has no use: `upstream.url` is http, and no redirects are followed",
        );
        return Err(error.hint("write `https://…` in `upstream.url`, or drop `ca`"));
    }
    if raw.max_reads == 0 {
        return Err(at("max_reads", "`upstream.max_reads` is at least 1"));
    }
    within(
        source,
        "upstream",
        "connect_timeout",
        raw.connect_timeout,
        Duration::from_millis(1),
        HOUR,
    )?;
    within(
        source,
        "upstream",
        "io_timeout",
        raw.io_timeout,
        Duration::from_millis(1),
        HOUR,
    )?;
    let headers = raw.credential_headers.iter().map(|name| {
        let wrong = |what: &str| at("credential_headers", &format!("{name:?} {what}"));
        match HeaderName::from_bytes(name.as_bytes()) {
            // RFC 9110 section 11.7.2: it is for the proxy that asked for it.
            Ok(PROXY_AUTHORIZATION) => Err(wrong("never goes upstream").hint("leave it out")),
            name => name.map_err(|_| wrong("is not a header name")),
        }
    });
    Ok(UpstreamConfig {
        url,
        preserve_host: raw.preserve_host,
        redirect_hosts: raw
            .redirect_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        connect_timeout: raw.connect_timeout.0,
        io_timeout: raw.io_timeout.0,
        max_reads: raw.max_reads,
        credential_headers: headers.collect::<Checked<_>>()?,
        ca: raw.ca.map(|path| folder.join(path)),
        identity: raw.identity.map(|raw| identity(source, folder, raw)).transpose()?,
    })
}

/// The gate's own credential: a whole `Authorization` value.
fn identity(source: &Source<'_>, folder: &Path, raw: raw::Identity) -> Checked<Secret> {
    let at = |key, message: String| source.at(&["upstream", "identity", key], message);
    let (key, text) = match (raw.authorization_env, raw.authorization_file) {
        (Some(name), None) => {
            let value = std::env::var(&name);
            let missing = |_| {
                at(
                    "authorization_env",
                    format!("environment variable `{name}` is not set to text"),
                )
            };
            ("authorization_env", Zeroizing::new(value.map_err(missing)?))
        }
        (None, Some(path)) => {
            let path = folder.join(path);
            check_secret(
                source,
                &["upstream", "identity", "authorization_file"],
                "the gate's own credential",
                &path,
            )
            .map_err(|error| match path.exists() {
                true => error,
                false => error.hint("a file of mode 600 with the whole `Authorization` value, such as `Bearer …`"),
            })?;
            let text = std::fs::read_to_string(&path);
            let missing = |why| at("authorization_file", format!("cannot read `{}`: {why}", path.display()));
            ("authorization_file", Zeroizing::new(text.map_err(missing)?))
        }
        _ => {
            let message = "`[upstream.identity]` takes one of `authorization_env` and `authorization_file`";
            return Err(at("authorization_file", message.into()));
        }
    };
    let value = text.trim();
    if value.is_empty() || HeaderValue::from_str(value).is_err() {
        let error = at(key, "the identity is not an `Authorization` value".into());
        return Err(error.hint("such as `Bearer …` or `Basic …`, on one line"));
    }
    Ok(Secret(Zeroizing::new(value.to_owned())))
}
