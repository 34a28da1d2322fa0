//! From an object to the Organization that it may use, and to a client that is signed in there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use super::Context;
use super::outcome::{Interrupt, Outcome, WAITING_LOOK};
use crate::amigo::{Client, Endpoint};
use crate::kubernetes::watch::{Key, key};
use crate::resources::organization::{AllowedNamespaces, NamespacesFrom};
use crate::resources::{Organization, Reason, Resource, Tool};

/// A connection that the Organization's controller has established.
#[derive(Clone)]
pub struct Established {
    /// Signed in, with the Organization's settings.
    pub client: Client,
    /// The remote organization.
    pub organization: String,
    /// Its endpoint.
    pub endpoint: String,
    /// The user that is signed in.
    pub user_id: String,
    /// Tells the credentials apart.
    pub fingerprint: String,
    /// How many outages of the service had ended by then.
    pub outages_ended: u64,
}

impl Established {
    /// Whether `next` can do what this could not: it has other credentials, or an outage has ended since.
    #[must_use]
    pub fn is_superseded_by(&self, next: &Self) -> bool {
        (&self.fingerprint, self.outages_ended) != (&next.fingerprint, next.outages_ended)
    }
}

#[cfg(test)]
impl Established {
    /// A connection whose calls reach nobody, for tests.
    pub(crate) fn for_tests(organization: &str, user_id: &str) -> Self {
        use crate::amigo::transport::{Bounds, Exchange, Transport, TransportError};
        use crate::amigo::{Amigo, ClientOptions, Credentials, NoObserver, Revision};

        #[derive(Debug)]
        struct Nobody;
        impl Transport for Nobody {
            fn send(&self, _: http::Request<bytes::Bytes>, _: Bounds) -> Exchange<'_> {
                Box::pin(async { Err(TransportError::NotSent("nobody is there".into())) })
            }
        }
        let clock = crate::clock::Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let amigo = Amigo::new(Arc::new(Nobody), clock, Arc::new(|| true), Arc::new(NoObserver));
        let endpoint = Endpoint::parse("https://api.amigo.ai").unwrap();
        let credentials = Credentials::new("key".into(), "key-id".into(), user_id.into()).unwrap();
        let options =
            ClientOptions { revision: Revision::Auto, mongo_cluster: None, budget_percent: 100, detected: None };
        Self {
            client: amigo.client(&amigo.account(&endpoint, organization), credentials, options),
            organization: organization.to_owned(),
            endpoint: endpoint.to_string(),
            user_id: user_id.to_owned(),
            fingerprint: String::new(),
            outages_ended: 0,
        }
    }
}

/// The connections of this process, by Organization. They outlive the Secret, so that clean-up can still be done while a
/// token lives.
#[derive(Default)]
pub struct Connections(Mutex<BTreeMap<Key, Established>>);

impl Connections {
    /// Notes a connection.
    pub fn set(&self, organization: Key, established: Established) {
        if let Ok(mut all) = self.0.lock() {
            all.insert(organization, established);
        }
    }

    /// The connection of an Organization.
    #[must_use]
    pub fn get(&self, organization: &Key) -> Option<Established> {
        self.0.lock().ok()?.get(organization).cloned()
    }

    /// The Organization is gone.
    pub fn remove(&self, organization: &Key) {
        if let Ok(mut all) = self.0.lock() {
            all.remove(organization);
        }
    }
}

/// How soon an object looks again whose write was refused. Not every object is woken by an edit of the Organization.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A client and the Organization that it belongs to.
#[derive(Clone)]
pub struct Connection {
    /// The Organization.
    pub object: Arc<Organization>,
    /// The client, signed in.
    pub established: Established,
}

