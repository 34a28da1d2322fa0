//! `/livez`, `/readyz` and `/metrics`. Neither health check depends on the remote API.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::Metrics;

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    ready: watch::Receiver<Readiness>,
}

/// Whether the process can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All watches have listed their objects.
    Ready,
    /// Not yet, because of this.
    NotReady(String),
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, metrics: Metrics, ready: watch::Receiver<Readiness>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(encoded))
        .with_state(Shared { metrics, ready });
    axum::serve(listener, router).await
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match &*shared.ready.borrow() {
        Readiness::Ready => (StatusCode::OK, "ok".to_owned()),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
    }
}

async fn encoded(State(shared): State<Shared>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], shared.metrics.encode())
}
