//! Kubernetes clients: one for watches, whose answers last, one for calls, which are bounded, and one for the leader's Lease.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::RetryLayer;

use super::measured::{Measure, Observer};
use super::pressure::{CALLS_AT_ONCE, Patience};

/// `User-Agent` of every call, to Kubernetes and to the remote API.
pub const AGENT: &str = concat!("amigo-operator/", env!("CARGO_PKG_VERSION"));

/// Longest time without a byte in a watch; above the time that the server is asked to end it after.
const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(240);

/// Longest time without a byte in a call.
const CALL_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For watches.
    pub watch: Client,
    /// For the Lease, whose renewal must not wait behind other calls: a busy leader would lose it.
    pub lease: Client,
    /// For everything else, few at once. Nothing is retried by itself but what was refused as too many: of the rest the
    /// controllers know better when.
    pub calls: Client,
}

impl Clients {
    /// Connects as `KUBECONFIG`, the default kubeconfig or the pod's ServiceAccount says.
    pub async fn connect(observer: Arc<dyn Observer>) -> Result<Self, String> {
        let config = Config::infer().await.map_err(|error| format!("no cluster to connect to: {error}"))?;
        Self::from_config(config, observer).map_err(|error| format!("the cluster's configuration: {error}"))
    }

    fn from_config(mut config: Config, observer: Arc<dyn Observer>) -> Result<Self, kube::Error> {
        let measure = Measure::new(observer, config.cluster_url.authority().map_or("", |host| host.as_str()));
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        config.connect_timeout = Some(Duration::from_secs(10));
        config.default_retry = false;
        config.read_timeout = Some(WATCH_READ_TIMEOUT);
        let watch = ClientBuilder::try_from(config.clone())?.with_layer(&measure).build();
        config.read_timeout = Some(CALL_READ_TIMEOUT);
        config.reset_reader_on_write = true;
        let lease = ClientBuilder::try_from(config.clone())?.with_layer(&measure).build();
        let calls = ClientBuilder::try_from(config)?.with_layer(&measure);
        let layers = ServiceBuilder::new()
            .layer(RetryLayer::new(Patience::default()))
            .layer(ConcurrencyLimitLayer::new(CALLS_AT_ONCE))
            .layer(BufferLayer::new(CALLS_AT_ONCE));
        Ok(Self { watch, lease, calls: calls.with_layer(&layers).build() })
    }
}
