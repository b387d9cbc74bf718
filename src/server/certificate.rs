//! The listener's certificate: read at the start, and again when its files change or on SIGHUP.
//!
//! A certificate that cannot be used never takes the place of one that can: a renewal that went wrong is an error line
//! and a metric, while clients still see the last good one.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::TlsFiles,
    server::{StartError, accept::Speech, roles::Keeper, supervise::Ready},
    telemetry::Metrics,
    tls::{self, Certificate, Shown, TlsError},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Seconds before its end at which a certificate should have been renewed.
const SOON: i64 = 7 * 86_400;

/// Protocols that clients may choose by ALPN (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Keeper {
    /// How clients are spoken to; with TLS, the role that keeps the certificate up to date is started.
    pub(super) fn speech(&mut self) -> Result<Speech, StartError> {
        let gate = &self.config.gate;
        let mut speech = Speech {
            tls: None,
            prior_knowledge: gate.http2_prior_knowledge,
            patience: gate.client_timeout,
            metrics: self.shared.metrics.clone(),
            express: None,
        };
        if let Some(files) = gate.tls.clone() {
            let (clock, metrics) = (Arc::clone(&self.shared.clock), self.shared.metrics.clone());
            let renewal = Renewal::start(files, clock, metrics)?;
            speech.tls = Some(Arc::new(tls::server(Arc::clone(&renewal.shown), &PROTOCOLS)?));
            self.certificate(renewal);
        }
        Ok(speech)
    }
}

/// What tells a file from the one that lay there before; `None`: there is none that can be looked at.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    // Through links: what ACME clients renew is where a link leads.
    let file = fs::metadata(path).ok()?;
    // Times of the inode, not of the content: who may read it counts too.
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec(), file.size()))
}

/// Keeps what is shown up to date.
pub(super) struct Renewal {
    files: TlsFiles,
    shown: Arc<Shown>,
    expires: Timestamp,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// The files as they were at the last look, and as they were when they were last read.
    looked: [Stamp; 2],
    read: [Stamp; 2],
    /// Why they could not be taken, as it was logged.
    failure: Option<String>,
    warned: Option<Warning>,
}

/// What was said of the end of the certificate that is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Warning {
    Soon,
    Over,
}

impl Renewal {
    /// Errors: the files cannot be used.
    fn start(files: TlsFiles, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let first = Certificate::load(&files.certificate, &files.key, clock.now())?;
        let mut renewal = Self {
            shown: Shown::new(&first),
            expires: first.expires,
            files,
            clock,
            metrics,
            looked: stamps,
            read: stamps,
            failure: None,
            warned: None,
        };
        note_authority(&first);
        renewal.note_expiry();
        Ok(renewal)
    }

    /// Looks until `shutdown`; `ready` once a signal would be heard.
    pub(super) async fn run(&mut self, ready: Ready, shutdown: CancellationToken) -> Result<(), String> {
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
        ready.up();
        let mut ticks = interval(LOOK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => self.look(),
                _ = hangup.recv() => self.take(true),
            }
        }
    }

    /// Takes files that have changed and come to rest: a renewal writes two, and one may be half written. What failed is
    /// tried again each time, since a reason may pass without a change of the files.
    fn look(&mut self) {
        let now = stamps(&self.files);
        let rest = now == self.looked;
        self.looked = now;
        if rest && (now != self.read || self.failure.is_some()) {
            self.take(false);
        }
        self.note_expiry();
    }

    /// Reads the files, and shows what they hold if it can be used. A failure is logged once, unless somebody `asked`.
    fn take(&mut self, asked: bool) {
        self.read = stamps(&self.files);
        match Certificate::load(&self.files.certificate, &self.files.key, self.clock.now()) {
            Ok(next) => {
                self.shown.show(&next);
                (self.expires, self.failure, self.warned) = (next.expires, None, None);
                let file = self.files.certificate.display();
                tracing::info!(certificate.expires = %next.expires, "took the certificate `{file}` into use");
                note_authority(&next);
                self.note_expiry();
            }
            Err(error) => {
                let failure = error.to_string();
                if asked || self.failure.as_ref() != Some(&failure) {
                    self.metrics.certificate_failures_total.inc();
                    tracing::error!(%error, hint = error.hint(), "the new certificate was not taken; the last one stays");
                }
                self.failure = Some(failure);
            }
        }
    }

    /// Says once each that the certificate ends soon, and that it has ended.
    fn note_expiry(&mut self) {
        let expires = self.expires;
        self.metrics.certificate_expires_seconds.set(expires.as_second());
        let left = expires.as_second() - self.clock.now().as_second();
        let warning = match left {
            ..0 => Some(Warning::Over),
            0..SOON => Some(Warning::Soon),
            _ => None,
        };
        if warning == self.warned {
            return;
        }
        self.warned = warning;
        match warning {
            Some(Warning::Over) => {
                tracing::error!(certificate.expires = %expires, "the listener's certificate has expired: clients refuse it");
            }
            Some(Warning::Soon) => {
                tracing::warn!(certificate.expires = %expires, "the listener's certificate expires in less than a week");
            }
            None => {}
        }
    }
}

/// Clients made with rustls refuse it, others do not.
fn note_authority(shown: &Certificate) {
    if shown.authority {
        tracing::warn!(
            hint = tls::NO_AUTHORITY,
            "the listener's certificate is an authority's (CA:TRUE): `tufgate get` and others refuse a server that shows one"
        );
    }
}

fn stamps(files: &TlsFiles) -> [Stamp; 2] {
    let paths: [&PathBuf; 2] = [&files.certificate, &files.key];
    paths.map(|path| stamp(path))
}
