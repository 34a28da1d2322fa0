//! What the code says that the documentation speaks of: flags, variables, annotations, and the reasons that stall an object.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use amigo_operator::operator::settings::Settings;
use amigo_operator::resources::annotations;
use clap::Args as _;

use crate::page::root;

/// Where the outcome of ToolEnvSecrets is made of their problems.
const PROBLEMS: &str = "src/controllers/tool_env_secret";

fn operator() -> clap::Command {
    Settings::augment_args(clap::Command::new("amigo-operator"))
}

/// The flags of `amigo-operator run`.
pub fn operator_flags() -> BTreeSet<String> {
    let flags: BTreeSet<String> =
        operator().get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    flags
}

/// The flags of the sandbox, as it tells them itself.
pub fn sandbox_flags() -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let name = |rest: &str| format!("--{}", rest.chars().take_while(|c| is_name(*c)).collect::<String>());
    sandbox_help().split_whitespace().filter_map(|word| word.strip_prefix("--")).map(name).collect()
}

fn sandbox_help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_amigo-sandbox")).arg("--help").output().expect("the sandbox starts");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The flags of `cargo xtask` and of the bench, which this test does not build: read from their sources.
pub fn xtask_flags() -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for file in
        ["xtask/src", "tests/bench/src", "tests/simulation/src"].iter().flat_map(|folder| sources(Path::new(folder)))
    {
        let mut is_flag = false;
        for line in text(&file).lines().map(str::trim) {
            if line.starts_with("#[") {
                is_flag |= line.starts_with("#[arg(long");
                continue;
            }
            let field = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").split_once(':');
            if let Some((name, _)) = field.filter(|_| is_flag) {
                flags.insert(format!("--{}", name.replace('_', "-")));
                is_flag = false;
            }
        }
    }
    flags
}

/// The environment variables that a program of ours reads.
pub fn variables() -> BTreeSet<String> {
    let own: BTreeSet<String> =
        operator().get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned())).collect();
    let sandbox = sandbox_flags().iter().map(|flag| format!("AMIGO_SANDBOX_{}", shouted(flag))).collect();
    let tests = [controlplane::DIRECTORY_VARIABLE, controlplane::KUBECONFIG_VARIABLE].map(str::to_owned);
    own.union(&sandbox).cloned().chain(tests).collect()
}

fn shouted(flag: &str) -> String {
    flag.trim_start_matches('-').to_uppercase().replace('-', "_")
}

/// The alerts that come with the chart.
pub fn alerts() -> BTreeSet<String> {
    let file = text(&root().join("deploy/helm/amigo-operator/files/alerts/amigo-operator.yaml"));
    let names = file.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// The annotations that the operator heeds, and its label of Secrets.
pub fn annotations() -> BTreeSet<String> {
    let annotations = annotations::ALL.iter().filter_map(|known| Some(known.name.split_once(": ")?.0));
    annotations.chain([amigo_operator::kubernetes::secrets::LABEL.0]).map(str::to_owned).collect()
}

/// Every reason with which an object can be stalled. There is no list of them: an outcome is made where it is decided, by
/// `stalled(Reason::…)`, and a ToolEnvSecret's of its problems, but for those that are waited for.
pub fn stalling_reasons() -> BTreeSet<String> {
    let mut stalling = BTreeSet::new();
    let (mut problems, mut waited) = (BTreeSet::new(), BTreeSet::new());
    for file in sources(Path::new("src/controllers")) {
        let text = text(&file);
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        stalling.extend(reasons_after(code, "stalled("));
        if file.starts_with(PROBLEMS) {
            problems.extend(reasons_after(code, "Problem::new("));
            problems.extend(reasons_after(code, ".problem("));
            let arm = code.split_once("match gravest {").and_then(|(_, rest)| rest.split_once("=>"));
            waited.extend(arm.map(|(arm, _)| arm.split("Reason::").skip(1).map(identifier)).into_iter().flatten());
        }
    }
    assert!(!waited.is_empty() && !problems.is_empty(), "{PROBLEMS} was not understood");
    stalling.extend(problems.difference(&waited).cloned());
    stalling
}

/// The reasons that are the first argument of a call.
fn reasons_after(code: &str, call: &str) -> BTreeSet<String> {
    let arguments = code.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix("Reason::"));
    arguments.map(identifier).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The Rust files of a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("folder can be read") {
        let entry = entry.expect("folder can be read");
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            found.push(path);
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("_tests"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("source can be read")
}
