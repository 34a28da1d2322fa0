//! The controllers, one folder a kind: observe ▸ decide ▸ act ▸ status. What is decided is in `decide.rs`, without I/O.

pub mod connection;
pub mod deprecate;
pub mod deprecations;
pub mod driver;
pub mod ending;
pub mod memory;
pub mod organization;
pub mod outcome;
pub mod ownership;
pub mod patrol;
pub mod places;
pub mod remote;
pub mod tool;
pub mod tool_env_secret;
pub mod tool_version;
pub mod wake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio_util::task::TaskTracker;

use self::connection::{Connections, Established, organization_key};
use self::deprecations::Ledger;
use self::driver::Kind;
use self::memory::Memory;
use self::outcome::{Interrupt, of_failed_read};
use self::patrol::Periods;
use self::places::Places;
use self::remote::Remote;
use self::tool_env_secret::sent::Sent;
use self::tool_version::publishes::Publishes;
use crate::amigo::types::{Tool as RemoteTool, ToolVersion as RemoteVersion};
use crate::amigo::{self, AllowedEndpoints, Amigo, Asking, Claim, Class, Operation, Place, Wake};
use crate::clock::Clock;
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::Leadership;
use crate::kubernetes::namespaces::Labels;
use crate::kubernetes::object::{self, MayWrite, bounded};
use crate::kubernetes::queue::{self, Queue};
use crate::kubernetes::secrets;
use crate::kubernetes::watch::{Cache, Key};
use crate::operator::metrics::Metrics;
use crate::operator::traces::Traces;
use crate::resources::{Organization, Resource, Tool, ToolEnvSecret, ToolVersion};

/// What the controllers must know of the installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Goes into the mark of every tool.
    pub owner_id: String,
    /// The Organization of Tools that name none.
    pub default_organization: Option<Key>,
    /// Where an Organization may point.
    pub allowed_endpoints: AllowedEndpoints,
    /// Whether only Secrets that are labelled for it may be read.
    pub only_labelled_secrets: bool,
}

/// One queue a kind.
#[derive(Clone)]
pub struct Queues {
    /// Organizations to look at.
    pub organizations: Queue,
    /// Tools to look at.
    pub tools: Queue,
    /// ToolVersions to look at.
    pub versions: Queue,
    /// ToolEnvSecrets to look at.
    pub variables: Queue,
}

/// The ends of the queues that the controllers read.
pub struct Requests {
    /// Organizations to look at.
    pub organizations: queue::Requests,
    /// Tools to look at.
    pub tools: queue::Requests,
    /// ToolVersions to look at.
    pub versions: queue::Requests,
    /// ToolEnvSecrets to look at.
    pub variables: queue::Requests,
}

impl Queues {
    /// The queues and the ends that the controllers read.
    #[must_use]
    pub fn new() -> (Self, Requests) {
        let (organizations, of_organizations) = Queue::new();
        let (tools, of_tools) = Queue::new();
        let (versions, of_versions) = Queue::new();
        let (variables, of_variables) = Queue::new();
        (
            Self { organizations, tools, versions, variables },
            Requests {
                organizations: of_organizations,
                tools: of_tools,
                versions: of_versions,
                variables: of_variables,
            },
        )
    }
}

