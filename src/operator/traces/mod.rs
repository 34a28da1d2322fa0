//! Traces: a span for each reconcile and for each call to the remote API, exported as OTLP. Without an endpoint in the
//! environment there are none, and nothing is spent on them. Spans say who, what and how it ended, in words from closed sets:
//! no text of the service, no query and no value gets into them.

mod call;
mod collector;
mod config;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource as Described;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

pub use self::config::{Config, VARIABLES};
use crate::amigo::transport::Transport;
use crate::controllers::ending::Ending;
use crate::resources::{Reason, Resource};
use crate::scope::{Names, Subject as _};

/// The longest that the last spans may take when the process ends.
const FLUSH: Duration = Duration::from_secs(5);

/// Makes spans; the default makes none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Tracing>);

#[derive(Debug, Clone)]
struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Traces as the environment asks for, exported from the runtime that this is called in. `me` is the name of the process.
    pub fn start(variable: impl Fn(&str) -> Option<String>, me: &str) -> Result<Self, String> {
        let Some(config) = Config::read(&variable)? else { return Ok(Self::default()) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector::Collector::new(&config)?)
            .with_endpoint(config.endpoint.as_str())
            .with_timeout(config.timeout)
            .build()
            .map_err(|error| format!("traces cannot be exported: {error}"))?;
        let name = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(described(name, me)).build();
        tracing::info!(endpoint = %config.endpoint, "traces are exported");
        Ok(Self::of(provider))
    }

    fn of(provider: SdkTracerProvider) -> Self {
        let scope = InstrumentationScope::builder("amigo-operator").with_version(env!("CARGO_PKG_VERSION")).build();
        let tracer = provider.tracer_with_scope(scope);
        Self(Some(Tracing { provider, tracer }))
    }

    /// The transport with a span around each call, if there are traces.
    #[must_use]
    pub fn over(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        match &self.0 {
            Some(tracing) => Arc::new(call::Traced::new(transport, tracing.tracer.clone())),
            None => transport,
        }
    }

    /// Begins the span of a reconcile, if there are traces.
    #[must_use]
    pub fn reconcile<K: Resource>(&self, object: &K) -> Span {
        let Some(Tracing { tracer, .. }) = &self.0 else { return Span(None) };
        let Names { kind, namespace, name } = object.names();
        let attributes = vec![
            KeyValue::new("k8s.namespace.name", namespace.to_owned()),
            KeyValue::new("k8s.object.kind", kind.to_string()),
            KeyValue::new("k8s.object.name", name.to_owned()),
            KeyValue::new("k8s.object.uid", object.uid().unwrap_or_default()),
        ];
        let span = tracer.span_builder(format!("reconcile {kind}")).with_kind(SpanKind::Internal);
        Span(Some(Box::new(span.with_attributes(attributes).start_with_context(tracer, &Context::new()))))
    }

    /// Sends the last spans, for a bounded time.
    pub async fn end(self) {
        let Some(Tracing { provider, .. }) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be exported");
        }
    }
}

/// The span of a reconcile, if it is traced. One that is dropped before its end ends there. Boxed, so that reconciles that are not
/// traced have no room for one.
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// What others refer to it by.
    #[must_use]
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|span| span.span_context().clone())
    }

    /// The reconcile ended.
    pub fn ended(&mut self, ending: &Ending) {
        let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) else { return };
        if let Some(id) = crate::scope::current(|scope| scope.id().to_string()) {
            span.set_attribute(KeyValue::new("amigo.reconcile.id", id));
        }
        span.set_attribute(KeyValue::new("amigo.reconcile.outcome", ending.end.as_str()));
        if let Some(reason) = ending.reason {
            span.set_attribute(KeyValue::new("amigo.reconcile.reason", Reason::as_str(reason)));
        }
        if ending.end.is_error() {
            span.set_attribute(KeyValue::new("error.type", ending.reason.map_or(ending.end.as_str(), Reason::as_str)));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// Who exports. What the environment says goes before what is known anyway.
fn described(name: Option<String>, me: &str) -> Described {
    let detectors: [Box<dyn ResourceDetector>; 2] =
        [Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())];
    let described = Described::builder_empty()
        .with_service_name("amigo-operator")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", me.to_owned()))
        .with_detectors(&detectors);
    match name {
        Some(name) => described.with_service_name(name),
        None => described,
    }
    .build()
}
