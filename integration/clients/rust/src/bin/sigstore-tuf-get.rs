//! Downloads targets with sigstore-tuf, its limits and its hash-prefixed names.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use sigstore_tuf::cache::FileStore;
use sigstore_tuf::client::{HttpRepository, Updater};
use tuf_clients::{Args, all_failed, failed, save};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("sigstore-tuf-get: {message}");
            return ExitCode::from(2);
        }
    };
    let mut updater = match refreshed(&args).await {
        Ok(updater) => updater,
        Err(error) => return all_failed(&args, error.as_ref()),
    };
    let mut exit = ExitCode::SUCCESS;
    for (target, out) in &args.targets {
        if let Err(error) = fetch(&mut updater, target, out).await {
            failed(target, error.as_ref());
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

async fn refreshed(args: &Args) -> Result<Updater, Box<dyn Error>> {
    let repository = HttpRepository::new(args.metadata_url.as_str())?
        .with_targets_base(args.targets_url.as_str())?
        .with_http_client(args.http("sigstore-tuf/0.15.1")?);
    let mut updater = Updater::new(repository, &args.root)?.with_store(FileStore::new(&args.dir));
    updater.refresh(Timestamp::now()).await?;
    Ok(updater)
}

/// Resolves and downloads past the client's own artifact cache, so that the gate is really asked.
async fn fetch(updater: &mut Updater, target: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let found = updater
        .get_target_info(target, Timestamp::now())
        .await?
        .ok_or("target not found in the metadata")?;
    let bytes = updater.download_target(&found, target).await?;
    save(target, out, &bytes)
}
