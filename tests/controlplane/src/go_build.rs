//! Builds the programs from pinned Go modules (`go.mod`, `go.sum`) into a per-user cache.
//!
//! The modules are part of this crate's binary and are written beside what they build, so the sources need not be at hand.
//! Two processes never build at once (file lock), and a program appears in the cache whole or not at all (rename).

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::assets::Program;
use crate::error::{Error, file_error};
use crate::progress::Progress;

/// A Go module that pins what programs are built from. There are several, because one module can hold one version of each of
/// its dependencies, and so that a change of one does not build what the others hold anew.
struct Module {
    /// Name of its folder in the cache.
    name: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// Go files of our own, where the program is ours: name and content.
    own: &'static [(&'static str, &'static str)],
}

static CONTROL_PLANE: Module =
    Module { name: "controlplane", go_mod: include_str!("../go.mod"), go_sum: include_str!("../go.sum"), own: &[] };
static HELM: Module = Module {
    name: "helm",
    go_mod: include_str!("../../helm/go.mod"),
    go_sum: include_str!("../../helm/go.sum"),
    own: &[],
};
static HELM3: Module = Module {
    name: "helm3",
    go_mod: include_str!("../../helm3/go.mod"),
    go_sum: include_str!("../../helm3/go.sum"),
    own: &[],
};
static KSTATUS: Module = Module {
    name: "kstatus",
    go_mod: include_str!("../../kstatus/go.mod"),
    go_sum: include_str!("../../kstatus/go.sum"),
    own: &[("lua.go", include_str!("../../kstatus/lua.go")), ("main.go", include_str!("../../kstatus/main.go"))],
};
static PROMTOOL: Module = Module {
    name: "promtool",
    go_mod: include_str!("../../promtool/go.mod"),
    go_sum: include_str!("../../promtool/go.sum"),
    own: &[],
};

/// On the PATH, or where the official archive puts it.
const GO: [&str; 2] = ["go", "/usr/local/go/bin/go"];

/// How often a running build, or a lock that somebody else holds, is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Begins the names of folders in which a program is being built.
const UNFINISHED: &str = ".building-";

/// Lines of Go's output that an error shows.
const OUTPUT_LINES: usize = 20;

/// Makes sure that these programs of one module are in the cache, and returns the folder they are in.
pub(crate) fn build(programs: &[Program], progress: &dyn Fn(&Progress)) -> Result<PathBuf, Error> {
    let module = programs.first().map_or(&CONTROL_PLANE, |program| Module::of(*program));
    debug_assert!(programs.iter().all(|program| std::ptr::eq(module, Module::of(*program))), "{programs:?}");
    let folder = module.cache_folder()?;
    let missing = |programs: &[Program]| -> Vec<Program> {
        programs.iter().copied().filter(|program| !folder.join(program.file_name()).is_file()).collect()
    };
    if missing(programs).is_empty() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
    let _lock = lock(&folder.join("build.lock"), progress)?;
    // Looked at again: the process that held the lock may have built them.
    let missing = missing(programs);
    if missing.is_empty() {
        return Ok(folder);
    }
    let go = find_go(&GO, module, &missing)?;
    remove_unfinished(&folder);
    let sources = folder.join("module");
    module.write(&sources)?;
    for (index, program) in missing.iter().enumerate() {
        let build = Build { go: &go, module, sources: &sources, folder: &folder, program: *program };
        build.run(index + 1, missing.len(), progress)?;
    }
    Ok(folder)
}

