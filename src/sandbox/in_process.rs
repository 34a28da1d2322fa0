//! The sandbox as a [`Transport`]: no sockets, so that a client runs against it on a paused clock.

use std::fmt;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use tower::ServiceExt;

use super::exchange::Broken;
use crate::amigo::transport::{Bounds, Exchange, Transport, TransportError};

/// Calls the sandbox in this process. The host of a request is ignored.
#[derive(Clone)]
pub struct InProcess {
    router: Router,
}

impl InProcess {
    pub(super) const fn new(router: Router) -> Self {
        Self { router }
    }

    async fn exchange(&self, request: Request<Bytes>, bounds: Bounds) -> Result<Response<Bytes>, TransportError> {
        let unknown = |reason: &str| TransportError::Unknown(reason.to_owned());
        let Ok(response) = self.router.clone().oneshot(request.map(Body::from)).await;
        match response.extensions().get::<Broken>() {
            Some(Broken::NoAnswer) => return Err(unknown("connection closed before the answer")),
            Some(Broken::NotConnected) => return Err(TransportError::NotSent("connection refused".to_owned())),
            None => {}
        }
        let (parts, body) = response.into_parts();
        match Limited::new(body, bounds.max_body).collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(_) => Err(unknown("the body is cut short or too large")),
        }
    }
}

impl Transport for InProcess {
    fn send(&self, request: Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        Box::pin(async move {
            match tokio::time::timeout(bounds.timeout, self.exchange(request, bounds)).await {
                Ok(result) => result,
                Err(_) => Err(TransportError::Unknown("timed out".to_owned())),
            }
        })
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}
