//! One replica of the operator: it is started, stopped in order, killed, frozen and woken. Its code is the operator's own.

use std::sync::Arc;

use amigo_operator::clock::Clock;
use amigo_operator::kubernetes::client::Clients;
use amigo_operator::operator::http::Readiness;
use amigo_operator::operator::metrics::Metrics;
use amigo_operator::operator::replica::{Replica, Surroundings};
use amigo_operator::operator::settings::Settings;
use amigo_operator::operator::traces::Traces;
use clap::Parser;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::network::{Life, Link, Pulse};
use crate::sim::{ENDPOINT, OWNER, Sim};

/// A replica, running or not.
pub struct Node {
    name: String,
    sim: Arc<Sim>,
    /// How far its clock is off.
    skew: SignedDuration,
    runs: u32,
    running: Option<Running>,
}

struct Running {
    life: Arc<Pulse>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// The settings of a simulated replica, with these flags as well.
pub fn settings(more: &[&str]) -> Settings {
    let flags = ["simulated", "--owner-id", OWNER, "--allowed-endpoint", ENDPOINT, "--lease-namespace", "kube-system"];
    Flags::parse_from(flags.iter().chain(more)).settings
}

impl Node {
    /// A replica that does not run.
    #[must_use]
    pub fn new(name: &str, sim: &Arc<Sim>, skew: SignedDuration) -> Self {
        Self { name: name.to_owned(), sim: Arc::clone(sim), skew, runs: 0, running: None }
    }

    /// Starts it, if it does not run.
    pub fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        self.runs += 1;
        let me = format!("{}.{}", self.name, self.runs);
        self.sim.trace.line(&me, "starts");
        let life = Pulse::running();
        let link =
            Link { me: me.clone(), node: self.name.clone(), sim: Arc::clone(&self.sim), life: Arc::clone(&life) };
        let client = || {
            let link = link.clone();
            kube::Client::new(tower::service_fn(move |request| link.clone().kube(request)), "default")
        };
        let surroundings = Surroundings {
            clients: Clients { watch: client(), lease: client(), calls: client() },
            transport: Arc::new(link.clone()),
            traces: Traces::default(),
            clock: self.clock(),
            me,
        };
        let elects = if self.sim.plan.replicas > 1 { "true" } else { "false" };
        let settings = settings(&["--leader-elect", elects, "--secret-access", self.sim.plan.secret_access]);
        // What the flags say is an endpoint.
        let allowed = settings.allowed_endpoints().unwrap_or_default();
        let (ready, _) = watch::channel(Readiness::starting());
        let replica = Replica::new(settings, allowed, surroundings, Metrics::default(), ready);
        let stop = CancellationToken::new();
        let task = tokio::spawn(replica.run(stop.clone()));
        self.running = Some(Running { life, stop, task });
    }

    fn clock(&self) -> Clock {
        match self.sim.clock {
            Clock::Tokio { epoch, origin } => {
                Clock::Tokio { epoch: epoch.saturating_add(self.skew).unwrap_or(epoch), origin }
            }
            Clock::System => Clock::System,
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            self.sim.trace.line(&self.name, "is killed");
            running.life.set(Life::Dead);
            running.task.abort();
        }
    }

    /// SIGSTOP, and SIGCONT.
    pub fn freeze(&self, freeze: bool) {
        if let Some(running) = &self.running {
            self.sim.trace.line(&self.name, if freeze { "is frozen" } else { "goes on" });
            running.life.set(if freeze { Life::Frozen } else { Life::Running });
        }
    }

    /// SIGTERM; ends when the process has ended, or when it is killed for not ending.
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            self.sim.trace.line(&self.name, "is stopped");
            running.stop.cancel();
            let ended = tokio::time::timeout(std::time::Duration::from_secs(360), &mut running.task).await;
            self.sim.trace.line(&self.name, if ended.is_ok() { "has ended" } else { "is killed, as it did not end" });
            running.life.set(Life::Dead);
            running.task.abort();
        }
    }
}
