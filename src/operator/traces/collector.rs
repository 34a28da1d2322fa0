//! The way to the collector: the HTTP client that is there already, told of in the log once when it fails and once when it
//! works again. Spans that cannot be sent are dropped by the queue before it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use super::config::Config;
use crate::text::{innermost, short};

/// The most that is read of an answer.
const MOST: usize = 64 * 1024;

/// After a failure was told, the next is told after this time at the earliest.
const QUIET: Duration = Duration::from_secs(600);

/// Sends to the collector.
pub struct Collector {
    client: reqwest::Client,
    /// Spans are sent from a thread of their own, which has no runtime.
    runtime: Handle,
    reach: Arc<Mutex<Reach>>,
}

impl Collector {
    /// A client as it is configured, for the runtime that this is called in.
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("amigo-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.timeout);
        if let Some((variable, file)) = &config.certificate {
            let failed = |error: &dyn fmt::Display| format!("{variable}: {file}: {error}");
            let pem = std::fs::read(file).map_err(|error| failed(&error))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(&innermost(&error)))?;
            if certificates.is_empty() {
                return Err(failed(&"it holds no PEM certificate"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| format!("traces cannot be exported: {}", innermost(&error)))?;
        Ok(Self { client, runtime: Handle::current(), reach: Arc::default() })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sending<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.runtime.spawn(send(self.client.clone(), request));
        let reach = Arc::clone(&self.reach);
        Box::pin(async move {
            let answer = sent.await.map_err(|error| error.to_string()).and_then(|answer| answer);
            let trouble = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status())),
                Err(error) => Some(error.clone()),
            };
            let told = reach.lock().unwrap_or_else(PoisonError::into_inner).note(trouble.is_none(), Instant::now());
            match told {
                Some(Told::Fails) => {
                    let err = trouble.unwrap_or_default();
                    tracing::warn!(err, "the collector takes no spans; they are dropped until it does");
                }
                Some(Told::Works) => tracing::info!("the collector takes spans again"),
                None => {}
            }
            answer.map_err(Into::into)
        })
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let (parts, body) = request.into_parts();
    let sent = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await;
    let mut answer = sent.map_err(cause)?;
    let (mut response, mut whole) = (Response::new(Bytes::new()), Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    while let Some(chunk) = answer.chunk().await.map_err(cause)? {
        if whole.len() + chunk.len() > MOST {
            return Err("its answer is too large".to_owned());
        }
        whole.extend_from_slice(&chunk);
    }
    *response.body_mut() = whole.into();
    Ok(response)
}

/// What went wrong, without the URL, which may hold a secret.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    short(&innermost(&error).to_string(), 160)
}

/// Whether the collector takes spans, and what the log has told of it.
#[derive(Debug, Default)]
struct Reach {
    /// When a failure was last told.
    told: Option<Instant>,
    /// Whether what was told last still holds.
    fails: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Fails,
    Works,
}

impl Reach {
    /// Notes how a request went, and what is to be told of it.
    fn note(&mut self, works: bool, now: Instant) -> Option<Told> {
        if works {
            return std::mem::take(&mut self.fails).then_some(Told::Works);
        }
        let recently = self.told.is_some_and(|told| now.duration_since(told) < QUIET);
        if self.fails || recently {
            return None;
        }
        (self.told, self.fails) = (Some(now), true);
        Some(Told::Fails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_comes_and_goes_fills_no_log() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, works, told) in [
            (0, true, None),
            (1, false, Some(Told::Fails)),
            (2, false, None),
            (700, false, None),
            (701, true, Some(Told::Works)),
            (702, true, None),
            (703, false, Some(Told::Fails)),
            (704, true, Some(Told::Works)),
            (705, false, None),
            (706, true, None),
            (1400, false, Some(Told::Fails)),
        ] {
            assert_eq!(reach.note(works, at(seconds)), told, "after {seconds} s");
        }
    }
}
