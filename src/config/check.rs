//! From what was written to what is meant: limits, and combinations that would be ignored or do harm.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tracing_subscriber::EnvFilter;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Access, Admin, Config, ConfigError, Gate, KeyFile, Keys, Layout, Log, Passphrase, Secret, Signer, Tuf,
    UpstreamConfig,
    error::Source,
    raw,
    value::{Size, Span},
};
use crate::{
    policy::{Kind, Policy, Rule},
    tuf::layout::Generation,
};

type Checked<T> = Result<T, ConfigError>;

const HOUR: Duration = Duration::from_secs(3_600);
/// Longest path of a Unix socket, without the closing NUL (`sun_path`, unix(7)).
const MAX_SOCKET: usize = 107;
/// Limits of clients on a targets role: python-tuf, go-tuf, tuf-js and sigstore-tuf read 5,000,000 bytes; tuf-js needs
/// three seconds to parse 5,000 targets.
const MAX_BIN_BYTES: u64 = 5_000_000;
const MAX_BIN_TARGETS: u64 = 5_000;

/// Checks everything, in the order of the file's tables.
pub(super) fn config(source: &Source<'_>) -> Checked<Config> {
    let raw: raw::File = source.read()?;
    let folder = source.file.parent().unwrap_or(Path::new(""));
    let gate = gate(source, folder, &raw)?;
    let config = Config {
        file: source.file.to_owned(),
        upstream: upstream(source, folder, raw.upstream)?,
        ledger: folder.join(raw.ledger.path),
        depot: folder.join(raw.depot.path),
        signer: signer(source, folder, &raw.signer, &gate)?,
        tuf: tuf(source, &raw.tuf)?,
        keys: keys(source, folder, raw.keys)?,
        admin: admin(source, &raw.admin)?,
        policy: policy(source, raw.rule)?,
        log: log(source, raw.log)?,
        gate,
    };
    if config.admin.listen == Some(config.gate.listen) && config.gate.listen.port() != 0 {
        return Err(source.at(&["admin", "listen"], "`admin.listen` is the address of `gate.listen`"));
    }
    let ip = config
        .upstream
        .url
        .host_str()
        .and_then(|host| host.parse::<IpAddr>().ok());
    let port = config.upstream.url.port_or_known_default();
    if ip == Some(config.gate.listen.ip()) && port == Some(config.gate.listen.port()) {
        return Err(source.at(&["upstream", "url"], "the upstream is the gate itself"));
    }
    Ok(config)
}

