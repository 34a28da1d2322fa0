//! `bench`: what the operator costs, on a real control plane, with the service in memory and a release build. Each ratio is
//! against a bare client in the same run. Figures, no verdicts: nothing here fails because a machine is slow.

mod audit;
mod bare;
mod fleet;
mod process;
mod readiness;
mod report;
mod scenarios;
mod world;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::report::Report;

/// What can go wrong here is told to a person and ends the run.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures what the operator costs. Builds nothing: `cargo xtask bench` does.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Which scenarios; without any, all
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Divides the number of objects, to try a scenario out; the figures are then others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    divide: u64,
    /// What the operator logs, to `operator.log` in the folder of the figures; more than `info` costs time
    #[arg(long, default_value = "info")]
    log_level: String,
    /// The program that is measured
    #[arg(long, env = "AMIGO_BENCH_OPERATOR")]
    operator: PathBuf,
    /// Where the figures go, one JSON file a scenario
    #[arg(long, env = "AMIGO_BENCH_DIRECTORY")]
    directory: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Objects applied at once, no limits: against the bare client
    Converge,
    /// Tools under the service's real limits
    Limits,
    /// A start with everything in sync; memory and CPU at rest
    Restart,
    /// A changed Secret while much else goes on
    Rotate,
    /// How time, memory and calls grow with the number of objects
    Growth,
}

impl Arguments {
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }

    fn divided(&self, number: usize) -> usize {
        number.div_ceil(usize::try_from(self.divide).unwrap_or(1))
    }
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut reports: Vec<Report> = Vec::new();
    if arguments.wants(Scenario::Converge) {
        reports.push(scenarios::converge::run(arguments).await?);
    }
    if arguments.wants(Scenario::Growth) {
        reports.push(scenarios::growth::run(arguments).await?);
    }
    if arguments.wants(Scenario::Restart) {
        reports.push(scenarios::restart::run(arguments).await?);
    }
    if arguments.wants(Scenario::Rotate) {
        reports.push(scenarios::rotate::run(arguments).await?);
    }
    if arguments.wants(Scenario::Limits) {
        reports.push(scenarios::limits::run(arguments).await?);
    }
    println!("\n{}", report::table(&reports));
    Ok(())
}
