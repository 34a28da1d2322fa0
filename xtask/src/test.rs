//! `cargo xtask test`: every check of the project, the quickest first.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use controlplane::{Assets, Cluster, ControlPlane, Program};

use crate::report::Report;
use crate::{Outcome, cargo, defects, node, simulate};

/// The logs of the servers, kept when a test has failed.
const LOGS: [&str; 4] = ["etcd.log", "kube-apiserver.log", "kube-controller-manager.log", "audit.log"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Do one part only
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Also install the chart on a real node: needs root, containerd and buildah, and says what is missing
    #[arg(long)]
    node: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting
    Fmt,
    /// Lints
    Lint,
    /// Generated files, unit tests and examples in the documentation
    Unit,
    /// A fixed set of seeds of the simulation
    Simulation,
    /// Tests on a real control plane
    Integration,
    /// The chart and the image on a real node, as with `--node`
    Node,
}

/// Runs the parts in order and stops at the first failure.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut report = Report::default();
    let outcome = run_parts(options, &mut report);
    report.print_timings();
    outcome
}

fn run_parts(options: &Options, report: &mut Report) -> Outcome {
    let with_node = options.node || options.only == Some(Part::Node);
    let wanted = |part| match options.only {
        Some(only) => only == part,
        None => part != Part::Node || options.node,
    };
    if with_node {
        report.step("requirements of a node", "looking for them", node::check)?;
    }
    if wanted(Part::Fmt) {
        cargo_step(report, "formatting", &["fmt", "--all", "--check"])?;
    }
    if wanted(Part::Lint) {
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        cargo_step(report, "lints", &lint)?;
    }
    // Before the unit tests: if Go is missing, that is said early.
    if wanted(Part::Integration) {
        report.step("control plane, Helm, kstatus, promtool", "finding or building their programs", build_programs)?;
    }
    if wanted(Part::Unit) {
        generated_files(report)?;
        cargo_step(report, "unit tests", &["test", "--workspace", "--lib", "--bins"])?;
        cargo_step(report, "documentation tests", &["test", "--workspace", "--doc"])?;
    }
    if wanted(Part::Simulation) {
        simulation(report)?;
    }
    if wanted(Part::Integration) {
        integration_tests(report)?;
    }
    if with_node {
        node::run(report)?;
    }
    Ok(())
}

fn cargo_step(report: &mut Report, name: &str, arguments: &[&str]) -> Outcome {
    report.step(name, &cargo::shown(arguments), || cargo::run(arguments, &[]))
}

fn build_programs() -> Outcome {
    let progress = &controlplane::print_progress;
    let assets = Assets::provide(progress)?;
    let mut programs = vec![assets.etcd, assets.kube_api_server, assets.kube_controller_manager, assets.kubectl];
    for program in [Program::Helm, Program::Helm3, Program::Kstatus, Program::Promtool] {
        programs.push(program.provide(progress)?);
    }
    for program in programs {
        println!("{}", program.display());
    }
    Ok(())
}

/// A fixed set of seeds, some of them twice to see that a seed always gives the same run; and whether the planted defects
/// still fit the code. That each is found takes longer: `cargo xtask defects`.
fn simulation(report: &mut Report) -> Outcome {
    report.step("planted defects", "cargo xtask defects --check", || defects::run(&defects::Options::check()))?;
    let simulate = |arguments: &[&str]| simulate::run(&simulate::Options::new(arguments));
    report.step("same seed, same run", "cargo xtask simulate --seeds 100 --twice", || {
        simulate(&["--seeds", "100", "--twice"])
    })?;
    report.step("simulation", "cargo xtask simulate --seeds 3000", || simulate(&["--seeds", "3000"]))
}

/// Fails when a committed file is not what the code generates.
fn generated_files(report: &mut Report) -> Outcome {
    cargo_step(report, "generated files", &["test", "--test", "generated"])
}

/// Runs every integration test on one control plane, which is told to them by variables.
fn integration_tests(report: &mut Report) -> Outcome {
    let arguments = ["test", "--workspace", "--test", "*"];
    // Compiled first: on a small machine the compiler takes the time that waiting servers would count.
    let compile = ["test", "--workspace", "--test", "*", "--no-run"];
    cargo_step(report, "compiling the integration tests", &compile)?;
    report.step("integration tests", &cargo::shown(&arguments), || {
        let options = controlplane::Options::default().crds(controlplane::project_crds());
        let control_plane = ControlPlane::start(options)?;
        let variables = [
            (controlplane::DIRECTORY_VARIABLE, control_plane.directory().display().to_string()),
            (controlplane::KUBECONFIG_VARIABLE, control_plane.admin_kubeconfig().display().to_string()),
        ];
        cargo::run(&arguments, &variables).inspect_err(|_| keep_logs(&control_plane))
    })
}

/// Copies the logs to where they outlive the control plane. What cannot be copied is only told: the failed test is the
/// error that counts.
fn keep_logs(cluster: &Cluster) {
    let target = cargo::workspace().join("target/controlplane-logs");
    let copy = |name: &str| fs::copy(cluster.directory().join(name), Path::new(&target).join(name)).map(|_| ());
    match fs::create_dir_all(&target).and_then(|()| LOGS.iter().try_for_each(|name| copy(name))) {
        Ok(()) => println!("the logs of the control plane are in {}", target.display()),
        Err(error) => println!("the logs of the control plane could not be kept in {}: {error}", target.display()),
    }
}
