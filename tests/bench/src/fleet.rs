//! Many objects: Tools, each with a Secret, a ToolEnvSecret and a ToolVersion.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use amigo_operator::resources::{Tool, ToolEnvSecret, ToolVersion};

use crate::Result;
use crate::world::NAMESPACE;

/// How many requests the person who applies has under way.
const APPLIED_AT_ONCE: usize = 16;

/// So many tools and what belongs to each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub size: usize,
    /// Of each Secret, in bytes.
    pub secret_bytes: usize,
    /// Whether there are ToolEnvSecrets.
    pub variables: bool,
    /// Whether there are ToolVersions.
    pub versions: bool,
}

/// A member of a fleet, by number.
pub(crate) fn name(n: usize) -> String {
    format!("tool-{n:05}")
}

/// Its remote name.
pub(crate) fn remote_name(n: usize) -> String {
    format!("tool_{n:05}")
}

impl Fleet {
    /// Everything of each.
    pub(crate) fn whole(size: usize) -> Self {
        Self { size, secret_bytes: 64, variables: true, versions: true }
    }

    /// How many objects of the operator's kinds.
    pub(crate) fn objects(&self) -> usize {
        self.size * (1 + usize::from(self.variables) + usize::from(self.versions))
    }

    /// Makes everything, as one `kubectl apply` of a folder would, and tells `made` of each as soon as it is there.
    pub(crate) async fn apply(self, client: &Client, made: impl Fn(usize) + Sync) -> Result<()> {
        let made = &made;
        stream::iter(0..self.size)
            .map(|n| async move {
                self.apply_one(client, n).await?;
                made(n);
                Ok(())
            })
            .buffer_unordered(APPLIED_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn apply_one(self, client: &Client, n: usize) -> Result<()> {
        if self.variables {
            create::<Secret>(client, self.secret(n, "first")).await?;
        }
        create::<Tool>(client, tool(n)).await?;
        if self.variables {
            create::<ToolEnvSecret>(client, variables(n)).await?;
        }
        if self.versions {
            create::<ToolVersion>(client, version(n)).await?;
        }
        Ok(())
    }

    fn secret(self, n: usize, value: &str) -> Value {
        let padding = "x".repeat(self.secret_bytes.saturating_sub(value.len()));
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name(n), "namespace": NAMESPACE},
            "stringData": {"TOKEN": format!("{value}{padding}")},
        })
    }

    /// Gives the Secret of one another value.
    pub(crate) async fn rotate(self, client: &Client, n: usize, value: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        let patch = json!({"stringData": {"TOKEN": self.secret(n, value)["stringData"]["TOKEN"]}});
        secrets.patch(&name(n), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

fn tool(n: usize) -> Value {
    let spec = json!({
        "organizationRef": {"name": "acme"}, "description": format!("Tool {n} of a fleet, which does one thing well."),
        "tags": [{"key": "team", "value": "travel"}],
    });
    object("Tool", &name(n), &spec)
}

fn variables(n: usize) -> Value {
    let source = json!({"secretKeyRef": {"name": name(n), "key": "TOKEN"}});
    let env = json!([{"name": "UNITS", "value": "metric"}, {"name": "TOKEN", "valueFrom": source}]);
    object("ToolEnvSecret", &name(n), &json!({"toolRef": {"name": name(n)}, "env": env}))
}

/// The first version of one.
pub(crate) fn version(n: usize) -> Value {
    let spec = json!({"toolRef": {"name": name(n)}, "version": "1.0.0", "projectPath": format!("tools/{}", name(n))});
    object("ToolVersion", &name(n), &spec)
}

/// Creates one object.
pub(crate) async fn create<K>(client: &Client, object: Value) -> Result<Arc<K>>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(Arc::new(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?))
}
