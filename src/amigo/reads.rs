//! Reads that many share: tools by id go 20 to a call, and who asks for the same thing at the same time is served by one
//! read. A read serves only those who asked before it began.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::client::Client;
use super::error::Error;
use super::operation::{Class, Operation};
use super::query::{ListTools, ListVersions};
use super::types::{Tool, ToolVersion};

/// Most ids of one call.
const IDS_A_CALL: usize = 20;

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

/// How often a list is read again because it changed while it was read.
const ATTEMPTS: usize = 3;

type Read<T> = Shared<BoxFuture<'static, Result<T, Error>>>;

/// A read of all active tools.
type Sweep = Read<Arc<Vec<Tool>>>;

type Found = Arc<BTreeMap<String, Tool>>;

/// The reads of one organization that have not begun yet.
#[derive(Default)]
pub struct Reads {
    batches: Mutex<BTreeMap<Class, Batch>>,
    sweep: Arc<Mutex<Option<Sweep>>>,
    versions: Arc<Mutex<BTreeMap<String, Read<Vec<ToolVersion>>>>>,
}

struct Batch {
    ids: Arc<Mutex<Option<BTreeSet<String>>>>,
    read: Read<Found>,
}

impl Reads {
    /// One tool by id, with up to 19 others.
    pub async fn tool(&self, client: &Client, id: &str, class: Class) -> Result<Option<Tool>, Error> {
        let read = self.join_batch(client, id, class);
        Ok(read.await?.get(id).cloned())
    }

    /// The batch of the class that gathers ids now; a full one, or one that has begun, is replaced.
    fn join_batch(&self, client: &Client, id: &str, class: Class) -> Read<Found> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = batches.get(&class) {
            let mut ids = open.ids.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(ids) = ids.as_mut().filter(|ids| ids.len() < IDS_A_CALL || ids.contains(id)) {
                ids.insert(id.to_owned());
                return open.read.clone();
            }
        }
        let ids = Arc::new(Mutex::new(Some(BTreeSet::from([id.to_owned()]))));
        let read = spawned(read_batch(client.clone(), Arc::clone(&ids), class));
        batches.insert(class, Batch { ids, read: read.clone() });
        read
    }

    /// All active tools.
    pub async fn sweep(&self, client: &Client, class: Class) -> Result<Arc<Vec<Tool>>, Error> {
        let slot = Arc::clone(&self.sweep);
        let client = client.clone();
        let read = {
            let mut waiting = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
            waiting
                .get_or_insert_with(|| {
                    spawned(async move {
                        tokio::time::sleep(GATHERING).await;
                        slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let query = ListTools {
                            deprecated: Some(false),
                            sort_by: vec!["+name".into()],
                            limit: 20,
                            ..ListTools::default()
                        };
                        all_tools(&client, query, class).await.map(Arc::new)
                    })
                })
                .clone()
        };
        read.await
    }

    /// All versions of a tool.
    pub async fn versions(&self, client: &Client, tool_id: &str, class: Class) -> Result<Vec<ToolVersion>, Error> {
        let slot = Arc::clone(&self.versions);
        let (client, id) = (client.clone(), tool_id.to_owned());
        let read = {
            let mut waiting = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            waiting
                .entry(tool_id.to_owned())
                .or_insert_with(|| {
                    spawned(async move {
                        tokio::time::sleep(GATHERING).await;
                        slot.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                        all_versions(&client, &id, class).await
                    })
                })
                .clone()
        };
        read.await
    }
}

/// A read in a task of its own: whoever asked first may go away without taking the answer from the others.
fn spawned<T: Clone + Send + Sync + 'static>(read: impl Future<Output = Result<T, Error>> + Send + 'static) -> Read<T> {
    let task = tokio::spawn(read);
    let lost = || Error::Unknown { operation: Operation::ListTools, text: "the read was given up".into() };
    async move { task.await.unwrap_or_else(|_| Err(lost())) }.boxed().shared()
}

