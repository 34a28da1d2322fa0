//! Builds the programs from the pinned Go module of this folder (`go.mod`, `go.sum`) into a per-user cache.
//!
//! The module is part of this crate's binary and is written beside what it builds, so the sources need not be at hand.
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

const GO_MOD: &str = include_str!("../go.mod");
const GO_SUM: &str = include_str!("../go.sum");

/// On the PATH, or where the official archive puts it.
const GO: [&str; 2] = ["go", "/usr/local/go/bin/go"];

/// How often a running build, or a lock that somebody else holds, is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Begins the names of folders in which a program is being built.
const UNFINISHED: &str = ".building-";

/// Lines of Go's output that an error shows.
const OUTPUT_LINES: usize = 20;

/// Makes sure that these programs are in the cache, and returns the folder they are in.
pub(crate) fn build(programs: &[Program], progress: &dyn Fn(&Progress)) -> Result<PathBuf, Error> {
    let folder = cache_folder()?;
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
    let go = find_go(&GO, &missing)?;
    remove_unfinished(&folder);
    let module = folder.join("module");
    write_module(&module)?;
    for (index, program) in missing.iter().enumerate() {
        let build = Build { go: &go, module: &module, folder: &folder, program: *program };
        build.run(index + 1, missing.len(), progress)?;
    }
    Ok(folder)
}

/// The cache is keyed by the module: another version of Kubernetes is another folder.
fn cache_folder() -> Result<PathBuf, Error> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".cache"))).ok_or(Error::NoCacheFolder)?;
    Ok(base.join("amigo-operator").join("controlplane").join(module_hash()))
}

/// The first 16 hexadecimal digits of the SHA-256 of go.mod and go.sum.
fn module_hash() -> String {
    let digest = Sha256::new().chain_update(GO_MOD).chain_update(GO_SUM).finalize();
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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

fn write_module(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    for (name, content) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(file_error("write", &path))?;
    }
    Ok(())
}

/// Finds a Go that is new enough among these programs.
fn find_go(candidates: &[&str], missing: &[Program]) -> Result<PathBuf, Error> {
    let needed = go_line().to_owned();
    let programs = missing.iter().map(|program| program.file_name()).collect::<Vec<_>>().join(", ");
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
        Some((go, found)) => Error::GoTooOld { go, found, needed, programs },
        None => Error::GoMissing { needed, programs },
    })
}

/// `26` of `go1.26.8` and of `go1.26rc1`; 0 of anything else. There is no Go 2.
fn minor_version(version: &str) -> u32 {
    let rest = version.strip_prefix("go1.").unwrap_or_default();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap_or(0)
}

/// The version in the `go` line of go.mod.
fn go_line() -> &'static str {
    GO_MOD.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26")
}

/// The version of Kubernetes that go.mod requires, as `v1.37.2`.
fn kubernetes_version() -> &'static str {
    let required = GO_MOD.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    required.and_then(|version| version.split_whitespace().next()).unwrap_or("1.0.0")
}

/// Compiling one program.
struct Build<'a> {
    go: &'a Path,
    module: &'a Path,
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
            return Err(Error::GoBuild { program: self.program.file_name(), output });
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
        command.current_dir(self.module);
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
        }
    }

    fn flags(&self) -> Vec<OsString> {
        match self.program {
            Program::Etcd => vec!["-ldflags".into(), "-s -w".into()],
            Program::KubeApiServer | Program::KubeControllerManager | Program::Kubectl => {
                vec!["-tags".into(), "selinux,notest,grpcnotrace".into(), "-ldflags".into(), version_flags().into()]
            }
        }
    }
}

/// Linker flags that tell Kubernetes its own version; it would call itself v0.0.0, which kubectl and Helm refuse.
fn version_flags() -> String {
    let version = kubernetes_version();
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
        assert!(kubernetes_version().starts_with("1."), "{}", kubernetes_version());
        assert!(go_line().starts_with("1."), "{}", go_line());
        assert_ne!(kubernetes_version(), "1.0.0", "not found in go.mod");
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
        let find = |candidates: &[&str]| find_go(candidates, &[Program::Etcd]);
        assert_eq!(find(&[&nowhere, &old, &new]).unwrap(), Path::new(&new));
        let too_old = find(&[&nowhere, &old]).unwrap_err().to_string();
        assert!(too_old.contains("is go1.19.8: install a newer Go"), "{too_old}");
        let missing = find(&[&nowhere]).unwrap_err().to_string();
        assert!(missing.contains("install Go") && missing.contains("folder with etcd"), "{missing}");
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
        let hash = module_hash();
        assert!(hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
    }
}
