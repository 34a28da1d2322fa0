//! Kindness to the API server: few calls at once, and what its priority and fairness refuses is asked again when it says.
//! A 429 is an answer before any work, so that a write may be sent again; no other answer is.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::time::Sleep;
use tower::BoxError;
use tower::retry::Policy;

/// How many calls are under way at once. More only wait in the server.
pub const CALLS_AT_ONCE: usize = 32;

/// How often a call is repeated; whoever made it gives up before, as a rule.
const REPEATS: u32 = 8;

/// How long is waited where the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest wait that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Repeats what was refused as too many.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    refusals: u32,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Patience {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<Response<B>, BoxError>) -> Option<Sleep> {
        let response = result.as_ref().ok().filter(|response| response.status() == StatusCode::TOO_MANY_REQUESTS)?;
        self.refusals += 1;
        (self.refusals <= REPEATS).then(|| tokio::time::sleep(pause(response)))
    }

    /// A body that is a stream cannot be sent twice, and is not.
    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }
}

fn pause<B>(response: &Response<B>) -> Duration {
    let told = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    told.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_was_refused_as_too_many_is_asked_again_and_after_the_time_that_is_told() {
        // The status, what `Retry-After` says, how often it is asked, and how many seconds that takes.
        for (status, told, asked, seconds) in [
            (200, None, 1, 0),
            (409, None, 1, 0),
            (503, Some("1"), 1, 0),
            (429, None, 1 + REPEATS, 8),
            (429, Some("3"), 1 + REPEATS, 24),
            (429, Some("86400"), 1 + REPEATS, 160),
        ] {
            let calls = AtomicU32::new(0);
            let answer = |_: Request<Body>| {
                calls.fetch_add(1, Ordering::Relaxed);
                let mut response = Response::builder().status(status);
                if let Some(told) = told {
                    response = response.header(header::RETRY_AFTER, told);
                }
                std::future::ready(response.body(()).map_err(BoxError::from))
            };
            let began = tokio::time::Instant::now();
            let mut service = ServiceBuilder::new().retry(Patience::default()).service(service_fn(answer));
            let request = Request::post("/x").body(Body::from(b"body".to_vec())).unwrap();
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(
                (calls.load(Ordering::Relaxed), began.elapsed().as_secs()),
                (asked, seconds),
                "{status} {told:?}"
            );
        }
    }
}
