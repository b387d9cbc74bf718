//! A target's bytes: continued where an earlier download ended, counted and hashed, moved into place only when they are
//! right.

use std::{fs, io, path::PathBuf};

use super::{
    TargetFile,
    error::{Attack, ClientError, refused},
    fetch::{Ask, FetchError, Fetcher, Part},
    mirrors::Mirrors,
    notice::Notice,
    partial::{self, Partial},
    place::Place,
};

/// Most redirects that are followed for a target.
const MAX_REDIRECTS: usize = 5;
/// A broken transfer that brought so much gets all its retries back.
const PROGRESS: u64 = 1 << 20;

/// A download that ended well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Downloaded {
    /// What was asked for.
    pub target: TargetFile,
    /// Where it lies.
    pub path: PathBuf,
    /// It lay there already, whole; nothing was fetched.
    pub present: bool,
}

/// Where a target's bytes come from.
pub(super) struct Source<'a> {
    /// Asks.
    pub fetcher: &'a Fetcher,
    /// Is asked.
    pub mirrors: &'a Mirrors,
    /// The target.
    pub target: &'a TargetFile,
    /// Its URL at a mirror.
    pub url: &'a (dyn Fn(&super::naming::Base) -> String + Sync),
}

/// Whether the target lies at its place already.
pub async fn is_present(place: &Place, target: &TargetFile) -> bool {
    let Ok(mut file) = place.open() else { return false };
    let (length, mut check) = (target.length, target.hashes.check());
    let same = move || -> io::Result<bool> {
        if file.metadata()?.len() != length {
            return Ok(false);
        }
        partial::hash(&mut file, &mut check)?;
        Ok(check.length() == length && check.finish().is_ok())
    };
    matches!(tokio::task::spawn_blocking(same).await, Ok(Ok(true)))
}

/// Whether a download that broke off can go on from what is kept beside its place.
pub fn is_begun(place: &Place, target: &TargetFile) -> bool {
    partial::is_begun(place, &target.hashes)
}

/// Fetches a target to its place. On any failure the place is left as it was; what may be continued stays beside it.
pub(super) async fn save(
    source: &Source<'_>,
    place: &Place,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), ClientError> {
    let local = |source| ClientError::Local {
        path: place.path().to_owned(),
        source,
    };
    let target = source.target;
    let mut partial = Partial::open(place, &target.hashes, target.length)
        .await
        .map_err(local)?;
    fetch(source, &mut partial, place.path(), progress).await?;
    partial.finish().await.map_err(local)?;
    Ok(())
}

/// Fetches a target to a file without a name, and gives the file.
pub(super) async fn spool(
    source: &Source<'_>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<fs::File, ClientError> {
    let path = std::env::temp_dir();
    let local = |source| ClientError::Local {
        path: path.clone(),
        source,
    };
    let mut partial = Partial::nameless(&source.target.hashes).map_err(local)?;
    fetch(source, &mut partial, &path, progress).await?;
    partial.finish().await.map_err(local)
}

/// Asks one mirror after the other until `partial` holds the target.
async fn fetch(
    source: &Source<'_>,
    partial: &mut Partial<'_>,
    path: &std::path::Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), ClientError> {
    let target = source.target;
    if partial.length() == target.length && target.length > 0 {
        if partial.check().is_ok() {
            return Ok(());
        }
        let restarted = partial.restart().await;
        restarted.map_err(|source| local(path, source))?;
    }
    let mut transfer = Transfer {
        source,
        partial,
        path,
        etag: None,
        whole: false,
        progress,
    };
    let mut tries = source.mirrors.tries(source.fetcher);
    let mut furthest = transfer.partial.length();
    while let Some(base) = tries.next().await {
        match transfer.from(&(source.url)(base)).await {
            Ok(()) => {
                tries.served();
                return Ok(());
            }
            // Another mirror would not help.
            Err(error @ ClientError::Local { .. }) => return Err(error),
            Err(error) => {
                if transfer.partial.length() >= furthest + PROGRESS {
                    furthest = transfer.partial.length();
                    tries.progressed();
                }
                tries.failed(error);
            }
        }
    }
    Err(tries.into_error())
}

