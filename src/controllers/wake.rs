//! Who is looked at when something changes. For each kind: what of an object matters to itself, what matters to others, and
//! which others. A status that only repeats itself wakes nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::Context;
use super::connection::organization_key;
use crate::kubernetes::queue::Queue;
use crate::kubernetes::secrets::References;
use crate::kubernetes::watch::{Change, Key, key};
use crate::resources::{Organization, Resource, Tool, ToolEnvSecret, ToolVersion};

/// Index entry of the Tools that name no Organization.
pub const DEFAULT_ORGANIZATION: &str = "organization-default";

/// Index entry of the objects that use an Organization.
#[must_use]
pub fn by_organization(namespace: &str, name: &str) -> String {
    format!("organization/{namespace}/{name}")
}

/// Index entry of the objects that belong to a Tool.
#[must_use]
pub fn by_tool(namespace: &str, name: &str) -> String {
    format!("tool/{namespace}/{name}")
}

/// Index entry of the Tools of one remote name.
#[must_use]
pub fn by_remote_name(name: &str) -> String {
    format!("remote/{name}")
}

/// Index entry of the objects of a namespace.
#[must_use]
pub fn by_namespace(namespace: &str) -> String {
    format!("namespace/{namespace}")
}

/// Index entry of the objects that read a Secret.
#[must_use]
pub fn by_secret(namespace: &str, name: &str) -> String {
    format!("secret/{namespace}/{name}")
}

/// Index entries of an Organization.
#[must_use]
pub fn organization_entries(organization: &Organization) -> Vec<String> {
    organization_secrets(organization).iter().map(|(namespace, name)| by_secret(namespace, name)).collect()
}

/// Index entries of a Tool.
#[must_use]
pub fn tool_entries(tool: &Tool) -> Vec<String> {
    let organization = match organization_key(tool, None) {
        Some((namespace, name)) => by_organization(&namespace, &name),
        None => DEFAULT_ORGANIZATION.to_owned(),
    };
    vec![organization, by_remote_name(&tool.remote_name()), by_namespace(&tool.namespace().unwrap_or_default())]
}

/// Index entries of a ToolVersion.
#[must_use]
pub fn version_entries(version: &ToolVersion) -> Vec<String> {
    vec![by_tool(&version.namespace().unwrap_or_default(), &version.spec.tool_ref.name)]
}

/// Index entries of a ToolEnvSecret.
#[must_use]
pub fn variables_entries(variables: &ToolEnvSecret) -> Vec<String> {
    let tool = by_tool(&variables.namespace().unwrap_or_default(), &variables.spec.tool_ref.name);
    let secrets = variables_secrets(variables);
    std::iter::once(tool).chain(secrets.iter().map(|(namespace, name)| by_secret(namespace, name))).collect()
}

/// The Secrets that an Organization reads.
#[must_use]
pub fn organization_secrets(organization: &Organization) -> BTreeSet<Key> {
    [(organization.namespace().unwrap_or_default(), organization.spec.credentials_ref.name.clone())].into()
}

/// The Secrets that a ToolEnvSecret reads.
#[must_use]
pub fn variables_secrets(variables: &ToolEnvSecret) -> BTreeSet<Key> {
    let namespace = variables.namespace().unwrap_or_default();
    let keys = variables.spec.env.iter().filter_map(|e| e.value_from.as_ref()).map(|from| &from.secret_key_ref.name);
    let whole = variables.spec.env_from.iter().map(|from| &from.secret_ref.name);
    keys.chain(whole).map(|name| (namespace.clone(), name.clone())).collect()
}

/// Whether an object itself is looked at: its status alone is the operator's own doing.
fn concerns_itself<K: Resource>(change: &Change<K>) -> bool {
    let view = |object: &K| {
        let meta = object.meta();
        let finalizers = object.finalizers().to_vec();
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some(), object.annotations().clone(), finalizers)
    };
    match (&change.old, &change.new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => view(old) != view(new),
    }
}

/// Whether somebody else changed the object, as the answer to a write of ours shows: the watch may tell of that no more.
#[must_use]
pub fn is_edited<K: Resource>(change: &Change<K>) -> bool {
    differs(change, |object| {
        let meta = object.meta();
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some(), object.annotations().clone())
    })
}

/// Whether what `view` shows of an object changed, appeared or went.
fn differs<K, V: PartialEq>(change: &Change<K>, view: impl Fn(&K) -> V) -> bool {
    change.old.as_deref().map(&view) != change.new.as_deref().map(&view)
}

/// The state of a condition, for views.
fn judged<K: Resource>(object: &K) -> Option<(String, String)> {
    object.condition("Ready").map(|c| (c.status.clone(), c.reason.clone()))
}

fn of<K>(change: &Change<K>) -> Option<&std::sync::Arc<K>> {
    change.new.as_ref().or(change.old.as_ref())
}

