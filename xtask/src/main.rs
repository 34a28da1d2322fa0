//! Tasks of the people who work on the operator: `cargo xtask <command>`. One file a command.

mod bench;
mod cargo;
mod control_plane;
mod defects;
mod demo;
mod image;
mod mutants;
mod node;
mod report;
mod simulate;
mod test;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a command returns: its failure is printed as it stands.
type Outcome = Result<(), Box<dyn Error>>;

/// Tasks of the people who work on the operator.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and test, in order, and stop at the first that fails
    Test(test::Options),
    /// Run the operator on a simulated network, Kubernetes and day, by seed
    Simulate(simulate::Options),
    /// Plant deliberate defects, one at a time, and have the simulation find each
    Defects(defects::Options),
    /// Measure what the operator costs, on a real control plane, with a release build
    Bench(bench::Options),
    /// Build the container image of the operator, the same bits from the same commit
    Image(image::Options),
    /// Write crds/ and docs/reference/ anew from the code
    Crds,
    /// Change the functions that decide, one place at a time, and see whether a unit test notices
    Mutants(mutants::Options),
    /// See the operator at work on this machine, with a real Kubernetes control plane and the service in memory
    Demo(demo::Options),
    /// Start a Kubernetes control plane on this machine and keep it until Ctrl-C
    Controlplane(control_plane::Options),
    /// Start a real node with the image and the service in memory on this machine and keep it until Ctrl-C
    Node,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Defects(options) => defects::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Crds => cargo::run(
            &["test", "--quiet", "--package", "amigo-operator", "--test", "generated"],
            &[("UPDATE_GENERATED", "1".to_owned())],
        ),
        Command::Mutants(options) => mutants::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Controlplane(options) => control_plane::run(options),
        Command::Node => node::stay(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