impl Module {
    /// The module that a program is built from.
    fn of(program: Program) -> &'static Self {
        match program {
            Program::Etcd
            | Program::KubeApiServer
            | Program::KubeControllerManager
            | Program::Kubectl
            | Program::KubeScheduler
            | Program::Kubelet => &CONTROL_PLANE,
            Program::Helm => &HELM,
            Program::Helm3 => &HELM3,
            Program::Kstatus => &KSTATUS,
            Program::Promtool => &PROMTOOL,
        }
    }

    /// The cache is keyed by the module: another version of Kubernetes is another folder.
    fn cache_folder(&self) -> Result<PathBuf, Error> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let base = base.or_else(|| set("HOME").map(|home| home.join(".cache"))).ok_or(Error::NoCacheFolder)?;
        Ok(base.join("amigo-operator").join(self.name).join(self.hash()))
    }

    /// The first 16 hexadecimal digits of the SHA-256 of all its files.
    fn hash(&self) -> String {
        let digest = self.files().fold(Sha256::new(), |digest, (_, content)| digest.chain_update(content)).finalize();
        digest.iter().take(8).fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [("go.mod", self.go_mod), ("go.sum", self.go_sum)].into_iter().chain(self.own.iter().copied())
    }

    fn write(&self, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        for (name, content) in self.files() {
            let path = folder.join(name);
            fs::write(&path, content).map_err(file_error("write", &path))?;
        }
        Ok(())
    }

    /// The version in the `go` line of go.mod.
    fn go_line(&self) -> &'static str {
        self.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26")
    }

    /// The version of a dependency that go.mod requires, without its `v`.
    fn version_of(&self, dependency: &str) -> &'static str {
        let mut lines = self.go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        let required = lines.find_map(|line| line.strip_prefix(dependency)?.strip_prefix(" v"));
        required.and_then(|version| version.split_whitespace().next()).unwrap_or("0.0.0")
    }
}

/// Takes the lock, telling about it while another process holds it. The lock goes with the returned file.
fn lock(path: &Path, progress: &dyn Fn(&Progress)) -> Result<File, Error> {
    let file = File::create(path).map_err(file_error("create", path))?;
    let mut ticker = Ticker::new();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => ticker.tick(|elapsed| progress(&Progress::Waiting { elapsed })),
            Err(TryLockError::Error(source)) => return Err(file_error("lock", path)(source)),
        }
        thread::sleep(POLL);
    }
}

/// Removes what killed builds have left. Only the holder of the lock builds, so none of it is in use.
fn remove_unfinished(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        // It takes room, no more: the build goes on without it being gone.
        let _ = fs::remove_dir_all(entry.path());
    }
}

/// Finds a Go that is new enough among these programs.
fn find_go(candidates: &[&str], module: &Module, missing: &[Program]) -> Result<PathBuf, Error> {
    let needed = module.go_line().to_owned();
    let programs = missing.iter().map(|program| program.file_name()).collect::<Vec<_>>().join(", ");
    let instead = instead_of_building(missing);
    let mut too_old = None;
    for go in candidates {
        let version = Command::new(go).arg("version").env("GOTOOLCHAIN", "local").env("GOFLAGS", "").output();
        let Ok(version) = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) else { continue };
        let found = version.split_whitespace().find(|word| word.starts_with("go1.")).unwrap_or_default();
        if minor_version(found) >= minor_version(&format!("go{needed}")) {
            return Ok(go.into());
        }
        too_old.get_or_insert((PathBuf::from(go), found.to_owned()));
    }
    Err(match too_old {
        Some((go, found)) => Error::GoTooOld { go, found, needed, programs, instead },
        None => Error::GoMissing { needed, programs, instead },
    })
}

/// `26` of `go1.26.8` and of `go1.26rc1`; 0 of anything else. There is no Go 2.
fn minor_version(version: &str) -> u32 {
    let rest = version.strip_prefix("go1.").unwrap_or_default();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap_or(0)
}

/// What a person can do who cannot build.
fn instead_of_building(programs: &[Program]) -> String {
    if programs.iter().all(|program| Program::CONTROL_PLANE.contains(program)) {
        return "set KUBEBUILDER_ASSETS to a folder that holds them".to_owned();
    }
    let variables = programs.iter().map(|program| program.variable()).collect::<Vec<_>>().join(", ");
    format!("set {variables} to the file")
}

/// Compiling one program.
struct Build<'a> {
    go: &'a Path,
    module: &'static Module,
    /// Where the module is written.
    sources: &'a Path,
    folder: &'a Path,
    program: Program,
}

