//! The folder that everything of one control plane is in.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Error, file_error};

const PREFIX: &str = "amigo-controlplane-";
const LOCK: &str = "owner.lock";

/// A folder that was asked for, which stays, or a temporary one, which goes with this value.
#[derive(Debug)]
pub(crate) enum Workdir {
    Given(PathBuf),
    Temporary { folder: TempDir, _lock: File },
}

impl Workdir {
    pub fn create(given: Option<PathBuf>) -> Result<Self, Error> {
        if let Some(path) = given {
            fs::create_dir_all(&path).map_err(file_error("create", &path))?;
            let mut entries = fs::read_dir(&path).map_err(file_error("read", &path))?;
            if entries.next().is_some() {
                return Err(Error::FolderNotEmpty(path));
            }
            // Servers and kubeconfigs name files by their full paths.
            return path.canonicalize().map(Self::Given).map_err(file_error("find", &path));
        }
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        // The logs, the audit log among them, are for the owner's eyes only.
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(&parent);
        let folder = folder.map_err(file_error("create a folder in", &parent))?;
        // It gets its name only once it is locked: under that name, an unlocked file means that nobody is there.
        let unlocked = folder.path().join("unlocked");
        let lock = File::create(&unlocked).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(file_error("lock", &unlocked))?;
        fs::rename(&unlocked, folder.path().join(LOCK)).map_err(file_error("rename", &unlocked))?;
        Ok(Self::Temporary { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary { folder, .. } => folder.path(),
        }
    }

    /// Leaves a temporary folder where it is, for a person to read the logs. The next control plane removes it.
    pub fn keep(&mut self) {
        if let Self::Temporary { folder, .. } = self {
            folder.disable_cleanup(true);
        }
    }
}

/// Removes the folders of processes that were killed, or that ended without dropping a control plane kept in a static.
/// What cannot be removed, such as another user's folder, is left alone.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let unowned = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if unowned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let abandoned = folder("amigo-controlplane-abandoned");
        File::create(abandoned.join(LOCK)).unwrap();
        let owned = folder("amigo-controlplane-owned");
        let lock = File::create(owned.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let beginning = folder("amigo-controlplane-beginning");
        let foreign = folder("something-else");
        File::create(foreign.join(LOCK)).unwrap();

        remove_abandoned(parent.path());

        assert!(!abandoned.exists());
        assert!(owned.exists() && beginning.exists() && foreign.exists());
    }
}
