//! `node`: the chart and the real image on a real node, as one story. It builds nothing: `cargo xtask test --node` does.
//!
//! - [`machine`] is whether this machine can have a node, and the part of it that the node gets: namespaces and cgroups of its own.
//! - [`node`] is the node: control plane, containerd, kubelet, scheduler, and what stands in for DNS.
//! - [`release`], [`service`] and [`objects`] are what runs on it: the chart, the sandbox as a Pod, the manifests of a user.
//! - [`story`] is what is proved; [`visit`] is the node without it, for a person.

mod machine;
mod node;
mod objects;
mod release;
mod service;
mod story;
mod visit;
mod wait;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What can go wrong here is told to a person and ends the run.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tests the chart and the image on a real node.
#[derive(Parser)]
#[command(name = "node")]
struct Arguments {
    /// Only say whether this machine can have a node
    #[arg(long)]
    check: bool,
    /// Folder of the node's files, which is emptied first. Logs stay in it
    #[arg(long, required_unless_present = "check")]
    directory: Option<PathBuf>,
    /// Archive of the operator's image
    #[arg(long, required_unless_present = "check")]
    operator: Option<PathBuf>,
    /// Archive of the sandbox's image
    #[arg(long, required_unless_present = "check")]
    sandbox: Option<PathBuf>,
    /// The chart
    #[arg(long, required_unless_present_any = ["check", "stay"])]
    chart: Option<PathBuf>,
    /// The chart as it was before, from which an installation is upgraded
    #[arg(long, required_unless_present_any = ["check", "stay"])]
    earlier_chart: Option<PathBuf>,
    /// Test nothing, and keep the node for a person until Ctrl-C
    #[arg(long, conflicts_with_all = ["check", "chart", "earlier_chart"])]
    stay: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (Some(directory), Some(operator), Some(sandbox)) =
        (&arguments.directory, &arguments.operator, &arguments.sandbox)
    else {
        machine::check()?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(part) = machine::part()? else { return machine::run_apart(directory) };
    let images = [operator.clone(), sandbox.clone()];
    match (&arguments.chart, &arguments.earlier_chart) {
        (Some(chart), Some(earlier)) => story::tell(&part, &images, chart, earlier)?,
        _ => visit::stay(&part, &images)?,
    }
    Ok(ExitCode::SUCCESS)
}
