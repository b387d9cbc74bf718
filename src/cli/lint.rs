//! `tufgate lint`: whom a repository would break, before or after it is served.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{CliError, block_on, get::GetError, print, print_json},
    compat::{Client, Effect},
    config::Config,
    depot::{TIMESTAMP, fs::FsDepot},
    inspect::{InspectError, Lint as Found, Source, lint},
    terminal::printable,
    tls::Roots,
};

/// Say which known clients a repository breaks
///
/// Holds every metadata file that clients come to against the limits of each known client: sizes, root chain, forms and
/// number of delegations, keys, hashes, numbers, names. Judges no signature: that is `tufgate verify`. Exit code 0: nobody
/// fails; 1: somebody does; 2: the command line makes no sense.
#[derive(Args, Clone, Debug)]
pub struct Lint {
    /// The repository of this gate: its depot, and the clients that its `tuf.clients` names; tufgate.toml, if nothing else
    /// is asked for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A folder of metadata files
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "url", "metadata_url"])]
    dir: Option<PathBuf>,

    /// A gate: metadata at URL/metadata/
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "metadata_url"])]
    url: Option<String>,

    /// Any repository, by where its metadata lies
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    metadata_url: Option<String>,

    /// Ask about this client; repeatable; `all` for every known one
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,

    /// Certificate authorities (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Lint {
    /// Reads, prints, and fails when some client does.
    pub fn run(self) -> Result<(), CliError> {
        let other = self.dir.is_some() || self.url.is_some() || self.metadata_url.is_some();
        let config = match (&self.config, other) {
            (Some(file), _) => Some(Config::load(file)?),
            (None, false) => Some(Config::load(Path::new("tufgate.toml"))?),
            (None, true) => None,
        };
        let clients = self.clients(config.as_ref())?;
        let source = self.source(config.as_ref())?;
        let found = block_on(lint(&source, &clients))?.map_err(|error| self.failed(error))?;
        match self.json {
            true => print_json(&found)?,
            false => print(shown(&found).trim_end())?,
        }
        if found.is_clean() {
            return Ok(());
        }
        let broken: BTreeSet<_> = found
            .violations
            .iter()
            .filter(|violation| violation.effect == Effect::Fails)
            .flat_map(|violation| &violation.clients)
            .collect();
        let names: Vec<_> = broken.into_iter().map(|client| client.name()).collect();
        Err(CliError::failed(format_args!("{} cannot read it", names.join(", ")))
            .hint("the lines above say why; `--client NAME` asks about some clients only"))
    }

    /// Whom to ask about: those named, those of the configuration, those that read bins.
    fn clients(&self, config: Option<&Config>) -> Result<Vec<Client>, CliError> {
        if self.clients.is_empty() {
            return Ok(config.map_or(Client::BINS.to_vec(), |config| config.tuf.clients.clone()));
        }
        let mut clients = Vec::new();
        for key in &self.clients {
            match (key.as_str(), Client::of_key(key)) {
                ("all", _) => clients.extend(Client::ALL),
                (_, Some(client)) => clients.push(client),
                (_, None) => {
                    let keys: Vec<_> = Client::ALL.iter().map(|client| client.key()).collect();
                    let unknown = format!("`{}` is no known client", printable(key));
                    return Err(CliError::usage(unknown).hint(format_args!("all, {}", keys.join(", "))));
                }
            }
        }
        clients.sort_unstable();
        clients.dedup();
        Ok(clients)
    }

    fn source(&self, config: Option<&Config>) -> Result<Source, CliError> {
        if let Some(folder) = config.map(|config| &config.depot).or(self.dir.as_ref()) {
            if !folder.join(TIMESTAMP).exists() {
                let none = format!("`{}` holds no {TIMESTAMP}", folder.display());
                return Err(CliError::failed(none).hint("`--dir` is the folder of the metadata files themselves"));
            }
            return Ok(Source::Folder(FsDepot::look(folder)));
        }
        let authorities = match &self.ca {
            None => Roots::default(),
            Some(ca) => fs::read(ca)
                .and_then(|pem| Roots::pem(&pem))
                .map_err(|source| GetError::Authorities {
                    path: ca.clone(),
                    source,
                })?,
        };
        let url = match (&self.metadata_url, &self.url) {
            (Some(url), _) => url.clone(),
            (None, url) => format!("{}/metadata/", url.as_deref().unwrap_or_default().trim_end_matches('/')),
        };
        Source::site(&url, authorities).map_err(|error| CliError::usage(printable(&error.to_string())))
    }

    fn failed(&self, error: InspectError) -> CliError {
        let failed = CliError::failed(printable(&error.to_string()));
        match self.url {
            Some(_) => failed.hint("`--url` is the URL above `metadata/`; for other layouts there is `--metadata-url`"),
            None => failed,
        }
    }
}

/// For people: a line for each violation, where its limits stand, and what was looked at.
fn shown(found: &Found) -> String {
    let mut out = String::new();
    for violation in &found.violations {
        out += &format!(
            "{:<12} {:<16} {}\n",
            violation.effect,
            violation.rule,
            printable(&violation.to_string())
        );
        for (client, source) in violation.clients.iter().zip(&violation.sources) {
            out += &format!("{:<29} - {client}: {source}\n", "");
        }
    }
    let names: Vec<_> = found.clients.iter().map(|client| client.name()).collect();
    let verdict = if found.is_clean() {
        "all can read it"
    } else {
        "not all can read it"
    };
    out += &format!(
        "{} files, {} targets; {}: {verdict}\n",
        found.files,
        found.targets,
        names.join(", ")
    );
    out
}
