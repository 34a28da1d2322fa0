//! What is counted, under the names that dashboards know. Labels come from closed sets, or from the objects that there are:
//! what belongs to an object goes with it. What can be read from its place when it is asked for is kept nowhere else, in
//! [`scrape`].

mod classic;
mod scrape;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

pub use self::classic::classic;
pub use self::scrape::{Budgets, Objects, Publishes};
use crate::amigo::{self, Operation};
use crate::kubernetes::measured;
use crate::kubernetes::queue;

/// The controllers, as dashboards call them.
const CONTROLLERS: [&str; 4] = ["organization", "tool", "toolversion", "toolenvsecret"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    controller: &'static str,
    result: &'static str,
}

/// controller-runtime gives a queue the name of its controller, and both labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    name: &'static str,
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestLabels {
    code: String,
    method: String,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestTimeLabels {
    verb: String,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    counted: Registry,
    /// What is read from elsewhere when it is asked for.
    read: RwLock<Registry>,
    runtime: Runtime,
    queues: Queues,
    rest_requests: Family<RestLabels, Counter>,
    rest_seconds: Histograms<RestTimeLabels>,
    api_requests: Family<CallLabels, Counter>,
    api_seconds: Histograms<OperationLabel>,
    rate_limited: Family<OperationLabel, Counter>,
    publish_unknown: Counter,
    drift: Counter,
    leader: Family<LeaseLabel, Gauge>,
}

/// What controller-runtime tells of its controllers.
struct Runtime {
    reconciles: Family<ResultLabels, Counter>,
    errors: Family<ControllerLabel, Counter>,
    terminal: Family<ControllerLabel, Counter>,
    panics: Family<ControllerLabel, Counter>,
    seconds: Histograms<ControllerLabel>,
    active: Family<ControllerLabel, Gauge>,
    most: Family<ControllerLabel, Gauge>,
    /// The reconciles that are under way: whose, and since when.
    running: Mutex<BTreeMap<u64, (&'static str, Instant)>>,
    last: AtomicU64,
}

/// What client-go tells of its work queues.
struct Queues {
    depth: Family<QueueLabels, Gauge>,
    adds: Family<QueueLabels, Counter>,
    retries: Family<QueueLabels, Counter>,
    waits: Histograms<QueueLabels>,
    works: Histograms<QueueLabels>,
    unfinished: Family<QueueLabels, Seconds>,
    longest: Family<QueueLabels, Seconds>,
}

impl Default for Inner {
    fn default() -> Self {
        let call: fn() -> Histogram =
            || Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 180.0, 600.0]);
        let rest: fn() -> Histogram =
            || Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]);
        let mut metrics = Self {
            counted: Registry::default(),
            read: RwLock::default(),
            runtime: Runtime::new(),
            queues: Queues::new(),
            rest_requests: Family::default(),
            rest_seconds: Family::new_with_constructor(rest),
            api_requests: Family::default(),
            api_seconds: Family::new_with_constructor(call),
            rate_limited: Family::default(),
            publish_unknown: Counter::default(),
            drift: Counter::default(),
            leader: Family::default(),
        };
        // There from the start, so that the first refusal counts as a rise.
        for operation in Operation::ALL {
            let _ = metrics.rate_limited.get_or_create(&OperationLabel { operation: operation.as_str() });
        }
        metrics.counted = metrics.register();
        metrics.read_from(scrape::Process);
        metrics
    }
}

impl Inner {
    fn register(&self) -> Registry {
        let mut registry = Registry::default();
        self.runtime.register(&mut registry);
        self.queues.register(&mut registry);
        registry.register("leader_election_master_status", "1 for the leader", self.leader.clone());
        let rest = registry.sub_registry_with_prefix("rest_client");
        rest.register("requests", "Calls to the API server by answer", self.rest_requests.clone());
        let help = "Time until the API server began to answer";
        rest.register_with_unit("request_duration", help, Unit::Seconds, self.rest_seconds.clone());
        let own = registry.sub_registry_with_prefix("amigo");
        let version = ("version", env!("CARGO_PKG_VERSION"));
        own.register("build", "The version that runs", Info::new(vec![version]));
        own.register("api_requests", "Calls to the remote API by operation and answer", self.api_requests.clone());
        let help = "Time that calls to the remote API took";
        own.register_with_unit("api_request_duration", help, Unit::Seconds, self.api_seconds.clone());
        own.register(
            "api_rate_limited",
            "Calls that the remote API refused as too many; should stay 0",
            self.rate_limited.clone(),
        );
        own.register("publish_unknown", "Publishes whose answer was lost", self.publish_unknown.clone());
        own.register("drift_corrected", "Tools that were changed by others and corrected", self.drift.clone());
        registry
    }

    fn read_from(&self, source: impl Collector) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(source));
    }
}

