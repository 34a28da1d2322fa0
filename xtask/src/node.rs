//! `cargo xtask node`, and the part of `cargo xtask test` with a real node: builds the images and the programs, finds the chart of
//! before, and runs `tests/node`.

use std::path::{Path, PathBuf};
use std::process::Command;

use controlplane::{Assets, Program};

use crate::report::Report;
use crate::{Outcome, cargo, image};

/// The chart and what it is made of, from the top of the workspace.
const CHART: &str = "deploy/helm/amigo-operator";

/// Fails when this machine cannot have a node, and says why: early, as building takes long.
pub(crate) fn check() -> Outcome {
    image::check_tools()?;
    cargo::run(&["run", "--quiet", "--package", "node", "--", "--check"], &[])
}

/// Builds everything and tells the story.
pub(crate) fn run(report: &mut Report) -> Outcome {
    report.step("image of the operator", "cargo xtask image", || image::run(&image::Options::operator()))?;
    report.step("image of the sandbox", "cargo xtask image --sandbox", || image::run(&image::Options::sandbox()))?;
    report.step("programs of the node", "finding or building them", build_programs)?;
    report.step("node", "the chart and the image on a real node", || {
        let earlier = earlier_chart(&cargo::target_directory().join("earlier-chart"))?;
        let chart = cargo::workspace().join(CHART);
        run_node(&[format!("--chart={}", chart.display()), format!("--earlier-chart={}", earlier.display())])
    })
}

/// Builds everything, and keeps a node for a person.
pub(crate) fn stay() -> Outcome {
    check()?;
    image::run(&image::Options::operator())?;
    image::run(&image::Options::sandbox())?;
    build_programs()?;
    run_node(&["--stay".to_owned()])
}

fn run_node(what: &[String]) -> Outcome {
    let common = [
        ("--directory", cargo::target_directory().join("node")),
        ("--operator", image::archive("amigo-operator")),
        ("--sandbox", image::archive("amigo-sandbox")),
    ];
    let common = common.map(|(flag, path)| format!("{flag}={}", path.display()));
    let options: Vec<&str> = common.iter().chain(what).map(String::as_str).collect();
    cargo::run(&[&["run", "--quiet", "--package", "node", "--"], &options[..]].concat(), &[])
}

fn build_programs() -> Outcome {
    let progress = &controlplane::print_progress;
    Assets::provide(progress)?;
    for program in Program::NODE.into_iter().chain([Program::Helm]) {
        println!("{}", program.provide(progress)?.display());
    }
    Ok(())
}

/// The chart as it was before its last change, with the definitions in it.
fn earlier_chart(folder: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let last_change = cargo::git(&["log", "-1", "--format=%H", "--", CHART])?;
    let before = format!("{last_change}^");
    // `archive` of a commit that a shallow clone does not have would say no more than that it is no tree.
    cargo::git(&["rev-parse", "--verify", "--quiet", &format!("{before}:{CHART}")])
        .map_err(|_| format!("there is no chart before {last_change}: is this a clone without history?"))?;
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let archive = folder.join("chart.tar");
    cargo::git(&["archive", "--output", &archive.to_string_lossy(), &before, CHART])?;
    let status = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder).status()?;
    if !status.success() {
        return Err(format!("tar failed ({status}): {}", archive.display()).into());
    }
    println!("the chart before {last_change} is in {}", folder.display());
    Ok(folder.join(CHART))
}
