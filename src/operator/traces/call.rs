//! A span around each call to the remote API, and its header `traceparent`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::amigo::Operation;
use crate::amigo::transport::{Bounds, Exchange, Transport, TransportError};
use crate::scope::{self, Scope};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A transport with a span around each exchange.
#[derive(Debug)]
pub struct Traced {
    inner: Arc<dyn Transport>,
    tracer: SdkTracer,
}

impl Traced {
    /// Traces what goes over `inner`.
    pub const fn new(inner: Arc<dyn Transport>, tracer: SdkTracer) -> Self {
        Self { inner, tracer }
    }

    /// Begins the span of a call, below that of the reconcile that makes it.
    fn begin(&self, request: &Request<Bytes>) -> Span {
        let parent = scope::current(|scope| Scope::span(scope).cloned()).flatten();
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let attributes = attributes(request);
        let span = self.tracer.span_builder(name(request)).with_kind(SpanKind::Client).with_attributes(attributes);
        span.start_with_context(&self.tracer, &parent)
    }
}

impl Transport for Traced {
    fn send(&self, mut request: Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        Box::pin(async move {
            let mut span = self.begin(&request);
            if let Ok(value) = HeaderValue::try_from(traceparent(span.span_context())) {
                request.headers_mut().insert(TRACEPARENT, value);
            }
            let result = self.inner.send(request, bounds).await;
            end(&mut span, &result);
            result
        })
    }
}

fn route(request: &Request<Bytes>) -> Option<&'static str> {
    Operation::called(request.method().as_str(), request.uri().path()).map(|operation| operation.route().1)
}

/// Method and route, as the conventions for HTTP clients have it: nothing that varies.
fn name(request: &Request<Bytes>) -> String {
    route(request).map_or_else(|| request.method().to_string(), |route| format!("{} {route}", request.method()))
}

fn attributes(request: &Request<Bytes>) -> Vec<KeyValue> {
    let uri = request.uri();
    let mut attributes = vec![
        KeyValue::new("http.request.method", request.method().to_string()),
        KeyValue::new("server.address", uri.host().unwrap_or_default().to_owned()),
    ];
    let by_scheme = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    attributes.push(KeyValue::new("server.port", i64::from(uri.port_u16().unwrap_or(by_scheme))));
    attributes.extend(route(request).map(|route| KeyValue::new("url.template", route)));
    let organization = uri.path().split('/').nth(2).unwrap_or_default().to_owned();
    attributes.push(KeyValue::new("amigo.organization", organization));
    attributes
}

/// The header of W3C Trace Context.
fn traceparent(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

/// Ends the span with what came of the call. Of an error only its kind is told.
fn end(span: &mut Span, result: &Result<Response<Bytes>, TransportError>) {
    if let Ok(answer) = result {
        let status = i64::from(answer.status().as_u16());
        span.set_attribute(KeyValue::new("http.response.status_code", status));
    }
    if let Some(error) = error_type(result) {
        span.set_attribute(KeyValue::new("error.type", error));
        span.set_status(Status::error(""));
    }
    span.end();
}

/// The kind of failure, from a closed set; `None` where there is none.
fn error_type(result: &Result<Response<Bytes>, TransportError>) -> Option<String> {
    match result {
        Ok(answer) if answer.status().as_u16() < 400 => None,
        Ok(answer) => Some(answer.status().as_str().to_owned()),
        Err(TransportError::NotSent(_)) => Some("not_sent".to_owned()),
        Err(TransportError::Unknown(_)) => Some("no_answer".to_owned()),
    }
}