impl Connection {
    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.established.client
    }

    /// The client for a write that is sent now, unless the Organization was edited since it was connected to so that it forbids the
    /// write or leads elsewhere. Who is refused looks again, and then says why.
    pub fn for_write(&self, ctx: &Context) -> Result<&Client, Outcome> {
        let (namespace, name) = key(&*self.object);
        if allows_the_same(&self.object, ctx.organizations.get(&namespace, &name).as_deref()) {
            return Ok(self.client());
        }
        Err(Outcome::Unchanged { again: LOOK_AGAIN })
    }
}

/// The key of the Organization that a Tool uses: its reference, or the default organization.
#[must_use]
pub fn organization_key(tool: &Tool, default: Option<&Key>) -> Option<Key> {
    let namespace = tool.namespace().unwrap_or_default();
    match &tool.spec.organization_ref {
        Some(reference) => Some((reference.namespace.clone().unwrap_or(namespace), reference.name.clone())),
        None => default.cloned(),
    }
}

/// Whether the Organization is there still, and nothing was edited that forbids a write or leads it elsewhere. That it is being
/// deleted, which raises its generation, is no reason: those who clean up need it.
fn allows_the_same(connected: &Organization, now: Option<&Organization>) -> bool {
    let Some(now) = now.filter(|now| now.metadata.uid == connected.metadata.uid) else { return false };
    let (before, after) = (&connected.spec, &now.spec);
    before.suspend == after.suspend
        && before.deprecation == after.deprecation
        && before.allowed_namespaces == after.allowed_namespaces
        && before.endpoint == after.endpoint
        && before.organization == after.organization
        && before.credentials_ref == after.credentials_ref
}

/// The Organization as the decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ready,
    /// Was Ready, and a change of its spec is not judged yet; or this process has not signed in yet.
    Unsettled,
    Suspended,
    NotReady,
}

fn standing(organization: &Organization, established: bool) -> Standing {
    let ready = organization.condition("Ready");
    let was_ready = ready.is_some_and(|c| c.status == "True");
    match (was_ready, organization.spec.suspend) {
        (false, _) => Standing::NotReady,
        (true, true) => Standing::Suspended,
        (true, false) if !organization.is_ready() || !established => Standing::Unsettled,
        (true, false) => Standing::Ready,
    }
}

/// Finds the Organization of `tool` and the connection to it; otherwise the outcome of whoever asks.
pub async fn connect(ctx: &Context, tool: &Tool) -> Result<Connection, Interrupt> {
    let Some(key) = organization_key(tool, ctx.settings.default_organization.as_ref()) else {
        let message = "`spec.organizationRef` is absent and the operator has no default organization; name one there";
        return Err(Outcome::waiting(Reason::OrganizationNotFound, message).into());
    };
    let name = format!("{}/{}", key.0, key.1);
    let Some(object) = ctx.organizations.get(&key.0, &key.1) else {
        let message = format!("Organization {name} does not exist; apply it, or correct `spec.organizationRef`");
        return Err(Outcome::waiting(Reason::OrganizationNotFound, message).into());
    };
    let namespace = tool.namespace().unwrap_or_default();
    if !is_allowed(ctx, &object, &namespace).await? {
        let message = format!(
            "Organization {name} does not allow Tools of namespace {namespace}; its owner does so with `spec.allowedNamespaces`"
        );
        return Err(Outcome::waiting(Reason::NamespaceNotAllowed, message).into());
    }
    let established = ctx.connections.get(&key);
    match (standing(&object, established.is_some()), established) {
        (Standing::Ready, Some(established)) => Ok(Connection { object, established }),
        (Standing::Ready | Standing::Unsettled, _) => Err(Outcome::Unchanged { again: WAITING_LOOK }.into()),
        (Standing::Suspended, _) => {
            let message = format!("Organization {name} is suspended");
            Err(Outcome::Suspended { message, edits: 0 }.into())
        }
        (Standing::NotReady, _) => {
            let why = object.condition("Ready").map(|c| format!(": {}", c.reason)).unwrap_or_default();
            let message = format!("Organization {name} is not ready{why}");
            Err(Outcome::waiting(Reason::OrganizationNotReady, message).into())
        }
    }
}

