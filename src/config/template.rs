//! The configuration that `tufgate quickstart` writes.

use std::net::SocketAddr;

use url::Url;

/// What differs between one quickstart and another.
#[derive(Clone, Debug)]
pub struct QuickstartTemplate<'a> {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The artifact server.
    pub upstream_url: &'a Url,
    /// The admin listener, on loopback.
    pub admin: SocketAddr,
}

/// A commented `tufgate.toml` with quickstart's rule (DESIGN 10); paths are relative to its folder.
pub fn template(quickstart: &QuickstartTemplate<'_>) -> String {
    let QuickstartTemplate {
        listen,
        upstream_url,
        admin,
    } = quickstart;
    // A URL's text holds neither quotes nor backslashes, so it needs no escaping.
    format!(
        r#"# Written by `tufgate quickstart`. `config/full.toml` in the source shows every key.

[gate]
# Where clients connect: artifacts under their own paths, TUF metadata under /metadata/.
listen = "{listen}"

[upstream]
# The artifact server. Nothing about it changes.
url = "{upstream_url}"

[admin]
# /metrics, /livez, /readyz; loopback only.
listen = "{admin}"

# Rules are tried in order; the first whose glob matches a path wins. `*` stops at `/`, `**` does not.
[[rule]]
path = "**"
# One path, one content, for ever. Indexes that change need `kind = "mutable"`, in a rule above this one.
kind = "immutable"
# Record uploads, and what is fetched for the first time.
learn = "fetch"
# Never deliver bytes that differ from what was recorded.
on_drift = "block"
"#
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{config::Config, policy::Policy};

    #[test]
    fn what_quickstart_writes_is_quickstarts_policy() {
        let url = Url::parse("http://127.0.0.1:9000/repo/%22x").unwrap();
        let text = template(&QuickstartTemplate {
            listen: "127.0.0.1:8080".parse().unwrap(),
            upstream_url: &url,
            admin: "[::1]:8081".parse().unwrap(),
        });
        let config = Config::parse(&text, ".tufgate/tufgate.toml").unwrap();
        assert_eq!(config.gate.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.upstream.url, url);
        assert_eq!(config.admin.listen.unwrap().to_string(), "[::1]:8081");
        assert_eq!(config.ledger.to_str(), Some(".tufgate/ledger.db"));
        let quickstart = Policy::quickstart().unwrap();
        assert_eq!(format!("{:?}", config.policy), format!("{quickstart:?}"));
    }
}
