//! Counts and times what is asked of the API server, for metrics.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Sees every call.
pub trait Observer: Send + Sync {
    /// A call was answered with this code, or `<error>` where no answer came; `elapsed` until the answer began.
    fn call(&self, method: &Method, host: &str, code: &str, elapsed: Duration);
}

/// Tells an observer of every call.
#[derive(Clone)]
pub struct Measure {
    observer: Arc<dyn Observer>,
    host: Arc<str>,
}

impl Measure {
    /// Calls to `host`.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>, host: &str) -> Self {
        Self { observer, host: host.into() }
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, measure: self.clone() }
    }
}

/// A service whose calls are told.
#[derive(Clone)]
pub struct Measured<S> {
    inner: S,
    measure: Measure,
}

impl<S, In, Out> Service<Request<In>> for Measured<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
    S::Error: Send,
    Out: Send,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let (method, started, measure) = (request.method().clone(), Instant::now(), self.measure.clone());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            let code = status.as_ref().map_or("<error>", StatusCode::as_str);
            measure.observer.call(&method, &measure.host, code, started.elapsed());
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Observer for Seen {
        fn call(&self, method: &Method, host: &str, code: &str, elapsed: Duration) {
            self.0.lock().unwrap().push(format!("{method} {host} {code} {}", elapsed.as_secs()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_is_told_with_its_answer_or_that_there_was_none() {
        let seen = Arc::new(Seen::default());
        let answer = |request: Request<&'static str>| async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            match *request.body() {
                "refused" => Response::builder().status(409).body(()).map_err(|error| error.to_string()),
                _ => Err("reset".to_owned()),
            }
        };
        let mut service =
            ServiceBuilder::new().layer(Measure::new(seen.clone(), "cluster:6443")).service(service_fn(answer));
        for body in ["refused", "lost"] {
            let request = Request::patch("/x").body(body).unwrap();
            let _ = service.ready().await.unwrap().call(request).await;
        }
        assert_eq!(*seen.0.lock().unwrap(), ["PATCH cluster:6443 409 3", "PATCH cluster:6443 <error> 3"]);
    }
}
