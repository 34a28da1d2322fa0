//! Traces of a real operator on a real control plane, as a collector gets them, and what happens when there is none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use amigo_operator::sandbox::Operation;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use support::manifests::{acme, all, env_from, secret, tool, variables, version};
use support::{Setup, World};

/// A secret that goes to the collector only, as a header.
const HEADER: &str = "hush-collector";

/// A span, as far as it matters here.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    attributes: BTreeMap<String, String>,
}

impl Span {
    fn is(&self, key: &str, value: &str) -> bool {
        self.attributes.get(key).is_some_and(|found| found == value)
    }
}

/// A collector: it takes what is exported.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Collector {
    fn routes(&self) -> Router {
        let take = |State(collector): State<Self>, headers: HeaderMap, body: Bytes| async move {
            collector.0.lock().unwrap().push((headers, body));
        };
        Router::new().route("/v1/traces", post(take)).with_state(self.clone())
    }

    /// Listens; where.
    fn start(&self, world: &World) -> String {
        world.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(axum::serve(listener, self.routes()).into_future());
            format!("http://{address}")
        })
    }

    /// Listens behind TLS; where, and the certificate that it shows.
    fn start_with_tls(&self, world: &World) -> (String, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let address = world.block_on(async {
            let tls = RustlsConfig::from_pem(certificate.clone().into(), key.into()).await.unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
            tokio::spawn(server.serve(self.routes().into_make_service()));
            address
        });
        (format!("https://{address}"), certificate)
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (headers, body) in self.0.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(plain(headers, body)).unwrap();
            for of_process in request.resource_spans {
                let process = flat(of_process.resource.unwrap().attributes);
                assert_eq!(process["service.name"], "tools-of-travel");
                assert_eq!(process["team"], "travel");
                for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    assert!(span.events.is_empty() && span.links.is_empty());
                    spans.push(Span {
                        name: span.name,
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        attributes: flat(span.attributes),
                    });
                }
            }
        }
        spans
    }
}

/// The body as it was before it was compressed.
fn plain(headers: &HeaderMap, body: &Bytes) -> Bytes {
    match headers.get("content-encoding").map(HeaderValue::as_bytes) {
        None => body.clone(),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            plain.into()
        }
        Some(other) => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn flat(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    };
    attributes.into_iter().map(|it| (it.key, text(it.value.and_then(|value| value.value)))).collect()
}

fn start(world: &mut World, variables: &[(&str, &str)]) {
    let variables: Vec<(&str, String)> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let kubeconfig = world.kubeconfig().to_owned();
    world.start_operator_with(&kubeconfig, &variables);
}