impl Build<'_> {
    fn run(&self, number: usize, of: usize, progress: &dyn Fn(&Progress)) -> Result<(), Error> {
        let started = Instant::now();
        // In the same folder, so that the rename below stays on one file system.
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(self.folder);
        let unfinished = unfinished.map_err(file_error("create a folder in", self.folder))?;
        let output = unfinished.path().join(self.program.file_name());
        let log = unfinished.path().join("go.log");
        let status = self.compile(&output, &log, |packages, elapsed| {
            progress(&Progress::Building { program: self.program, number, of, packages, elapsed });
        })?;
        if !status.success() {
            let output = last_lines_of_errors(&log);
            let instead = instead_of_building(&[self.program]);
            return Err(Error::GoBuild { program: self.program.file_name(), instead, output });
        }
        let target = self.folder.join(self.program.file_name());
        fs::rename(&output, &target).map_err(file_error("write", &target))?;
        progress(&Progress::Built { program: self.program, number, of, elapsed: started.elapsed() });
        Ok(())
    }

    /// Runs `go build` and reports the packages compiled so far about once a second.
    fn compile(&self, output: &Path, log: &Path, report: impl Fn(usize, Duration)) -> Result<ExitStatus, Error> {
        let log_file = File::create(log).map_err(file_error("create", log))?;
        let run_error = |source| Error::Run { program: self.go.to_owned(), source };
        let mut go = self.command(output).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn();
        let child = go.as_mut().map_err(|error| run_error(std::io::Error::new(error.kind(), error.to_string())))?;
        let mut ticker = Ticker::new();
        loop {
            if let Some(status) = child.try_wait().map_err(run_error)? {
                return Ok(status);
            }
            ticker.tick(|elapsed| report(count_lines(log), elapsed));
            thread::sleep(POLL);
        }
    }

    fn command(&self, output: &Path) -> Command {
        let mut command = Command::new(self.go);
        command.current_dir(self.sources);
        command
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off");
        // The programs run here, whatever the caller cross-compiles for.
        command.env_remove("GOOS").env_remove("GOARCH");
        command.args(["build", "-v", "-trimpath", "-buildvcs=false"]).args(self.flags());
        command.arg("-o").arg(output).arg(self.package());
        command
    }

    fn package(&self) -> &'static str {
        match self.program {
            Program::Etcd => "go.etcd.io/etcd/server/v3",
            Program::KubeApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Program::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Program::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Program::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Program::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Program::Helm => "helm.sh/helm/v4/cmd/helm",
            Program::Helm3 => "helm.sh/helm/v3/cmd/helm",
            Program::Kstatus => ".",
            Program::Promtool => "github.com/prometheus/prometheus/cmd/promtool",
        }
    }

    fn flags(&self) -> Vec<OsString> {
        match self.program {
            Program::Etcd | Program::Kstatus => vec!["-ldflags".into(), "-s -w".into()],
            Program::KubeApiServer
            | Program::KubeControllerManager
            | Program::Kubectl
            | Program::KubeScheduler
            | Program::Kubelet => {
                let flags = kubernetes_flags(self.module.version_of("k8s.io/kubernetes"));
                vec!["-tags".into(), "selinux,notest,grpcnotrace".into(), "-ldflags".into(), flags.into()]
            }
            Program::Helm => vec!["-ldflags".into(), helm_flags(self.module, "helm.sh/helm/v4").into()],
            Program::Helm3 => vec!["-ldflags".into(), helm_flags(self.module, "helm.sh/helm/v3").into()],
            // Without the discoveries of two dozen clouds: what is checked needs none.
            Program::Promtool => vec!["-tags".into(), "remove_all_sd".into(), "-ldflags".into(), "-s -w".into()],
        }
    }
}

/// Linker flags that tell Kubernetes its own version; it would call itself v0.0.0, which kubectl and Helm refuse.
fn kubernetes_flags(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        // Writing to a String cannot fail.
        let _ = write!(
            flags,
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean -X {package}.gitCommit=gomodule \
             -X {package}.buildDate=2026-01-01T00:00:00Z"
        );
    }
    flags
}

