//! The transport of production: HTTPS without retries and without redirects.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::layer::layer_fn;
use tower::{BoxError, Service};

use super::transport::{Bounds, Exchange, Transport, TransportError};
use crate::text;

/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of more bytes than this is a large one.
const LARGE: usize = 256 * 1024;

/// Large answers that are read of one server at the same time. Many of them, each a byte a second, would add up.
const LARGE_AT_ONCE: usize = 2;

/// Longest time from when a write was permitted until its connection stands. The permission comes from a lease that another
/// replica can take 5 seconds after it has ended here, at the earliest: a write that leaves later may be one too many. A time
/// limit would not do, as a process that was stopped finds both its connection and the end of the time when it goes on.
const SOON: Duration = Duration::from_secs(4);

/// Sends requests over the network.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    reads: reqwest::Client,
    writes: reqwest::Client,
    large: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// Why no transport can be made.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTransport {
    /// The file of certificate authorities cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It has no certificates.
    #[error("{file} holds no PEM certificate")]
    NoCertificate {
        /// The file.
        file: String,
    },
    /// It holds something else.
    #[error("{file} cannot be read as PEM certificates: {}", text::innermost(source))]
    Unusable {
        /// The file.
        file: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The client cannot be made: the system has no certificate authorities, for instance.
    #[error("the HTTP client cannot be made: {}", text::innermost(.0))]
    Client(#[from] reqwest::Error),
}

impl HttpTransport {
    /// A transport that trusts the system's certificate authorities, and those in `ca_file`.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, InvalidTransport> {
        // Made before any client, which panics without one; that another was first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = ca_file.map(authorities).transpose()?.unwrap_or_default();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("amigo-operator/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_keepalive(Duration::from_secs(30))
                .tls_certs_merge(authorities.clone())
        };
        // A connection of the pool may have died unseen; what was written to it is then sent again on a new one by the HTTP
        // stack. Writes have a fresh connection each, so that nothing below this line ever sends them twice.
        // Such a connection must also stand soon.
        let writes = builder().pool_max_idle_per_host(0).connector_layer(layer_fn(Soon));
        Ok(Self { reads: builder().build()?, writes: writes.build()?, large: Arc::default() })
    }

    async fn exchange(
        &self,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let client = if request.method() == Method::GET { &self.reads } else { &self.writes };
        let (parts, body) = request.into_parts();
        let server = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
        let deadline = Instant::now() + bounds.timeout;
        let sent = client
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .timeout(bounds.timeout)
            .body(body)
            .send()
            .await;
        let mut answer = sent.map_err(unanswered)?;
        let too_large = || TransportError::Unknown(format!("the answer is larger than {} bytes", bounds.max_body));
        if answer.content_length().is_some_and(|length| length > bounds.max_body as u64) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        let mut turn = None;
        while let Some(chunk) = answer.chunk().await.map_err(|error| TransportError::Unknown(cause(error)))? {
            if whole.len() + chunk.len() > bounds.max_body {
                return Err(too_large());
            }
            if whole.len() + chunk.len() > LARGE && turn.is_none() {
                let waits = self.of_large_ones(&server).acquire_owned();
                let waited = tokio::time::timeout_at(deadline, waits).await;
                turn = Some(waited.map_err(|_| TransportError::Unknown("timed out".to_owned()))?);
            }
            whole.extend_from_slice(&chunk);
        }
        let mut response = http::Response::new(whole.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }

    /// The turns of a server's large answers. There are as many servers as endpoints are allowed.
    fn of_large_ones(&self, server: &str) -> Arc<Semaphore> {
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(large.entry(server.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(LARGE_AT_ONCE))))
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: http::Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        Box::pin(self.exchange(request, bounds))
    }
}

/// Makes connections, and gives up those that took too long: nothing has been sent over them.
#[derive(Debug, Clone)]
struct Soon<S>(S);

#[derive(Debug, thiserror::Error)]
#[error("the connection stood too late for a write")]
struct TooLate;

impl<S, T> Service<T> for Soon<S>
where
    S: Service<T, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let (began, connecting) = (Instant::now(), self.0.call(target));
        Box::pin(async move {
            let connection = connecting.await?;
            if began.elapsed() < SOON { Ok(connection) } else { Err(TooLate.into()) }
        })
    }
}

fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, InvalidTransport> {
    let name = file.display().to_string();
    let pem = std::fs::read(file).map_err(|source| InvalidTransport::Unreadable { file: name.clone(), source })?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|source| InvalidTransport::Unusable { file: name.clone(), source })?;
    if certificates.is_empty() {
        return Err(InvalidTransport::NoCertificate { file: name });
    }
    Ok(certificates)
}

/// Only what failed before there was a connection certainly did not arrive.
fn unanswered(error: reqwest::Error) -> TransportError {
    if error.is_connect() || error.is_builder() {
        TransportError::NotSent(cause(error))
    } else {
        TransportError::Unknown(cause(error))
    }
}

/// What went wrong, in words that do not change from one attempt to the next: addresses, ports and URLs are left out.
fn cause(error: reqwest::Error) -> String {
    let error = &error.without_url();
    let innermost = text::innermost(error).to_string();
    let kind = match error {
        error if error.is_timeout() => return "timed out".to_owned(),
        error if error.is_connect() => "connecting failed",
        error if error.is_body() || error.is_decode() => "the answer broke off",
        _ => "the connection failed",
    };
    let text: String = innermost.chars().filter(|c| !c.is_control()).take(160).collect();
    format!("{kind}: {text}")
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
