//! `/livez`, `/readyz` and `/metrics`. Neither health check depends on the remote API.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use super::metrics::{Metrics, classic};

/// Whether the process can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All watches have listed their objects.
    Ready,
    /// Not yet, because of this check, and why.
    NotReady(Check, String),
}

/// What must hold before the process can work, in the order in which it comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The process runs.
    Ping,
    /// The CustomResourceDefinitions are there.
    Crds,
    /// The watches have listed their objects.
    Watches,
}

impl Check {
    const ALL: [Self; 3] = [Self::Ping, Self::Crds, Self::Watches];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Crds => "crds",
            Self::Watches => "watches",
        }
    }
}

impl Readiness {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn starting() -> Self {
        Self::NotReady(Check::Crds, "not looked at yet".to_owned())
    }

    /// One line a check, in the form of the API server's own `/readyz?verbose`.
    fn verbose(&self) -> String {
        let failed = match self {
            Self::Ready => None,
            Self::NotReady(check, why) => Some((*check, why)),
        };
        let line = |check: Check| match failed {
            Some((failed, why)) if failed == check => format!("[-]{} failed: {why}\n", check.as_str()),
            Some((failed, _)) if failed < check => format!("[-]{} failed: not looked at yet\n", check.as_str()),
            _ => format!("[+]{} ok\n", check.as_str()),
        };
        let end = if failed.is_some() { "readyz check failed\n" } else { "readyz check passed\n" };
        Check::ALL.into_iter().map(line).chain([end.to_owned()]).collect()
    }
}

/// The health checks.
pub fn health(ready: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(ready)
}

/// The metrics.
pub fn metrics(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(encoded)).with_state(metrics)
}

/// `?verbose` lists the checks; its value, if it has one, does not matter.
async fn readyz(State(ready): State<watch::Receiver<Readiness>>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let ready = ready.borrow().clone();
    let key = |pair: &str| pair.split_once('=').map_or(pair, |(key, _)| key).to_owned();
    let verbose = query.is_some_and(|query| query.split('&').map(key).any(|key| key == "verbose"));
    match &ready {
        Readiness::Ready if verbose => (StatusCode::OK, ready.verbose()),
        Readiness::Ready => (StatusCode::OK, "ok".to_owned()),
        Readiness::NotReady(..) if verbose => (StatusCode::SERVICE_UNAVAILABLE, ready.verbose()),
        Readiness::NotReady(check, why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}: {why}", check.as_str())),
    }
}

/// In the form that is asked for: Prometheus asks for OpenMetrics; who does not gets what every tool reads.
async fn encoded(State(metrics): State<Metrics>, headers: HeaderMap) -> impl IntoResponse {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (format, text) = if accepts.into_iter().any(|accepts| accepts.contains("application/openmetrics-text")) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.encode())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&metrics.encode()))
    };
    ([(header::CONTENT_TYPE, format)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbose_form_names_each_check_and_what_has_failed() {
        let missing = || "tools.amigo.ai is not installed".to_owned();
        for (ready, text) in [
            (Readiness::Ready, "[+]ping ok\n[+]crds ok\n[+]watches ok\nreadyz check passed\n"),
            (
                Readiness::NotReady(Check::Crds, missing()),
                "[+]ping ok\n[-]crds failed: tools.amigo.ai is not installed\n[-]watches failed: not looked at yet\n\
                 readyz check failed\n",
            ),
            (
                Readiness::NotReady(Check::Watches, "they are not synced yet".into()),
                "[+]ping ok\n[+]crds ok\n[-]watches failed: they are not synced yet\nreadyz check failed\n",
            ),
        ] {
            assert_eq!(ready.verbose(), text);
        }
    }
}
