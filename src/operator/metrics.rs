//! What is counted, under the names that dashboards know. Labels come from closed sets.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::amigo::{Observer, Operation};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrganizationLabel {
    organization: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: String,
}

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconcile_seconds: Family<ControllerLabel, Histogram, fn() -> Histogram>,
    reconcile_panics: Family<ControllerLabel, Counter>,
    active_workers: Family<ControllerLabel, Gauge>,
    api_requests: Family<CallLabels, Counter>,
    api_seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    rate_limited: Family<OperationLabel, Counter>,
    publish_unknown: Counter,
    drift: Counter,
    resync: Family<OrganizationLabel, Gauge>,
    leader: Family<LeaseLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let reconcile: fn() -> Histogram = || Histogram::new([0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0]);
        let call: fn() -> Histogram =
            || Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 180.0, 600.0]);
        let mut metrics = Self {
            registry: Arc::default(),
            reconcile_seconds: Family::new_with_constructor(reconcile),
            reconcile_panics: Family::default(),
            active_workers: Family::default(),
            api_requests: Family::default(),
            api_seconds: Family::new_with_constructor(call),
            rate_limited: Family::default(),
            publish_unknown: Counter::default(),
            drift: Counter::default(),
            resync: Family::default(),
            leader: Family::default(),
        };
        metrics.registry = Arc::new(metrics.register());
        metrics
    }
}

impl Metrics {
    fn register(&self) -> Registry {
        let mut registry = Registry::default();
        let runtime = registry.sub_registry_with_prefix("controller_runtime");
        let help = "Time that reconciles took";
        runtime.register_with_unit("reconcile_time", help, Unit::Seconds, self.reconcile_seconds.clone());
        runtime.register("reconcile_panics", "Reconciles that panicked", self.reconcile_panics.clone());
        runtime.register("active_workers", "Reconciles under way", self.active_workers.clone());
        registry.register("leader_election_master_status", "1 for the leader", self.leader.clone());
        let own = registry.sub_registry_with_prefix("amigo");
        own.register("api_requests", "Calls to the remote API by operation and answer", self.api_requests.clone());
        let help = "Time that calls to the remote API took";
        own.register_with_unit("api_request_duration", help, Unit::Seconds, self.api_seconds.clone());
        own.register(
            "api_rate_limited",
            "Calls that the remote API refused as too many; should stay 0",
            self.rate_limited.clone(),
        );
        own.register("publish_unknown", "Publishes whose answer was lost", self.publish_unknown.clone());
        let help = "How long the resync takes to go round the tools of an organization";
        own.register_with_unit("resync_period", help, Unit::Seconds, self.resync.clone());
        own.register("drift_corrected", "Tools that were changed by others and corrected", self.drift.clone());
        registry
    }

    /// The metrics in the format that Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// Measures a reconcile until what is returned is dropped.
    #[must_use]
    pub fn reconcile_started(&self, kind: &str) -> ReconcileTimer {
        let label = ControllerLabel { controller: kind.to_lowercase() };
        self.active_workers.get_or_create(&label).inc();
        ReconcileTimer { metrics: self.clone(), label, started: Instant::now() }
    }

    /// A reconcile panicked.
    pub fn reconcile_panicked(&self, kind: &str) {
        self.reconcile_panics.get_or_create(&ControllerLabel { controller: kind.to_lowercase() }).inc();
    }

    /// The answer to a publish was lost.
    pub fn publish_unknown(&self) {
        self.publish_unknown.inc();
    }

    /// A tool was not as the manifest says, and is corrected.
    pub fn drift_corrected(&self) {
        self.drift.inc();
    }

    /// The period in which the tools of an organization are read.
    pub fn set_resync_period(&self, organization: &str, period: Duration) {
        let label = OrganizationLabel { organization: organization.to_owned() };
        self.resync.get_or_create(&label).set(i64::try_from(period.as_secs()).unwrap_or(i64::MAX));
    }

    /// Whether this process is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        let label = LeaseLabel { name: crate::kubernetes::lease::NAME.to_owned() };
        self.leader.get_or_create(&label).set(i64::from(is_leader));
    }
}

impl Observer for Metrics {
    fn call(&self, _organization: &str, operation: Operation, outcome: &str, elapsed: Duration) {
        let operation = operation.as_str().to_owned();
        self.api_requests.get_or_create(&CallLabels { operation: operation.clone(), code: outcome.to_owned() }).inc();
        self.api_seconds.get_or_create(&OperationLabel { operation }).observe(elapsed.as_secs_f64());
    }

    fn rate_limited(&self, _organization: &str, operation: Operation) {
        self.rate_limited.get_or_create(&OperationLabel { operation: operation.as_str().to_owned() }).inc();
    }
}

/// Measures one reconcile.
pub struct ReconcileTimer {
    metrics: Metrics,
    label: ControllerLabel,
    started: Instant,
}

impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        self.metrics.active_workers.get_or_create(&self.label).dec();
        self.metrics.reconcile_seconds.get_or_create(&self.label).observe(self.started.elapsed().as_secs_f64());
    }
}
