//! `simulate`: the operator's own code on a simulated network, Kubernetes and day. Each seed stands for one run, which is
//! the same whenever it is run. A run that breaks a rule is made smaller and told with the command that replays it.

mod call;
mod chaos;
mod dice;
mod fleet;
mod kubernetes;
mod minimise;
mod network;
mod node;
#[path = "../../support/oracle.rs"]
#[allow(dead_code, missing_docs, reason = "the tests on the real control plane use the rest of it")]
mod oracle;
mod plan;
mod referee;
mod run;
mod sim;
mod stories;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use crate::plan::{Cut, Plan};
use crate::run::{Report, run};
use crate::stories::Story;

/// A run takes a fraction of a second of real time; one that takes this long hangs.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// Runs the operator on a simulated network, Kubernetes and day, by seed.
#[derive(Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 2000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed only and print its trace
    #[arg(long)]
    seed: Option<u64>,
    /// Only stories of this kind
    #[arg(long, value_parser = story)]
    scenario: Option<Story>,
    /// With --seed: leave out these parts of the run, as a failure has printed them
    #[arg(long, value_delimiter = ',', requires = "seed")]
    without: Vec<String>,
    /// With --seed: only these faults, as a failure has printed them
    #[arg(long, value_delimiter = ',', requires = "seed")]
    faults: Option<Vec<String>>,
    /// How much of the operator's log goes into the trace
    #[arg(long, default_value = "info")]
    log_level: LevelFilter,
    /// Threads; each runs seeds of its own
    #[arg(long)]
    jobs: Option<usize>,
    /// Do not make a failing run smaller
    #[arg(long)]
    quick: bool,
    /// Run every seed twice and compare the traces
    #[arg(long)]
    twice: bool,
    /// Go on for so many hours, seed after seed
    #[arg(long, value_name = "HOURS")]
    soak: Option<f64>,
    /// Not by seed: so many Tools, each with a ToolEnvSecret and a ToolVersion, on a day without faults; tells what they cost
    #[arg(long, value_name = "TOOLS", conflicts_with_all = ["seed", "seeds", "soak"])]
    fleet: Option<usize>,
    /// With --fleet: in so many organizations
    #[arg(long, default_value_t = 1, requires = "fleet")]
    organizations: usize,
}

fn story(name: &str) -> Result<Story, String> {
    let names: Vec<&str> = Story::ALL.into_iter().map(Story::name).collect();
    Story::named(name).ok_or_else(|| format!("is none of {}", names.join(", ")))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (arguments.fleet, arguments.seed) {
        (Some(tools), _) => fleet(fleet::Size { tools, organizations: arguments.organizations.max(1) }),
        (None, Some(seed)) => one(&arguments, seed),
        (None, None) => many(&arguments),
    }
}

fn fleet(size: fleet::Size) -> ExitCode {
    match fleet::run(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one(arguments: &Arguments, seed: u64) -> ExitCode {
    let cut = Cut {
        without: arguments.without.iter().cloned().collect(),
        faults: arguments.faults.as_ref().map(|faults| faults.iter().filter(|f| !f.is_empty()).cloned().collect()),
    };
    let plan = Plan::new(seed, arguments.scenario).cut(&cut);
    println!("{plan:#?}");
    let report = run(plan, arguments.log_level);
    print!("{}", report.trace);
    match report.violation {
        None => {
            println!("seed {seed}: no rule was broken; converged after {} s", report.converged.as_secs());
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

/// What threads share.
struct Shared<'a> {
    arguments: &'a Arguments,
    next: AtomicU64,
    end: u64,
    until: Option<Instant>,
    failed: AtomicBool,
    done: AtomicU64,
    requests: AtomicU64,
    /// The seeds that are run now, and since when.
    running: Mutex<BTreeMap<u64, Instant>>,
    /// The longest that a run took to converge, in seconds, and its seed.
    slowest: Mutex<(u64, u64)>,
}

fn many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let until = arguments.soak.map(|hours| began + Duration::from_secs_f64(hours * 3600.0));
    let shared = Shared {
        arguments,
        next: AtomicU64::new(arguments.first),
        end: if until.is_some() { u64::MAX } else { arguments.first.saturating_add(arguments.seeds) },
        until,
        failed: AtomicBool::new(false),
        done: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        running: Mutex::default(),
        slowest: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work(&shared))).collect();
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(100));
            shared.look_for_one_that_hangs();
        }
    });
    let (done, requests) = (shared.done.load(Ordering::Relaxed), shared.requests.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / seconds / jobs as f64;
    println!(
        "{done} seeds in {seconds:.1} s on {jobs} threads: {rate:.1} seeds a second and core, {requests} requests"
    );
    let (slowest, seed) = *shared.slowest.lock().unwrap_or_else(PoisonError::into_inner);
    println!("all had converged {slowest} s after the last fault; the slowest was seed {seed}");
    if shared.failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Shared<'_> {
    /// A task that is always ready keeps the clock from going on, and its run from ending: the process ends with it.
    fn look_for_one_that_hangs(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seed, _)) = running.iter().find(|(_, began)| began.elapsed() > LONGEST_RUN) {
            println!("seed {seed} broke a rule: no spinning: it has not ended after {} s", LONGEST_RUN.as_secs());
            std::process::exit(1);
        }
    }
}

fn work(shared: &Shared<'_>) {
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        let late = shared.until.is_some_and(|until| Instant::now() >= until);
        if seed >= shared.end || late || shared.failed.load(Ordering::Relaxed) {
            return;
        }
        let only = shared.arguments.scenario;
        shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, Instant::now());
        let report = run(Plan::new(seed, only), LevelFilter::WARN);
        shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&seed);
        shared.done.fetch_add(1, Ordering::Relaxed);
        shared.requests.fetch_add(report.requests, Ordering::Relaxed);
        let mut slowest = shared.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        *slowest = (*slowest).max((report.converged.as_secs(), seed));
        drop(slowest);
        if report.violation.is_some() {
            shared.failed.store(true, Ordering::Relaxed);
            tell(seed, only, report, shared.arguments.quick);
            return;
        }
        if shared.arguments.twice && run(Plan::new(seed, only), LevelFilter::WARN).trace != report.trace {
            shared.failed.store(true, Ordering::Relaxed);
            println!("seed {seed} gives two different traces");
            return;
        }
    }
}

fn tell(seed: u64, only: Option<Story>, report: Report, quick: bool) {
    let Some(violation) = report.violation.clone() else { return };
    println!("seed {seed} broke a rule: {violation}");
    if quick {
        return;
    }
    println!("making it smaller");
    let (cut, smaller) = minimise::minimise(seed, only, report);
    if let Some(violation) = smaller.violation {
        println!("seed {seed}: {violation}");
    }
    let listed = |flag: &str, parts: BTreeSet<String>| {
        format!(" --{flag} '{}'", parts.into_iter().collect::<Vec<_>>().join(","))
    };
    let scenario = only.map(|story| format!(" --scenario {}", story.name())).unwrap_or_default();
    let without = if cut.without.is_empty() { String::new() } else { listed("without", cut.without) };
    let faults = cut.faults.map(|faults| listed("faults", faults)).unwrap_or_default();
    println!("replay: cargo xtask simulate --seed {seed}{scenario}{without}{faults}");
}