async fn read_batch(client: Client, ids: Arc<Mutex<Option<BTreeSet<String>>>>, class: Class) -> Result<Found, Error> {
    tokio::time::sleep(gathering(class)).await;
    // While the call waits for its turn, further ids may still come along; taking them closes the batch.
    let turn = client.turn(Operation::ListTools, class).await;
    let ids = ids.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let query = |ids: Vec<String>, deprecated| ListTools { ids, deprecated, limit: 20, ..ListTools::default() };
    let mut found: BTreeMap<String, Tool> = BTreeMap::new();
    let all: Vec<String> = ids.iter().cloned().collect();
    let asked_for =
        |tools: Vec<Tool>| tools.into_iter().filter(|tool| ids.contains(&tool.id)).map(|tool| (tool.id.clone(), tool));
    found.extend(asked_for(client.list_tools_with(turn?, &query(all, None), class).await?.tools));
    let missing: Vec<String> = ids.iter().filter(|id| !found.contains_key(*id)).cloned().collect();
    if !missing.is_empty() {
        found.extend(asked_for(client.list_tools(&query(missing, Some(true)), class).await?.tools));
    }
    Ok(Arc::new(found))
}

/// All pages of a list of tools. Paging is by offset, so that a list that changes meanwhile can repeat or skip entries.
pub async fn all_tools(client: &Client, mut query: ListTools, class: Class) -> Result<Vec<Tool>, Error> {
    let mut all: BTreeMap<String, Tool> = BTreeMap::new();
    for _ in 0..MOST_PAGES {
        let page = client.list_tools(&query, class).await?;
        let count = page.tools.len();
        all.extend(page.tools.into_iter().map(|tool| (tool.id.clone(), tool)));
        match next_offset(page.has_more, page.continuation_token.as_ref(), query.continuation_token, count) {
            Next::Page(offset) => query.continuation_token = offset,
            Next::End => return Ok(all.into_values().collect()),
            Next::Nonsense => break,
        }
    }
    Err(Error::Unreadable { operation: Operation::ListTools, text: "its pages have no end".into() })
}

/// All versions of a tool: read again when a version came twice, as then another may have been skipped.
async fn all_versions(client: &Client, tool_id: &str, class: Class) -> Result<Vec<ToolVersion>, Error> {
    for attempt in 1..=ATTEMPTS {
        let (versions, shifted) = version_pages(client, tool_id, class).await?;
        if !shifted || attempt == ATTEMPTS {
            return Ok(versions);
        }
    }
    Err(Error::Unreadable { operation: Operation::ListVersions, text: "it changes while it is read".into() })
}

async fn version_pages(client: &Client, tool_id: &str, class: Class) -> Result<(Vec<ToolVersion>, bool), Error> {
    let mut query = ListVersions { limit: 50, ..ListVersions::default() };
    let mut all: BTreeMap<String, ToolVersion> = BTreeMap::new();
    let mut shifted = false;
    for _ in 0..MOST_PAGES {
        let page = client.list_versions(tool_id, &query, class).await?;
        let count = page.tool_versions.len();
        for version in page.tool_versions {
            shifted |= all.insert(version.id.clone(), version).is_some();
        }
        match next_offset(page.has_more, page.continuation_token.as_ref(), query.continuation_token, count) {
            Next::Page(offset) => query.continuation_token = offset,
            Next::End => return Ok((all.into_values().collect(), shifted)),
            Next::Nonsense => break,
        }
    }
    Err(Error::Unreadable { operation: Operation::ListVersions, text: "its pages have no end".into() })
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Page(u64),
    End,
    /// There should be more, and nothing says where.
    Nonsense,
}

/// Where the next page begins: as the service says, and only ever further on.
fn next_offset(has_more: bool, token: Option<&serde_json::Value>, current: u64, count: usize) -> Next {
    if !has_more {
        return Next::End;
    }
    let told = token.and_then(|token| token.as_u64().or_else(|| token.as_str()?.parse().ok()));
    match told.or_else(|| (count > 0).then(|| current + count as u64)) {
        Some(next) if next > current => Next::Page(next),
        _ => Next::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_only_go_forward() {
        for (has_more, token, current, count, next) in [
            (false, json!(20), 0, 20, Next::End),
            (true, json!(20), 0, 20, Next::Page(20)),
            (true, json!("40"), 20, 20, Next::Page(40)),
            (true, json!(null), 20, 20, Next::Page(40)),
            (true, json!(20), 20, 20, Next::Nonsense),
            (true, json!(null), 20, 0, Next::Nonsense),
        ] {
            assert_eq!(next_offset(has_more, Some(&token), current, count), next, "{token}");
        }
    }
}