/// The Organization and the connection for cleaning up what is known by endpoint and organization only: any Organization
/// object that means the same and allows the namespace will do. A connection whose Secret is gone serves while its token
/// lives.
pub async fn connect_for_clean_up(
    ctx: &Context,
    namespace: &str,
    endpoint: Option<&str>,
    organization: Option<&str>,
) -> Result<Connection, Interrupt> {
    let mut obstacle = "no Organization leads to it any more".to_owned();
    for object in ctx.organizations.all() {
        let same_endpoint =
            Endpoint::parse(&object.spec.endpoint).is_ok_and(|e| Some(e.to_string().as_str()) == endpoint);
        if !same_endpoint || Some(object.spec.organization.as_str()) != organization {
            continue;
        }
        let name = object.describe();
        match ctx.connections.get(&key(&*object)) {
            _ if object.spec.suspend => obstacle = format!("{name} is suspended"),
            _ if !is_allowed(ctx, &object, namespace).await? => {
                obstacle = format!("{name} does not allow the namespace");
            }
            None => obstacle = format!("{name} is not ready"),
            Some(established) => return Ok(Connection { object, established }),
        }
    }
    let message = format!(
        "cannot be cleaned up remotely: {obstacle}; mend that, set `deletionPolicy: Retain`, or annotate \
         `amigo.ai/abandon: \"true\"` to let the object go"
    );
    Err(Outcome::waiting(Reason::DeletionBlocked, message).into())
}

/// Whether Tools of `namespace` may use the Organization. The own namespace always may.
async fn is_allowed(ctx: &Context, organization: &Organization, namespace: &str) -> Result<bool, Interrupt> {
    if organization.namespace().as_deref() == Some(namespace) {
        return Ok(true);
    }
    let AllowedNamespaces { from, selector } = &organization.spec.allowed_namespaces;
    match from {
        NamespacesFrom::Same => Ok(false),
        NamespacesFrom::All => Ok(true),
        NamespacesFrom::Selector => {
            let labels = ctx.namespace_labels(namespace).await?;
            Ok(selector.as_ref().is_some_and(|selector| selects(selector, &labels)))
        }
    }
}

