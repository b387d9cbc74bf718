//! `tufgate quickstart`: a gate to try out, with one command. It makes keys, root, configuration, ledger and depot when
//! they are missing, runs a plain web server as upstream unless one is given, and starts the gate as `serve` does.

mod artifacts;
mod clients;
mod folder;
mod once;
mod origin;
mod process;
mod steps;
mod web;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::folder::{Folder, Wanted};
use crate::{
    cli::{
        CliError, block_on, print,
        serve::{Ends, serve, this_program, warn_of_address},
    },
    server::{Roles, SignerPlace},
    telemetry,
};

/// Set up a gate to try out, and run it
#[derive(Debug, Args)]
pub struct Quickstart {
    /// Folder for keys, configuration, ledger and depot; `.tufgate`, or with --once a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The artifact server to stand in front of; by default a plain web server over a few example files
    #[arg(long, value_name = "URL", conflicts_with = "once", value_parser = http_url)]
    upstream: Option<Url>,
    /// Where clients connect; 127.0.0.1:8080, or with --once a free port
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Make one self-checking round trip on the real parts, and exit 0 or 1
    #[arg(long)]
    once: bool,
}

impl Quickstart {
    /// Runs until SIGTERM or SIGINT, or for one round trip.
    pub fn run(self) -> Result<(), CliError> {
        if self.once {
            return once::run(self.dir, self.listen);
        }
        let listen = self.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        let dir = self.dir.unwrap_or_else(|| PathBuf::from(".tufgate"));
        let mut folder = block_on(Folder::open(&Wanted {
            dir: &dir,
            listen,
            upstream: self.upstream.as_ref(),
        }))??;
        if self.listen.is_some() {
            folder.config.gate.listen = listen;
        }
        telemetry::init(&folder.config.log).map_err(CliError::config)?;
        let roles = Roles {
            proxy: true,
            admin: true,
            signer: SignerPlace::Child(this_program(&folder.config)?),
        };
        let ended = CancellationToken::new();
        let _ends_origin = ended.clone().drop_guard();
        let www = folder.www();
        let config = folder.config.clone();
        let before = async move {
            if let Some((www, addr)) = www {
                tokio::spawn(origin::serve(www, bind_origin(addr).await?, ended));
            }
            Ok(())
        };
        serve(config, roles, before, Ends::SignalsOrHangup, |running| {
            if folder.www().is_none() {
                warn_of_address();
            }
            let gate = running.addr().unwrap_or(listen);
            // The gate runs on, whether or not anybody reads this.
            let _ = print(greeting(&folder, gate, running.admin_addr()).trim_end());
        })
    }
}

/// A URL as the configuration takes it; what is forgotten most often is its beginning.
fn http_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ if text.contains("://") => Err("neither `http://…` nor `https://…`".to_owned()),
        _ => Err(format!("it is no URL; is `http://{text}` meant?")),
    }
}

/// Binds quickstart's own web server.
async fn bind_origin(addr: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(addr).await.map_err(|error| {
        CliError::config(format_args!("quickstart's own web server cannot bind {addr}: {error}"))
            .hint("does it run already? else stop what listens there, or change the port of `url` under `[upstream]` in `tufgate.toml`")
    })
}

/// An address as a client on this machine writes it.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// What was done, where everything is, and three lines to copy.
fn greeting(folder: &Folder, gate: SocketAddr, admin: Option<SocketAddr>) -> String {
    let Folder { dir, config, .. } = folder;
    let dir = dir.display();
    let gate = format!("http://{}", reachable(gate));
    let mut text = match folder.fresh {
        true => format!("made      {dir}/ with keys, 1.root.json, tufgate.toml, ledger and depot\n"),
        false => format!("found     {dir}/ and went on where it was\n"),
    };
    text += "          its keys are not encrypted: good for trying out, not for more\n";
    text += &format!("root      sha256 {}\n", folder.fingerprint);
    text += &format!("upstream  {}", config.upstream.url);
    text += &folder.www().map_or_else(String::new, |(www, _)| {
        format!(" (a plain web server over {})", www.display())
    });
    text += &format!("\ngate      {gate}/\nmetadata  {gate}{}\n", config.gate.metadata_prefix);
    if let Some(admin) = admin {
        text += &format!("admin     http://{admin}/status\n");
    }
    let program = std::env::current_exe()
        .ok()
        .map_or_else(|| "tufgate".to_owned(), |program| shown(&program));
    text += &format!(
        r#"
publish   curl -T {dir}/1.root.json -H "Prefer: wait=10" {gate}/demo/first.json
verify    {program} get --root {dir}/1.root.json --url {gate}/ demo/first.json
python    python3 -c 'import tempfile; from tuf.ngclient import Updater; d = tempfile.mkdtemp(); u = Updater(d, "{gate}{prefix}", d, "{gate}/", bootstrap=open("{dir}/1.root.json", "rb").read()); print(u.download_target(u.get_targetinfo("demo/first.json")))'
"#,
        prefix = config.gate.metadata_prefix,
    );
    text
}

/// A path from here, where that is shorter.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_named_by_its_whole_url() {
        assert_eq!(http_url("http://h:1/a").unwrap().as_str(), "http://h:1/a");
        for short in ["127.0.0.1:9999", "localhost:9999", "artifacts"] {
            let said = http_url(short).unwrap_err();
            assert!(said.ends_with(&format!("is `http://{short}` meant?")), "{said}");
        }
        assert!(!http_url("ftp://h/").unwrap_err().contains("meant"));
    }
}
