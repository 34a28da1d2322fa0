//! `cargo xtask simulate`: builds the simulation, optimised, and runs it. What it takes is told by `--help`.

use crate::{Outcome, cargo};

/// The profile that the simulation is built with.
const BUILD: [&str; 5] = ["run", "--quiet", "--profile", "simulation", "--package"];

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Handed on: `--seeds N`, `--seed S`, `--scenario NAME`, `--soak HOURS`; see `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Options {
    /// As if given on the command line.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }
}

/// Builds and runs it.
pub(crate) fn run(options: &Options) -> Outcome {
    let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    cargo::run(&[&BUILD[..], &["simulation", "--"], &arguments].concat(), &[])
}