/// Everything that the controllers of one term of leadership share. A new term starts with a new one.
pub struct Context {
    /// For calls to the API server.
    pub client: Client,
    /// The remote API.
    pub amigo: Arc<Amigo>,
    /// The time of day.
    pub clock: Clock,
    /// The installation.
    pub settings: Settings,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Events in the operator's name.
    pub events: Publisher,
    /// What is counted.
    pub metrics: Metrics,
    /// What is traced.
    pub traces: Traces,
    /// The Organizations.
    pub organizations: Cache<Organization>,
    /// The Tools.
    pub tools: Cache<Tool>,
    /// The ToolVersions.
    pub versions: Cache<ToolVersion>,
    /// The ToolEnvSecrets.
    pub variables: Cache<ToolEnvSecret>,
    /// The labels of the namespaces.
    pub namespaces: Labels,
    /// The states of the Secrets.
    pub secrets: secrets::States,
    /// Who is looked at next.
    pub queues: Queues,
    /// Signed-in clients by Organization.
    pub connections: Connections,
    /// What was last read of the service.
    pub remote: Remote,
    /// What is remembered of objects.
    pub memory: Memory,
    /// The periods of the resync that fit into the budgets.
    pub periods: Periods,
    /// Where objects wait for calls.
    pub places: Places,
    /// The brake on deprecations.
    pub deprecations: Ledger,
    /// Publishes in flight.
    pub publishes: Publishes,
    /// Variables that were sent.
    pub sent: Sent,
    /// Tasks that a shutdown waits for.
    pub tasks: TaskTracker,
}

impl Context {
    /// Asked before every write to the API server.
    #[must_use]
    pub fn may_write(&self) -> MayWrite {
        let leadership = self.leadership.clone();
        Arc::new(move || leadership.is_leader())
    }

    /// A place in the queue for a call. Namespaces take turns, and the object is woken when its turn comes.
    #[must_use]
    pub fn claim<K: Resource>(&self, object: &K, at: &Established, operation: Operation, class: Class) -> Claim {
        let (key, account) = (place_key(object, operation), at.client.account());
        let party = object.namespace().unwrap_or_default();
        let claim = account.claim(operation, class, &party, &key, self.waker(object));
        if let Claim::Queued { .. } = claim {
            self.places.taken(&object.uid().unwrap_or_default(), account, operation, &key);
        }
        claim
    }

    /// Reads a Secret, if it may be read.
    pub async fn read_secret(&self, namespace: &str, name: &str) -> Result<secrets::Found, object::Error> {
        secrets::read(&self.client, namespace, name, self.settings.only_labelled_secrets).await
    }

    /// All versions of a tool, from a read that began at most `age` ago, and whether they differ from the list before. Where the
    /// read must wait for long the object keeps a place, and is woken when its turn comes.
    pub async fn list_versions<K: Resource>(
        &self,
        object: &K,
        at: &Established,
        tool_id: &str,
        age: Duration,
        class: Class,
    ) -> Result<(Arc<Vec<RemoteVersion>>, bool), Interrupt> {
        let operation = Operation::ListVersions;
        let read = self.remote.versions(at, tool_id, age, self.asking(object, operation, class)).await;
        self.kept(object, at, operation, read).map_err(|error| of_failed_read(error, class))
    }

    /// The active tools with a tag, read on behalf of an object as above.
    pub async fn tools_with_tag<K: Resource>(
        &self,
        object: &K,
        at: &Established,
        (key, value): (&str, &str),
        class: Class,
    ) -> Result<Vec<RemoteTool>, amigo::Error> {
        let operation = Operation::ListTools;
        let asking = self.asking(object, operation, class);
        self.kept(object, at, operation, at.client.tools_with_tag(key, value, asking).await)
    }

    fn asking<K: Resource>(&self, object: &K, operation: Operation, class: Class) -> Asking {
        let (party, key) = (object.namespace().unwrap_or_default(), place_key(object, operation));
        Asking { class, place: Some(Place { party, key, wake: self.waker(object) }) }
    }

    /// Notes the place that a read which must wait has left behind.
    fn kept<K: Resource, T>(
        &self,
        object: &K,
        at: &Established,
        operation: Operation,
        read: Result<T, amigo::Error>,
    ) -> Result<T, amigo::Error> {
        if let Err(amigo::Error::Queued { .. }) = read {
            let key = place_key(object, operation);
            self.places.taken(&object.uid().unwrap_or_default(), at.client.account(), operation, &key);
        }
        read
    }

