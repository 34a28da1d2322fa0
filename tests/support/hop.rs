//! A hop between an operator and the API server, on which what watches tell is late, or breaks off. Everything else passes at
//! once: the operator reads and writes the present, and hears of it later.
//!
//! The way to the hop is plain HTTP on loopback; the hop goes on over TLS, with the credentials that came with the request.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use kube::config::Kubeconfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::World;

/// Larger than any request of the operator.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The hop of one world; it lives as long as the world.
#[derive(Clone)]
pub struct Hop {
    server: String,
    client: reqwest::Client,
    delay: Arc<AtomicU64>,
    cuts: Arc<watch::Sender<u64>>,
}

impl Hop {
    /// A hop that delays nothing yet, and the kubeconfig that leads over it.
    pub fn start(world: &World) -> (Self, PathBuf) {
        let mut kubeconfig = Kubeconfig::read_from(world.kubeconfig()).unwrap();
        let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
        let authority = std::fs::read(cluster.certificate_authority.take().unwrap()).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let hop = Self {
            server: cluster.server.clone().unwrap(),
            client: reqwest::Client::builder().tls_certs_only([authority]).build().unwrap(),
            delay: Arc::default(),
            cuts: Arc::new(watch::Sender::new(0)),
        };
        let address = world.block_on(hop.clone().serve());
        cluster.server = Some(address);
        let path = world.folder.path().join("hop.kubeconfig");
        std::fs::write(&path, serde_json::to_string(&kubeconfig).unwrap()).unwrap();
        (hop, path)
    }

    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass).with_state(self)).await });
        address
    }

    /// What watches tell from now on is late by so much.
    pub fn delay_watches(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Breaks off all watches; what was under way is lost.
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn due(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.delay.load(Ordering::Relaxed))
    }
}

async fn pass(State(hop): State<Hop>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let request = hop.client.request(parts.method, format!("{}{target}", hop.server));
    let sent = request.headers(passed_on(parts.headers)).body(body).send().await;
    let Ok(mut answer) = sent else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    let (status, headers) = (answer.status(), passed_on(std::mem::take(answer.headers_mut())));
    let body = if is_watch { late(hop, answer) } else { Body::from(answer.bytes().await.unwrap_or_default()) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Headers without those that belong to one connection.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

/// The body of a watch: each part is passed on when it is due, in order, until the watch is cut.
fn late(hop: Hop, mut answer: reqwest::Response) -> Body {
    let (parts, delayed) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let mut cuts = hop.cuts.subscribe();
    tokio::spawn(async move {
        while let Ok(Some(part)) = answer.chunk().await {
            if parts.send((hop.due(), part)).is_err() {
                return;
            }
        }
    });
    let cut = async move {
        let _ = cuts.changed().await;
    };
    let stream = futures::stream::unfold(delayed, |mut delayed| async {
        let (due, part) = delayed.recv().await?;
        sleep_until(due).await;
        Some((Ok::<_, std::io::Error>(part), delayed))
    });
    Body::from_stream(futures::StreamExt::take_until(stream, Box::pin(cut)))
}