/// Whether a label selector matches. One that cannot be read matches nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    use kube::core::SelectorExt;
    kube::core::Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::conditions::{State, Verdict, conditions};
    use crate::resources::ToolSpec;
    use crate::resources::organization::{Deprecation, LocalReference, OrganizationSpec, OrganizationStatus};
    use crate::resources::tool::OrganizationReference;
    use serde_json::json;

    fn organization(state: Option<State>, observed: i64, suspend: bool) -> Organization {
        let spec: OrganizationSpec =
            serde_json::from_value(json!({"organization": "acme", "credentialsRef": {"name": "key"}})).unwrap();
        assert_eq!(spec.credentials_ref, LocalReference { name: "key".into() });
        let mut organization = Organization::new("acme", OrganizationSpec { suspend, ..spec });
        organization.metadata.generation = Some(2);
        organization.status = state.map(|state| {
            let verdict = Verdict { state, reason: Reason::Succeeded, message: String::new() };
            OrganizationStatus {
                conditions: conditions(&[], &verdict, Some(observed), jiff::Timestamp::UNIX_EPOCH),
                ..OrganizationStatus::default()
            }
        });
        organization
    }

    #[test]
    fn judges_every_standing_of_an_organization() {
        let table = [
            (None, 2, false, true, Standing::NotReady),
            (Some(State::Stalled), 2, false, true, Standing::NotReady),
            (Some(State::Stalled), 2, true, true, Standing::NotReady),
            (Some(State::Ready), 2, true, true, Standing::Suspended),
            (Some(State::Ready), 1, false, true, Standing::Unsettled),
            (Some(State::Ready), 2, false, false, Standing::Unsettled),
            (Some(State::Ready), 2, false, true, Standing::Ready),
        ];
        for (state, observed, suspend, established, expected) in table {
            assert_eq!(standing(&organization(state, observed, suspend), established), expected, "{state:?}");
        }
    }

    #[test]
    fn a_write_goes_out_unless_its_organization_was_edited_to_forbid_it() {
        let edited = |edit: &dyn Fn(&mut Organization)| {
            let mut organization = organization(Some(State::Ready), 2, false);
            organization.metadata.uid = Some("one".into());
            edit(&mut organization);
            Some(organization)
        };
        let connected = edited(&|_| {}).unwrap();
        for (now, same) in [
            (edited(&|_| {}), true),
            (edited(&|it| it.metadata.generation = Some(3)), true),
            (edited(&|it| it.spec.budget_percent = 1), true),
            (edited(&|it| it.spec.suspend = true), false),
            (edited(&|it| it.spec.deprecation = Deprecation::Forbidden), false),
            (edited(&|it| it.spec.allowed_namespaces.from = NamespacesFrom::All), false),
            (edited(&|it| it.spec.endpoint = "https://other.example".into()), false),
            (edited(&|it| it.spec.organization = "other".into()), false),
            (edited(&|it| it.spec.credentials_ref.name = "other".into()), false),
            (edited(&|it| it.metadata.uid = Some("another".into())), false),
            (None, false),
        ] {
            assert_eq!(allows_the_same(&connected, now.as_ref()), same, "{now:?}");
        }
    }

    #[tokio::test]
    async fn each_organization_has_the_connection_that_it_established_last() {
        let connections = Connections::default();
        let key = |name: &str| ("travel".to_owned(), name.to_owned());
        let user = |name| connections.get(&key(name)).map(|established| established.user_id);
        connections.set(key("one"), Established::for_tests("acme", "before"));
        connections.set(key("one"), Established::for_tests("acme", "after"));
        connections.set(key("two"), Established::for_tests("acme", "other"));
        assert_eq!((user("one"), user("two"), user("three")), (Some("after".into()), Some("other".into()), None));
        connections.remove(&key("one"));
        assert_eq!((user("one"), user("two")), (None, Some("other".into())));
    }

    #[tokio::test]
    async fn a_connection_with_other_credentials_or_after_an_outage_can_do_what_the_one_before_could_not() {
        let now = Established::for_tests("acme", "user");
        assert!(!now.is_superseded_by(&now));
        assert!(now.is_superseded_by(&Established { fingerprint: "other".into(), ..now.clone() }));
        assert!(now.is_superseded_by(&Established { outages_ended: 1, ..now.clone() }));
    }

    #[test]
    fn a_tool_uses_its_reference_or_the_default() {
        let mut tool = Tool::new("weather", ToolSpec::default());
        tool.metadata.namespace = Some("travel".into());
        let default = ("platform".to_owned(), "acme".to_owned());
        assert_eq!(organization_key(&tool, Some(&default)), Some(default.clone()));
        assert_eq!(organization_key(&tool, None), None);
        tool.spec.organization_ref = Some(OrganizationReference { name: "own".into(), namespace: None });
        assert_eq!(organization_key(&tool, Some(&default)), Some(("travel".into(), "own".into())));
    }

    #[test]
    fn selectors_match_as_kubernetes_does() {
        let labels = BTreeMap::from([("team".to_owned(), "travel".to_owned())]);
        let selector = |json| serde_json::from_value::<LabelSelector>(json).unwrap();
        assert!(selects(&selector(json!({"matchLabels": {"team": "travel"}})), &labels));
        assert!(!selects(&selector(json!({"matchLabels": {"team": "food"}})), &labels));
        assert!(selects(
            &selector(json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["travel"]}]})),
            &labels
        ));
        assert!(selects(&selector(json!({})), &labels));
    }
}
