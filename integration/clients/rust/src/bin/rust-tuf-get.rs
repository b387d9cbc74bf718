//! Downloads targets with rust-tuf, its limits and its hash-prefixed names. It begins with the given root each time.

use std::{error::Error, path::Path, process::ExitCode};

use futures_util::io::AsyncReadExt as _;
use hyper::client::HttpConnector;
use tuf::{
    client::{Client, Config},
    metadata::{RawSignedMetadata, RootMetadata, TargetPath},
    pouf::Pouf1,
    repository::{EphemeralRepository, HttpRepository, HttpRepositoryBuilder},
};
use tuf_clients::{Args, all_failed, failed, save};
use url::Url;

type RustTuf = Client<Pouf1, EphemeralRepository<Pouf1>, HttpRepository<HttpConnector, Pouf1>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("rust-tuf-get: {message}");
            return ExitCode::from(2);
        }
    };
    let mut client = match refreshed(&args).await {
        Ok(client) => client,
        Err(error) => return all_failed(&args, error.as_ref()),
    };
    let mut exit = ExitCode::SUCCESS;
    for (target, out) in &args.targets {
        if let Err(error) = fetch(&mut client, target, out).await {
            failed(target, error.as_ref());
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

async fn refreshed(args: &Args) -> Result<RustTuf, Box<dyn Error>> {
    let remote = HttpRepositoryBuilder::new(origin(&args.metadata_url), hyper::Client::new())
        .metadata_prefix(folders(&args.metadata_url))
        .targets_prefix(folders(&args.targets_url))
        .user_agent(args.agent("rust-tuf/0.3.0-beta14"))
        .build();
    let root = RawSignedMetadata::<Pouf1, RootMetadata>::new(args.root.clone());
    let mut client = Client::with_trusted_root(Config::default(), &root, EphemeralRepository::new(), remote).await?;
    client.update().await?;
    Ok(client)
}

/// Scheme, host and port, below which the client looks for both folders.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin
}

fn folders(url: &Url) -> Vec<String> {
    let folders = url.path().split('/').filter(|folder| !folder.is_empty());
    folders.map(str::to_owned).collect()
}

async fn fetch(client: &mut RustTuf, target: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let path = TargetPath::new(target.to_owned())?;
    let mut bytes = Vec::new();
    // The reader fails at its end unless length and hash are right.
    client.fetch_target(&path).await?.read_to_end(&mut bytes).await?;
    save(target, out, &bytes)
}
