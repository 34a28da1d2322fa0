//! The life of the process: logs, signals, the HTTP server and the connections; then a [`Replica`] until SIGTERM.

use std::future::IntoFuture;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use super::http::{self, Readiness};
use super::logs;
use super::metrics::Metrics;
use super::replica::{Replica, Surroundings};
use super::secure;
use super::settings::Settings;
use super::traces::Traces;
use crate::amigo::{HttpTransport, InvalidTransport};
use crate::clock::Clock;
use crate::kubernetes::client::Clients;
use crate::kubernetes::lease::identity;

/// Threads that work. The operator waits for others most of the time; more threads, one for each core of a large node, would
/// only wake each other and keep memory of their own.
const THREADS: usize = 2;

/// Runs the operator until SIGTERM or Ctrl-C.
pub fn run(settings: Settings) -> Result<(), String> {
    logs::start(settings.log_format, &settings.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime could not be started: {error}"))?;
    runtime.block_on(start(settings))
}

/// Certificates are first looked into when the client is made, those of the file as well as the system's.
fn no_transport(error: &InvalidTransport, ca_file: Option<&Path>) -> String {
    match (error, ca_file) {
        (InvalidTransport::Client(_), None) => format!("{error}; the system's certificate authorities may be missing"),
        (InvalidTransport::Client(_), Some(file)) => format!("--ca-file: {}: {error}", file.display()),
        (of_the_file, _) => format!("--ca-file: {of_the_file}"),
    }
}

async fn start(settings: Settings) -> Result<(), String> {
    let allowed = settings.allowed_endpoints()?;
    let ca_file = settings.ca_file.as_deref();
    let transport = HttpTransport::new(ca_file).map_err(|error| no_transport(&error, ca_file))?;
    let me = identity();
    let traces = Traces::start(|name| std::env::var(name).ok(), &me)?;
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|error| format!("--listen {}: {error}", settings.listen))?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    let (ready, readiness) = channel::channel(Readiness::starting());
    let metrics = Metrics::default();
    let clients = Clients::connect(Arc::new(metrics.clone())).await?;
    metrics.set_leader(false);
    serve(&settings, listener, readiness, &metrics, &clients).await?;
    let stop = stop_signal()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "amigo-operator starts");
    let transport = traces.over(Arc::new(transport));
    let surroundings = Surroundings { clients, transport, traces: traces.clone(), clock: Clock::System, me };
    // On a thread that works: from this one every wake-up would be a switch between threads.
    let replica = tokio::spawn(Replica::new(settings, allowed, surroundings, metrics, ready).run(stop));
    let ended = replica.await.map_err(|error| format!("the operator has ended: {error}"));
    traces.end().await;
    ended
}

/// Serves the health checks and the metrics, until the process ends.
async fn serve(
    settings: &Settings,
    listener: TcpListener,
    ready: channel::Receiver<Readiness>,
    metrics: &Metrics,
    clients: &Clients,
) -> Result<(), String> {
    let (health, metrics) = (http::health(ready), http::metrics(metrics.clone()));
    let Some(at) = settings.metrics_listen else {
        tokio::spawn(axum::serve(listener, health.merge(metrics)).into_future());
        return Ok(());
    };
    tokio::spawn(axum::serve(listener, health).into_future());
    let failed = |error: std::io::Error| format!("--metrics-listen {at}: {error}");
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let address = listener.local_addr().unwrap_or(at);
    let listener = listener.into_std().map_err(failed)?;
    secure::serve(listener, settings.metrics_certificate(), clients.calls.clone(), metrics).await?;
    tracing::info!(%address, "metrics are served over TLS to those who may read them");
    Ok(())
}

/// Cancelled by the first SIGTERM or Ctrl-C; a second one ends the process at once.
fn stop_signal() -> Result<CancellationToken, String> {
    let failed = |error| format!("signals cannot be received: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if second {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(token)
}