fn gate(source: &Source<'_>, folder: &Path, file: &raw::File) -> Checked<Gate> {
    let raw = &file.gate;
    let at = |key, message: String| source.at(&["gate", key], format!("`gate.{key}` {message}"));
    let prefix = &raw.metadata_prefix;
    if prefix.len() < 3 || !prefix.starts_with('/') || !prefix.ends_with('/') {
        return Err(at(
            "metadata_prefix",
            "must start and end with `/` and name a folder".into(),
        )
        .hint("the default is `/metadata/`"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !prefix.bytes().all(plain) || prefix.contains("//") || prefix.split('/').any(|s| matches!(s, "." | "..")) {
        return Err(at(
            "metadata_prefix",
            "must be plain: letters, digits and `-._~` between single slashes".into(),
        ));
    }
    if raw.timestamp_max_age > 3_600 {
        return Err(at("timestamp_max_age", "is at most 3600 seconds".into())
            .hint("clients see a publication, and a revocation, only after this time"));
    }
    let threads = match raw.threads {
        Some(count @ 1..=1_024) => count,
        Some(_) => return Err(at("threads", "is 1 to 1024".into())),
        None => available_parallelism().map_or(1, usize::from),
    };
    let (Size(verify_first), Size(max_object), Size(max_total)) =
        (raw.verify_first, raw.spool_max_object, raw.spool_max_total);
    if verify_first > 64 << 20 {
        return Err(at(
            "verify_first",
            "is at most 64 MiB: that much memory is held for each request".into(),
        ));
    }
    if max_object > max_total {
        return Err(at("spool_max_object", "is more than `gate.spool_max_total`".into()));
    }
    within(source, "gate", "grace", raw.grace, Duration::ZERO, HOUR)?;
    within(
        source,
        "gate",
        "client_timeout",
        raw.client_timeout,
        Duration::from_millis(1),
        HOUR,
    )?;
    Ok(Gate {
        listen: address(source, "gate", &raw.listen)?,
        threads,
        grace: raw.grace.0,
        metadata_prefix: prefix.clone(),
        metadata_access: match file.metadata.access {
            None => None,
            Some(raw::Access::Public) => Some(Access::Public),
            Some(raw::Access::Probe) => {
                let error = source.at(
                    &["metadata", "access"],
                    "`metadata.access = \"probe\"` is not in this version",
                );
                return Err(error.hint("`public` serves metadata to everybody; path names in it are then no secret"));
            }
        },
        timestamp_max_age: raw.timestamp_max_age,
        verify_first,
        spool: folder.join(&raw.spool),
        spool_max_object: max_object,
        spool_max_total: max_total,
        max_body: raw.max_body.0,
        min_rate: raw.min_rate,
        client_timeout: raw.client_timeout.0,
        learn_rate: raw.learn_rate,
        max_waiters: raw.max_waiters,
    })
}

fn upstream(source: &Source<'_>, folder: &Path, raw: raw::Upstream) -> Checked<UpstreamConfig> {
    let at = |key, message: &str| source.at(&["upstream", key], message);
    let Some(text) = raw.url else {
        let error = at("url", "`upstream.url` is missing: the server to stand in front of");
        return Err(error.hint("[upstream] url = \"http://127.0.0.1:8000\""));
    };
    let url = Url::parse(&text).map_err(|why| {
        at("url", &format!("`upstream.url` {text:?} is not a URL: {why}")).hint("such as `http://127.0.0.1:8000`")
    })?;
    if url.scheme() == "https" {
        let error = at(
            "url",
            "TLS to the upstream is not in this version; `upstream.url` must be `http://…`",
        );
        return Err(error.hint("reach the upstream over loopback or a private network, or through a local TLS tunnel"));
    }
    if url.scheme() != "http" || url.host_str().is_none() {
        return Err(at(
            "url",
            "`upstream.url` must be `http://host[:port]`, optionally with a path",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = at("url", "`upstream.url` holds credentials");
        return Err(error.hint("the gate's own credential belongs in `[upstream.identity]`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(at("url", "`upstream.url` takes no query and no fragment"));
    }
    for host in &raw.redirect_hosts {
        let parsed = Url::parse(&format!("http://{host}/"));
        if !parsed
            .is_ok_and(|url| url.path() == "/" && url.username().is_empty() && !host.contains(['/', '?', '#', '@']))
        {
            let error = at("redirect_hosts", &format!("{host:?} is not a host"));
            return Err(error.hint("write `host` or `host:port`, without a scheme or a path"));
        }
    }
    if raw.max_reads == 0 {
        return Err(at("max_reads", "`upstream.max_reads` is at least 1"));
    }
    within(
        source,
        "upstream",
        "connect_timeout",
        raw.connect_timeout,
        Duration::from_millis(1),
        HOUR,
    )?;
    within(
        source,
        "upstream",
        "io_timeout",
        raw.io_timeout,
        Duration::from_millis(1),
        HOUR,
    )?;
    let headers = raw.credential_headers.iter().map(|name| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| at("credential_headers", &format!("{name:?} is not a header name")))
    });
    Ok(UpstreamConfig {
        url,
        preserve_host: raw.preserve_host,
        redirect_hosts: raw
            .redirect_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        connect_timeout: raw.connect_timeout.0,
        io_timeout: raw.io_timeout.0,
        max_reads: raw.max_reads,
        credential_headers: headers.collect::<Checked<_>>()?,
        identity: raw.identity.map(|raw| identity(source, folder, raw)).transpose()?,
    })
}

/// The gate's own credential: a whole `Authorization` value.
fn identity(source: &Source<'_>, folder: &Path, raw: raw::Identity) -> Checked<Secret> {
    let at = |key, message: String| source.at(&["upstream", "identity", key], message);
    let (key, text) = match (raw.authorization_env, raw.authorization_file) {
        (Some(name), None) => {
            let value = std::env::var(&name);
            let missing = |_| {
                at(
                    "authorization_env",
                    format!("environment variable `{name}` is not set to text"),
                )
            };
            ("authorization_env", Zeroizing::new(value.map_err(missing)?))
        }
        (None, Some(path)) => {
            let path = folder.join(path);
            let text = std::fs::read_to_string(&path);
            let missing = |why| at("authorization_file", format!("cannot read `{}`: {why}", path.display()));
            ("authorization_file", Zeroizing::new(text.map_err(missing)?))
        }
        _ => {
            let message = "`[upstream.identity]` takes one of `authorization_env` and `authorization_file`";
            return Err(at("authorization_file", message.into()));
        }
    };
    let value = text.trim();
    if value.is_empty() || HeaderValue::from_str(value).is_err() {
        let error = at(key, "the identity is not an `Authorization` value".into());
        return Err(error.hint("such as `Bearer …` or `Basic …`, on one line"));
    }
    Ok(Secret(Zeroizing::new(value.to_owned())))
}

fn signer(source: &Source<'_>, folder: &Path, raw: &raw::Signer, gate: &Gate) -> Checked<Signer> {
    let socket = folder.join(&raw.socket);
    if socket.as_os_str().len() > MAX_SOCKET {
        let message = format!(
            "the path of a Unix socket is at most {MAX_SOCKET} bytes: `{}`",
            socket.display()
        );
        let error = source.at(&["signer", "socket"], message);
        return Err(error.hint("set `signer.socket` to a short path, such as one below `/run`"));
    }
    if raw.batch == 0 {
        return Err(source.at(&["signer", "batch"], "`signer.batch` is at least 1"));
    }
    within(source, "signer", "min_interval", raw.min_interval, Duration::ZERO, HOUR)?;
    let least = HOUR + Duration::from_secs(gate.timestamp_max_age.into());
    if raw.retain.0 < least {
        let message = format!(
            "`signer.retain` is at least {} s: one hour and `gate.timestamp_max_age`",
            least.as_secs()
        );
        let error = source.at(&["signer", "retain"], message);
        return Err(error.hint("a client that started an update must find the files it was promised"));
    }
    Ok(Signer {
        socket,
        min_interval: raw.min_interval.0,
        batch: raw.batch,
        retain: raw.retain.0,
    })
}

fn tuf(source: &Source<'_>, raw: &raw::Tuf) -> Checked<Tuf> {
    let at = |key, message: &str| source.at(&["tuf", key], message);
    if Generation::of(raw.bins).is_none() {
        let error = at(
            "bins",
            &format!("`tuf.bins` is a power of two from 2 to 16384, not {}", raw.bins),
        );
        return Err(error.hint("plan for about 1,000 targets a bin"));
    }
    let expiries = [
        ("timestamp_expiry", raw.timestamp_expiry),
        ("snapshot_expiry", raw.snapshot_expiry),
        ("bin_expiry", raw.bin_expiry),
        ("delegator_expiry", raw.delegator_expiry),
        ("targets_expiry", raw.targets_expiry),
    ];
    for (key, span) in expiries {
        within(source, "tuf", key, span, Duration::from_secs(2), HOUR * 24 * 3_650)?;
        if span.0.subsec_nanos() != 0 {
            return Err(at(key, &format!("`tuf.{key}` is in whole seconds (TUF spec 4.2)")));
        }
    }
    // What is refreshed without anybody's help must not outlive what vouches for it less often.
    for pair in expiries[..4].windows(2) {
        if let [(shorter, one), (longer, other)] = pair
            && one.0 > other.0
        {
            return Err(at(shorter, &format!("`tuf.{shorter}` is longer than `tuf.{longer}`")));
        }
    }
    if !(1..=MAX_BIN_TARGETS).contains(&raw.max_bin_targets) {
        return Err(at(
            "max_bin_targets",
            &format!("`tuf.max_bin_targets` is 1 to {MAX_BIN_TARGETS}"),
        )
        .hint("tuf-js takes time that grows with the square of a bin's targets"));
    }
    if !(1_024..=MAX_BIN_BYTES).contains(&raw.max_bin_bytes.0) {
        return Err(at(
            "max_bin_bytes",
            &format!("`tuf.max_bin_bytes` is 1024 to {MAX_BIN_BYTES}"),
        )
        .hint("clients refuse a role of more than 5,000,000 bytes"));
    }
    Ok(Tuf {
        layout: match raw.layout {
            raw::Layout::Bins => Layout::Bins,
            raw::Layout::Flat => Layout::Flat,
        },
        bins: raw.bins,
        targets_expiry: raw.targets_expiry.0,
        delegator_expiry: raw.delegator_expiry.0,
        bin_expiry: raw.bin_expiry.0,
        snapshot_expiry: raw.snapshot_expiry.0,
        timestamp_expiry: raw.timestamp_expiry.0,
        max_bin_targets: raw.max_bin_targets,
        max_bin_bytes: raw.max_bin_bytes.0,
    })
}

fn keys(source: &Source<'_>, folder: &Path, raw: raw::Keys) -> Checked<Keys> {
    let key = |role: &str, path: Option<PathBuf>, env: Option<String>, file: Option<PathBuf>| {
        let passphrase = match (env, file) {
            (None, None) => None,
            (Some(name), None) => Some(Passphrase::Env(name)),
            (None, Some(path)) => Some(Passphrase::File(folder.join(path))),
            (Some(_), Some(_)) => {
                let message = format!("`keys.{role}` takes one of `passphrase_env` and `passphrase_file`");
                return Err(source.at(&["keys", role, "passphrase_file"], message));
            }
        };
        let path = folder.join(path.unwrap_or_else(|| format!("keys/{role}.pem").into()));
        Ok(KeyFile { path, passphrase })
    };
    let (timestamp, snapshot, targets) = (raw.timestamp, raw.snapshot, raw.targets);
    let offline = targets.offline;
    if offline && (targets.path.is_some() || targets.passphrase_env.is_some() || targets.passphrase_file.is_some()) {
        let error = source.at(
            &["keys", "targets", "offline"],
            "`keys.targets` is offline and has a file",
        );
        return Err(error.hint("drop `offline`, or drop the other keys of `[keys.targets]`"));
    }
    let targets = key("targets", targets.path, targets.passphrase_env, targets.passphrase_file)?;
    Ok(Keys {
        timestamp: key(
            "timestamp",
            timestamp.path,
            timestamp.passphrase_env,
            timestamp.passphrase_file,
        )?,
        snapshot: key(
            "snapshot",
            snapshot.path,
            snapshot.passphrase_env,
            snapshot.passphrase_file,
        )?,
        targets: (!offline).then_some(targets),
    })
}

fn admin(source: &Source<'_>, raw: &raw::Admin) -> Checked<Admin> {
    if raw.listen == "off" {
        return Ok(Admin { listen: None });
    }
    let listen = address(source, "admin", &raw.listen)?;
    if !listen.ip().is_loopback() {
        let error = source.at(
            &["admin", "listen"],
            format!("`admin.listen` must be a loopback address, not {listen}"),
        );
        return Err(error.hint("`127.0.0.1:8081`, `[::1]:8081` or `off`; reach it from elsewhere through ssh"));
    }
    Ok(Admin { listen: Some(listen) })
}

fn policy(source: &Source<'_>, raw: Vec<raw::Rule>) -> Checked<Policy> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, raw) in raw.into_iter().enumerate() {
        let at = |key, message: String| source.at(&["rule", &number.to_string(), key], message);
        let path = raw.path;
        let mut rule =
            Rule::new(&path, raw.kind).map_err(|why| at("path", format!("`{path}` is not a glob: {}", why.kind())))?;
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
            let error = at(
                "path",
                format!("`{path}` never matches: target paths neither start nor end with `/`"),
            );
            return Err(error.hint(format!(
                "`{}` means everything below",
                format!("{}/**", path.trim_matches('/')).trim_start_matches('/')
            )));
        }
        if let Some(earlier) = rules.iter().position(|rule| rule.path == path || rule.path == "**") {
            let message = format!(
                "this rule never matches: rule {}, `{}`, comes first",
                earlier + 1,
                rules[earlier].path
            );
            return Err(at("path", message).hint("the first rule that matches wins; move this one up"));
        }
        let ignored = [
            ("learn", raw.learn.is_some()),
            ("on_drift", raw.on_drift.is_some()),
            ("unsigned", raw.unsigned.is_some()),
            ("query", raw.query.is_some()),
            ("max_targets", raw.max_targets.is_some()),
        ];
        if let (Kind::Ignore | Kind::Mutable, Some((key, _))) = (raw.kind, ignored.iter().find(|(_, set)| *set)) {
            let error = at(
                key,
                format!("`{key}` means nothing here: such paths are passed unsigned"),
            );
            return Err(error.hint("it belongs to `kind = \"immutable\"` and `kind = \"track\"`"));
        }
        rule.learn = raw.learn.unwrap_or(rule.learn);
        rule.on_drift = raw.on_drift.unwrap_or(rule.on_drift);
        rule.unsigned = raw.unsigned.unwrap_or(rule.unsigned);
        rule.query = raw.query.unwrap_or_default();
        rule.max_targets = raw.max_targets;
        rules.push(rule);
    }
    Ok(Policy::new(rules))
}

fn log(source: &Source<'_>, raw: raw::Log) -> Checked<Log> {
    EnvFilter::try_new(&raw.filter).map_err(|why| {
        let error = source.at(
            &["log", "filter"],
            format!("`log.filter` {:?} is not a filter: {why}", raw.filter),
        );
        error.hint("such as `info` or `tufgate=debug,info`")
    })?;
    Ok(Log {
        filter: raw.filter,
        json: raw.json,
        access: raw.access,
    })
}

fn address(source: &Source<'_>, table: &str, text: &str) -> Checked<SocketAddr> {
    text.parse().map_err(|_| {
        let error = source.at(
            &[table, "listen"],
            format!("`{table}.listen` {text:?} is not an address and a port"),
        );
        error.hint("write an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080`")
    })
}

fn within(source: &Source<'_>, table: &str, key: &str, span: Span, least: Duration, most: Duration) -> Checked<()> {
    if (least..=most).contains(&span.0) {
        return Ok(());
    }
    Err(source.at(
        &[table, key],
        format!("`{table}.{key}` is {least:?} to {most:?}, not {:?}", span.0),
    ))
}
