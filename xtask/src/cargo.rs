//! Running cargo, and git, from within `cargo xtask`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The top of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    let set = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.map_or_else(|| workspace().join("target"), |directory| workspace().join(directory))
}

/// Whether cargo has this command, of its own or installed.
pub(crate) fn has(command: &str) -> bool {
    let mut asked = Command::new(program());
    asked.args([command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs cargo at the top of the workspace. The error names the command, for a person to run it again.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, String)]) -> Outcome {
    let mut command = command(&workspace());
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    let shown = shown(arguments);
    let status = command.status().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("this failed ({status}): {shown}").into()) }
}

/// Cargo, to be run in a directory.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(program());
    command.current_dir(directory);
    // `cargo run` describes xtask's package in these. Build scripts look at them: left in, every call from here would
    // build again what a call from a shell has built, and the other way round.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The command as somebody types it.
pub(crate) fn shown(arguments: &[&str]) -> String {
    let quoted = arguments
        .iter()
        .map(|argument| if argument.contains('*') { format!("'{argument}'") } else { (*argument).to_owned() });
    ["cargo".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

/// What git says, at the top of the workspace.
pub(crate) fn git(arguments: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("git").current_dir(workspace()).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