struct Transfer<'a, 'b> {
    source: &'a Source<'a>,
    partial: &'a mut Partial<'b>,
    path: &'a std::path::Path,
    /// A URL and the strong ETag it had when bytes of it were taken.
    etag: Option<(String, String)>,
    /// The last answer was the whole file.
    whole: bool,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl Transfer<'_, '_> {
    /// Asks one URL for what is missing. When what comes does not go with what is there, it asks once more for
    /// everything: the beginning may be another mirror's lie, or a file that a crash left half-written.
    async fn from(&mut self, url: &str) -> Result<(), ClientError> {
        let target = self.source.target;
        loop {
            let from = self.partial.length();
            let outcome = self.once(url, from).await;
            if let Err(ClientError::Refused { .. }) = &outcome {
                self.restart().await?;
                if from > 0 && !self.whole {
                    self.starts_over("what was there of it is not its beginning");
                    continue;
                }
            }
            match outcome {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.restart().await?;
                    self.starts_over("the server does not continue it");
                }
                Err(error) => {
                    tracing::debug!(client.target = target.path, "{error}");
                    let flushed = self.partial.flush().await;
                    flushed.map_err(|source| local(self.path, source))?;
                    return Err(error);
                }
            }
        }
    }

    /// One request. `false`: it was one for a part, and the answer is no part that fits.
    async fn once(&mut self, url: &str, from: u64) -> Result<bool, ClientError> {
        let target = self.source.target;
        let etag = self.etag.take().filter(|(whose, _)| whose == url).map(|(_, etag)| etag);
        let ask = Ask {
            url,
            limit: target.length,
            from,
            if_range: etag.as_deref(),
            redirects: MAX_REDIRECTS,
        };
        self.whole = false;
        let mut answer = match self.source.fetcher.open(ask).await {
            Err(FetchError::Status { status, .. }) if from > 0 && status == http::StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(false);
            }
            answer => answer.map_err(|error| bounded(error, target))?,
        };
        self.whole = answer.part.is_none();
        match answer.part {
            Some(part) if !fits(part, from, target.length) => return Ok(false),
            Some(_) => self.source.fetcher.notice(&Notice::Resumed {
                target: target.path.clone(),
                from,
            }),
            None if from > 0 => {
                self.restart().await?;
                self.starts_over("the server sends it from the beginning");
            }
            None => {}
        }
        self.etag = answer.etag.take().map(|etag| (url.to_owned(), etag));
        while let Some(piece) = answer.stream.next().await.map_err(|error| bounded(error, target))? {
            let written = self.partial.write(&piece).await;
            written.map_err(|source| local(self.path, source))?;
            (self.progress)(self.partial.length());
        }
        let length = self.partial.length();
        if length != target.length {
            let why = format!("{length} bytes came, but {} are listed", target.length);
            return Err(refused(&target.path, Attack::ArbitrarySoftware, why));
        }
        match self.partial.check() {
            Ok(()) => Ok(true),
            Err(why) => Err(refused(&target.path, Attack::ArbitrarySoftware, why)),
        }
    }

    async fn restart(&mut self) -> Result<(), ClientError> {
        self.etag = None;
        let restarted = self.partial.restart().await;
        restarted.map_err(|source| local(self.path, source))
    }

    fn starts_over(&self, why: &'static str) {
        let target = self.source.target.path.clone();
        self.source.fetcher.notice(&Notice::StartedOver { target, why });
    }
}

/// Whether a part is what is missing after `from` of a file of `length` bytes.
fn fits(part: Part, from: u64, length: u64) -> bool {
    part.first == from && part.last.checked_add(1) == Some(length) && part.total.is_none_or(|total| total == length)
}

/// Too many bytes are not a broken connection but a check that failed.
fn bounded(error: FetchError, target: &TargetFile) -> ClientError {
    match error {
        FetchError::TooLong { .. } => {
            let why = format!("more than its {} bytes came", target.length);
            refused(&target.path, Attack::EndlessData, why)
        }
        other => other.into(),
    }
}

fn local(path: &std::path::Path, source: io::Error) -> ClientError {
    ClientError::Local {
        path: path.to_owned(),
        source,
    }
}
