//! `[gate.tls]`, and how clients come to HTTP/2.

use std::path::Path;

use super::{TlsFiles, check::Checked, error::Source, raw};

/// Checks `[gate.tls]`; `None`: a listener without TLS. The files are read by who serves them.
pub(super) fn tls(source: &Source<'_>, folder: &Path, gate: &raw::Gate) -> Checked<Option<TlsFiles>> {
    let Some(raw) = &gate.tls else { return Ok(None) };
    let missing = |key: &str| {
        let error = source.at(&["gate", "tls"], format!("`gate.tls.{key}` is missing"));
        error.hint("`[gate.tls]` takes two PEM files: `certificate = \"chain.pem\"` and `key = \"key.pem\"`")
    };
    let certificate = raw.certificate.as_ref().ok_or_else(|| missing("certificate"))?;
    let key = raw.key.as_ref().ok_or_else(|| missing("key"))?;
    if gate.http2_prior_knowledge {
        let error = source.at(
            &["gate", "http2_prior_knowledge"],
            "`gate.http2_prior_knowledge` has no use beside `[gate.tls]`",
        );
        return Err(error.hint("by TLS, client and gate agree on HTTP/2 by themselves (ALPN); drop one of the two"));
    }
    Ok(Some(TlsFiles {
        certificate: folder.join(certificate),
        key: folder.join(key),
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::Config;

    fn parse(gate: &str) -> Result<Config, super::super::ConfigError> {
        let text = format!("[upstream]\nurl = \"http://h\"\n[gate]\n{gate}");
        Config::parse(&text, "/etc/tufgate/tufgate.toml")
    }

    #[test]
    fn both_files_are_named_and_lie_beside_the_configuration() {
        let config = parse("[gate.tls]\ncertificate = \"chain.pem\"\nkey = \"/run/key.pem\"").unwrap();
        let tls = config.gate.tls.unwrap();
        assert_eq!(tls.certificate.to_str(), Some("/etc/tufgate/chain.pem"));
        assert_eq!(tls.key.to_str(), Some("/run/key.pem"));
        for (lines, missing) in [
            ("certificate = \"c\"", "key"),
            ("key = \"k\"", "certificate"),
            ("", "certificate"),
        ] {
            let error = parse(&format!("[gate.tls]\n{lines}")).unwrap_err();
            assert_eq!(error.message, format!("`gate.tls.{missing}` is missing"));
            assert_eq!(error.line, Some(4), "{error}");
        }
    }

    #[test]
    fn prior_knowledge_beside_tls_would_be_ignored() {
        let tls = "[gate.tls]\ncertificate = \"c\"\nkey = \"k\"";
        let error = parse(&format!("http2_prior_knowledge = true\n{tls}")).unwrap_err();
        assert!(error.message.contains("has no use") && error.line == Some(4), "{error}");
        assert!(
            parse("http2_prior_knowledge = true")
                .unwrap()
                .gate
                .http2_prior_knowledge
        );
    }
}
