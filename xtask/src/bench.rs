//! `cargo xtask bench`: builds the operator and the bench for release, and runs it. What it takes is told by `--help`.

use controlplane::Assets;

use crate::{Outcome, cargo};

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Handed on: `converge`, `limits`, `restart`, `rotate`, `growth`, `--divide N`; see `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs it.
pub(crate) fn run(options: &Options) -> Outcome {
    // Built before anything is measured: on a small machine the compiler takes what servers need.
    Assets::provide(&controlplane::print_progress)?;
    let build = ["build", "--release", "--package", "amigo-operator", "--bin", "amigo-operator", "--package", "bench"];
    cargo::run(&build, &[])?;
    let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    let target = cargo::target_directory();
    let variables = [
        ("AMIGO_BENCH_OPERATOR", target.join("release/amigo-operator").display().to_string()),
        ("AMIGO_BENCH_DIRECTORY", target.join("bench").display().to_string()),
    ];
    let run = ["run", "--quiet", "--release", "--package", "bench", "--"];
    cargo::run(&[&run[..], &arguments].concat(), &variables)
}
