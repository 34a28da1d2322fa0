//! `cargo xtask defects`: plants deliberate defects into a copy of the tree, one at a time, and has the simulation find each.
//! A simulation that finds nothing proves nothing unless it is known to find what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, cargo};

/// Where the patches are. Each begins with a line that says what it breaks, and one with the number of seeds within which
/// it must be found. A third line may name the only stories that can find it: in a mix of all it would take many thousands.
const PATCHES: &str = "tests/simulation/defects";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only defects whose name contains this
    name: Option<String>,
    /// Only see whether every patch still fits the code
    #[arg(long)]
    check: bool,
}

impl Options {
    /// Only to see whether the patches fit.
    pub(crate) fn check() -> Self {
        Self { name: None, check: true }
    }
}

struct Defect {
    name: String,
    what: String,
    seeds: String,
    scenario: Option<String>,
    patch: PathBuf,
}

/// Plants and looks for each.
pub(crate) fn run(options: &Options) -> Outcome {
    let defects = defects(options.name.as_deref().unwrap_or_default())?;
    for defect in &defects {
        git(&cargo::workspace(), &["apply", "--check"], &defect.patch).map_err(|error| unfit(defect, &error))?;
    }
    if options.check {
        println!("{} defects fit the code", defects.len());
        return Ok(());
    }
    let tree = copied_tree()?;
    let mut missed = Vec::new();
    for defect in &defects {
        let began = Instant::now();
        git(&tree, &["apply"], &defect.patch).map_err(|error| unfit(defect, &error))?;
        let found = simulate(&tree, defect);
        // Not by the patch in reverse: what it has taken out can seem to fit in more than one place.
        copied_tree()?;
        let seconds = began.elapsed().as_secs();
        if let Some(how) = found? {
            println!("{} ({seconds} s): {how}", defect.name);
        } else {
            println!("{} ({seconds} s): NOT FOUND in {} seeds: {}", defect.name, defect.seeds, defect.what);
            missed.push(defect.name.clone());
        }
    }
    println!("{} of {} defects were found", defects.len() - missed.len(), defects.len());
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join(", ")).into()) }
}

fn defects(name: &str) -> Result<Vec<Defect>, Box<dyn std::error::Error>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cargo::workspace().join(PATCHES))? {
        let patch = entry?.path();
        let stem = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if patch.extension().is_none_or(|extension| extension != "patch") || !stem.contains(name) {
            continue;
        }
        let text = fs::read_to_string(&patch)?;
        let mut head = text.lines();
        let what = head.next().unwrap_or_default().to_owned();
        let seeds = head.next().and_then(|line| line.strip_prefix("Seeds: "));
        let seeds = seeds.ok_or_else(|| format!("{}: the second line must be `Seeds: N`", patch.display()))?.to_owned();
        let scenario = head.next().and_then(|line| line.strip_prefix("Scenario: ")).map(str::to_owned);
        all.push(Defect { name: stem, what, seeds, scenario, patch });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn unfit(defect: &Defect, error: &str) -> String {
    format!("the defect {} does not fit the code any more: {error}; make its patch anew", defect.name)
}

fn git(directory: &Path, arguments: &[&str], patch: &Path) -> Result<(), String> {
    // The copy is no repository of its own, and must not be taken for a part of the one around it.
    let ceiling = directory.parent().unwrap_or(directory);
    let output = Command::new("git")
        .current_dir(directory)
        .env("GIT_CEILING_DIRECTORIES", ceiling)
        .args(arguments)
        .arg(patch)
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// A copy of what is in the repository or about to be, beside the builds. Files that did not change keep their times, so
/// that only what a defect touches is built.
fn copied_tree() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let (from, to) = (cargo::workspace(), cargo::target_directory().join("defects"));
    let list = Command::new("git")
        .current_dir(&from)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    if !list.status.success() {
        return Err(String::from_utf8_lossy(&list.stderr).into_owned().into());
    }
    let list = String::from_utf8(list.stdout)?;
    let names: BTreeSet<&Path> = list.split('\0').filter(|name| from.join(name).is_file()).map(Path::new).collect();
    remove_others(&to, &to, &names)?;
    for name in names {
        let (source, target) = (from.join(name), to.join(name));
        let wanted = fs::read(&source)?;
        if fs::read(&target).ok().as_ref() != Some(&wanted) {
            fs::create_dir_all(target.parent().unwrap_or(&to))?;
            fs::write(&target, wanted)?;
        }
    }
    Ok(to)
}

/// Removes what is left in a copy of files that are not there any more, but for its builds.
fn remove_others(tree: &Path, directory: &Path, names: &BTreeSet<&Path>) -> std::io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, is_directory) = (entry.path(), entry.file_type()?.is_dir());
        let name = path.strip_prefix(tree).unwrap_or(&path);
        if is_directory && name != Path::new("target") {
            remove_others(tree, &path, names)?;
        } else if !is_directory && !names.contains(name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// How the simulation of this tree finds something; `None` when it does not.
fn simulate(tree: &Path, defect: &Defect) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let cargo = |arguments: &[&str]| {
        // Apart from the workspace's own builds: cargo would take the one tree's packages for the other's.
        cargo::command(tree).env("CARGO_TARGET_DIR", tree.join("target")).args(arguments).output()
    };
    let common = ["--quiet", "--profile", "simulation", "--package", "simulation"];
    let build = cargo(&[&["build"], &common[..]].concat())?;
    if !build.status.success() {
        return Err(
            format!("the tree with the defect does not build:\n{}", String::from_utf8_lossy(&build.stderr)).into()
        );
    }
    let scenario = defect.scenario.iter().flat_map(|scenario| ["--scenario", scenario]);
    let wanted: Vec<&str> = ["--", "--quick", "--seeds", &defect.seeds].into_iter().chain(scenario).collect();
    let run = cargo(&[&["run"], &common[..], &wanted].concat())?;
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let how = text.lines().find(|line| line.contains(" broke a rule: ")).map(|line| line.chars().take(160).collect());
    match (run.status.success(), how) {
        (true, _) => Ok(None),
        (false, Some(how)) => Ok(Some(how)),
        (false, None) => Err(format!("the simulation failed:\n{text}{}", String::from_utf8_lossy(&run.stderr)).into()),
    }
}