impl Metrics {
    /// Metrics that are read from their place whenever all are asked for.
    pub fn read_from(&self, source: impl Collector) {
        self.0.read_from(source);
    }

    /// The metrics in the format that Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        self.0.queues.measure(&self.0.runtime);
        let mut text = String::new();
        let read = self.0.read.read().unwrap_or_else(PoisonError::into_inner);
        let written = encode_registry(&mut text, &self.0.counted)
            .and_then(|()| encode_registry(&mut text, &read))
            .and_then(|()| encode_eof(&mut text));
        match written {
            Ok(()) => text,
            // A text without its end is refused by Prometheus, which shows as a failed scrape.
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                String::new()
            }
        }
    }

    /// Measures a reconcile until what is returned is dropped.
    #[must_use]
    pub fn reconcile_started(&self, kind: &str) -> ReconcileTimer {
        let label = ControllerLabel::of(kind);
        let (started, id) = (Instant::now(), self.0.runtime.last.fetch_add(1, Ordering::Relaxed));
        self.0.runtime.active.get_or_create(&label).inc();
        self.0.runtime.running().insert(id, (label.controller, started));
        ReconcileTimer { metrics: self.clone(), label, started, id }
    }

    /// A reconcile found what only a person can mend.
    pub fn reconcile_stalled(&self, kind: &str) {
        self.0.runtime.terminal.get_or_create(&ControllerLabel::of(kind)).inc();
    }

    /// What the queue of a kind tells.
    #[must_use]
    pub fn queue(&self, kind: &str) -> QueueMeter {
        QueueMeter { metrics: self.clone(), labels: QueueLabels::of(ControllerLabel::of(kind).controller) }
    }

    /// The answer to a publish was lost.
    pub fn publish_unknown(&self) {
        self.0.publish_unknown.inc();
    }

    /// A tool was not as the manifest says, and is corrected.
    pub fn drift_corrected(&self) {
        self.0.drift.inc();
    }

    /// Whether this process is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        let label = LeaseLabel { name: crate::kubernetes::lease::NAME };
        self.0.leader.get_or_create(&label).set(i64::from(is_leader));
    }
}

impl amigo::Observer for Metrics {
    fn call(&self, _organization: &str, operation: Operation, outcome: &str, elapsed: Duration) {
        let operation = operation.as_str();
        self.0.api_requests.get_or_create(&CallLabels { operation, code: outcome.to_owned() }).inc();
        self.0.api_seconds.get_or_create(&OperationLabel { operation }).observe(elapsed.as_secs_f64());
    }

    fn rate_limited(&self, _organization: &str, operation: Operation) {
        self.0.rate_limited.get_or_create(&OperationLabel { operation: operation.as_str() }).inc();
    }
}

impl measured::Observer for Metrics {
    fn call(&self, method: &Method, host: &str, code: &str, elapsed: Duration) {
        let (method, host) = (method.as_str().to_owned(), host.to_owned());
        let labels = RestLabels { code: code.to_owned(), method: method.clone(), host: host.clone() };
        self.0.rest_requests.get_or_create(&labels).inc();
        self.0.rest_seconds.get_or_create(&RestTimeLabels { verb: method, host }).observe(elapsed.as_secs_f64());
    }
}

