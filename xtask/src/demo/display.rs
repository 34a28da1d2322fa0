//! What the person sees: steps with their times, in colour and with a spinner on a terminal, as plain lines elsewhere.

use std::error::Error;
use std::time::{Duration, Instant};

use controlplane::{Assets, Cluster};
use indicatif::{ProgressBar, ProgressStyle};

use super::actors::{Actors, NAMESPACE};
use crate::Outcome;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// How the demo shows itself.
pub(crate) struct Display {
    colour: bool,
}

impl Display {
    /// Colour and movement only where a person looks at a terminal, and has not said no.
    pub fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        Self { colour: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("{style}{text}{RESET}") } else { text.to_owned() }
    }

    /// A heading.
    pub fn title(&self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        println!("  {}", self.paint(DIM, text));
    }

    /// Does a step and shows how it ended and how long it took.
    pub fn step(&self, what: &str, action: impl FnOnce() -> Outcome) -> Outcome {
        let started = Instant::now();
        let spinner = self.spinner(what);
        let outcome = action();
        spinner.finish_and_clear();
        self.done(what, outcome.is_ok(), started.elapsed());
        outcome
    }

    /// Waits until a condition holds, showing what it last said.
    pub fn wait(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look, Box<dyn Error>>) -> Outcome {
        let started = Instant::now();
        let spinner = self.spinner(what);
        let mut said = String::new();
        loop {
            match look()? {
                Look::Done => {
                    spinner.finish_and_clear();
                    self.done(what, true, started.elapsed());
                    return Ok(());
                }
                Look::NotYet(now) => {
                    if now != said && !self.colour {
                        println!("    {now}");
                    }
                    spinner.set_message(format!("{what} {}", self.paint(DIM, &now)));
                    said = now;
                }
            }
            if started.elapsed() > limit {
                spinner.finish_and_clear();
                self.done(what, false, started.elapsed());
                return Err(format!("gave up after {} s: {said}", limit.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn done(&self, what: &str, ok: bool, took: Duration) {
        let mark = if ok { self.paint(GREEN, "✔") } else { self.paint(RED, "✘") };
        println!("  {mark} {what} {}", self.paint(DIM, &format!("({:.1} s)", took.as_secs_f64())));
    }

    fn spinner(&self, what: &str) -> ProgressBar {
        if !self.colour {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }

    /// Finds or builds the programs of the control plane; a build takes minutes once, and says so.
    pub fn build_assets(&self) -> Result<Assets, Box<dyn Error>> {
        let started = Instant::now();
        let assets = Assets::provide(&controlplane::print_progress)?;
        self.done("has the programs of the control plane", true, started.elapsed());
        Ok(assets)
    }

    /// What there is now.
    pub fn summary(&self, cluster: &Cluster) {
        self.title("What there is now");
        let kinds = "organizations,tools,toolversions,toolenvsecrets";
        if let Ok(table) = cluster.kubectl(&["get", kinds, "--namespace", NAMESPACE]) {
            println!("{table}");
        }
    }

    /// How the user goes on.
    pub fn invitation(&self, cluster: &Cluster, actors: &Actors) {
        self.title("Go on by yourself");
        println!("  export KUBECONFIG={}", cluster.admin_kubeconfig().display());
        println!("  alias kubectl={}", cluster.kubectl_program().display());
        println!("  kubectl get amigo --namespace {NAMESPACE}");
        println!("  curl {}/state          # what the service has; see docs/sandbox.md", actors.control);
        println!("  tail -f {}", actors.operator_log.display());
    }
}

/// What a look at a condition found.
pub(crate) enum Look {
    /// It holds.
    Done,
    /// Not yet; what there is instead.
    NotYet(String),
}
