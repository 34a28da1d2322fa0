//! The world of one run: both APIs, the day, what people do, and the referee that judges every exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use amigo_operator::clock::Clock;
use amigo_operator::resources::{OrganizationSpec, ToolEnvSecretSpec, ToolSpec, ToolVersionSpec};
use amigo_operator::sandbox::{Account, InProcess, Sandbox, ToolView};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::Call;
use crate::chaos::Chaos;
use crate::dice::Dice;
use crate::kubernetes::{Answer, KINDS, Kubernetes, Request, Verb};
use crate::plan::Plan;
use crate::referee::{Limit, Referee};
use crate::trace::{CANARY, Trace};

/// The owner id of the installation.
pub const OWNER: &str = "simulated-cluster";

/// Where the service is.
pub const ENDPOINT: &str = "http://amigo.simulated";

/// The remote organization.
pub const ACME: &str = "acme";

/// The namespace of everything.
pub const TRAVEL: &str = "travel";

/// More requests than any run needs: something spins.
const MOST_REQUESTS: u64 = 200_000;

/// What was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// The world of one run.
pub struct Sim {
    /// What the seed stands for.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// What goes wrong.
    pub chaos: Chaos,
    /// Kubernetes.
    pub kubernetes: Kubernetes,
    /// The service.
    pub sandbox: Sandbox,
    /// The service as a transport.
    pub service: InProcess,
    /// The time of day.
    pub clock: Clock,
    referee: Mutex<Referee>,
    violation: Mutex<Option<Violation>>,
    violated: Notify,
    requests: AtomicU64,
    /// Writes of replicas: to Kubernetes but for Leases, and to the service.
    writes: AtomicU64,
    keys: AtomicU64,
    /// Calls that the service has refused as too many.
    refused: AtomicU64,
}

impl Sim {
    /// The world at its beginning: the organization is there and has one Organization object.
    #[must_use]
    pub fn new(plan: Plan, trace: Trace) -> Arc<Self> {
        let epoch = jiff::Timestamp::from_second(1_754_006_400).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let clock = Clock::starting_at(epoch);
        let account = Account { api_key: format!("{CANARY}-key-0"), ..Account::default() };
        let sandbox = Sandbox::with_account(plan.service.clone(), clock, &account);
        let sim = Arc::new(Self {
            chaos: Chaos::new(&plan),
            trace,
            kubernetes: Kubernetes::new(clock),
            service: sandbox.in_process(),
            sandbox,
            clock,
            referee: Mutex::default(),
            violation: Mutex::default(),
            violated: Notify::new(),
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            plan,
        });
        sim.put_credentials();
        sim.apply_organization();
        sim
    }

    /// A rule was broken. The first breach ends the run.
    pub fn violated(&self, rule: &'static str, text: String) {
        let mut violation = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
        if violation.is_none() {
            self.trace.line("referee", &format!("VIOLATION {rule}: {text}"));
            *violation = Some(Violation { rule, text });
            self.violated.notify_one();
        }
    }

    /// The first breach, if there was one.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a breach.
    pub async fn breach(&self) {
        while self.violation().is_none() {
            self.violated.notified().await;
        }
    }