impl Runtime {
    fn new() -> Self {
        // Those of controller-runtime, so that its dashboards show the same steps.
        let seconds: fn() -> Histogram = || {
            Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
                1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0,
                40.0, 50.0, 60.0,
            ])
        };
        let runtime = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            terminal: Family::default(),
            panics: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            active: Family::default(),
            most: Family::default(),
            running: Mutex::default(),
            last: AtomicU64::default(),
        };
        // There from the start, so that the first failure counts as a rise.
        for controller in CONTROLLERS {
            let label = ControllerLabel { controller };
            for family in [&runtime.errors, &runtime.terminal, &runtime.panics] {
                let _ = family.get_or_create(&label);
            }
            let most = i64::try_from(queue::UNDER_WAY).unwrap_or(i64::MAX);
            runtime.most.get_or_create(&label).set(most);
        }
        runtime
    }

    fn register(&self, registry: &mut Registry) {
        let runtime = registry.sub_registry_with_prefix("controller_runtime");
        runtime.register("reconcile", "Reconciles by result", self.reconciles.clone());
        runtime.register("reconcile_errors", "Reconciles that failed and are tried again", self.errors.clone());
        let help = "Reconciles that found what only a person can mend";
        runtime.register("terminal_reconcile_errors", help, self.terminal.clone());
        runtime.register("reconcile_panics", "Reconciles that panicked", self.panics.clone());
        let help = "Time that reconciles took";
        runtime.register_with_unit("reconcile_time", help, Unit::Seconds, self.seconds.clone());
        runtime.register("active_workers", "Reconciles under way", self.active.clone());
        let help = "How many reconciles can be under way at once";
        runtime.register("max_concurrent_reconciles", help, self.most.clone());
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (&'static str, Instant)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn new() -> Self {
        // Those of client-go: from ten nanoseconds on, ten times as much each.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-8, 10.0, 12));
        let queues = Self {
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            waits: Family::new_with_constructor(seconds),
            works: Family::new_with_constructor(seconds),
            unfinished: Family::default(),
            longest: Family::default(),
        };
        for controller in CONTROLLERS {
            let _ = queues.depth.get_or_create(&QueueLabels::of(controller));
            let _ = queues.retries.get_or_create(&QueueLabels::of(controller));
        }
        queues
    }

    fn register(&self, registry: &mut Registry) {
        let queues = registry.sub_registry_with_prefix("workqueue");
        queues.register("depth", "Objects that are due and not looked at yet", self.depth.clone());
        queues.register("adds", "Objects that became due", self.adds.clone());
        queues.register("retries", "Objects that are due again because a reconcile failed", self.retries.clone());
        let help = "How long objects that were due waited for their reconcile";
        queues.register_with_unit("queue_duration", help, Unit::Seconds, self.waits.clone());
        queues.register_with_unit("work_duration", "Time that reconciles took", Unit::Seconds, self.works.clone());
        let help = "Time that the reconciles under way have taken so far, in all";
        queues.register_with_unit("unfinished_work", help, Unit::Seconds, self.unfinished.clone());
        let help = "Time that the longest reconcile under way has taken so far";
        queues.register_with_unit("longest_running_processor", help, Unit::Seconds, self.longest.clone());
    }

    /// Measures what is under way.
    fn measure(&self, runtime: &Runtime) {
        let mut sums: BTreeMap<&str, (f64, f64)> = CONTROLLERS.iter().map(|name| (*name, (0.0, 0.0))).collect();
        for (controller, since) in runtime.running().values() {
            if let Some((sum, longest)) = sums.get_mut(controller) {
                let seconds = since.elapsed().as_secs_f64();
                (*sum, *longest) = (*sum + seconds, longest.max(seconds));
            }
        }
        for (controller, (sum, longest)) in sums {
            self.unfinished.get_or_create(&QueueLabels::of(controller)).set(sum);
            self.longest.get_or_create(&QueueLabels::of(controller)).set(longest);
        }
    }
}

impl ControllerLabel {
    /// Of a kind. There is no other than the four: a look at an object copies no text.
    fn of(kind: &str) -> Self {
        let controller = CONTROLLERS.into_iter().find(|controller| controller.eq_ignore_ascii_case(kind));
        Self { controller: controller.unwrap_or_default() }
    }
}

impl QueueLabels {
    fn of(controller: &'static str) -> Self {
        Self { name: controller, controller }
    }
}

/// Tells of the queue of one kind.
pub struct QueueMeter {
    metrics: Metrics,
    labels: QueueLabels,
}

impl queue::Meter for QueueMeter {
    fn added(&self) {
        self.metrics.0.queues.adds.get_or_create(&self.labels).inc();
    }

    fn started(&self, waited: Duration) {
        self.metrics.0.queues.waits.get_or_create(&self.labels).observe(waited.as_secs_f64());
    }

    fn waiting(&self, count: usize) {
        self.metrics.0.queues.depth.get_or_create(&self.labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is due but by a change.
    Success,
    /// It is looked at again after some time.
    Again,
    /// It failed, and is tried again.
    Failed,
    /// It panicked, and is tried again.
    Panicked,
}

/// Measures one reconcile.
pub struct ReconcileTimer {
    metrics: Metrics,
    label: ControllerLabel,
    started: Instant,
    id: u64,
}

impl ReconcileTimer {
    /// The reconcile has ended.
    pub fn ended(self, how: Ended) {
        let result = match how {
            Ended::Success => "success",
            Ended::Again => "requeue_after",
            Ended::Failed | Ended::Panicked => "error",
        };
        let runtime = &self.metrics.0.runtime;
        let controller = self.label.controller;
        runtime.reconciles.get_or_create(&ResultLabels { controller, result }).inc();
        if result == "error" {
            runtime.errors.get_or_create(&self.label).inc();
            self.metrics.0.queues.retries.get_or_create(&QueueLabels::of(self.label.controller)).inc();
        }
        if how == Ended::Panicked {
            runtime.panics.get_or_create(&self.label).inc();
        }
    }
}

/// Also when the reconcile is given up because the process leads no more.
impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        let runtime = &self.metrics.0.runtime;
        runtime.active.get_or_create(&self.label).dec();
        runtime.running().remove(&self.id);
        let seconds = self.started.elapsed().as_secs_f64();
        runtime.seconds.get_or_create(&self.label).observe(seconds);
        self.metrics.0.queues.works.get_or_create(&QueueLabels::of(self.label.controller)).observe(seconds);
    }
}

#[cfg(test)]
mod tests;
