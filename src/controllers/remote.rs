//! What this process last read of the service, by organization and tool, so that several objects share one read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Established;
use crate::amigo::types::{Tool, ToolVersion};
use crate::amigo::{self, Class};

/// Endpoint, organization and tool id.
type Key = (String, String, String);

type Snapshots<T> = Mutex<BTreeMap<Key, Snapshot<T>>>;

#[derive(Debug)]
struct Snapshot<T> {
    value: T,
    /// When its read began; `None` once it is known to be out of date.
    began: Option<Instant>,
}

/// Snapshots of tools and of their versions.
#[derive(Debug, Default)]
pub struct Remote {
    tools: Snapshots<Option<Arc<Tool>>>,
    versions: Snapshots<Arc<Vec<ToolVersion>>>,
    deprecated: Mutex<BTreeMap<Key, Instant>>,
}

/// How long the service may still list as active what was deprecated; it says about a minute.
const DEPRECATION_SPREADS: Duration = Duration::from_secs(180);

fn key(at: &Established, tool_id: &str) -> Key {
    (at.endpoint.clone(), at.organization.clone(), tool_id.to_owned())
}

fn young<T: Clone>(snapshots: &Snapshots<T>, key: &Key, age: Duration) -> Option<T> {
    let snapshots = snapshots.lock().ok()?;
    let snapshot = snapshots.get(key)?;
    snapshot.began.filter(|began| began.elapsed() < age).map(|_| snapshot.value.clone())
}

fn known<T: Clone>(snapshots: &Snapshots<T>, key: &Key) -> Option<T> {
    snapshots.lock().ok()?.get(key).map(|snapshot| snapshot.value.clone())
}

/// Keeps a snapshot; whether it differs from the one before.
fn keep<T: Clone + PartialEq>(snapshots: &Snapshots<T>, key: Key, value: &T, began: Instant) -> bool {
    let Ok(mut snapshots) = snapshots.lock() else { return true };
    let before = snapshots.insert(key, Snapshot { value: value.clone(), began: Some(began) });
    before.is_none_or(|before| before.value != *value)
}

impl Remote {
    /// The tool, from a read that began at most `age` ago. `None`: the service does not know it.
    pub async fn tool(
        &self,
        at: &Established,
        id: &str,
        age: Duration,
        class: Class,
    ) -> Result<Option<Arc<Tool>>, amigo::Error> {
        if let Some(snapshot) = young(&self.tools, &key(at, id), age) {
            return Ok(snapshot);
        }
        let began = Instant::now();
        let tool = at.client.tool(id, class).await?.map(Arc::new);
        keep(&self.tools, key(at, id), &tool, began);
        Ok(tool)
    }

    /// All versions of the tool, from a read that began at most `age` ago; and whether they differ from the list before.
    pub async fn versions(
        &self,
        at: &Established,
        tool_id: &str,
        age: Duration,
        class: Class,
    ) -> Result<(Arc<Vec<ToolVersion>>, bool), amigo::Error> {
        if let Some(snapshot) = young(&self.versions, &key(at, tool_id), age) {
            return Ok((snapshot, false));
        }
        let began = Instant::now();
        let mut versions = at.client.versions(tool_id, class).await?;
        versions.sort_by(|a, b| (a.version, &a.id).cmp(&(b.version, &b.id)));
        let versions = Arc::new(versions);
        let changed = keep(&self.versions, key(at, tool_id), &versions, began);
        Ok((versions, changed))
    }

    /// The versions as last read, however long ago.
    #[must_use]
    pub fn known_versions(&self, at: &Established, tool_id: &str) -> Option<Arc<Vec<ToolVersion>>> {
        known(&self.versions, &key(at, tool_id))
    }

    /// Whether the versions as last read are known to have changed since.
    #[must_use]
    pub fn versions_are_out_of_date(&self, at: &Established, tool_id: &str) -> bool {
        let Ok(versions) = self.versions.lock() else { return false };
        versions.get(&key(at, tool_id)).is_some_and(|snapshot| snapshot.began.is_none())
    }

    /// This process has deprecated the tool, or the version, of this id.
    pub fn note_deprecated(&self, at: &Established, id: &str) {
        if let Ok(mut deprecated) = self.deprecated.lock() {
            deprecated.retain(|_, since| since.elapsed() < DEPRECATION_SPREADS);
            deprecated.insert(key(at, id), Instant::now());
        }
    }

    /// Whether this process has deprecated it a short time ago, whatever the service still lists.
    #[must_use]
    pub fn was_deprecated(&self, at: &Established, id: &str) -> bool {
        let Ok(deprecated) = self.deprecated.lock() else { return false };
        deprecated.get(&key(at, id)).is_some_and(|since| since.elapsed() < DEPRECATION_SPREADS)
    }

    /// The tool was written, and how it is now is known.
    pub fn change_tool(&self, at: &Established, id: &str, change: impl FnOnce(&mut Tool)) {
        if let Ok(mut tools) = self.tools.lock()
            && let Some(Snapshot { value: Some(tool), .. }) = tools.get_mut(&key(at, id))
        {
            change(Arc::make_mut(tool));
        }
    }

    /// The tool was written: what was read of it no longer counts.
    pub fn forget_tool(&self, at: &Established, id: &str) {
        if let Ok(mut tools) = self.tools.lock() {
            tools.remove(&key(at, id));
        }
    }

    /// Versions were published or deprecated: what was read of them no longer counts as fresh.
    pub fn age_versions(&self, at: &Established, tool_id: &str) {
        if let Ok(mut versions) = self.versions.lock()
            && let Some(snapshot) = versions.get_mut(&key(at, tool_id))
        {
            snapshot.began = None;
        }
    }
}
