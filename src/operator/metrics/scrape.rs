//! Metrics that are read from their place when they are asked for: the objects, the budgets, the process. Nothing is kept of
//! them, so that what belongs to an object goes with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use procfs::WithCurrentSystemInfo;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use tokio_util::task::TaskTracker;

use crate::amigo::{Account, Amigo, BudgetState, Class, Endpoint, Operation};
use crate::kubernetes::watch::{Cache, Watchable};
use crate::resources::{CommonStatus, Organization, Reason, Resource, Tool, ToolEnvSecret, ToolVersion};

/// The objects in the caches and their conditions.
pub struct Objects {
    /// The Organizations.
    pub organizations: Cache<Organization>,
    /// The Tools.
    pub tools: Cache<Tool>,
    /// The ToolVersions.
    pub versions: Cache<ToolVersion>,
    /// The ToolEnvSecrets.
    pub variables: Cache<ToolEnvSecret>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

/// What Ready says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    ready: &'static str,
    reason: &'static str,
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut states = BTreeMap::new();
        let help = "The conditions of each object: 1 for the status that a condition has";
        let mut metric = encoder.encode_descriptor("amigo_resource_condition", help, None, MetricType::Gauge)?;
        conditions(&self.organizations, &mut metric, &mut states)?;
        conditions(&self.tools, &mut metric, &mut states)?;
        conditions(&self.versions, &mut metric, &mut states)?;
        conditions(&self.variables, &mut metric, &mut states)?;
        let help = "How many objects there are, by what Ready says";
        let mut metric = encoder.encode_descriptor("amigo_resources", help, None, MetricType::Gauge)?;
        for ((kind, State { ready, reason }), count) in &states {
            gauge(&mut metric, &[("kind", kind.as_str()), ("ready", ready), ("reason", reason)], *count)?;
        }
        self.organizations(&mut encoder)
    }
}

impl Objects {
    /// What the Organizations' statuses say in numbers.
    fn organizations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.organizations.all();
        let own = |object: &Organization| {
            [("namespace", object.namespace().unwrap_or_default()), ("name", object.name_any())]
        };
        let help = "How long the resync takes to go round the tools of an organization";
        let unit = Some(&Unit::Seconds);
        let mut metric = encoder.encode_descriptor("amigo_resync_period", help, unit, MetricType::Gauge)?;
        for organization in &all {
            let Some(effective) = organization.status.as_ref().and_then(|status| status.effective_resync.as_ref())
            else {
                continue;
            };
            let periods = [("tools", effective.tools_period_seconds), ("versions", effective.versions_period_seconds)];
            for (of, period) in periods {
                let [namespace, name] = own(organization);
                gauge(&mut metric, &[namespace, name, ("of", of.to_owned())], i64::from(period))?;
            }
        }
        let help = "Deprecations that wait for a person's confirmation";
        let mut metric = encoder.encode_descriptor("amigo_deprecations_held", help, None, MetricType::Gauge)?;
        for organization in &all {
            let count = organization.status.as_ref().and_then(|status| status.held_deprecations).unwrap_or_default();
            gauge(&mut metric, &own(organization), i64::from(count))?;
        }
        Ok(())
    }
}

fn conditions<K: Watchable + Resource>(
    cache: &Cache<K>,
    metric: &mut MetricEncoder<'_>,
    states: &mut BTreeMap<(String, State), u64>,
) -> fmt::Result {
    let kind = K::kind(&());
    for object in cache.all() {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let conditions = object.status().map(CommonStatus::conditions).unwrap_or_default();
        for condition in conditions {
            let labels = [
                ("kind", &*kind),
                ("namespace", &namespace),
                ("name", &name),
                ("type", &condition.type_),
                ("status", &condition.status),
            ];
            gauge(metric, &labels, 1_u64)?;
        }
        *states.entry((kind.to_string(), state(conditions))).or_default() += 1;
    }
    Ok(())
}

/// What Ready says, in words from closed sets whatever stands in a status.
fn state(conditions: &[Condition]) -> State {
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return State { ready: "Unknown", reason: "" };
    };
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason);
    State {
        ready: match ready.status.as_str() {
            "True" => "True",
            "False" => "False",
            _ => "Unknown",
        },
        reason: reason.map_or("", |reason| reason.as_str()),
    }
}

/// The budgets of the organizations that are in use, and when the tokens and keys end that serve there.
pub struct Budgets(pub Arc<Amigo>);

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Budgets")
    }
}

