//! The command line as the client wants it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{GetArgs, GetError, View};
use crate::{
    client::{ClientOptions, Timeouts, Trust, naming::Base},
    clock::SystemClock,
    digest::Digest,
    tuf::layout::SUCCINCT,
};

/// `folder` looks an environment variable up.
pub(super) fn of(args: &GetArgs, folder: impl Fn(&str) -> Option<PathBuf>) -> Result<ClientOptions, GetError> {
    // As they were given, before paths are added to them.
    for url in &args.url {
        Base::parse(url)?;
    }
    for (given, missing, option) in [
        (&args.metadata_url, &args.targets_url, "--targets-url"),
        (&args.targets_url, &args.metadata_url, "--metadata-url"),
    ] {
        if args.url.is_empty() && !given.is_empty() && missing.is_empty() {
            return Err(GetError::Lacking(option));
        }
    }
    let below_gates = |path: &str| {
        let bases = args.url.iter().map(|url| url.trim_end_matches('/'));
        bases.map(|base| format!("{base}/{path}")).collect::<Vec<_>>()
    };
    let or_below_gates = |given: &[String], path| match given {
        [] => below_gates(path),
        given => given.to_vec(),
    };
    let view = match args.view {
        View::Prefixes => "metadata/".to_owned(),
        View::Succinct => format!("metadata/{SUCCINCT}"),
    };
    let metadata_urls = or_below_gates(&args.metadata_url, &view);
    let store = match &args.store {
        Some(store) => store.clone(),
        None => store_of(metadata_urls.first().map(String::as_str).unwrap_or_default(), folder)?,
    };
    if store.exists() && !store.is_dir() {
        return Err(GetError::no_folder("--store", &store));
    }
    let defaults = Timeouts::default();
    let idle = Duration::from_secs(args.timeout);
    Ok(ClientOptions {
        targets_urls: or_below_gates(&args.targets_url, ""),
        trust: match (&args.root, args.root_sha256) {
            (Some(file), _) => Trust::RootFile(file.clone()),
            (None, Some(digest)) => Trust::RootSha256(digest),
            (None, None) => Trust::Stored,
        },
        metadata_urls,
        store,
        naming: args.naming.into(),
        clock: Arc::new(SystemClock),
        timeouts: Timeouts {
            connect: idle.min(defaults.connect),
            idle,
            total: idle * 2,
            ..defaults
        },
        offline: args.offline,
    })
}

