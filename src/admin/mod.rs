//! The admin listener: liveness, readiness, metrics and status, on loopback. It reads; it never changes a record.

pub mod ends;
pub mod health;
pub mod host;
mod spare;
pub mod status;

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    admin::{
        health::Health,
        status::{Published, Status, stale},
    },
    catalog::roles::Roles,
    clock::Clock,
    ledger::Ledger,
    telemetry::Metrics,
};

/// What the admin listener looks at.
#[derive(Clone)]
pub struct Admin {
    /// The roles of this process.
    pub health: Arc<Health>,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The record.
    pub ledger: Arc<dyn Ledger>,
    /// The metadata.
    pub roles: Arc<Roles>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Serves on a bound listener until `shutdown` resolves and the requests in flight are answered.
pub async fn serve(
    admin: Admin,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(spare::Spared::new(listener), router(admin))
        .with_graceful_shutdown(shutdown)
        .await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .layer(middleware::from_fn(host::require_loopback))
        .with_state(admin)
}

/// Answer of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let mut reasons = admin.health.reasons();
    match Published::of(admin.roles.depot()).await {
        Ok(timestamp) => reasons.extend(stale(timestamp, admin.clock.now())),
        Err(error) => reasons.push(error.to_string()),
    }
    if let Err(error) = admin.ledger.publication().await {
        reasons.push(error.to_string());
    }
    let code = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let ready = code == StatusCode::OK;
    (code, uncached(), Json(Readiness { ready, reasons })).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    match admin.status().await {
        Ok(status) => (uncached(), Json(status)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, uncached(), format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // Gauges of stored things are read when asked for, so that they are right whichever process changed them. A ledger
    // that cannot be read leaves them as they were; `/readyz` says why.
    if let Ok(status) = admin.status().await {
        admin.metrics.targets.set(clamped(status.targets));
        admin.metrics.pending.set(clamped(status.pending));
        for (role, file) in &status.ends {
            if let Some(expires) = file.expires {
                let gauge = admin.metrics.role_expires_seconds.with_label_values(&[role.as_str()]);
                gauge.set(expires.as_second());
            }
            if role == ends::ROOT {
                admin.metrics.root_version.set(clamped(file.version));
            }
        }
        if let Some(expires) = status.timestamp.and_then(|timestamp| timestamp.expires) {
            admin.metrics.timestamp_expires.set(expires.as_second());
        }
    }
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, TEXT)], admin.metrics.text()).into_response()
}

fn clamped(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn uncached() -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

impl Admin {
    async fn status(&self) -> Result<Status, status::StatusError> {
        let mut status = Status::of(&*self.ledger, &self.roles).await?;
        status.uptime = Some(self.health.uptime().as_secs());
        status.roles = self.health.roles();
        status.draining = self.health.draining();
        status.upstream_down = self.metrics.upstream_down.get() != 0;
        Ok(status)
    }
}

#[cfg(test)]
mod tests;