#[test]
fn a_reconcile_and_its_calls_are_one_trace_that_the_service_sees_too() {
    let mut world = World::without_operator("traces", Setup::default());
    let collector = Collector::default();
    let endpoint = collector.start(&world);
    start(
        &mut world,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{HEADER}")),
            ("OTEL_SERVICE_NAME", "tools-of-travel"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=travel,service.name=another"),
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ],
    );
    let value = world.canary();
    let objects = [
        acme(&world),
        secret("values", &format!("A: {value}")),
        tool("weather", ""),
        variables("weather", &env_from("values")),
        version("1.0.0", ""),
    ];
    world.apply(&all(objects));
    for (kind, name) in [("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    // Ready shows a moment before the reconcile ends.
    let ended = |line: &str| line.contains("kind=ToolVersion") && line.contains("outcome=changed reason=Succeeded");
    world.until("the last reconcile ends", || world.log().lines().any(ended));
    assert!(collector.spans().is_empty(), "they are sent in batches");
    world.stop_operator();
    let spans = collector.spans();
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let requests = world.sandbox.requests(1000);

    for (operation, route, kind) in [
        (Operation::CreateTool, "/v1/{organization}/tool/", "Tool"),
        (Operation::ModifyVariables, "/v1/{organization}/tool/{id}/envvar", "ToolEnvSecret"),
        (Operation::PublishVersion, "/v1/{organization}/tool/{id}/version", "ToolVersion"),
    ] {
        let request = requests.iter().find(|request| request.operation == operation).unwrap();
        let traceparent = request.traceparent.as_deref().unwrap();
        let parts: Vec<&str> = traceparent.split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{traceparent}");
        let call = by_id[parts[2]];
        assert_eq!((call.trace.as_str(), call.name.as_str()), (parts[1], format!("POST {route}").as_str()));
        assert!(call.is("url.template", route) && call.is("http.request.method", "POST"), "{call:?}");
        assert!(call.is("http.response.status_code", &request.status.unwrap().to_string()), "{call:?}");
        assert!(call.is("server.address", "127.0.0.1") && world.endpoint().ends_with(&call.attributes["server.port"]));
        let reconcile = by_id[call.parent.as_str()];
        assert_eq!((&reconcile.trace, &reconcile.name), (&call.trace, &format!("reconcile {kind}")));
        assert!(reconcile.is("k8s.namespace.name", &world.namespace) && reconcile.is("k8s.object.kind", kind));
        assert!(
            !reconcile.attributes["k8s.object.uid"].is_empty()
                && !reconcile.attributes["amigo.reconcile.id"].is_empty()
        );
        assert!(world.log().contains(&format!("traceID={}", call.trace)), "its lines in the log name the trace");
    }
    let ready =
        |span: &&Span| span.is("amigo.reconcile.outcome", "changed") && span.is("amigo.reconcile.reason", "Succeeded");
    assert!(spans.iter().filter(ready).count() >= 4, "{spans:#?}");
    assert!(requests.iter().all(|request| request.traceparent.is_some()));

    for (headers, body) in collector.0.lock().unwrap().iter() {
        assert_eq!(headers["authorization"], format!("Bearer {HEADER}"));
        let text = String::from_utf8_lossy(body);
        let ids = [world.api_key(), value.clone(), HEADER.to_owned(), world.tool("weather").id];
        let shown: Vec<&String> = ids.iter().filter(|it| text.contains(it.as_str())).collect();
        assert!(shown.is_empty(), "{shown:?}");
    }
    assert!(!world.log().contains(HEADER));
    world.finish();
}

#[test]
fn a_collector_behind_tls_gets_compressed_spans_and_is_not_trusted_blindly() {
    let mut world = World::without_operator("traces-tls", Setup::default());
    let collector = Collector::default();
    let (endpoint, certificate) = collector.start_with_tls(&world);
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.pem");
    std::fs::write(&authorities, certificate).unwrap();
    let common = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "tools-of-travel"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=travel"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    start(&mut world, &common);
    world.apply(&all([acme(&world), tool("weather", "")]));
    world.ready("Tool", "weather");
    world.until("it is told", || world.log().contains("the collector takes no spans"));
    assert!(world.log().contains("invalid peer certificate"), "the cause is told");
    world.stop_operator();
    assert!(collector.0.lock().unwrap().is_empty(), "nothing is sent to who is not known");

    start(&mut world, &[&common[..], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", authorities.to_str().unwrap())]].concat());
    world.apply(&tool("other", ""));
    world.ready("Tool", "other");
    let name = |span: &Span| span.name == "reconcile Tool" && span.is("k8s.object.name", "other");
    world.until("its spans arrive", || collector.spans().iter().any(name));
    let compressed = |(headers, _): &(HeaderMap, Bytes)| headers.get("content-encoding").is_some_and(|it| it == "gzip");
    assert!(collector.0.lock().unwrap().iter().all(compressed));
    world.finish();
}

#[test]
fn a_collector_that_is_away_is_told_once_and_stops_nothing() {
    let mut world = World::without_operator("traces-away", Setup::default());
    // Nobody listens on a port that was just given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    start(
        &mut world,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{nobody}")), ("OTEL_BSP_SCHEDULE_DELAY", "50")],
    );
    world.apply(&all([acme(&world), tool("weather", ""), version("1.0.0", "")]));
    world.ready("ToolVersion", "weather-1.0.0");
    world.until("it is told", || world.log().contains("the collector takes no spans"));
    world.apply(&tool("other", ""));
    world.ready("Tool", "other");
    world.stop_operator();
    let log = world.log();
    assert_eq!(log.matches("the collector takes no spans").count(), 1);
    assert!(log.contains("amigo-operator ends"), "it ends in order");
    world.finish();
}

#[test]
fn without_an_endpoint_nothing_is_traced_and_a_wrong_one_is_told_at_the_start() {
    let mut world = World::new("traces-off");
    world.apply(&all([acme(&world), tool("weather", "")]));
    world.ready("Tool", "weather");
    assert!(world.sandbox.requests(1000).iter().all(|request| request.traceparent.is_none()));
    assert!(!world.log().contains("traceID"));
    start(&mut world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
    let line = "amigo-operator: OTEL_EXPORTER_OTLP_ENDPOINT=\"collector:4317\" must be an http:// or https:// URL";
    world.until("it says so", || world.log().contains(line));
    world.kill_operator();
    world.finish();
}
