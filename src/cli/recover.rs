//! `tufgate recover`: goes on after ledger, depot or both were restored from a backup, above all that clients may have seen.

use std::{fs, path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;
use tokio::sync::{Notify, watch};

use crate::{
    cli::{CliError, block_on, get::GetError, operator, print, print_json},
    client::{
        Fetcher, Timeouts,
        naming::Base,
        public::{Contents, Public, Source},
    },
    clock::{Clock as _, SystemClock},
    config::{Config, Layout},
    depot::{Depot, fs::FsDepot},
    ledger::{Ledger, sqlite::SqliteLedger},
    server::StartError,
    signer::{self, OnlineKeys, Parts, Restored, Shown, Signer},
    target::TargetPath,
    telemetry::Metrics,
    tls::Roots,
    tuf::layout,
    wake::{WakeError, WakeListener},
};

/// Paths that are shown of a longer list.
const SHOWN: usize = 20;

/// Go on after a restore: publish everything anew, above all versions that clients may have seen
///
/// Stop the gate first. With `--from-public`, what was published after the backup is read from there, verified from the
/// depot's 1.root.json on, and learned again. With `--at-least` alone, what neither ledger nor depot knows is lost: publish
/// or import it again. Where neither can be given, rotate the keys of snapshot and timestamp.
#[derive(Args, Debug)]
pub struct Recover {
    /// Where clients read metadata: `https://cdn.example/metadata/`; without it, `signer.public` of the configuration
    #[arg(long, value_name = "URL")]
    from_public: Option<String>,
    /// Go on above this version with every role that the gate signs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    at_least: Option<u64>,
    /// Certificate authorities (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Recover {
    /// Recovers.
    pub fn run(self) -> Result<(), CliError> {
        let config = Config::load(&self.config)?;
        let url = self.from_public.clone().or_else(|| config.signer.public.clone());
        if url.is_none() && self.at_least.is_none() {
            return Err(CliError::usage("nothing says which versions clients have seen").hint(
                "give `--from-public URL`, where they read metadata, or `--at-least N`, a version that none was above; \
                     where neither can be given, new keys make clients forget what they saw: `tufgate root draft \
                     --replace-key snapshot:NAME=FILE --replace-key timestamp:NAME=FILE`, then `root publish --revoke`",
            ));
        }
        config.check_files()?;
        block_on(self.recover(Arc::new(config), url))?
    }

    async fn recover(self, config: Arc<Config>, url: Option<String>) -> Result<(), CliError> {
        let depot: Arc<dyn Depot> = Arc::new(FsDepot::open(&config.depot).map_err(StartError::from)?);
        let name = layout::file("root", 1);
        let root = depot.read(&name).await.map_err(StartError::from)?.ok_or_else(|| {
            let place = config.depot.display();
            CliError::damaged(format_args!("`{name}` is gone from the depot `{place}`"))
                .hint("put it back as clients have it: what is public is verified from it on")
        })?;
        let _socket = WakeListener::bind(&config.signer.socket).await.map_err(taken)?;
        let mut shown = Shown {
            at_least: self.at_least.unwrap_or(0),
            who: operator::who(),
            ..Shown::default()
        };
        // What stands in the depot is the signer's to judge, and worth reading where it is newer than the ledger.
        let own = Public::read(Source::Depot(Arc::clone(&depot)), &root).await;
        let own = own.ok().flatten();
        let mut places: Vec<_> = own.into_iter().map(|own| (own, true)).collect();
        if let Some(url) = &url {
            let source = Source::Web(Box::new(self.fetcher()?), Base::parse(url).map_err(GetError::from)?);
            let public = Public::read(source, &root).await.map_err(GetError::from)?;
            let public = public.ok_or_else(|| {
                CliError::failed(format_args!("`{url}` has no timestamp.json")).hint(
                    "the URL is the folder that clients read metadata from, such as https://cdn.example/metadata/",
                )
            })?;
            places.push((public, false));
        }
        // Only now: beside a depot without a root, an empty ledger would look like one that forgot.
        let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(&config.ledger).map_err(StartError::from)?);
        let known = ledger.publication().await.map_err(operator::failed)?;
        let known = known.map_or(0, |last| last.snapshot);
        // The newest comes last; of it, what the ledger missed is learned again.
        places.sort_by_key(|(place, _)| place.snapshot);
        let seen = places.last().map(|(place, _)| (place.snapshot, place.timestamp));
        let newest = places.len().saturating_sub(1);
        for (number, (place, own)) in places.into_iter().enumerate() {
            let learn = number == newest && place.snapshot > known;
            take(&config, &*depot, place, own, learn, &mut shown).await?;
        }
        let mut signer = Signer::new(parts(&config, ledger, depot).await?);
        let restored = signer.restore(&shown).await;
        signer.leave().await.map_err(StartError::from)?;
        self.tell(seen, &restored.map_err(StartError::from)?)
    }

    fn fetcher(&self) -> Result<Fetcher, CliError> {
        let fetcher = Fetcher::new(Timeouts::default()).with_retries(2);
        let Some(ca) = &self.ca else { return Ok(fetcher) };
        let roots = fs::read(ca).and_then(|pem| Roots::pem(&pem));
        let roots = roots.map_err(|source| GetError::Authorities {
            path: ca.clone(),
            source,
        })?;
        Ok(fetcher.trusting(roots))
    }

    fn tell(&self, seen: Option<(u64, u64)>, restored: &Restored) -> Result<(), CliError> {
        let Restored {
            snapshot,
            timestamp,
            learned,
            withdrawn,
        } = restored;
        if self.json {
            return print_json(&json!({
                "snapshot": snapshot, "timestamp": timestamp, "learned": learned, "withdrawn": withdrawn,
            }));
        }
        if let Some((snapshot, timestamp)) = seen {
            print(format_args!("seen: snapshot {snapshot}, timestamp {timestamp}"))?;
        }
        list("learned again", learned)?;
        list("withdrawn after the backup, and so retracted", withdrawn)?;
        if !withdrawn.is_empty() {
            print("`tufgate drift forget PATH` takes one back")?;
        }
        print(format_args!(
            "published snapshot {snapshot}, timestamp {timestamp}; the clock was taken to be right: {}\nnext: `tufgate \
             serve`, then `tufgate audit`",
            SystemClock.now()
        ))
    }
}

