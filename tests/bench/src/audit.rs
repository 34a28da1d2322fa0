//! What a user asked of the API server, from its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::Result;

/// The audit log of a control plane, as far as one user is concerned.
pub(crate) struct Audit {
    pub log: PathBuf,
    pub user: String,
}

/// Requests by `verb resource`.
pub(crate) type Requests = BTreeMap<String, u64>;

#[derive(Deserialize)]
struct Line {
    verb: String,
    user: User,
    #[serde(rename = "objectRef")]
    object: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: Option<String>,
    subresource: Option<String>,
}

impl Audit {
    /// The end of the log now.
    pub(crate) fn mark(&self) -> Result<u64> {
        Ok(self.log.metadata()?.len())
    }

    /// What the user asked for since the mark.
    pub(crate) fn since(&self, mark: u64) -> Result<Requests> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(mark))?;
        let mut requests = Requests::new();
        for line in BufReader::new(file).lines() {
            let line = line?;
            if !line.contains(&self.user) {
                continue;
            }
            // The last line may not be whole yet.
            let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
            if line.user.username == self.user {
                *requests.entry(name(&line)).or_default() += 1;
            }
        }
        Ok(requests)
    }
}

fn name(line: &Line) -> String {
    let object = line.object.as_ref();
    let resource = object.and_then(|object| object.resource.as_deref()).unwrap_or("-");
    let subresource = object.and_then(|object| object.subresource.as_deref());
    match subresource {
        Some(subresource) => format!("{} {resource}/{subresource}", line.verb),
        None => format!("{} {resource}", line.verb),
    }
}

/// How many requests change something of this resource.
pub(crate) fn writes(requests: &Requests, resource: &str) -> u64 {
    let changes = |name: &str| {
        let (verb, of) = name.split_once(' ').unwrap_or_default();
        let kind = of.split('/').next().unwrap_or_default();
        !matches!(verb, "get" | "list" | "watch") && kind == resource
    };
    requests.iter().filter(|(name, _)| changes(name)).map(|(_, count)| count).sum()
}

/// How many requests change anything but the leader's lease.
pub(crate) fn all_writes(requests: &Requests) -> u64 {
    let resources = ["tools", "toolenvsecrets", "toolversions", "organizations", "events"];
    resources.into_iter().map(|resource| writes(requests, resource)).sum()
}
