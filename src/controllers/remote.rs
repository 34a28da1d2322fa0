//! What this process last read of the service, by organization and tool, so that several objects share one read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Established;
use crate::amigo::types::{CreateTool, Tag, Tool, ToolVersion};
use crate::amigo::{self, Asking, Class};

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
    marks: Mutex<Marks>,
}

/// Which marks the tools of an organization carry.
#[derive(Debug, Default)]
struct Marks {
    /// By endpoint and organization: when they were read, and what was found.
    found: BTreeMap<(String, String), (Instant, BTreeSet<String>)>,
    /// Those that this process has set, or tried to, as keys.
    sent: BTreeSet<Key>,
}

/// How long a mark that was not found counts as absent: nobody but this process sets it, and that it knows of. What somebody
/// sets by hand meets the name, which is taken, at the latest. Thousands of tools take hours to create, and reading all marks
/// in between would hold them up. Twelve hours.
const ABSENT_FOR: Duration = Duration::from_secs(43_200);

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

    /// The tool as last read, however long ago; `None` where it was not read yet, or written since.
    #[must_use]
    pub fn known_tool(&self, at: &Established, id: &str) -> Option<Option<Arc<Tool>>> {
        known(&self.tools, &key(at, id))
    }

    /// The tool was read, together with others, from this time on. Whether that says something new: the first read does, and
    /// one that does not find it.
    pub fn read_tool(&self, at: &Established, id: &str, tool: Option<&Tool>, began: Instant) -> bool {
        let same = |known: Option<Arc<Tool>>| known.filter(|known| Some(&**known) == tool);
        let known = self.known_tool(at, id).and_then(same);
        let is_news = known.is_none();
        // The one that is there stays: a copy of it would take as much again for a while.
        let value = known.or_else(|| tool.cloned().map(Arc::new));
        keep(&self.tools, key(at, id), &value, began);
        is_news
    }

    /// All versions of the tool, from a read that began at most `age` ago; and whether they differ from the list before.
    pub async fn versions(
        &self,
        at: &Established,
        tool_id: &str,
        age: Duration,
        asking: Asking,
    ) -> Result<(Arc<Vec<ToolVersion>>, bool), amigo::Error> {
        if let Some(snapshot) = young(&self.versions, &key(at, tool_id), age) {
            return Ok((snapshot, false));
        }
        let began = Instant::now();
        let mut versions = at.client.versions(tool_id, asking).await?;
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

    /// The tool was created just now: how it is is known, and that it has no versions.
    pub fn made_tool(&self, at: &Established, id: &str, sent: &CreateTool) {
        let tags = sent.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() });
        let tool = Tool {
            id: id.to_owned(),
            org_id: at.organization.clone(),
            name: sent.name.clone(),
            description: sent.description.clone(),
            deprecated: false,
            envvars: Vec::new(),
            secret_envvars: Vec::new(),
            tags: tags.collect(),
        };
        let now = Instant::now();
        keep(&self.tools, key(at, id), &Some(Arc::new(tool)), now);
        keep(&self.versions, key(at, id), &Arc::default(), now);
    }

    /// All tools of the organization that carry a mark were read, from this time on.
    pub fn note_marks<'m>(&self, at: &Established, began: Instant, marks: impl Iterator<Item = &'m str>) {
        if let Ok(mut all) = self.marks.lock() {
            let found = marks.map(|mark| mark.trim().to_owned()).collect();
            all.found.insert((at.endpoint.clone(), at.organization.clone()), (began, found));
        }
    }

    /// This process is about to set the mark.
    pub fn sends_mark(&self, at: &Established, mark: &str) {
        if let Ok(mut all) = self.marks.lock() {
            all.sent.insert(key(at, mark));
        }
    }

    /// Whether it is known that no tool carries the mark. `false` says nothing.
    #[must_use]
    pub fn lacks_mark(&self, at: &Established, mark: &str) -> bool {
        let Ok(all) = self.marks.lock() else { return false };
        let found = all.found.get(&(at.endpoint.clone(), at.organization.clone()));
        let absent = found.is_some_and(|(began, marks)| began.elapsed() < ABSENT_FOR && !marks.contains(mark));
        absent && !all.sent.contains(&key(at, mark))
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(organization: &str) -> Established {
        Established::for_tests(organization, "me")
    }

    fn tool(name: &str) -> Tool {
        Tool { id: "a".into(), name: name.into(), ..Tool::for_tests() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_serves_until_it_is_too_old() {
        let (snapshots, key) = (Snapshots::<u32>::default(), key(&at("acme"), "a"));
        assert_eq!((young(&snapshots, &key, MINUTE), known(&snapshots, &key)), (None, None));
        keep(&snapshots, key.clone(), &7, Instant::now());
        for (age, served) in [(Duration::ZERO, None), (MINUTE, Some(7))] {
            assert_eq!(young(&snapshots, &key, age), served, "{age:?}");
        }
        tokio::time::advance(MINUTE.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(young(&snapshots, &key, MINUTE), Some(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((young(&snapshots, &key, MINUTE), known(&snapshots, &key)), (None, Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_a_change_when_it_differs_from_the_one_before() {
        let (snapshots, here) = (Snapshots::<u32>::default(), key(&at("acme"), "a"));
        for (value, changed) in [(7, true), (7, false), (8, true), (7, true)] {
            assert_eq!(keep(&snapshots, here.clone(), &value, Instant::now()), changed, "{value}");
        }
        for elsewhere in [key(&at("acme"), "b"), key(&at("other"), "a")] {
            assert!(keep(&snapshots, elsewhere, &7, Instant::now()), "what is read elsewhere is another thing");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_says_something_new_unless_it_finds_the_tool_as_it_was() {
        let (remote, at) = (Remote::default(), at("acme"));
        assert_eq!(remote.known_tool(&at, "a"), None, "it was not read yet");
        for (read, is_news) in [
            (Some("weather"), true),
            (Some("weather"), false),
            (Some("renamed"), true),
            (None, true),
            (None, true),
            (Some("renamed"), true),
        ] {
            let read = read.map(tool);
            assert_eq!(remote.read_tool(&at, "a", read.as_ref(), Instant::now()), is_news, "{read:?}");
            assert_eq!(remote.known_tool(&at, "a").map(|known| known.as_deref().cloned()), Some(read));
        }
        assert_eq!(remote.known_tool(&at, "b"), None, "another tool");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_was_made_is_as_it_was_sent_and_has_no_versions() {
        let (remote, at) = (Remote::default(), at("acme"));
        let tags = [("team".to_owned(), Some("travel".to_owned()))].into();
        let sent = CreateTool { name: "weather".into(), description: "text".into(), tags };
        remote.made_tool(&at, "a", &sent);
        let made = young(&remote.tools, &key(&at, "a"), MINUTE).flatten().unwrap();
        assert_eq!((made.id.as_str(), made.name.as_str(), made.description.as_str()), ("a", "weather", "text"));
        assert!(made.tag("team") == Some(Some("travel")) && !made.deprecated && made.org_id == "acme");
        assert!(remote.known_versions(&at, "a").is_some_and(|versions| versions.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn versions_that_changed_since_are_known_and_out_of_date_until_the_next_read() {
        let (remote, at) = (Remote::default(), at("acme"));
        let read = || keep(&remote.versions, key(&at, "a"), &Arc::default(), Instant::now());
        remote.age_versions(&at, "a");
        assert!(!remote.versions_are_out_of_date(&at, "a"), "nothing was read yet");
        assert!(remote.known_versions(&at, "a").is_none());
        read();
        assert!(!remote.versions_are_out_of_date(&at, "a"));
        remote.age_versions(&at, "b");
        assert!(!remote.versions_are_out_of_date(&at, "a"));
        remote.age_versions(&at, "a");
        assert!(remote.versions_are_out_of_date(&at, "a"));
        assert!(remote.known_versions(&at, "a").is_some_and(|versions| versions.is_empty()));
        assert!(young(&remote.versions, &key(&at, "a"), MINUTE).is_none());
        read();
        assert!(!remote.versions_are_out_of_date(&at, "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_deprecated_stays_so_while_the_service_may_still_list_it() {
        let (remote, acme, other) = (Remote::default(), at("acme"), at("other"));
        remote.note_deprecated(&acme, "a");
        assert!(remote.was_deprecated(&acme, "a"));
        assert!(!remote.was_deprecated(&acme, "b") && !remote.was_deprecated(&other, "a"));
        tokio::time::advance(DEPRECATION_SPREADS.saturating_sub(Duration::from_secs(1))).await;
        remote.note_deprecated(&acme, "b");
        assert!(remote.was_deprecated(&acme, "a") && remote.was_deprecated(&acme, "b"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!remote.was_deprecated(&acme, "a") && remote.was_deprecated(&acme, "b"));
        remote.note_deprecated(&acme, "c");
        let kept: Vec<_> = remote.deprecated.lock().unwrap().keys().map(|(_, _, id)| id.clone()).collect();
        assert_eq!(kept, ["b", "c"], "what has lapsed takes no room");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_known_to_be_absent_only_where_it_was_looked_for_and_not_set() {
        let (remote, acme, other) = (Remote::default(), at("acme"), at("other"));
        assert!(!remote.lacks_mark(&acme, "a"), "nobody has looked");
        remote.sends_mark(&acme, "sent before");
        remote.note_marks(&acme, Instant::now(), [" found ", "another"].into_iter());
        remote.sends_mark(&acme, "sent after");
        let absent = |mark: &str| remote.lacks_mark(&acme, mark);
        assert!(absent("a") && !absent("found") && !absent("sent before") && !absent("sent after"));
        assert!(!remote.lacks_mark(&other, "a"));
        tokio::time::advance(ABSENT_FOR).await;
        assert!(!absent("a"), "that is long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_was_written_is_changed_in_place_or_read_again() {
        let (remote, at) = (Remote::default(), at("acme"));
        let name = || known(&remote.tools, &key(&at, "a")).flatten().map(|tool| tool.name.clone());
        remote.change_tool(&at, "a", |tool| tool.name = "nothing to change".into());
        assert_eq!(name(), None);
        keep(&remote.tools, key(&at, "a"), &Some(Arc::new(tool("before"))), Instant::now());
        remote.change_tool(&at, "a", |tool| tool.name = "after".into());
        remote.change_tool(&at, "b", |tool| tool.name = "another's".into());
        assert_eq!(name().as_deref(), Some("after"));
        remote.forget_tool(&at, "b");
        assert!(name().is_some());
        remote.forget_tool(&at, "a");
        assert!(name().is_none());
    }
}
