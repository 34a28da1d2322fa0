//! The cgroups of the Pods, in each hierarchy that there is: one for all controllers (version 2), or one for each (version 1).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::Result;

const ROOT: &str = "/sys/fs/cgroup";

/// Controllers that the kubelet cannot do without.
const NEEDED: [&str; 3] = ["cpu", "cpuset", "memory"];

/// Controllers of version 2 that the kubelet uses, and wants in its own cgroup, where the machine has them.
const USED: [&str; 5] = ["cpu", "cpuset", "hugetlb", "memory", "pids"];

/// How long the kernel may take to be done with killed processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What keeps the kubelet from limiting Pods here, if anything does.
pub(super) fn obstacle() -> Option<String> {
    let there = version_2().unwrap_or_else(|| names(Path::new(ROOT)));
    let missing: Vec<_> = NEEDED.into_iter().filter(|needed| !there.iter().any(|it| it == needed)).collect();
    (!missing.is_empty()).then(|| format!("{ROOT} has no controllers for {}", missing.join(", ")))
}

/// The controllers of the hierarchy of version 2, if that is what the machine has.
fn version_2() -> Option<Vec<String>> {
    let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).ok()?;
    Some(controllers.split_whitespace().map(str::to_owned).collect())
}

/// The top of each hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if version_2().is_some() {
        return vec![root.to_owned()];
    }
    // Links such as `cpu` to `cpu,cpuacct` lead to what is in the list anyway.
    let folders = names(root).into_iter().map(|name| root.join(name));
    folders.filter(|folder| !folder.is_symlink() && folder.join("cgroup.procs").exists()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Makes the cgroup in every hierarchy.
pub(super) fn create(name: &str) -> Result<()> {
    if let Some(there) = version_2() {
        // Refused where processes are in the root itself, as in a container without cgroups of its own.
        let controllers = Path::new(ROOT).join("cgroup.subtree_control");
        let used = there.iter().filter(|controller| USED.contains(&controller.as_str()));
        let used: Vec<_> = used.map(|controller| format!("+{controller}")).collect();
        fs::write(&controllers, used.join(" ")).map_err(|error| refused(&controllers, &error))?;
    }
    for folder in hierarchies() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| refused(&folder, &error))?;
    }
    Ok(())
}

fn refused(path: &Path, error: &io::Error) -> String {
    format!("a node cannot run here: {}: {error}", path.display())
}

/// Removes the cgroup, with those below it, from every hierarchy. Its processes must be on their way out.
pub(super) fn remove(name: &str) -> Result<()> {
    let started = Instant::now();
    for folder in hierarchies().into_iter().map(|folder| folder.join(name)) {
        while let Err(error) = remove_tree(&folder) {
            if started.elapsed() > PATIENCE {
                return Err(format!("the cgroup {} cannot be removed: {error}", folder.display()).into());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// The files in the folder of a cgroup cannot be removed, and go with it.
fn remove_tree(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
