//! What the tools' own code makes of objects: the small Go program of `tests/kstatus`, built once into a per-user cache.
//!
//! `TEST_ASSET_KSTATUS` names one that is built already, for machines without Go.

use std::io::{BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use controlplane::Program;
use serde::Deserialize;
use serde_json::Value;

/// What the tools make of one object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// `status.Compute` of kstatus, as Flux and Helm call it.
    pub kstatus: String,
    /// Flux' evaluator, where there are expressions to evaluate.
    #[serde(default)]
    pub flux: String,
    /// What Argo CD's interpreter makes of a script, where there is one.
    #[serde(default)]
    pub lua: Value,
    /// Why an object of one of Flux' own kinds does not fit its Go type; empty if it does.
    #[serde(default)]
    pub refused: String,
}

/// Asks about objects, each with the expressions for Flux and the script for Argo CD if there are any: `{"object": …, "checks": …,
/// "script": …}`.
pub fn ask(questions: &[Value]) -> Vec<Answer> {
    let mut input = BufWriter::new(tempfile::tempfile().unwrap());
    for question in questions {
        writeln!(input, "{question}").unwrap();
    }
    let mut input = input.into_inner().unwrap();
    input.rewind().unwrap();
    let output = Command::new(program()).stdin(Stdio::from(input)).output().expect("the program can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("answers are UTF-8");
    let answers: Vec<Answer> = text.lines().map(|line| serde_json::from_str(line).expect("answers are JSON")).collect();
    assert_eq!(answers.len(), questions.len(), "an answer for each question");
    answers
}

/// The program; built now, if it is in no cache.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        Program::Kstatus.provide(&controlplane::print_progress).unwrap_or_else(|error| panic!("{error}"))
    })
}
