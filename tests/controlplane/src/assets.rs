//! Finding the programs. Building them is the business of [`crate::go_build`].

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::go_build;
use crate::progress::Progress;

/// The folder of programs, under the name that envtest uses.
const FOLDER_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// A program that tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiServer,
    /// Garbage collection, namespaces, service accounts.
    KubeControllerManager,
    /// The command line client, of the same version as the servers.
    Kubectl,
    /// Gives Pods a node.
    KubeScheduler,
    /// Runs the Pods of a node.
    Kubelet,
    /// Helm 4.
    Helm,
    /// Helm 3, which many still use.
    Helm3,
    /// What kstatus, Flux and Argo CD make of objects: ours, from `tests/kstatus`.
    Kstatus,
    /// Prometheus' checks of rules and metrics.
    Promtool,
}

impl Program {
    /// What makes a control plane, the quickest to build first.
    pub const CONTROL_PLANE: [Self; 4] = [Self::Etcd, Self::Kubectl, Self::KubeApiServer, Self::KubeControllerManager];

    /// What a node needs beside a control plane and a container runtime.
    pub const NODE: [Self; 2] = [Self::KubeScheduler, Self::Kubelet];

    /// The name of its file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
            Self::Kstatus => "kstatus",
            Self::Promtool => "promtool",
        }
    }

    /// The variable that names this one file.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Etcd => "TEST_ASSET_ETCD",
            Self::KubeApiServer => "TEST_ASSET_KUBE_APISERVER",
            Self::KubeControllerManager => "TEST_ASSET_KUBE_CONTROLLER_MANAGER",
            Self::Kubectl => "TEST_ASSET_KUBECTL",
            Self::KubeScheduler => "TEST_ASSET_KUBE_SCHEDULER",
            Self::Kubelet => "TEST_ASSET_KUBELET",
            Self::Helm => "TEST_ASSET_HELM",
            Self::Helm3 => "TEST_ASSET_HELM3",
            Self::Kstatus => "TEST_ASSET_KSTATUS",
            Self::Promtool => "TEST_ASSET_PROMTOOL",
        }
    }

    /// Whether it is looked for in the folder that [`FOLDER_VARIABLE`] names: whoever makes such a folder knows of no Helm.
    fn is_in_folder(self) -> bool {
        Self::CONTROL_PLANE.contains(&self)
    }

    /// Finds the program, and builds it if it is missing: the file that its variable names, the per-user cache, a build
    /// from the pinned Go module. For those of the control plane also `KUBEBUILDER_ASSETS`, see [`Assets::provide`].
    pub fn provide(self, progress: &dyn Fn(&Progress)) -> Result<PathBuf, Error> {
        match find_named(self, |variable| env::var_os(variable).map(PathBuf::from))? {
            Some(path) => Ok(path),
            None => Ok(go_build::build(&[self], progress)?.join(self.file_name())),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.file_name())
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Assets {
    /// Path of etcd.
    pub etcd: PathBuf,
    /// Path of kube-apiserver.
    pub kube_api_server: PathBuf,
    /// Path of kube-controller-manager.
    pub kube_controller_manager: PathBuf,
    /// Path of kubectl.
    pub kubectl: PathBuf,
}

impl Assets {
    /// Finds the programs, and builds those that are missing.
    ///
    /// In this order: `TEST_ASSET_ETCD`, `TEST_ASSET_KUBE_APISERVER`, `TEST_ASSET_KUBE_CONTROLLER_MANAGER` and
    /// `TEST_ASSET_KUBECTL` (one file each); the folder `KUBEBUILDER_ASSETS` (envtest's folders hold no
    /// kube-controller-manager: that one is then built); the per-user cache; a build from the pinned Go module, kept
    /// in that cache.
    pub fn provide(progress: &dyn Fn(&Progress)) -> Result<Self, Error> {
        let mut named = Vec::new();
        let mut missing = Vec::new();
        for program in Program::CONTROL_PLANE {
            match find_named(program, |variable| env::var_os(variable).map(PathBuf::from))? {
                Some(path) => named.push((program, path)),
                None => missing.push(program),
            }
        }
        let folder = if missing.is_empty() { PathBuf::new() } else { go_build::build(&missing, progress)? };
        let path = |wanted: Program| {
            let found = named.iter().find(|(program, _)| *program == wanted);
            found.map_or_else(|| folder.join(wanted.file_name()), |(_, path)| path.clone())
        };
        Ok(Self {
            etcd: path(Program::Etcd),
            kube_api_server: path(Program::KubeApiServer),
            kube_controller_manager: path(Program::KubeControllerManager),
            kubectl: path(Program::Kubectl),
        })
    }
}

/// The program that the environment names, if it names one. A name that leads nowhere is an error: building something
/// else in silence would test something else.
fn find_named(program: Program, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Option<PathBuf>, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
    if let Some(path) = set(program.variable()) {
        return existing(path, program, program.variable()).map(Some);
    }
    let Some(folder) = set(FOLDER_VARIABLE).filter(|_| program.is_in_folder()) else { return Ok(None) };
    let path = folder.join(program.file_name());
    if program == Program::KubeControllerManager && !path.is_file() {
        return Ok(None);
    }
    existing(path, program, FOLDER_VARIABLE).map(Some)
}

fn existing(path: PathBuf, program: Program, variable: &'static str) -> Result<PathBuf, Error> {
    // Servers are started from a folder of their own, so a relative path would no longer lead anywhere.
    match std::path::absolute(&path) {
        Ok(absolute) if Path::is_file(&absolute) => Ok(absolute),
        _ => Err(Error::AssetMissing { variable, path, program: program.file_name() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_file_wins_over_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my-etcd");
        fs::write(&file, "").unwrap();
        fs::write(folder.path().join("etcd"), "").unwrap();
        let variable = |name: &str| match name {
            "TEST_ASSET_ETCD" => Some(file.clone()),
            "KUBEBUILDER_ASSETS" => Some(folder.path().to_owned()),
            _ => None,
        };
        assert_eq!(find_named(Program::Etcd, variable).unwrap(), Some(file.clone()));
    }

    #[test]
    fn a_folder_without_controller_manager_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "KUBEBUILDER_ASSETS").then(|| folder.path().to_owned());
        assert_eq!(find_named(Program::KubeControllerManager, variable).unwrap(), None);
        let error = find_named(Program::Kubectl, variable).unwrap_err().to_string();
        assert!(error.contains("KUBEBUILDER_ASSETS") && error.contains("kubectl"), "{error}");
    }

    #[test]
    fn nothing_named_means_build() {
        for program in Program::CONTROL_PLANE.into_iter().chain([Program::Helm, Program::Helm3, Program::Promtool]) {
            assert_eq!(find_named(program, |_| None).unwrap(), None);
            assert_eq!(find_named(program, |_| Some(PathBuf::new())).unwrap(), None, "an empty variable is unset");
        }
    }

    #[test]
    fn helm_is_named_by_its_own_variable_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("helm");
        fs::write(&file, "").unwrap();
        let in_folder = |name: &str| (name == "KUBEBUILDER_ASSETS").then(|| folder.path().to_owned());
        assert_eq!(find_named(Program::Helm, in_folder).unwrap(), None, "nobody asked for that one");
        let named = |name: &str| (name == "TEST_ASSET_HELM").then(|| file.clone());
        assert_eq!(find_named(Program::Helm, named).unwrap(), Some(file.clone()));
        assert_eq!(find_named(Program::Helm3, named).unwrap(), None);
    }
}
