//! Entering the namespaces, and what is mounted and connected in them.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{env, fs, io, thread};

use nix::sys::signal::{SigSet, Signal};

use crate::Result;

/// Which namespaces are the node's own. What is mounted in them is seen by nobody else, and their first process is killed with
/// the one that made them.
pub(super) const KINDS: [&str; 8] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];

/// The node's address, and the way out of each Pod. Only the node's own network knows it.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 1);

/// The device that the Pods are connected to.
pub(crate) const BRIDGE: &str = "amigo0";

/// Folders whose names the kubelet and the network plugins cannot be told.
const MOUNT_POINTS: [&str; 4] = ["/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"];

/// What the kubelet sets for the whole machine: it gets files of its own to set.
const KERNEL_SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Makes the folders that something is mounted on, and returns those that were not there.
pub(super) fn make_mount_points() -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for folder in MOUNT_POINTS.map(PathBuf::from) {
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            made.push(folder);
        }
    }
    Ok(made)
}

/// Runs this program in new namespaces, in the directory, until it ends. When this process ends first, so does that one; when it
/// is asked to end, that one does, and the caller can still clean up.
pub(super) fn enter(directory: &Path, variable: (&str, &str)) -> io::Result<ExitStatus> {
    let mut child = Command::new("unshare")
        .args(KINDS)
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(variable.0, variable.1)
        .env("PATH", super::requirements::path())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()?;
    // Taken out of the child, as `wait` would close it.
    let lifeline = child.stdin.take();
    fs::write(directory.join(super::PID_FILE), child.id().to_string())?;
    let asked_to_end: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    // For all threads that are begun from here on. The child, which would inherit it, has begun.
    asked_to_end.thread_block()?;
    thread::spawn(move || {
        let _ = asked_to_end.wait();
        drop(lifeline);
    });
    child.wait()
}

/// Sets up the namespaces that this process is the first one in.
pub(super) fn set_up(directory: &Path) -> Result<()> {
    end_with_the_other();
    mount(directory)?;
    connect()
}

/// The other end of standard input is held by the process outside. A signal would not do: the first process of a namespace gets
/// none that it does not ask for.
fn end_with_the_other() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(130);
    });
}

fn mount(directory: &Path) -> Result<()> {
    // Sockets and state of all that runs: none of the rest of the machine is seen, and paths are short.
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    for point in MOUNT_POINTS {
        let own = directory.join("private").join(point.trim_start_matches('/'));
        fs::create_dir_all(&own)?;
        run("mount", &["--bind", &own.to_string_lossy(), point])?;
    }
    for setting in KERNEL_SETTINGS {
        let own = directory.join("private/kernel").join(setting);
        let real = Path::new("/proc/sys").join(setting);
        fs::create_dir_all(own.parent().unwrap_or(directory))?;
        fs::write(&own, fs::read(&real)?)?;
        run("mount", &["--bind", &own.to_string_lossy(), &real.to_string_lossy()])?;
    }
    Ok(())
}

fn connect() -> Result<()> {
    let (gateway, service) = (format!("{GATEWAY}/24"), format!("{}/32", controlplane::SERVICE_ADDRESS));
    run("ip", &["link", "set", "lo", "up"])?;
    // What kube-proxy would lead to the API server is on the node itself.
    run("ip", &["address", "add", &service, "dev", "lo"])?;
    run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    run("ip", &["address", "add", &gateway, "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])
}

/// Runs a program that says why it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("this failed ({}): {program} {}: {}", output.status, arguments.join(" "), said.trim()).into())
}
