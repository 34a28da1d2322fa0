//! The part of the machine that the node gets: namespaces of its own for network, mounts and processes, and cgroups of its own.
//!
//! Nothing the node does reaches the rest of the machine, and nothing of it outlives the run: when the first process of a
//! namespace of processes ends, in whatever way, the kernel ends all others, and what was mounted and connected goes with them.

mod cgroups;
mod namespaces;
mod requirements;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, io};

pub(crate) use self::namespaces::{BRIDGE, GATEWAY, run};
pub(crate) use self::requirements::{check, network_plugins};
use crate::Result;

/// Tells the process inside that it is, and the name of its cgroups.
const INSIDE: &str = "AMIGO_NODE_CGROUP";

/// Where the name of the cgroups is kept, for whoever has to remove them.
const CGROUP_FILE: &str = "cgroup";

/// Where the process outside keeps the id of one that is inside, for a person who wants to get in.
pub(crate) const PID_FILE: &str = "pid";

/// What the process inside has for itself.
pub(crate) struct Part {
    /// Folder of all files.
    pub directory: PathBuf,
    /// Name of the cgroup that the Pods are in, below the root of each hierarchy.
    pub cgroup: String,
}

/// The part of the machine that this process has, if it is the one inside. It is set up now.
pub(crate) fn part() -> Result<Option<Part>> {
    let Some(cgroup) = env::var_os(INSIDE) else { return Ok(None) };
    let directory = env::current_dir()?;
    namespaces::set_up(&directory)?;
    Ok(Some(Part { directory, cgroup: cgroup.to_string_lossy().into_owned() }))
}

/// Runs this very program once more, inside, and cleans up when it has ended. How it ended is handed on.
pub(crate) fn run_apart(directory: &Path) -> Result<ExitCode> {
    check()?;
    let (directory, _owner) = own(directory)?;
    let cgroup = format!("amigo-node-{}", std::process::id());
    fs::write(directory.join(CGROUP_FILE), &cgroup)?;
    let made = namespaces::make_mount_points()?;
    let ended = cgroups::create(&cgroup).and_then(|()| Ok(namespaces::enter(&directory, (INSIDE, &cgroup))?));
    for folder in made {
        // Only what is empty can be removed: whoever has put something there since may keep it.
        let _ = fs::remove_dir(folder);
    }
    cgroups::remove(&cgroup)?;
    let status = ended?;
    if let Some(signal) = status.signal() {
        return Err(format!("the node was ended by signal {signal}").into());
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the folder, which nobody else may use meanwhile, and removes what an earlier run has left in it and in the cgroups.
fn own(directory: &Path) -> Result<(PathBuf, File)> {
    fs::create_dir_all(directory)?;
    let directory = directory.canonicalize()?;
    let lock = File::create(directory.with_extension("lock"))?;
    lock.try_lock().map_err(|error| format!("{}: another run uses it ({error})", directory.display()))?;
    match fs::read_to_string(directory.join(CGROUP_FILE)) {
        Ok(cgroup) => cgroups::remove(&cgroup)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    fs::remove_dir_all(&directory)?;
    fs::create_dir(&directory)?;
    Ok((directory, lock))
}