/// Where trusted metadata of a repository lies when nothing is said.
pub(in crate::cli) fn store_of(
    metadata_url: &str,
    folder: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf, GetError> {
    // A relative XDG path is to be ignored (XDG Base Directory Specification).
    let data = folder("XDG_DATA_HOME").filter(|data| data.is_absolute());
    let home = || Some(folder("HOME")?.join(".local/share"));
    let data = data.or_else(home).ok_or(GetError::NoDataFolder)?;
    // However it is spelt: with `/` at its end or without.
    let repository = Base::parse(metadata_url)?;
    Ok(data.join("tufgate").join(Digest::of(repository.as_str()).to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::client::TargetNaming;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        get: GetArgs,
    }

    fn parse(line: &str) -> Result<GetArgs, clap::Error> {
        Cli::try_parse_from(["get"].into_iter().chain(line.split_whitespace())).map(|cli| cli.get)
    }

    fn read(line: &str) -> ClientOptions {
        of(&parse(line).unwrap(), |name| (name == "HOME").then(|| "/home/x".into())).unwrap()
    }

    #[test]
    fn the_gates_url_gives_metadata_targets_and_store() {
        let prefixes = read("a/b --url http://gate:8080");
        assert_eq!(prefixes.metadata_urls, ["http://gate:8080/metadata/"]);
        assert_eq!(prefixes.targets_urls, ["http://gate:8080/"]);
        assert_eq!(prefixes.naming, TargetNaming::HashedName);
        assert!(matches!(prefixes.trust, Trust::Stored));
        let folder = format!(
            "/home/x/.local/share/tufgate/{}",
            Digest::of("http://gate:8080/metadata/")
        );
        assert_eq!(prefixes.store, Path::new(&folder));
        let succinct = read("a/b --url http://gate:8080/ --view succinct --naming bare --root r.json --store /s");
        assert_eq!(succinct.metadata_urls, ["http://gate:8080/metadata/succinct/"]);
        assert_eq!(succinct.naming, TargetNaming::Bare);
        assert_eq!(succinct.store, Path::new("/s"));
        assert!(matches!(succinct.trust, Trust::RootFile(file) if file == Path::new("r.json")));
    }

    #[test]
    fn mirrors_keep_their_order_and_the_first_names_the_store() {
        let gates = read("a b --url http://one --url http://two/");
        assert_eq!(gates.metadata_urls, ["http://one/metadata/", "http://two/metadata/"]);
        assert_eq!(gates.targets_urls, ["http://one/", "http://two/"]);
        assert_eq!(gates.store, read("a --url http://one").store);
        let apart = read("a --metadata-url http://m/ --metadata-url http://n/ --targets-url http://t/");
        assert_eq!(apart.metadata_urls, ["http://m/", "http://n/"]);
        assert_eq!(apart.targets_urls, ["http://t/"]);
        let slash = "a --metadata-url http://m/x/ --targets-url http://t/";
        assert_eq!(read(slash).store, read(&slash.replace("x/", "x")).store);
        assert_eq!(read(slash).store, read(&slash.replace("//m/", "//M:80/")).store);
        assert_ne!(
            read("a --url http://g").store,
            read("a --url http://g --view succinct").store
        );
        let mixed = read("a --url http://gate --targets-url http://cdn/ --timeout 3");
        assert_eq!(mixed.metadata_urls, ["http://gate/metadata/"]);
        assert_eq!(mixed.targets_urls, ["http://cdn/"]);
        assert_eq!(mixed.timeouts.connect, Duration::from_secs(3));
    }

    #[test]
    fn an_absolute_data_folder_wins() {
        let args = parse("a --url http://g").unwrap();
        let store = |xdg: &'static str| {
            let folder = move |name: &str| Some(PathBuf::from(if name == "HOME" { "/h" } else { xdg }));
            of(&args, folder).unwrap().store
        };
        assert!(store("/data").starts_with("/data/tufgate"));
        assert!(store("data").starts_with("/h/.local/share/tufgate"));
        assert!(matches!(of(&args, |_| None), Err(GetError::NoDataFolder)));
    }

    #[test]
    fn command_lines_that_contradict_themselves_are_refused() {
        for bad in [
            "a",
            "--url http://g",
            "a --url http://g --root-sha256 12",
            "a --url http://g --view both",
            "a --url http://g --metadata-url http://m/ --view succinct",
            "a --url http://g --retries 1000",
            "a --url http://g --timeout 0",
            &format!("a --url http://g --root r --root-sha256 {}", Digest::of("r")),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for (line, missing) in [
            ("a --metadata-url http://m/", "--targets-url"),
            ("a --targets-url http://t/", "--metadata-url"),
        ] {
            let error = of(&parse(line).unwrap(), |_| Some("/h".into())).err().unwrap();
            assert!(
                error.to_string().contains(&format!("`{missing}` is missing")),
                "{error}"
            );
            assert_eq!(error.exit_code(), 2);
        }
        let file = of(&parse("a --url http://g --store Cargo.toml").unwrap(), |_| None)
            .err()
            .unwrap();
        assert!(file.to_string().contains("`Cargo.toml` is a file"), "{file}");
        parse(&format!("a --url http://g --root-sha256 {}", Digest::of("r"))).unwrap();
        parse("--url http://g --from list -o x").unwrap();
        assert_eq!(parse("a b --url http://g --out x").unwrap().output, Some("x".into()));
    }
}