/// Linker flags that tell Helm its own version, and Helm 3 the Kubernetes that its client is of: it would take 1.20 for it.
fn helm_flags(module: &Module, path: &str) -> String {
    let version = module.version_of(path);
    let minor = module.version_of("k8s.io/client-go").split('.').nth(1).unwrap_or_default();
    let mut flags = format!("-s -w -X {path}/internal/version.version=v{version}");
    for package in [format!("{path}/pkg/lint/rules"), format!("{path}/pkg/chartutil")] {
        // Writing to a String cannot fail; a variable that there is not, as in Helm 4, is passed over by the linker.
        let _ = write!(flags, " -X {package}.k8sVersionMajor=1 -X {package}.k8sVersionMinor={minor}");
    }
    flags
}

/// Lets something happen at once and then about once a second.
struct Ticker {
    started: Instant,
    next: Duration,
}

impl Ticker {
    fn new() -> Self {
        Self { started: Instant::now(), next: Duration::ZERO }
    }

    fn tick(&mut self, action: impl FnOnce(Duration)) {
        let elapsed = self.started.elapsed();
        if elapsed >= self.next {
            self.next += Duration::from_secs(1);
            action(elapsed);
        }
    }
}

fn count_lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |content| content.split(|byte| *byte == b'\n').count().saturating_sub(1))
}

/// The end of Go's output without the names of packages that `-v` prints, one bare word a line.
fn last_lines_of_errors(path: &Path) -> String {
    let content = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = content.lines().filter(|line| line.trim().contains(' ')).collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn versions_come_from_the_module() {
        for (module, dependency, major) in [
            (&CONTROL_PLANE, "k8s.io/kubernetes", "1."),
            (&HELM, "helm.sh/helm/v4", "4."),
            (&HELM, "k8s.io/client-go", "0."),
            (&HELM3, "helm.sh/helm/v3", "3."),
            (&HELM3, "k8s.io/client-go", "0."),
            (&PROMTOOL, "github.com/prometheus/prometheus", "0."),
        ] {
            let version = module.version_of(dependency);
            assert!(version.starts_with(major) && version != "0.0.0", "{dependency}: {version}");
            assert!(module.go_line().starts_with("1."), "{}", module.go_line());
        }
    }

    #[test]
    fn an_old_go_is_passed_over_and_a_missing_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let go = |name: &str, version: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho go version {version} linux/amd64\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (old, new) = (go("old", "go1.19.8"), go("new", "go1.99.0"));
        let nowhere = folder.path().join("nowhere").to_str().unwrap().to_owned();
        let find = |candidates: &[&str]| find_go(candidates, &CONTROL_PLANE, &[Program::Etcd]);
        assert_eq!(find(&[&nowhere, &old, &new]).unwrap(), Path::new(&new));
        let too_old = find(&[&nowhere, &old]).unwrap_err().to_string();
        assert!(too_old.contains("is go1.19.8: install a newer Go"), "{too_old}");
        let missing = find(&[&nowhere]).unwrap_err().to_string();
        assert!(missing.contains("install Go") && missing.contains("etcd"), "{missing}");
        assert!(missing.contains("KUBEBUILDER_ASSETS"), "{missing}");
        let missing = find_go(&[&nowhere], &HELM, &[Program::Helm]).unwrap_err().to_string();
        assert!(missing.contains("TEST_ASSET_HELM") && !missing.contains("KUBEBUILDER"), "{missing}");
    }

    #[test]
    fn minor_versions_of_go_compare() {
        assert_eq!(minor_version("go1.26.8"), 26);
        assert_eq!(minor_version("go1.27rc1"), 27);
        assert_eq!(minor_version("go1.27-devel_abc"), 27);
        assert_eq!(minor_version(""), 0);
    }

    #[test]
    fn the_cache_key_is_sixteen_hexadecimal_digits() {
        for module in [&CONTROL_PLANE, &HELM, &HELM3, &PROMTOOL] {
            let hash = module.hash();
            assert!(hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
        }
    }
}