/// Keeps up which Secrets are referred to: also on a standby, which must know them when it takes over.
pub fn follow_secrets<K>(references: &References, change: &Change<K>, secrets: fn(&K) -> BTreeSet<Key>) {
    let of = |object: Option<&std::sync::Arc<K>>| object.map(|object| secrets(object)).unwrap_or_default();
    references.update(&of(change.old.as_ref()), &of(change.new.as_ref()));
}

impl Context {
    /// A term of leadership begins: everything is looked at.
    pub fn wake_everything(&self) {
        for object in self.organizations.all() {
            self.queues.organizations.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
        for object in self.tools.all() {
            self.queues.tools.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
        for object in self.versions.all() {
            self.queues.versions.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
        for object in self.variables.all() {
            self.queues.variables.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }

    /// Whether the object is to be looked at because of its own change. That its status changes is the end of a visit and no
    /// reason for another, unless it is not what the visit has left: somebody else wrote it, or a write whose answer was
    /// lost has arrived, or the visit began from a cache that was behind and found nothing to write.
    fn calls_for_a_look<K: Resource>(&self, change: &Change<K>) -> bool {
        let surprises = |new: &K| {
            let status =
                new.status().filter(|status| change.old.as_ref().and_then(|old| old.status()) != Some(*status));
            status.is_some_and(|status| self.memory.surprises(&new.uid().unwrap_or_default(), status))
        };
        concerns_itself(change) || change.new.as_deref().is_some_and(surprises)
    }

    /// The object that has changed is looked at, if that is called for. Nothing is remembered of one that is gone, and it waits
    /// nowhere.
    fn look_at<K: Resource>(&self, change: &Change<K>, queue: &Queue) {
        if let (Some(old), None) = (&change.old, &change.new) {
            let uid = old.uid().unwrap_or_default();
            self.memory.forget(&uid);
            self.places.give_up(&uid);
        }
        if let Some(object) = change.new.as_deref().filter(|_| self.calls_for_a_look(change)) {
            queue.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }

    /// An Organization changed.
    pub fn organization_changed(&self, change: &Change<Organization>) {
        self.look_at(change, &self.queues.organizations);
        self.tell_others_of_organization(change);
    }

    /// Those whom a change of an Organization concerns are looked at.
    pub fn tell_others_of_organization(&self, change: &Change<Organization>) {
        let Some(object) = of(change) else { return };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let view = |o: &Organization| {
            (
                o.metadata.generation,
                o.metadata.deletion_timestamp.is_some(),
                judged(o),
                o.is_ready(),
                o.annotations().clone(),
            )
        };
        if differs(change, view) {
            self.wake_tools_of_organization(&namespace, &name);
        }
    }

    /// The Tools that use an Organization.
    pub fn tools_of_organization(&self, namespace: &str, name: &str) -> Vec<Arc<Tool>> {
        let mut tools = self.tools.by(&by_organization(namespace, name));
        if self.settings.default_organization.as_ref().is_some_and(|(ns, n)| ns == namespace && n == name) {
            tools.extend(self.tools.by(DEFAULT_ORGANIZATION));
        }
        tools
    }

    /// Whatever failed under an Organization, perhaps again and again, is tried again at once. Objects without a Tool may
    /// belong there as well.
    pub fn try_all_again(&self, namespace: &str, name: &str) {
        let tools = self.tools_of_organization(namespace, name);
        let keys: BTreeSet<Key> = tools.iter().map(|tool| key(&**tool)).collect();
        let belongs = |namespace: Option<String>, tool: &str| {
            let place = (namespace.unwrap_or_default(), tool.to_owned());
            keys.contains(&place) || self.tools.get(&place.0, &place.1).is_none()
        };
        for tool in &tools {
            self.try_again(&self.queues.tools, &**tool);
        }
        for version in self.versions.all() {
            if belongs(version.namespace(), &version.spec.tool_ref.name) {
                self.try_again(&self.queues.versions, &*version);
            }
        }
        for variables in self.variables.all() {
            if belongs(variables.namespace(), &variables.spec.tool_ref.name) {
                self.try_again(&self.queues.variables, &*variables);
            }
        }
    }

    fn try_again<K: Resource>(&self, queue: &Queue, object: &K) {
        let uid = object.uid().unwrap_or_default();
        self.memory.succeeded(&uid);
        self.memory.succeeded(&super::tool_version::refusals(&uid));
        queue.push(&object.namespace().unwrap_or_default(), &object.name_any());
    }

    /// Everything under an Organization is looked at.
    fn wake_tools_of_organization(&self, namespace: &str, name: &str) {
        for tool in self.tools_of_organization(namespace, name) {
            let (namespace, name) = (tool.namespace().unwrap_or_default(), tool.name_any());
            self.queues.tools.push(&namespace, &name);
            self.wake_dependants_of_tool(&namespace, &name);
        }
    }

    /// A Tool changed.
    pub fn tool_changed(&self, change: &Change<Tool>) {
        self.look_at(change, &self.queues.tools);
        self.tell_others_of_tool(change);
    }

    /// Those whom a change of a Tool concerns are looked at.
    pub fn tell_others_of_tool(&self, change: &Change<Tool>) {
        let Some(object) = of(change) else { return };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let view = |t: &Tool| {
            let id = t.status.as_ref().and_then(|s| s.tool_id.clone());
            (t.uid(), id, t.is_stalled(), t.metadata.deletion_timestamp.is_some(), t.metadata.generation)
        };
        if differs(change, view) {
            self.wake_dependants_of_tool(&namespace, &name);
        }
        if change.new.is_none() || object.metadata.deletion_timestamp.is_some() {
            self.wake_rivals_of_tool(object);
        }
        if change.new.is_none() || concerns_itself(change) {
            self.wake_going_organizations();
        }
    }

    /// The ToolVersions and ToolEnvSecrets of a Tool are looked at.
    pub fn wake_dependants_of_tool(&self, namespace: &str, name: &str) {
        self.wake_versions_of_tool(namespace, name);
        for variables in self.variables.by(&by_tool(namespace, name)) {
            self.queues.variables.push(namespace, &variables.name_any());
        }
    }

    /// The ToolVersions of a Tool are looked at.
    pub fn wake_versions_of_tool(&self, namespace: &str, name: &str) {
        for version in self.versions.by(&by_tool(namespace, name)) {
            self.queues.versions.push(namespace, &version.name_any());
        }
    }

    fn wake_rivals_of_tool(&self, tool: &Tool) {
        for rival in self.tools.by(&by_remote_name(&tool.remote_name())) {
            self.queues.tools.push(&rival.namespace().unwrap_or_default(), &rival.name_any());
        }
    }

    /// A ToolVersion changed.
    pub fn version_changed(&self, change: &Change<ToolVersion>) {
        self.look_at(change, &self.queues.versions);
        self.tell_others_of_version(change);
    }

    /// Those whom a change of a ToolVersion concerns are looked at.
    pub fn tell_others_of_version(&self, change: &Change<ToolVersion>) {
        let Some(object) = of(change) else { return };
        let namespace = object.namespace().unwrap_or_default();
        let view = |v: &ToolVersion| {
            let status = v.status.clone().unwrap_or_default();
            let at = (v.uid(), v.metadata.generation, v.metadata.deletion_timestamp.is_some());
            (at, status.version_id, status.publish.is_some(), status.deprecated, v.is_stalled())
        };
        if differs(change, view) {
            self.wake_dependants_of_tool(&namespace, &object.spec.tool_ref.name);
            self.queues.tools.push(&namespace, &object.spec.tool_ref.name);
        }
        // Another object may have its name, where the watch has missed something.
        if let Some(old) =
            change.old.as_deref().filter(|old| change.new.as_ref().is_none_or(|new| new.uid() != old.uid()))
        {
            super::tool_version::gone(old, self);
        }
        if change.new.is_none() || concerns_itself(change) {
            self.wake_going_organizations();
        }
    }

    /// A ToolEnvSecret changed.
    pub fn variables_changed(&self, change: &Change<ToolEnvSecret>) {
        self.look_at(change, &self.queues.variables);
        self.tell_others_of_variables(change);
    }

    /// Those whom a change of a ToolEnvSecret concerns are looked at.
    pub fn tell_others_of_variables(&self, change: &Change<ToolEnvSecret>) {
        let Some(object) = of(change) else { return };
        let namespace = object.namespace().unwrap_or_default();
        let view = |v: &ToolEnvSecret| {
            let status = v.status.clone().unwrap_or_default();
            let at = (v.uid(), v.metadata.generation, v.metadata.deletion_timestamp.is_some());
            (at, judged(v), status.observed_generation, status.variables)
        };
        if differs(change, view) {
            self.wake_dependants_of_tool(&namespace, &object.spec.tool_ref.name);
        }
        if change.new.is_none() || concerns_itself(change) {
            self.wake_going_organizations();
        }
    }

    /// Organizations that are being deleted wait for objects that use them.
    fn wake_going_organizations(&self) {
        for organization in self.organizations.all() {
            if organization.metadata.deletion_timestamp.is_some() {
                self.queues.organizations.push(&organization.namespace().unwrap_or_default(), &organization.name_any());
            }
        }
    }

    /// A Secret changed, appeared or went.
    pub fn secret_changed(&self, namespace: &str, name: &str) {
        let entry = by_secret(namespace, name);
        for organization in self.organizations.by(&entry) {
            self.queues.organizations.push(namespace, &organization.name_any());
        }
        for variables in self.variables.by(&entry) {
            self.queues.variables.push(namespace, &variables.name_any());
        }
    }

    /// A namespace's labels may have changed.
    pub fn namespace_changed(&self, namespace: &str) {
        for tool in self.tools.by(&by_namespace(namespace)) {
            if tool.spec.organization_ref.as_ref().is_none_or(|r| r.namespace.is_some()) {
                self.queues.tools.push(namespace, &tool.name_any());
                self.wake_dependants_of_tool(namespace, &tool.name_any());
            }
        }
    }
}