/// Puts into the depot what others signed and it lacks, if the place is not its `own`, and adds up what was listed; where
/// the ledger is to `learn` from it, targets, too.
async fn take(
    config: &Config,
    depot: &dyn Depot,
    place: Public,
    own: bool,
    learn: bool,
    shown: &mut Shown,
) -> Result<(), CliError> {
    // Also a targets.json of the gate's own: it says which roles others sign.
    let others = |role: &str| match role {
        "targets" => config.tuf.layout == Layout::Bins,
        role => !signer::is_ours(role),
    };
    let contents = match own && !learn {
        true => Contents::default(),
        false => place.contents().await.map_err(GetError::from)?,
    };
    let roots = place
        .roots
        .iter()
        .map(|(version, bytes)| ("root", *version, bytes.clone()));
    let files = contents.files.iter().filter(|(role, _)| others(role));
    let files = files.map(|(role, (version, bytes))| (role.as_str(), *version, bytes.clone()));
    let mut missing = Vec::new();
    for (role, version, bytes) in roots.chain(files) {
        let name = layout::file(role, version);
        // A gate that went on after the restore may have signed another one.
        let taken = role == "targets"
            && config.keys.targets.is_some()
            && depot.read(&name).await.map_err(StartError::from)?.is_some();
        if !taken {
            missing.push((name, bytes));
        }
    }
    let views = contents.succinct.iter();
    missing.extend(views.map(|(role, (version, bytes))| (layout::succinct(role, *version), bytes.clone())));
    depot.put_all(missing).await.map_err(StartError::from)?;
    let top = [
        ("snapshot".to_owned(), place.snapshot),
        ("timestamp".to_owned(), place.timestamp),
    ];
    for (role, version) in place.roles.into_iter().chain(top) {
        let highest = shown.versions.entry(role).or_default();
        *highest = version.max(*highest);
    }
    if learn {
        let ours = |role: &str| match config.tuf.layout {
            Layout::Flat => role == "targets",
            Layout::Bins => signer::is_ours(role),
        };
        let targets = contents.targets.into_iter().filter(|((role, _), _)| ours(role));
        let targets = targets.map(|((_, path), bytes)| match TargetPath::new(&path) {
            Ok(path) => Ok((path, bytes)),
            Err(why) => Err(CliError::damaged(format_args!(
                "a gate never signs the name {path:?}: {why}"
            ))),
        });
        let lifetime = i64::try_from(config.tuf.snapshot_expiry.as_secs()).unwrap_or(i64::MAX);
        let signed = place.expires.as_second().saturating_sub(lifetime);
        let at = jiff::Timestamp::from_second(signed).map_err(CliError::failed)?;
        shown.targets = Some((targets.collect::<Result<_, _>>()?, at));
    }
    Ok(())
}

fn taken(error: WakeError) -> CliError {
    match error {
        WakeError::Taken(_) => CliError::failed("a gate runs over this ledger").hint("stop it first"),
        error => StartError::from(error).into(),
    }
}

async fn parts(config: &Arc<Config>, ledger: Arc<dyn Ledger>, depot: Arc<dyn Depot>) -> Result<Parts, CliError> {
    Ok(Parts {
        keys: OnlineKeys::open(config).await.map_err(StartError::from)?,
        config: Arc::clone(config),
        ledger,
        depot,
        clock: Arc::new(SystemClock),
        metrics: Metrics::new().map_err(CliError::failed)?,
        wake: Arc::new(Notify::new()),
        reload: Arc::new(Notify::new()),
        published: watch::Sender::new(0),
        holder: signer::holder(config),
    })
}

fn list(what: &str, paths: &[TargetPath]) -> Result<(), CliError> {
    if paths.is_empty() {
        return Ok(());
    }
    print(format_args!("{what}: {}", paths.len()))?;
    for path in paths.iter().take(SHOWN) {
        print(format_args!("  {path}"))?;
    }
    match paths.len() > SHOWN {
        true => print("  …"),
        false => Ok(()),
    }
}
