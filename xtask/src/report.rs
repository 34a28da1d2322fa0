//! Headings and timings of a command that does one thing after another, as plain lines.

use std::time::{Duration, Instant};

use crate::Outcome;

/// The steps done so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(String, Duration)>,
}

impl Report {
    /// Does a step under a heading. A failed one is told at once, with the time it took, and returned.
    pub fn step(&mut self, name: &str, detail: &str, action: impl FnOnce() -> Outcome) -> Outcome {
        println!("\n=== {name}: {detail}");
        let started = Instant::now();
        let outcome = action();
        let took = started.elapsed();
        println!("=== {name}: {} in {}", if outcome.is_ok() { "ok" } else { "FAILED" }, seconds(took));
        self.steps.push((name.to_owned(), took));
        outcome
    }

    /// Prints how long each step took.
    pub fn print_timings(&self) {
        println!("\n=== timings");
        for (name, took) in &self.steps {
            println!("{:>10}  {name}", seconds(*took));
        }
        println!("{:>10}  all", seconds(self.steps.iter().map(|(_, took)| *took).sum()));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
