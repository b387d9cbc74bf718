//! `tufgate get`: downloads targets through the TUF client.

mod bundle;
mod error;
pub(super) mod options;
mod plan;
mod report;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};

pub use self::error::GetError;
use self::{
    plan::{Job, Output},
    report::Report,
};
use crate::{
    client::{Client, ClientError, Downloaded, Fetcher, Place, TargetNaming, download::is_begun},
    digest::Digest,
};

/// Download targets and verify them with TUF
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// Target paths, as the metadata lists them: decoded, without leading `/`
    #[arg(required_unless_present = "from", value_name = "TARGET")]
    pub targets: Vec<String>,

    /// A list of further targets: one path a line; empty lines and lines that begin with `#` are skipped; `-` is
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// The gate: metadata at URL/metadata/, targets at URL/. Given again: a mirror, asked when the one before it fails
    #[arg(long, required_unless_present_any = ["metadata_url", "targets_url"])]
    pub url: Vec<String>,

    /// Trust begins with this root file
    #[arg(long, value_name = "FILE", conflicts_with = "root_sha256")]
    pub root: Option<PathBuf>,

    /// Trust begins with the root that has this sha256; without it and --root, with what was trusted last time
    #[arg(long, value_name = "HEX")]
    pub root_sha256: Option<Digest>,

    /// For one target: the file to write, or `-` for standard output; by default its last segment, in this folder. For
    /// several targets, for `--from`, or where it is a folder or ends in `/`: the folder below which they keep their
    /// paths; by default this one
    #[arg(short, long, visible_alias = "out", value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,

    /// Which delegation to the bins to follow
    #[arg(long, value_enum, default_value_t)]
    pub view: View,

    /// Under which name to ask for the targets
    #[arg(long, value_enum, default_value_t)]
    pub naming: Naming,

    /// Where metadata lies, if not at URL/metadata/; given again: a mirror
    #[arg(long, value_name = "URL", conflicts_with = "view")]
    pub metadata_url: Vec<String>,

    /// Where targets lie, if not at URL/; given again: a mirror
    #[arg(long, value_name = "URL")]
    pub targets_url: Vec<String>,

    /// Folder for trusted metadata; by default one for each first metadata URL below the user's data folder
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Trust these certificate authorities (PEM) for https too, beside the system's or those of SSL_CERT_FILE
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// How often to try again what failed for a reason that may pass
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=100))]
    pub retries: u32,

    /// Seconds of silence after which a server is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,

    /// Ask no server: say whether the targets lie at their outputs as the stored metadata lists them, while that is not
    /// expired
    #[arg(long)]
    pub offline: bool,

    /// Print one JSON object a target, errors too
    #[arg(long)]
    pub json: bool,

    /// Print nothing but errors (and what --json asks for)
    #[arg(short, long)]
    pub quiet: bool,
}

/// A way to delegate to the same bins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum View {
    /// path_hash_prefixes
    #[default]
    Prefixes,
    /// succinct_roles (TAP 15)
    Succinct,
}

/// Names that stand for a target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Naming {
    /// dir/name
    Bare,
    /// HASH.dir/name
    HashedFolder,
    /// dir/HASH.name
    #[default]
    HashedName,
}

impl From<Naming> for TargetNaming {
    fn from(naming: Naming) -> Self {
        match naming {
            Naming::Bare => Self::Bare,
            Naming::HashedFolder => Self::HashedFolder,
            Naming::HashedName => Self::HashedName,
        }
    }
}

/// Downloads the targets, each if it can be, and says where they lie.
pub async fn run(args: GetArgs) -> Result<(), GetError> {
    let mut targets = args.targets.clone();
    if let Some(from) = &args.from {
        targets.extend(bundle::read(from)?);
    }
    let jobs = plan::jobs(targets, args.output.as_deref(), args.from.is_some())?;
    let options = options::of(&args, |name| std::env::var_os(name).map(PathBuf::from))?;
    // A store holds a timestamp once a root's keys were right for one.
    let unproven = args
        .root
        .clone()
        .filter(|_| !options.store.join("timestamp.json").exists());
    let report = Arc::new(Report::new(&args, &jobs));
    let hears = Arc::clone(&report);
    let mut fetcher = Fetcher::new(options.timeouts)
        .with_retries(args.retries)
        .with_notices(move |notice| hears.notice(notice));
    if let Some(ca) = &args.ca {
        let pem = fs::read(ca).and_then(|pem| fetcher.clone().with_authorities(&pem));
        fetcher = pem.map_err(|source| GetError::Authorities {
            path: ca.clone(),
            source,
        })?;
    }
    let mut client = Client::open_with(options, fetcher)?;

    let mut failed = 0;
    let mut last = None;
    let refreshed = client.refresh().await;
    if let Err(error) = refreshed {
        // Nothing can be looked up: one error, which in JSON every target has.
        let error = GetError::of_refresh(error, unproven);
        for job in &jobs {
            report.refused(job, &error)?;
        }
        return Err(error);
    }
    for job in &jobs {
        report.begins(job);
        let done = download(&mut client, job, &report).await;
        report.ends();
        match done {
            Ok(done) => report.done(job, &done, client.snapshot_version().unwrap_or_default())?,
            Err(error) => {
                failed += 1;
                report.failed(job, &error)?;
                last = Some(error);
            }
        }
    }
    match last {
        None => report.sum(),
        Some(error) if jobs.len() == 1 => Err(error),
        Some(_) => Err(GetError::Several { failed, of: jobs.len() }),
    }
}

async fn download(client: &mut Client, job: &Job, report: &Report) -> Result<Downloaded, GetError> {
    let nowhere = |why| GetError::NoPlace {
        target: job.target.clone(),
        why,
    };
    if let Output::Nowhere(why) = job.output {
        return Err(nowhere(why));
    }
    let found = client.find(&job.target).await?;
    let target = found.ok_or_else(|| ClientError::NotFound(job.target.clone()))?;
    let progress = |bytes, length| report.progress(bytes, length);
    let place = match &job.output {
        Output::File(path) => Place::of(path)?,
        Output::Below(folder, relative) => Place::below(folder, relative)?,
        Output::Nowhere(why) => return Err(nowhere(why)),
        Output::Standard => {
            let mut file = client.spool(&target, progress).await?;
            io::copy(&mut file, &mut io::stdout().lock()).map_err(GetError::Print)?;
            io::stdout().flush().map_err(GetError::Print)?;
            return Ok(Downloaded {
                target,
                path: "-".into(),
                present: false,
            });
        }
    };
    let wanted = target.clone();
    client.save(target, &place, progress).await.map_err(|error| {
        let begun = is_begun(&place, &wanted);
        match begun && error.attack().is_none() {
            true => GetError::Interrupted(error),
            false => error.into(),
        }
    })
}
