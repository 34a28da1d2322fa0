//! The seam below the client: one HTTP exchange, without retries, redirects or opinions. [`Transport`] is implemented by
//! an HTTP client for the real service and by the sandbox in process, so that the whole operator can run without
//! sockets on a paused clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// What bounds one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the start to the last byte of the answer.
    pub timeout: Duration,
    /// Largest answer body in bytes.
    pub max_body: usize,
}

/// Why there is no answer. The difference decides whether the request may have had an effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No byte of the request left: no connection could be made. The request certainly had no effect.
    #[error("could not connect: {0}")]
    NotSent(String),
    /// The request may have arrived and taken effect: time-out, reset, answer cut short or too large.
    #[error("no complete answer: {0}")]
    Unknown(String),
}

/// The future of one exchange.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send + 'a>>;

/// One HTTP exchange: the request goes out once, the answer comes back whole or not at all.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends `request` (absolute URI) once. Redirects are answers like any other.
    fn send(&self, request: http::Request<Bytes>, bounds: Bounds) -> Exchange<'_>;
}
