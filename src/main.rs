//! `amigo-operator`: runs the operator, or prints its CustomResourceDefinitions.

use std::process::ExitCode;

use amigo_operator::operator::settings::Settings;
use clap::{Parser, Subcommand};

/// Kubernetes operator for the Amigo tool API.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<Settings>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
}

fn main() -> ExitCode {
    // kube and reqwest share this provider; it must be there before either makes a client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Cli::parse().command {
        Command::Crds => finish(amigo_operator::resources::crds_yaml().map(|yaml| print!("{yaml}"))),
        Command::Run(settings) => finish(amigo_operator::operator::run(*settings)),
    }
}

fn finish(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("amigo-operator: {error}");
            ExitCode::FAILURE
        }
    }
}
