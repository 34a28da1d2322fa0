//! The page of the metrics, from what `/metrics` shows once each thing has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, Exchange, Transport, TransportError};
use amigo_operator::amigo::{
    self, Amigo, Class, ClientOptions, Credentials, Endpoint, NoObserver, Observer as _, Operation, Revision,
};
use amigo_operator::clock::Clock;
use amigo_operator::kubernetes::measured;
use amigo_operator::kubernetes::queue::Meter as _;
use amigo_operator::kubernetes::watch::{Cache, Feed, Watchable};
use amigo_operator::operator::metrics::{Budgets, Ended, Metrics, Objects, Publishes};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

const HEADER: &str = "<!-- Generated from src/operator/metrics. Do not edit. -->
# Metrics

What `/metrics` shows. Counters start at zero with the process; what belongs to an object or an organization is there while
that is, on the replica that leads as far as calls are concerned. The label `namespace` is the object's: let Prometheus honour
it (`honorLabels: true` in a ServiceMonitor). Names under `controller_runtime`, `workqueue`, `rest_client`,
`leader_election` and `process` mean what they mean elsewhere, so that common dashboards show this operator as well.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
";

/// The page.
pub fn page() -> String {
    let text = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example());
    let labels = labels(&text);
    let mut page = HEADER.to_owned();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), Some(help)) => {
                rows.insert(name, (help.trim_end_matches('.'), ""));
            }
            (Some("TYPE"), Some(name), Some(kind)) => rows.get_mut(name).unwrap().1 = kind,
            _ => {}
        }
    }
    for (name, (help, kind)) in rows {
        let labels: Vec<String> = labels[name].iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {help}. |", labels.join(", ")).unwrap();
    }
    page
}

/// The labels of each metric. One without samples shows that the example below lacks something.
fn labels(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).map(|(name, _)| name);
    let of = |name: &str| {
        let samples = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let suffix = rest.find(['{', ' '])?;
            matches!(&rest[..suffix], "" | "_bucket" | "_sum" | "_count").then(|| &rest[suffix..])
        });
        let samples: Vec<&str> = samples.collect();
        assert!(!samples.is_empty(), "{name} has no sample in the example");
        let pairs =
            samples.iter().filter_map(|sample| sample.strip_prefix('{')?.split_once("} ")).map(|(pairs, _)| pairs);
        let keys = pairs.flat_map(|pairs| pairs.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)));
        keys.filter(|key| *key != "le").collect()
    };
    names.map(|name| (name, of(name))).collect()
}

/// Everything has happened once.
pub async fn example() -> String {
    let metrics = Metrics::default();
    metrics.reconcile_started("Tool").ended(Ended::Failed);
    let _under_way = metrics.reconcile_started("Tool");
    let queue = metrics.queue("Tool");
    queue.added();
    queue.started(Duration::ZERO);
    metrics.set_leader(true);
    amigo::Observer::call(&metrics, "acme", Operation::CreateTool, "2xx", Duration::ZERO);
    metrics.rate_limited("acme", Operation::CreateTool);
    metrics.publish_unknown();
    metrics.drift_corrected();
    measured::Observer::call(&metrics, &http::Method::GET, "cluster", "200", Duration::ZERO);
    metrics.read_from(objects());
    metrics.read_from(Publishes(TaskTracker::new()));
    let (amigo, _in_use) = organization().await;
    metrics.read_from(Budgets(amigo));
    amigo_operator::operator::metrics::classic(&metrics.encode())
}

fn objects() -> Objects {
    let resync = json!({"toolsPeriodSeconds": 600, "versionsPeriodSeconds": 600, "variablesRewritePeriodSeconds": 0});
    let status = json!({"effectiveResync": resync, "heldDeprecations": 1});
    Objects {
        organizations: cache(
            "Organization",
            &json!({"organization": "acme", "credentialsRef": {"name": "key"}}),
            status,
        ),
        tools: cache("Tool", &json!({}), json!({})),
        versions: cache("ToolVersion", &json!({"toolRef": {"name": "weather"}, "projectPath": "weather"}), json!({})),
        variables: cache("ToolEnvSecret", &json!({"toolRef": {"name": "weather"}}), json!({})),
    }
}

/// One object that is Ready.
fn cache<K: Watchable>(kind: &str, spec: &Value, mut status: Value) -> Cache<K> {
    status["conditions"] = json!([{
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"
    }]);
    let metadata = json!({"namespace": "travel", "name": "weather"});
    let object = json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status
    });
    let mut feed = Feed::new(1, |_: &K| Vec::new());
    feed.take(0, Event::Apply(DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))));
    feed.cache()
}

#[derive(Debug)]
struct SignsIn;

impl Transport for SignsIn {
    fn send(&self, request: http::Request<bytes::Bytes>, _: Bounds) -> Exchange<'_> {
        let answer = match request.uri().path().rsplit_once("/acme").unwrap().1 {
            "/user/signin_with_api_key" => r#"{"id_token": "token", "expires_at": "2126-01-01T00:00:00Z"}"#,
            "/organization/api_key/" => r#"{"api_keys": [{"key_id": "id", "expires_at": "2126-01-01T00:00:00Z"}]}"#,
            _ => return Box::pin(async { Err(TransportError::NotSent("nobody is there".into())) }),
        };
        Box::pin(async {
            Ok(http::Response::builder().header("X-RateLimit-Remaining", "3").body(answer.into()).unwrap())
        })
    }
}

/// An organization that is signed in to, and where one call waits.
async fn organization() -> (Arc<Amigo>, impl Sized) {
    let amigo = Amigo::new(Arc::new(SignsIn), Clock::System, Arc::new(|| true), Arc::new(NoObserver));
    let account = amigo.account(&Endpoint::parse("https://api.amigo.ai").unwrap(), "acme");
    let credentials = Credentials::new("key".into(), "id".into(), "user".into()).unwrap();
    let options = ClientOptions { revision: Revision::Auto, mongo_cluster: None, budget_percent: 100, detected: None };
    let client = amigo.client(&account, credentials, options);
    client.sign_in().await.unwrap();
    client.key(false).await;
    // Nothing is known of the calls left, so that one goes alone and the other waits.
    let claims = ["one", "two"]
        .map(|key| account.claim(Operation::CreateTool, Class::Interactive, "travel", key, Arc::new(|| {})));
    (Arc::new(amigo), (client, claims))
}
