//! Whether a node can run on this machine, said in one sentence.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::cgroups;
use crate::Result;

/// Programs, and the package of Debian and Ubuntu that each is in.
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("buildah", "buildah"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("cc", "gcc libc6-dev"),
];

/// Where packages put the plugins of the Pods' network.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The plugins that are used.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// Fails with what this machine lacks.
pub(crate) fn check() -> Result<()> {
    let mut lacks = Vec::new();
    let mut packages: Vec<&str> = Vec::new();
    if !is_root() {
        lacks.push("it takes root".to_owned());
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            lacks.push(format!("{program} is not installed"));
            packages.push(package);
        }
    }
    if network_plugins().is_none() {
        lacks.push("the network plugins are not installed".to_owned());
        packages.push("containernetworking-plugins");
    }
    lacks.extend(cgroups::obstacle());
    // Tried last, as it needs root and the program.
    if lacks.is_empty() && !can_unshare() {
        lacks.push("namespaces for network, mounts and processes may not be made".to_owned());
    }
    if lacks.is_empty() {
        return Ok(());
    }
    packages.dedup();
    let install = format!("; on Debian and Ubuntu: apt-get install {}", packages.join(" "));
    let install = if packages.is_empty() { "" } else { &install };
    Err(format!("a node cannot run here: {}{install}", lacks.join(", ")).into())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The folder of the network plugins.
pub(crate) fn network_plugins() -> Option<&'static Path> {
    let has_all = |folder: &&Path| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    PLUGIN_FOLDERS.into_iter().map(Path::new).find(has_all)
}

/// Where programs are looked for: also where the PATH of an ordinary user does not lead.
pub(super) fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn can_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(super::namespaces::KINDS).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}
