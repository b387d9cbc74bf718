//! Configurations: any text is a configuration or an error inside it.

use super::gate::config::Config;

/// Tries one.
pub fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    // The one key that makes the parser look outside the text.
    if text.contains("authorization_") {
        return;
    }
    if let Err(error) = Config::parse(text, "tufgate.toml") {
        assert!(
            error.line.is_none_or(|line| line <= text.split('\n').count()),
            "{error}"
        );
        assert!(!error.message.is_empty());
    }
}

/// The examples.
pub fn seeds() -> Vec<Vec<u8>> {
    let examples = [
        include_str!("../../../config/artifactory.toml"),
        include_str!("../../../config/full.toml"),
        include_str!("../../../config/minimal.toml"),
        include_str!("../../../config/nginx.toml"),
        include_str!("../../../config/npm.toml"),
        include_str!("../../../config/pypi.toml"),
    ];
    examples
        .map(|text| text.replace("authorization_", "x_").into_bytes())
        .into()
}