    /// Wakes the object.
    #[must_use]
    pub fn waker<K: Resource>(&self, object: &K) -> Wake {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let kind = K::kind(&()).into_owned();
        let queues = self.queues.clone();
        Arc::new(move || queues.push(&kind, &namespace, &name))
    }

    /// A call for the object failed: its Organization looks into what concerns everybody.
    pub fn call_failed<K: Resource>(&self, object: &K, error: &amigo::Error) {
        let namespace = object.namespace().unwrap_or_default();
        let Some(tool) = self.tool_of(object).and_then(|name| self.tools.get(&namespace, &name)) else { return };
        let Some(organization) = organization_key(&tool, self.settings.default_organization.as_ref()) else { return };
        let is_look_due = || self.connections.get(&organization).is_some_and(|at| at.client.account().is_look_due());
        if matches!(error, amigo::Error::CredentialsRefused { .. }) || is_look_due() {
            self.queues.organizations.push(&organization.0, &organization.1);
        }
    }

    /// The name of the Tool that an object is or belongs to.
    fn tool_of<K: Resource>(&self, object: &K) -> Option<String> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        match K::kind(&()).as_ref() {
            "Tool" => Some(name),
            "ToolVersion" => self.versions.get(&namespace, &name).map(|version| version.spec.tool_ref.name.clone()),
            "ToolEnvSecret" => {
                self.variables.get(&namespace, &name).map(|variables| variables.spec.tool_ref.name.clone())
            }
            _ => None,
        }
    }

    /// The Organization that a Tool uses is looked at.
    pub fn wake_organization_of_tool(&self, namespace: &str, name: &str) {
        let default = self.settings.default_organization.as_ref();
        let organization = self.tools.get(namespace, name).and_then(|tool| organization_key(&tool, default));
        if let Some((namespace, name)) = organization {
            self.queues.organizations.push(&namespace, &name);
        }
    }

    /// The labels of a namespace, read from the server where namespaces are not watched.
    pub async fn namespace_labels(&self, namespace: &str) -> Result<BTreeMap<String, String>, object::Error> {
        if let Some(labels) = self.namespaces.of(namespace) {
            return Ok(labels);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = bounded(api.get_metadata_opt(namespace)).await?;
        Ok(found.and_then(|namespace| namespace.metadata.labels).unwrap_or_default())
    }
}

/// Tells the places of one operation apart.
fn place_key<K: Resource>(object: &K, operation: Operation) -> String {
    format!("{}/{}", object.uid().unwrap_or_default(), operation.as_str())
}

impl Queues {
    fn push(&self, kind: &str, namespace: &str, name: &str) {
        match kind {
            "Organization" => self.organizations.push(namespace, name),
            "Tool" => self.tools.push(namespace, name),
            "ToolVersion" => self.versions.push(namespace, name),
            "ToolEnvSecret" => self.variables.push(namespace, name),
            _ => {}
        }
    }
}

/// Runs the four controllers and the resync until the process steps down and drops them.
pub async fn run(ctx: Arc<Context>, requests: Requests) {
    tokio::join!(
        run_kind(Arc::clone(&ctx), ctx.organizations.clone(), requests.organizations),
        run_kind(Arc::clone(&ctx), ctx.tools.clone(), requests.tools),
        run_kind(Arc::clone(&ctx), ctx.versions.clone(), requests.versions),
        run_kind(Arc::clone(&ctx), ctx.variables.clone(), requests.variables),
        patrol::run(&ctx),
    );
}

async fn run_kind<K: Kind>(ctx: Arc<Context>, cache: Cache<K>, requests: queue::Requests) {
    let look = |(namespace, name): Key| {
        let object = cache.get(&namespace, &name);
        let ctx = Arc::clone(&ctx);
        async move {
            match object {
                Some(object) => driver::reconcile(object, ctx).await,
                // Gone, or not seen yet: the watch brings it when it is there.
                None => None,
            }
        }
    };
    queue::run(requests, ctx.metrics.queue(&K::kind(&())), look).await;
}
