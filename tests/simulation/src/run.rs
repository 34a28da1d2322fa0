//! One run: the world, the replicas and the stories on a paused clock in one thread, until the seed's chaos is over,
//! everything has come to rest and nothing moves any more.

use std::sync::Arc;
use std::time::Duration;

use amigo_operator::operator::logs::Lines;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::dice::Dice;
use crate::node::Node;
use crate::plan::{Disturbance, Plan};
use crate::sim::{Sim, Violation};
use crate::stories::{Expectation, rotate};
use crate::trace::Trace;

/// The longest that anything may take to converge once nothing goes wrong any more: a publish whose outcome is open waits
/// for its timeout, backoff goes up to 15 minutes, and the versions are read again every half hour.
const CONVERGES_WITHIN: Duration = Duration::from_secs(3600);

/// How long everything is watched at rest.
const REST: Duration = Duration::from_secs(25 * 60);

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The first breach.
    pub violation: Option<Violation>,
    /// The faults that were injected.
    pub injected: Vec<String>,
    /// What happened.
    pub trace: String,
    /// Requests of replicas.
    pub requests: u64,
    /// How long it took to converge after the last fault.
    pub converged: Duration,
}

/// Runs a plan.
///
/// # Panics
/// When the runtime cannot be made.
#[must_use]
pub fn run(plan: Plan, level: LevelFilter) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { unreachable!("a runtime without threads and sockets needs nothing") };
    runtime.block_on(async {
        let trace = Trace::new();
        let logs = tracing_subscriber::fmt()
            .with_writer(trace.clone())
            .with_max_level(level)
            .with_span_events(FmtSpan::NONE)
            .with_ansi(false)
            .event_format(Lines::reproducible())
            .finish();
        let guard = tracing::subscriber::set_default(logs);
        let sim = Sim::new(plan, trace);
        let converged = play(&sim).await;
        drop(guard);
        if let Some(line) = sim.trace.leak() {
            sim.violated("no secret leaves", line);
        }
        Report {
            violation: sim.violation(),
            injected: sim.chaos.injected(),
            trace: sim.trace.whole(),
            requests: sim.requests(),
            converged,
        }
    })
}

async fn play(sim: &Arc<Sim>) -> Duration {
    let mut converged = Duration::ZERO;
    tokio::select! {
        biased;
        () = sim.breach() => {}
        took = scenes(sim) => converged = took,
    }
    converged
}

async fn scenes(sim: &Arc<Sim>) -> Duration {
    let last = sim.plan.replicas - 1;
    let skew = |number| if number == last { sim.plan.skew } else { jiff::SignedDuration::ZERO };
    let nodes: Vec<Arc<Mutex<Node>>> = (0..sim.plan.replicas)
        .map(|number| Arc::new(Mutex::new(Node::new(&replica(number), sim, skew(number)))))
        .collect();
    for node in &nodes {
        node.lock().await.start();
    }
    let mut disturbances = JoinSet::new();
    for (_, at, what) in sim.plan.disturbances.clone() {
        disturbances.spawn(disturb(Arc::clone(sim), nodes.clone(), at, what));
    }
    let mut stories = JoinSet::new();
    for (number, story) in sim.plan.stories.clone() {
        let (sim, dice) = (Arc::clone(sim), Dice::new(sim.plan.seed, &format!("story:{number}")));
        stories.spawn(async move { (number, story.play(sim, format!("s{number}"), dice).await) });
    }
    let mut expected = stories.join_all().await;
    disturbances.join_all().await;
    expected.sort_by_key(|(number, _)| *number);
    sim.trace.line("referee", "from now on nothing goes wrong");
    sim.chaos.end();
    sim.sandbox.clear_faults();
    for node in &nodes {
        node.lock().await.start();
    }
    let expected: Vec<Expectation> = expected.into_iter().map(|(_, expectation)| expectation).collect();
    let took = converge(sim, &expected).await;
    rotate(sim).await;
    rest(sim, &expected).await;
    took
}

/// The name of a replica.
fn replica(number: usize) -> String {
    format!("replica-{number}")
}

fn open(sim: &Sim, expected: &[Expectation]) -> Vec<String> {
    let organization = sim.expect("Organization", "acme", "Succeeded");
    organization.into_iter().chain(sim.in_progress()).chain(expected.iter().flat_map(|holds| holds(sim))).collect()
}

async fn converge(sim: &Sim, expected: &[Expectation]) -> Duration {
    let began = Instant::now();
    loop {
        let open = open(sim, expected);
        if open.is_empty() {
            return began.elapsed();
        }
        if began.elapsed() > CONVERGES_WITHIN {
            sim.violated("everything converges", open.join("; "));
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

/// Nothing is written when there is nothing to do, and what was reached holds.
async fn rest(sim: &Sim, expected: &[Expectation]) {
    // What others did in the service shows with the next resync: the sum of a tool's versions, for one.
    tokio::time::sleep(Duration::from_secs(2200)).await;
    let writes = sim.writes();
    tokio::time::sleep(REST).await;
    if sim.writes() != writes {
        sim.violated("no writes at rest", format!("{} writes", sim.writes() - writes));
    }
    let open = open(sim, expected);
    if !open.is_empty() {
        sim.violated("what was reached holds", open.join("; "));
    }
}

async fn disturb(sim: Arc<Sim>, nodes: Vec<Arc<Mutex<Node>>>, at: Duration, what: Disturbance) {
    tokio::time::sleep(at).await;
    sim.trace.line("fate", &format!("{what:?}"));
    match what {
        Disturbance::Kill(number, pause) => {
            let mut node = nodes[number].lock().await;
            node.kill();
            tokio::time::sleep(pause).await;
            node.start();
        }
        Disturbance::Freeze(number, pause) => {
            let node = nodes[number].lock().await;
            node.freeze(true);
            tokio::time::sleep(pause).await;
            node.freeze(false);
        }
        Disturbance::Restart(number) => {
            let mut node = nodes[number].lock().await;
            node.stop().await;
            node.start();
        }
        Disturbance::NoKubernetes(pause) => {
            sim.chaos.outage("kubernetes", Instant::now() + pause);
            tokio::time::sleep(pause).await;
        }
        Disturbance::CutOff(number, pause) => {
            sim.chaos.outage(&replica(number), Instant::now() + pause);
            tokio::time::sleep(pause).await;
        }
        Disturbance::NoService(pause) => {
            sim.chaos.outage("service", Instant::now() + pause);
            tokio::time::sleep(pause).await;
        }
        Disturbance::Maintenance(pause) => {
            let _ = sim.sandbox.set_maintenance(crate::sim::ACME, true);
            tokio::time::sleep(pause).await;
            let _ = sim.sandbox.set_maintenance(crate::sim::ACME, false);
        }
        Disturbance::Compaction => sim.kubernetes.compact(),
        Disturbance::TokensEnd => sim.sandbox.end_tokens(crate::sim::ACME),
        Disturbance::NewKey(pause) => sim.new_key(pause).await,
    }
}
