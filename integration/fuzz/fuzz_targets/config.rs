//! Configurations: any text is a configuration or an error inside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tufgate::Config;

fuzz_target!(|text: &str| {
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
});
