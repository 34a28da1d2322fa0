//! Reads that many share: tools by id go 20 to a call, and who asks for the same thing at the same time is served by one
//! read. A read serves only those who asked before it began.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::account::{Asking, Permit};
use super::client::Client;
use super::error::Error;
use super::operation::{Class, Operation};
use super::query::{ListTools, ListVersions};
use super::types::{Tool, ToolVersion};
use crate::scope;

/// Most ids of one call, and most tools of one answer.
pub const TOOLS_A_CALL: usize = 20;

/// How long the first who asks waits for others, when a person waits.
const GATHERING: Duration = Duration::from_millis(20);

/// How long the first id of the background waits for others. Resyncs are spread evenly, so that without this each would be
/// a call of its own.
const GATHERING_IN_BACKGROUND: Duration = Duration::from_secs(5);

const fn gathering(class: Class) -> Duration {
    match class {
        Class::Interactive | Class::Recovery => GATHERING,
        Class::Resync | Class::Rewrite => GATHERING_IN_BACKGROUND,
    }
}

/// Most pages of one list, so that a service that pages for ever is not followed.
const MOST_PAGES: usize = 2_000;

/// Most that a list may take in memory, in bytes, about: many times what any organization has.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// How often a list is read again because it changed while it was read.
const ATTEMPTS: usize = 3;

type Read<T> = Shared<BoxFuture<'static, Result<T, Error>>>;

pub type Found = Arc<BTreeMap<String, Tool>>;

/// The reads of one organization that have not begun yet.
#[derive(Default)]
pub struct Reads {
    batches: Mutex<Vec<Batch>>,
    sweeps: Open<Option<String>, Arc<Vec<Tool>>>,
    versions: Open<String, Vec<ToolVersion>>,
}

/// A call that gathers ids.
struct Batch {
    class: Class,
    /// `None` once it has begun.
    ids: Arc<Mutex<Option<BTreeSet<String>>>>,
    read: Read<Found>,
}

impl Batch {
    /// Whether it still gathers.
    fn is_open(&self) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the id in, unless the batch has begun, is less urgent or has no room.
    fn join(&self, id: &str, class: Class) -> Option<Read<Found>> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = ids.as_mut()?;
        let is_in = self.class <= class && ids.contains(id);
        let fits = self.class == class && ids.len() < TOOLS_A_CALL;
        if is_in || fits {
            ids.insert(id.to_owned());
            return Some(self.read.clone());
        }
        None
    }
}

impl Reads {
    /// One tool by id, with up to 19 others.
    pub async fn tool(&self, client: &Client, id: &str, class: Class) -> Result<Option<Tool>, Error> {
        let read = self.join_batch(client, id, class);
        Ok(read.await?.get(id).cloned())
    }

    /// These tools, in a call of their own.
    pub async fn tools(client: &Client, ids: BTreeSet<String>, class: Class) -> Result<Found, Error> {
        let turn = client.turn(Operation::ListTools, class).await?;
        by_ids(client, &ids, turn, class).await
    }

    /// The first batch that takes the id, or a new one.
    fn join_batch(&self, client: &Client, id: &str, class: Class) -> Read<Found> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.retain(|batch| batch.is_open() && batch.read.peek().is_none());
        if let Some(read) = batches.iter().find_map(|batch| batch.join(id, class)) {
            return read;
        }
        let ids = Arc::new(Mutex::new(Some(BTreeSet::from([id.to_owned()]))));
        let read = spawned(Operation::ListTools, read_batch(client.clone(), Arc::clone(&ids), class));
        batches.push(Batch { class, ids, read: read.clone() });
        read
    }

    /// All active tools; of them those with a tag of this key, if one is given.
    pub async fn sweep(&self, client: &Client, key: Option<&str>, class: Class) -> Result<Arc<Vec<Tool>>, Error> {
        let (client, key) = (client.clone(), key.map(str::to_owned));
        let operation = Operation::ListTools;
        let wanted = key.clone();
        let sweep = |begin: Begin<Option<String>, _>| async move {
            tokio::time::sleep(GATHERING).await;
            let turn = client.turn(operation, class).await;
            begin.now();
            let tags = wanted.iter().map(|key| format!("{key}:*")).collect();
            let has_it = |tool: &Tool| wanted.as_ref().is_none_or(|key| tool.tag(key).is_some());
            all_tools(&client, turn?, ListTools { tags, ..active_tools() }, class, has_it).await.map(Arc::new)
        };
        self.sweeps.join(key, class, operation, sweep).await
    }

    /// All versions of a tool.
    pub async fn versions(&self, client: &Client, tool_id: &str, asking: Asking) -> Result<Vec<ToolVersion>, Error> {
        let (client, id) = (client.clone(), tool_id.to_owned());
        let (operation, class) = (Operation::ListVersions, asking.class);
        let read = |begin: Begin<String, _>| async move {
            tokio::time::sleep(GATHERING).await;
            let turn = client.turn_of(operation, &asking).await;
            begin.now();
            all_versions(&client, turn?, &id, class).await
        };
        self.versions.join(tool_id.to_owned(), class, operation, read).await
    }
}