    /// A replica sends a request. More than any run needs mean that something spins.
    pub fn count_request(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed) > MOST_REQUESTS {
            self.violated("no spinning", format!("more than {MOST_REQUESTS} requests"));
        }
    }

    /// Writes of replicas so far, without Leases.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Requests of replicas so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn referee<T>(&self, judge: impl FnOnce(&mut Referee) -> T) -> T {
        judge(&mut self.referee.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges a write to Kubernetes as it leaves a replica.
    pub fn judge_kube_write(&self, me: &str, request: &Request) {
        if request.collection.ends_with("/leases") {
            return;
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.judge_leader(me, &request.describe());
        if request.body.to_string().contains(CANARY) {
            self.violated("no secret leaves", format!("{me} writes a secret: {}", request.describe()));
        }
        let own = request.collection.starts_with("amigo.ai/");
        let touches_spec =
            request.verb == Verb::Update || request.body.get("spec").is_some() && request.verb == Verb::Patch;
        if own && (touches_spec || request.verb == Verb::Create) {
            self.violated("only status and finalizer", format!("{me}: {}", request.describe()));
        }
    }

    fn judge_leader(&self, me: &str, what: &str) {
        if self.plan.replicas < 2 {
            return;
        }
        let lease = self.kubernetes.get("coordination.k8s.io/leases", "kube-system", "amigo-operator");
        let holder = lease.map(|lease| lease["spec"]["holderIdentity"].clone()).unwrap_or_default();
        if holder != me {
            self.violated("only the leader works", format!("{me} does so while {holder} holds the Lease: {what}"));
        }
    }

    /// Judges what Kubernetes has after a write.
    pub fn after_kube(&self, request: &Request, answer: &Answer) {
        let Answer::Document(200, object) = answer else { return };
        if request.verb == Verb::UpdateStatus {
            for broken in crate::referee::flux_violations(object) {
                let status = &object["status"];
                self.violated("Flux rules", format!("{broken} by {}: {status}", request.describe()));
            }
        }
    }

    /// Judges a call as it leaves a replica.
    pub fn judge_call(&self, me: &str, request: &http::Request<bytes::Bytes>, decided: Instant) -> Call {
        let call = Call::read(request);
        if let Some(violation) = self.referee(|referee| referee.calls(me, &call, decided)) {
            self.violated(violation.rule, violation.text);
        }
        // A read of a process that was frozen meanwhile was decided on while it led.
        if call.writes() || decided == Instant::now() {
            self.judge_leader(me, &call.describe());
        }
        if call.writes() {
            self.writes.fetch_add(1, Ordering::Relaxed);
            if let Some(violation) = self.referee(|referee| referee.judge(&call, self)) {
                self.violated(violation.rule, violation.text);
            }
        }
        call
    }

    /// Judges what the service has after a call.
    pub fn after_call(&self, me: &str, call: &Call, answer: Option<&http::Response<Bytes>>) {
        if call.operation == "publish-version"
            && answer.is_some_and(|answer| answer.status() == http::StatusCode::CONFLICT)
            && let Some(violation) = self.referee(|referee| referee.busy(me, call))
        {
            self.violated(violation.rule, violation.text);
        }
        if call.writes()
            && let Some(violation) = self.referee(|referee| referee.judge_service(&self.sandbox.tools(ACME)))
        {
            self.violated(violation.rule, violation.text);
        }
        self.referee(|referee| referee.ended(me, call));
        let refused = self.sandbox.rate_limit_violations();
        if self.refused.swap(refused, Ordering::Relaxed) < refused
            && self.referee(|referee| referee.could_know(me, call))
        {
            self.violated("the budget holds", format!("429 for {}", call.describe()));
        }
        if let Some(headers) = answer.map(http::Response::headers) {
            let reset = headers.get("x-ratelimit-reset").and_then(|value| value.to_str().ok()?.parse().ok());
            let reset = reset.map_or(60, |reset: i64| reset - self.clock.now().as_second());
            self.referee(|referee| referee.told(me, call, Duration::from_secs(reset.max(0).unsigned_abs())));
        }
    }

    /// What the tool of this name may have of versions by the operator.
    pub fn limit(&self, tool: &str, limit: Limit) {
        self.referee(|referee| referee.limits.insert(tool.to_owned(), limit));
    }

    /// No replica may write to this tool.
    pub fn untouchable(&self, tool_id: &str) {
        self.referee(|referee| referee.untouchable.insert(tool_id.to_owned()));
    }

    /// The tools of this name that are active.
    #[must_use]
    pub fn active(&self, name: &str) -> Vec<ToolView> {
        self.sandbox.tools(ACME).into_iter().filter(|tool| tool.name == name && !tool.deprecated).collect()
    }
}

/// What people do.
impl Sim {
    /// Orders that stand are remembered for a moment after a person has withdrawn them.
    fn before_a_change(&self) {
        let orders = Referee::orders(self);
        self.referee(|referee| referee.remember(orders));
    }

    /// `kubectl apply`.
    pub fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.annotated(kind, name, spec, &json!({}));
    }

    /// `kubectl apply`, with annotations.
    pub fn annotated(&self, kind: &str, name: &str, spec: &Value, annotations: &Value) {
        self.before_a_change();
        self.trace.line("person", &format!("applies {kind} {name} {spec}"));
        let spec = defaulted(kind, spec);
        let collection = collection(kind);
        if self.kubernetes.get(collection, TRAVEL, name).is_some() {
            let _ = self.kubernetes.edit(collection, TRAVEL, name, |object| {
                object["spec"] = spec;
                object["metadata"]["annotations"] = annotations.clone();
            });
        } else {
            let object = json!({"apiVersion": "amigo.ai/v1alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": TRAVEL, "annotations": annotations}, "spec": spec});
            let _ = self.kubernetes.create(collection, object);
        }
    }

    /// `kubectl delete`.
    pub fn delete(&self, kind: &str, name: &str) {
        self.before_a_change();
        self.trace.line("person", &format!("deletes {kind} {name}"));
        let _ = self.kubernetes.delete(collection(kind), TRAVEL, name);
    }

    /// A Secret with these values, each marked as a secret.
    pub fn secret(&self, name: &str, data: &BTreeMap<String, String>) {
        let names: Vec<&str> = data.keys().map(String::as_str).collect();
        self.trace.line("person", &format!("applies Secret {name} {names:?}"));
        let data: BTreeMap<&String, String> = data.iter().map(|(key, value)| (key, base64(value.as_bytes()))).collect();
        if self.kubernetes.get("/secrets", TRAVEL, name).is_some() {
            let _ = self.kubernetes.edit("/secrets", TRAVEL, name, |secret| secret["data"] = json!(data));
        } else {
            let metadata = json!({"name": name, "namespace": TRAVEL});
            let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
            let _ = self.kubernetes.create("/secrets", object);
        }
    }

    /// One entry of a Secret changes.
    pub fn change_secret(&self, name: &str, entry: &str, value: &str) {
        self.trace.line("person", &format!("changes {entry} of Secret {name}"));
        let _ = self.kubernetes.edit("/secrets", TRAVEL, name, |secret| {
            secret["data"][entry] = json!(base64(value.as_bytes()));
        });
    }

    /// The Organization. A list that was stale for once is read again within the half hour.
    pub fn apply_organization(&self) {
        let spec = json!({"organization": ACME, "endpoint": ENDPOINT, "credentialsRef": {"name": "acme-api-key"},
            "maxDeprecationsPerHour": 1000, "resync": {"versionsPeriodSeconds": 1800}});
        self.apply("Organization", "acme", &spec);
    }

    /// The Secret with the credentials that the service knows last.
    pub fn put_credentials(&self) {
        let number = self.keys.load(Ordering::Relaxed);
        let text = |text: &str| text.to_owned();
        let data = [
            (text("api-key"), format!("{CANARY}-key-{number}")),
            (text("api-key-id"), text("demo-key-id")),
            (text("user-id"), text("demo-user")),
        ];
        self.secret("acme-api-key", &data.into());
    }

    /// The key is replaced: the old one ends at once, and the Secret knows the new one a while later.
    pub async fn new_key(&self, later: Duration) {
        let number = self.keys.fetch_add(1, Ordering::Relaxed) + 1;
        self.trace.line("person", "replaces the key");
        let _ = self.sandbox.put_key(ACME, "demo-key-id", &format!("{CANARY}-key-{number}"), None);
        self.sandbox.end_tokens(ACME);
        tokio::time::sleep(later).await;
        self.put_credentials();
    }

    /// Something by hand in the service.
    pub fn by_hand<T>(&self, what: &str, act: impl FnOnce(&Sandbox) -> T) -> T {
        self.trace.line("person", &format!("by hand: {what}"));
        let done = act(&self.sandbox);
        self.referee(|referee| referee.judge_service(&self.sandbox.tools(ACME)));
        done
    }

    /// Lets up to so many seconds pass.
    pub async fn pause(&self, dice: &mut Dice, seconds: f64) {
        let least = if dice.chance(0.3) { 0.0 } else { seconds / 20.0 };
        let pause = if least == 0.0 { Duration::ZERO } else { dice.seconds(least, seconds) };
        tokio::time::sleep(pause).await;
    }

    /// Waits until something holds, for so long at most; whether it came to hold.
    pub async fn wait(&self, longest: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + longest;
        while !holds(self) {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        true
    }
}

