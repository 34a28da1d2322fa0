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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cli.command {
        Command::Crds => finish(amigo_operator::resources::crds_yaml().map(|yaml| print!("{yaml}"))),
        Command::Run(settings) => finish(amigo_operator::operator::run(*settings)),
    }
}

/// A wrong setting in one line; help and version as they are.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let said = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    eprintln!("amigo-operator: {}", said.trim_start_matches("error: "));
    ExitCode::from(2)
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
