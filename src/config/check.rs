//! From what was written to what is meant: limits, and combinations that would be ignored or do harm.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    thread::available_parallelism,
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use super::{
    Access, Admin, Config, ConfigError, Gate, Log, Signer, cache,
    error::Source,
    keys, listener, raw, rules, tuf, upstream,
    value::{Size, Span},
};

pub(super) type Checked<T> = Result<T, ConfigError>;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// Longest path of a Unix socket, without the closing NUL (`sun_path`, unix(7)).
const MAX_SOCKET: usize = 107;

/// Checks everything, in the order of the file's tables.
pub(super) fn config(source: &Source<'_>) -> Checked<Config> {
    let raw: raw::File = source.read()?;
    let folder = source.file.parent().unwrap_or(Path::new(""));
    let gate = gate(source, folder, &raw)?;
    let depot = folder.join(raw.depot.path);
    let taken = [("depot.path", depot.as_path())];
    let tuf = tuf::check(source, &raw.tuf)?;
    let config = Config {
        file: source.file.to_owned(),
        upstream: upstream::check(source, folder, raw.upstream)?,
        cache: cache::check(source, folder, &raw.cache, &taken)?,
        ledger: folder.join(raw.ledger.path),
        depot,
        signer: signer(source, folder, &raw.signer, &gate)?,
        keys: keys::check(source, folder, raw.keys, tuf.layout)?,
        tuf,
        admin: admin(source, &raw.admin)?,
        policy: rules::check(source, raw.rule)?,
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
    let Size(verify_first) = raw.verify_first;
    if verify_first > 64 << 20 {
        return Err(at(
            "verify_first",
            "is at most 64 MiB: that much memory is held for each request".into(),
        ));
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
        metadata_access: access(source, &file.metadata)?,
        timestamp_max_age: raw.timestamp_max_age,
        verify_first,
        max_body: raw.max_body.0,
        min_rate: raw.min_rate,
        client_timeout: raw.client_timeout.0,
        learn_rate: raw.learn_rate,
        max_waiters: raw.max_waiters,
        http2_prior_knowledge: raw.http2_prior_knowledge,
        tls: listener::tls(source, folder, raw)?,
    })
}

/// `[metadata]`: a path to probe where access goes by one, and only there.
fn access(source: &Source<'_>, raw: &raw::Metadata) -> Checked<Option<Access>> {
    let at = |key, message: &str| source.at(&["metadata", key], message);
    match (raw.access, &raw.probe) {
        (Some(raw::Access::Probe), Some(path)) => {
            let plain = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b));
            if !plain || path.split('/').any(|segment| matches!(segment, "." | "..")) {
                let error = at("probe", "`metadata.probe` is not the path of a file on the upstream");
                return Err(error.hint("such as `/releases/index.txt`: percent-encoded, without a query"));
            }
            Ok(Some(Access::Probe(path.clone())))
        }
        (Some(raw::Access::Probe), None) => {
            let error = at("access", "`metadata.access = \"probe\"` needs `metadata.probe`");
            Err(error.hint("a small file on the upstream: who may read it may read the metadata"))
        }
        (_, Some(_)) => {
            let error = at("probe", "`metadata.probe` means nothing without `access = \"probe\"`");
            Err(error.hint("`access = \"probe\"` lets those read the metadata who may read that path"))
        }
        (Some(raw::Access::Public), None) => Ok(Some(Access::Public)),
        (None, None) => Ok(None),
    }
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
    if let Some(public) = &raw.public {
        let good = |url: url::Url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.password().is_none()
        };
        if !url::Url::parse(public).is_ok_and(good) {
            let error = source.at(
                &["signer", "public"],
                "`signer.public` is no http or https URL of a folder",
            );
            return Err(error.hint("where clients read metadata: `https://cdn.example/metadata/`"));
        }
    }
    Ok(Signer {
        public: raw.public.clone(),
        socket,
        min_interval: raw.min_interval.0,
        batch: raw.batch,
        retain: raw.retain.0,
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

/// Bounds of a duration, both included.
pub(super) fn within(
    source: &Source<'_>,
    table: &str,
    key: &str,
    span: Span,
    least: Duration,
    most: Duration,
) -> Checked<()> {
    if (least..=most).contains(&span.0) {
        return Ok(());
    }
    let bounds = if least.is_zero() {
        "at most".to_owned()
    } else {
        format!("{least:?} to")
    };
    Err(source.at(
        &[table, key],
        format!("`{table}.{key}` is {bounds} {most:?}, not {:?}", span.0),
    ))
}