/// What is seen of objects.
impl Sim {
    /// Status and reason of Ready, at the object's generation; none when the object is not there.
    #[must_use]
    pub fn ready(&self, kind: &str, name: &str) -> Option<(String, String)> {
        let object = self.kubernetes.get(collection(kind), TRAVEL, name)?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            return Some(("Unknown".into(), "Behind".into()));
        }
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason")))
    }

    /// Objects on which work goes on.
    #[must_use]
    pub fn in_progress(&self) -> Vec<String> {
        let all = KINDS.iter().flat_map(|collection| self.kubernetes.all(collection));
        let working = all.filter_map(|object| {
            let conditions = object["status"]["conditions"].as_array()?;
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
            let reason = ready["reason"].as_str()?;
            let open = ["Publishing", "Progressing", "ProgressingWithRetry", "QueuedForBudget"].contains(&reason);
            open.then(|| format!("{} {} is {reason}", object["kind"], object["metadata"]["name"]))
        });
        working.collect()
    }

    /// Why an object is not as expected: `Succeeded` means Ready, `-` gone, anything else is the reason of Ready=False.
    #[must_use]
    pub fn expect(&self, kind: &str, name: &str, reason: &str) -> Option<String> {
        let found = self.ready(kind, name);
        let as_expected = match (&found, reason) {
            (None, "-") => true,
            (Some((status, found)), "Succeeded") => status == "True" && found == "Succeeded",
            (Some((status, found)), reason) => status == "False" && found == reason,
            (None, _) => false,
        };
        (!as_expected).then(|| {
            let object = self.kubernetes.get(collection(kind), TRAVEL, name);
            let status = object.map(|object| object["status"].to_string()).unwrap_or_default();
            format!("{kind} {name} should be {reason} and is {found:?} {status}")
        })
    }
}

/// The collection of a kind.
///
/// # Panics
/// When it is not one of the four.
#[must_use]
pub fn collection(kind: &str) -> &'static str {
    match kind {
        "Organization" => "amigo.ai/organizations",
        "Tool" => "amigo.ai/tools",
        "ToolVersion" => "amigo.ai/toolversions",
        "ToolEnvSecret" => "amigo.ai/toolenvsecrets",
        "Secret" => "/secrets",
        other => unreachable!("{other} is not a kind of the simulation"),
    }
}

/// The spec with the defaults that the CRD would fill in.
pub fn defaulted(kind: &str, spec: &Value) -> Value {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(spec: &Value) -> Value {
        let typed: Result<T, _> = serde_json::from_value(spec.clone());
        typed
            .and_then(serde_json::to_value)
            .unwrap_or_else(|error| unreachable!("a story's manifest is wrong: {error}"))
    }
    match kind {
        "Organization" => through::<OrganizationSpec>(spec),
        "Tool" => through::<ToolSpec>(spec),
        "ToolVersion" => through::<ToolVersionSpec>(spec),
        "ToolEnvSecret" => through::<ToolEnvSecretSpec>(spec),
        _ => spec.clone(),
    }
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}
