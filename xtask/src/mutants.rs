//! `cargo xtask mutants`: changes the functions that decide, one place at a time, and sees whether a unit test notices.
//! What is changed and what is left alone stands in `.cargo/mutants.toml`.

use std::fs;

use crate::{Outcome, cargo};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Change only this file of those that .cargo/mutants.toml names; may be given several times
    #[arg(long)]
    file: Vec<String>,
    /// Leave out what the last run has found noticed
    #[arg(long)]
    again: bool,
    /// Only list the changes
    #[arg(long)]
    list: bool,
}

/// Runs cargo-mutants. Its report stays in the target directory, in `mutants.out`.
pub(crate) fn run(options: &Options) -> Outcome {
    if !cargo::has("mutants") {
        return Err("cargo-mutants is missing; this installs it: cargo install --locked cargo-mutants".into());
    }
    let output = cargo::target_directory();
    fs::create_dir_all(&output)?;
    let output = output.display().to_string();
    // Files given with `--file` would be added to those of the configuration.
    let files: Vec<String> = options.file.iter().map(|file| format!("--re=^{file}:")).collect();
    let mut arguments = vec!["mutants", "--output", output.as_str()];
    arguments.extend(options.list.then_some("--list"));
    arguments.extend(options.again.then_some("--iterate"));
    arguments.extend(files.iter().map(String::as_str));
    cargo::run(&arguments, &[])
}
