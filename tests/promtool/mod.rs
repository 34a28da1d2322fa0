//! Prometheus' own checks of rules and metrics: promtool, built from the module beside this file.

use std::io::Write as _;
use std::process::{Command, Stdio};

use controlplane::Program;

/// Runs promtool. What it prints, or what it complains about.
pub fn promtool(arguments: &[&str], input: &str) -> Result<String, String> {
    let program = Program::Promtool.provide(&controlplane::print_progress).unwrap_or_else(|error| panic!("{error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Promtool may end without having read its input, and then says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Refuses metrics that Prometheus cannot read, or whose names and help are not as it wants them.
pub fn check_metrics(text: &str) {
    promtool(&["check", "metrics"], text).unwrap_or_else(|complaints| panic!("{complaints}\n{text}"));
}