type Places<K, T> = Arc<Mutex<BTreeMap<(K, Class), Read<T>>>>;

/// Reads that have not begun, by what they read and how urgent they are.
struct Open<K, T>(Places<K, T>);

impl<K, T> Default for Open<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Begins a read: whoever asks from now on is not served by it.
struct Begin<K, T> {
    places: Places<K, T>,
    place: (K, Class),
}

impl<K: Ord, T> Begin<K, T> {
    fn now(self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

impl<K: Ord + Clone, T: Clone> Open<K, T> {
    /// Joins a read that is at least as urgent, or starts one.
    fn join<F>(&self, key: K, class: Class, operation: Operation, read: impl FnOnce(Begin<K, T>) -> F) -> Read<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + Sync + 'static,
    {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let urgent = places.range((key.clone(), Class::Interactive)..=(key.clone(), class)).map(|(_, read)| read);
        // One that has ended without beginning was given up.
        if let Some(open) = urgent.into_iter().find(|read| read.peek().is_none()) {
            return open.clone();
        }
        let place = (key, class);
        let read = spawned(operation, read(Begin { places: Arc::clone(&self.0), place: place.clone() }));
        places.insert(place, read.clone());
        read
    }
}

/// A read in a task of its own: whoever asked first may go away without taking the answer from the others.
fn spawned<T: Clone + Send + Sync + 'static>(
    operation: Operation,
    read: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Read<T> {
    let task = tokio::spawn(scope::carried(read));
    let lost = move || Error::Unknown { operation, text: "the read was given up".into() };
    async move { task.await.unwrap_or_else(|_| Err(lost())) }.boxed().shared()
}

async fn read_batch(client: Client, ids: Arc<Mutex<Option<BTreeSet<String>>>>, class: Class) -> Result<Found, Error> {
    tokio::time::sleep(gathering(class)).await;
    // While the call waits for its turn, further ids may still come along; taking them closes the batch.
    let turn = client.turn(Operation::ListTools, class).await;
    let ids = ids.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    by_ids(&client, &ids, turn?, class).await
}

/// Tools by id; those that are not active are looked for among the deprecated ones.
async fn by_ids(client: &Client, ids: &BTreeSet<String>, turn: Permit, class: Class) -> Result<Found, Error> {
    let query = |ids: Vec<String>, deprecated| ListTools { ids, deprecated, limit: 20, ..ListTools::default() };
    let mut found: BTreeMap<String, Tool> = BTreeMap::new();
    let all: Vec<String> = ids.iter().cloned().collect();
    let asked_for =
        |tools: Vec<Tool>| tools.into_iter().filter(|tool| ids.contains(&tool.id)).map(|tool| (tool.id.clone(), tool));
    found.extend(asked_for(client.list_tools_with(turn, &query(all, None), class).await?.tools));
    let missing: Vec<String> = ids.iter().filter(|id| !found.contains_key(*id)).cloned().collect();
    if !missing.is_empty() {
        let turn = client.account.acquire(Operation::ListTools, class).await;
        found.extend(asked_for(client.list_tools_with(turn, &query(missing, Some(true)), class).await?.tools));
    }
    Ok(Arc::new(found))
}

/// What lists all active tools, in an order that later pages keep.
pub fn active_tools() -> ListTools {
    ListTools { deprecated: Some(false), sort_by: vec!["+name".into()], limit: 20, ..ListTools::default() }
}

/// All pages of a list of tools, the first by a turn that was waited for before, and of them what is to be kept. Paging is by offset, so that a list that
/// changes meanwhile can repeat or skip entries. The further pages wait for their turn however long that takes: a read that
/// gave up between two pages would have used the budget for nothing, and would never end where there are more pages than
/// calls in a minute.
pub async fn all_tools(
    client: &Client,
    mut turn: Permit,
    mut query: ListTools,
    class: Class,
    keep: impl Fn(&Tool) -> bool,
) -> Result<Vec<Tool>, Error> {
    let mut all: BTreeMap<String, Tool> = BTreeMap::new();
    let mut bytes = 0;
    for _ in 0..MOST_PAGES {
        let page = client.list_tools_with(turn, &query, class).await?;
        let count = page.tools.len();
        let kept = page.tools.into_iter().filter(&keep).inspect(|tool| bytes += tool.size());
        all.extend(kept.map(|tool| (tool.id.clone(), tool)));
        if bytes > MOST_BYTES {
            return Err(Error::Unreadable { operation: Operation::ListTools, text: TOO_LARGE.into() });
        }
        match next_offset(page.has_more, page.continuation_token, query.continuation_token, count) {
            Next::Page(offset) => query.continuation_token = offset,
            Next::End => return Ok(all.into_values().collect()),
            Next::Nonsense => break,
        }
        turn = client.account.acquire(Operation::ListTools, class).await;
    }
    Err(Error::Unreadable { operation: Operation::ListTools, text: "its pages have no end".into() })
}

/// All versions of a tool: read again when a version came twice, as then another may have been skipped. A list that never
/// holds still is no answer, as whatever is missing from it would count as not there.
async fn all_versions(client: &Client, turn: Permit, tool_id: &str, class: Class) -> Result<Vec<ToolVersion>, Error> {
    let operation = Operation::ListVersions;
    let mut turn = Some(turn);
    for _ in 0..ATTEMPTS {
        let first = match turn.take() {
            Some(turn) => turn,
            None => client.account.acquire(operation, class).await,
        };
        if let Some(versions) = version_pages(client, first, tool_id, class).await? {
            return Ok(versions);
        }
    }
    Err(Error::Unreadable { operation, text: "it changes while it is read".into() })
}

/// One pass over all versions; `None` when one came twice. Sorted by number, so that new ones come last and do not move those
/// that are read already.
async fn version_pages(
    client: &Client,
    mut turn: Permit,
    tool_id: &str,
    class: Class,
) -> Result<Option<Vec<ToolVersion>>, Error> {
    let sort_by = ["+version.major", "+version.minor", "+version.patch"].map(str::to_owned).to_vec();
    let mut query = ListVersions { sort_by, limit: 50, ..ListVersions::default() };
    let mut all: BTreeMap<String, ToolVersion> = BTreeMap::new();
    let mut bytes = 0;
    for _ in 0..MOST_PAGES {
        let page = client.list_versions_with(turn, tool_id, &query, class).await?;
        let count = page.tool_versions.len();
        for version in page.tool_versions {
            bytes += version.size();
            if bytes > MOST_BYTES {
                return Err(Error::Unreadable { operation: Operation::ListVersions, text: TOO_LARGE.into() });
            }
            if all.insert(version.id.clone(), version).is_some() {
                return Ok(None);
            }
        }
        match next_offset(page.has_more, page.continuation_token, query.continuation_token, count) {
            Next::Page(offset) => query.continuation_token = offset,
            Next::End => return Ok(Some(all.into_values().collect())),
            Next::Nonsense => break,
        }
        turn = client.account.acquire(Operation::ListVersions, class).await;
    }
    Err(Error::Unreadable { operation: Operation::ListVersions, text: "its pages have no end".into() })
}

const TOO_LARGE: &str = "it is larger than any list can be";

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Page(u64),
    End,
    /// There should be more, and nothing says where.
    Nonsense,
}

/// Where the next page begins: as the service says, and only ever further on.
fn next_offset(has_more: bool, told: Option<u64>, current: u64, count: usize) -> Next {
    if !has_more {
        return Next::End;
    }
    match told.or_else(|| (count > 0).then(|| current + count as u64)) {
        Some(next) if next > current => Next::Page(next),
        _ => Next::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_only_go_forward() {
        for (has_more, token, current, count, next) in [
            (false, Some(20), 0, 20, Next::End),
            (true, Some(20), 0, 20, Next::Page(20)),
            (true, None, 20, 20, Next::Page(40)),
            (true, Some(20), 20, 20, Next::Nonsense),
            (true, None, 20, 0, Next::Nonsense),
        ] {
            assert_eq!(next_offset(has_more, token, current, count), next, "{token:?}");
        }
    }
}
