//! Downloads targets with tough, which loads every role before the first target and asks for `H.dir/name`.
//!
//! tough's own HTTP transport sends no `User-Agent`, so this one stands in for it; statuses mean the same in both.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use futures_util::TryStreamExt;
use reqwest::StatusCode;
use tough::{
    IntoVec, Repository, RepositoryLoader, TargetName, Transport, TransportError, TransportErrorKind, TransportStream,
    async_trait,
};
use tuf_clients::{Args, all_failed, failed, save};
use url::Url;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("tough-get: {message}");
            return ExitCode::from(2);
        }
    };
    let repository = match loaded(&args).await {
        Ok(repository) => repository,
        Err(error) => return all_failed(&args, error.as_ref()),
    };
    let mut exit = ExitCode::SUCCESS;
    for (target, out) in &args.targets {
        if let Err(error) = fetch(&repository, target, out).await {
            failed(target, error.as_ref());
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

async fn loaded(args: &Args) -> Result<Repository, Box<dyn Error>> {
    let repository = RepositoryLoader::new(&args.root, args.metadata_url.clone(), args.targets_url.clone())
        .transport(Http(args.http("tough/0.24.0")?))
        .datastore(&args.dir)
        .load()
        .await?;
    Ok(repository)
}

async fn fetch(repository: &Repository, target: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let name = TargetName::new(target)?;
    let stream = repository
        .read_target(&name)
        .await?
        .ok_or("target not found in the metadata")?;
    save(target, out, &stream.into_vec().await?)
}

/// Plain HTTP with a name. 403, 404 and 410 are "not found", as in `tough::HttpTransport`.
#[derive(Clone, Debug)]
struct Http(reqwest::Client);

#[async_trait]
impl Transport for Http {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let at = url.to_string();
        let fail = |error: reqwest::Error| {
            let kind = match error.status() {
                Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE) => {
                    TransportErrorKind::FileNotFound
                }
                _ => TransportErrorKind::Other,
            };
            TransportError::new_with_cause(kind, &at, error)
        };
        let answer = self
            .0
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(fail)?;
        let url = answer.url().to_string();
        let bytes = answer
            .bytes_stream()
            .map_err(move |error| TransportError::new_with_cause(TransportErrorKind::Other, &url, error));
        Ok(Box::pin(bytes))
    }
}
