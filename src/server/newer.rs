//! Whether clients have seen more than ledger and depot know, where the configuration says what is public (`[signer]
//! public`): both restored from the same backup look sound by themselves.

use std::time::Duration;

use crate::{
    client::{
        Fetcher, Timeouts,
        naming::Base,
        public::{Public, Source},
    },
    config::Config,
    ledger::RoleRow,
    server::{StartError, parts::Shared},
    signer::SignerError,
    tuf::layout,
};

/// Longest wait for what is public: a start must not hang on it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Looks once, at the signer's start. What cannot be asked or does not verify is a warning: it must not keep a gate from
/// signing.
pub(super) async fn check(config: &Config, shared: &Shared) -> Result<(), StartError> {
    let Some(url) = &config.signer.public else {
        return Ok(());
    };
    let Some(root) = shared.depot.read(&layout::file("root", 1)).await? else {
        return Ok(());
    };
    let timeouts = Timeouts {
        connect: PATIENCE,
        idle: PATIENCE,
        ..Timeouts::default()
    };
    let read = async {
        let source = Source::Web(Box::new(Fetcher::new(timeouts)), Base::parse(url)?);
        Public::read(source, &root).await
    };
    let public = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(Some(public))) => public,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(public.url = url, %error, "`{url}` cannot be read: nothing tells whether this gate was restored");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!(
                public.url = url,
                "`{url}` did not answer in time: nothing tells whether this gate was restored"
            );
            return Ok(());
        }
    };
    let rows = shared.ledger.roles().await?;
    let own = [
        ("timestamp".to_owned(), public.timestamp),
        ("snapshot".to_owned(), public.snapshot),
    ];
    match own.into_iter().find(|(role, version)| *version > reserved(&rows, role)) {
        Some((role, version)) => Err(StartError::Signer(SignerError::Behind {
            url: url.clone(),
            public: version,
            reserved: reserved(&rows, &role),
            role,
        })),
        None => Ok(()),
    }
}

fn reserved(rows: &[RoleRow], role: &str) -> u64 {
    rows.iter().find(|row| row.name == role).map_or(0, |row| row.reserved)
}
