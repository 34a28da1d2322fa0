//! Helm, both versions, without anything of the user's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use controlplane::Program;
use serde_json::Value;

use crate::{NAMESPACE, chart, objects};

/// The version of Kubernetes that is rendered for: nothing of the chart may depend on what Helm takes for granted.
const KUBERNETES: &str = "1.37.0";

/// One version of Helm.
pub struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// Helm 4.
    pub fn four() -> &'static Self {
        static HELM: OnceLock<Helm> = OnceLock::new();
        HELM.get_or_init(|| Self::provide(Program::Helm))
    }

    /// Helm 3.
    pub fn three() -> &'static Self {
        static HELM: OnceLock<Helm> = OnceLock::new();
        HELM.get_or_init(|| Self::provide(Program::Helm3))
    }

    /// Both.
    pub fn both() -> [(&'static str, &'static Self); 2] {
        [("Helm 4", Self::four()), ("Helm 3", Self::three())]
    }

    fn provide(program: Program) -> Self {
        match program.provide(&controlplane::print_progress) {
            Ok(program) => Self { program, home: tempfile::tempdir().unwrap() },
            Err(error) => panic!("{error}"),
        }
    }

    /// What Helm prints, or what it complains about.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let home = |folder: &str| self.home.path().join(folder);
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("HELM_CACHE_HOME", home("cache"))
            .env("HELM_CONFIG_HOME", home("config"))
            .env("HELM_DATA_HOME", home("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Helm may end without having read its input, and then says why.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What the chart makes of these values, as text.
    pub fn render(&self, values: &str, more: &[&str]) -> Result<String, String> {
        let chart = chart("");
        let fixed = ["template", "amigo-operator", chart.to_str().unwrap(), "--namespace", NAMESPACE];
        let fixed = [&fixed[..], &["--kube-version", KUBERNETES, "--values", "-"]].concat();
        self.run(&[&fixed[..], more].concat(), values)
    }

    /// The objects that the chart makes of these values.
    pub fn objects(&self, values: &str) -> Vec<Value> {
        self.objects_with(values, &[])
    }

    /// The same with more flags.
    pub fn objects_with(&self, values: &str, more: &[&str]) -> Vec<Value> {
        objects(&self.render(values, more).unwrap_or_else(|error| panic!("{values}: {error}")))
    }

    /// Runs Helm on a cluster.
    pub fn on(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
        self.run(&[arguments, &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat(), "")
    }
}

/// The values of a profile.
pub fn profile(name: &str) -> String {
    std::fs::read_to_string(chart("ci").join(format!("{name}-values.yaml"))).unwrap()
}
