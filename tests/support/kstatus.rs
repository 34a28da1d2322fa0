//! What the tools' own code makes of objects: the small Go program of `tests/kstatus`, built once into a per-user cache.
//!
//! `TEST_ASSET_KSTATUS` names one that is built already, for machines without Go.

use std::fs::{self, File};
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The sources that the program is built from; with others it is another one.
const SOURCES: [(&str, &str); 4] = [
    ("go.mod", include_str!("../kstatus/go.mod")),
    ("go.sum", include_str!("../kstatus/go.sum")),
    ("lua.go", include_str!("../kstatus/lua.go")),
    ("main.go", include_str!("../kstatus/main.go")),
];

/// On the PATH, or where the official archive puts it.
const GO: [&str; 2] = ["go", "/usr/local/go/bin/go"];

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
    PROGRAM.get_or_init(|| match std::env::var_os("TEST_ASSET_KSTATUS").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => cached(),
    })
}

fn cached() -> PathBuf {
    let folder = cache().join("amigo-operator").join("kstatus").join(hash());
    let program = folder.join("kstatus");
    fs::create_dir_all(&folder).unwrap();
    // Another process may be building it; whoever comes second finds it built.
    let lock = File::create(folder.join("build.lock")).unwrap();
    lock.lock().unwrap();
    if !program.is_file() {
        build(&folder, &program);
    }
    program
}

fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    base.or_else(|| Some(set("HOME")?.join(".cache"))).expect("HOME or XDG_CACHE_HOME is set")
}

fn hash() -> String {
    let digest = SOURCES.iter().fold(Sha256::new(), |digest, (_, text)| digest.chain_update(text)).finalize();
    format!("{:016x}", u64::from_be_bytes(digest[..8].try_into().unwrap()))
}

/// Builds in the cache and renames, so that a program in the cache is always whole.
fn build(folder: &Path, program: &Path) {
    let module = folder.join("module");
    fs::create_dir_all(&module).unwrap();
    for (name, text) in SOURCES {
        fs::write(module.join(name), text).unwrap();
    }
    let unfinished = folder.join("unfinished");
    let mut reasons = Vec::new();
    for go in GO {
        let mut command = Command::new(go);
        command.current_dir(&module).args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&unfinished).arg(".");
        command
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off");
        command.env_remove("GOOS").env_remove("GOARCH");
        match command.output() {
            Ok(output) if output.status.success() => return fs::rename(&unfinished, program).unwrap(),
            Ok(output) => reasons.push(format!("{go}: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => reasons.push(format!("{go}: {error}")),
        }
    }
    panic!("tests/kstatus cannot be built; it needs Go 1.26, or TEST_ASSET_KSTATUS:\n{}", reasons.join("\n"));
}