impl Collector for Budgets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let of = |account: &Arc<Account>| {
            account
                .budgets()
                .into_iter()
                .map(|(operation, state)| (labels(account, operation), state))
                .collect::<Vec<_>>()
        };
        let budgets: Vec<(Labels, BudgetState)> = self.0.accounts().iter().flat_map(of).collect();
        let mut family = |name: &str, help: &str, unit: Option<&Unit>, value: &dyn Fn(&BudgetState) -> Option<f64>| {
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for (labels, budget) in &budgets {
                let Some(value) = value(budget) else { continue };
                gauge(&mut metric, labels, value)?;
            }
            Ok::<_, fmt::Error>(())
        };
        family("amigo_api_budget_limit", "Calls that may be made in a minute", None, &|it| Some(count(it.allowance)))?;
        let help = "Calls that count towards the budget at this time";
        family("amigo_api_budget_used", help, None, &|it| Some(count(it.used)))?;
        let help = "Calls that the service has left for the organization, as its last answer told";
        family("amigo_api_rate_limit_remaining", help, None, &|it| it.remaining.map(count))?;
        Self::waiting(&mut encoder, &budgets)?;
        let help = "When the token that calls are made with ends";
        Self::ends(&mut encoder, "amigo_token_expiry_timestamp", help, self.0.tokens())?;
        let help = "When the first of the API keys in use ends, where the service tells";
        Self::ends(&mut encoder, "amigo_api_key_expiry_timestamp", help, self.0.keys())
    }
}

impl Budgets {
    /// Who waits, by class. What nobody waits for is left out: of nine calls in each organization most never queue.
    fn waiting(encoder: &mut DescriptorEncoder<'_>, budgets: &[(Labels, BudgetState)]) -> fmt::Result {
        let waiting = || {
            budgets
                .iter()
                .flat_map(|(labels, budget)| budget.waiting.iter().map(move |waiting| (labels.clone(), waiting)))
        };
        let with_class = |[endpoint, organization, operation]: Labels, class: Class| {
            [endpoint, organization, operation, ("class", class.as_str().to_owned())]
        };
        let help = "Calls that wait for their turn";
        let mut metric = encoder.encode_descriptor("amigo_api_budget_waiting", help, None, MetricType::Gauge)?;
        for (labels, waiting) in waiting() {
            gauge(&mut metric, &with_class(labels, waiting.class), waiting.calls)?;
        }
        let (help, unit) = ("How long the call that waits longest has waited", Some(&Unit::Seconds));
        let mut metric = encoder.encode_descriptor("amigo_api_budget_oldest_wait", help, unit, MetricType::Gauge)?;
        for (labels, waiting) in waiting() {
            gauge(&mut metric, &with_class(labels, waiting.class), waiting.oldest.as_secs_f64())?;
        }
        Ok(())
    }

    /// When something of an organization ends.
    fn ends(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        ends: BTreeMap<(Endpoint, String), Timestamp>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for ((endpoint, organization), ends) in ends {
            let labels = [("endpoint", endpoint.to_string()), ("organization", organization)];
            gauge(&mut metric, &labels, ends.as_second())?;
        }
        Ok(())
    }
}

type Labels = [(&'static str, String); 3];

fn labels(account: &Account, operation: Operation) -> Labels {
    [
        ("endpoint", account.endpoint().to_string()),
        ("organization", account.organization().to_owned()),
        ("operation", operation.as_str().to_owned()),
    ]
}

/// The publishes that are under way.
pub struct Publishes(pub TaskTracker);

impl fmt::Debug for Publishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publishes")
    }
}

impl Collector for Publishes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Publishes whose answer is awaited";
        let mut metric = encoder.encode_descriptor("amigo_publishes_in_flight", help, None, MetricType::Gauge)?;
        metric.encode_gauge(&self.0.len())
    }
}

/// What every exporter tells of its process.
#[derive(Debug)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Without /proc there is nothing to tell.
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        let Ok(stat) = process.stat() else { return Ok(()) };
        #[allow(clippy::cast_precision_loss, reason = "ticks of a hundredth of a second")]
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let help = "User and system time that the process has taken";
        let cpu = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(seconds(stat.utime + stat.stime)).encode(cpu)?;
        let mut one = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
        };
        let bytes = Some(&Unit::Bytes);
        #[allow(clippy::cast_precision_loss, reason = "no process has that much memory")]
        let (resident, virtual_) = (stat.rss_bytes().get() as f64, stat.vsize as f64);
        one("process_resident_memory", "Memory that the process keeps in place", bytes, resident)?;
        one("process_virtual_memory", "Address space of the process", bytes, virtual_)?;
        if let Ok(boot) = procfs::boot_time_secs() {
            #[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
            let started = boot as f64 + seconds(stat.starttime);
            one("process_start_time", "When the process started", Some(&Unit::Seconds), started)?;
        }
        if let Ok(open) = process.fd_count() {
            one("process_open_fds", "Open file descriptors", None, count(open))?;
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "numbers")]
fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(metric: &mut MetricEncoder<'_>, labels: &L, value: V) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

#[allow(clippy::cast_precision_loss, reason = "counts of calls and files")]
fn count(number: usize) -> f64 {
    number as f64
}
