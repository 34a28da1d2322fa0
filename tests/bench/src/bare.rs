//! The floor: a client that makes the unavoidable calls of a fleet, in order, and nothing else. It decides nothing, watches
//! nothing and checks nothing, so that no operator can be quicker with as many requests under way.
//!
//! Unavoidable, per object: the finalizer before the first remote write, what is about to be done before it is done, the
//! outcome; a Secret's value; the create, the variables and the publish; the list of versions before a publish and after it.

use std::sync::Arc;

use amigo_operator::clock::Clock;
use amigo_operator::kubernetes::conditions::{State, Verdict, conditions};
use amigo_operator::resources::tool_env_secret::{SyncedSecret, SyncedVariable, Visibility};
use amigo_operator::resources::tool_version::PublishIntent;
use amigo_operator::resources::{
    CommonStatus, Reason, Resource, Tool, ToolEnvSecret, ToolEnvSecretStatus, ToolStatus, ToolVersion,
    ToolVersionStatus,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Result;
use crate::fleet::{name, remote_name};
use crate::world::{ACME, NAMESPACE, World};

/// As many requests to Kubernetes as the operator has under way at most.
const AT_ONCE: usize = 32;

/// The client. It has the operator's rights: what it costs the API server to check them is unavoidable.
pub(crate) struct Bare {
    kubernetes: Client,
    http: reqwest::Client,
    endpoint: String,
    token: String,
}

impl Bare {
    /// Signs in.
    pub(crate) async fn sign_in(world: &World) -> Result<Arc<Self>> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let account = amigo_operator::sandbox::Account::default();
        let answer = http
            .post(format!("{}/v1/{ACME}/user/signin_with_api_key", world.endpoint()))
            .header("x-api-key", account.api_key)
            .header("x-api-key-id", account.api_key_id)
            .header("x-user-id", account.user_id)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let token = answer["id_token"].as_str().ok_or("no token")?.to_owned();
        let kubernetes = world.operators_client().await?;
        Ok(Arc::new(Self { kubernetes, http, endpoint: world.endpoint(), token }))
    }

    /// Brings each member that is told of to Ready, until no more are told of.
    pub(crate) async fn serve(self: Arc<Self>, mut members: mpsc::UnboundedReceiver<usize>) -> Result<()> {
        let (places, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        while let Some(n) = members.recv().await {
            let place = Arc::clone(&places).acquire_owned().await?;
            let this = Arc::clone(&self);
            tasks.spawn(async move {
                let served = this.one(n).await;
                drop(place);
                served
            });
        }
        while let Some(served) = tasks.join_next().await {
            served??;
        }
        Ok(())
    }

    async fn one(&self, n: usize) -> Result<()> {
        let id = self.tool(n).await?;
        self.variables(n, &id).await?;
        self.version(n, &id).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}/v1/{ACME}/tool/{path}", self.endpoint);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
    }

    async fn finalizer<K: Resource>(&self, n: usize) -> Result<K> {
        let api: Api<K> = Api::namespaced(self.kubernetes.clone(), NAMESPACE);
        let patch = json!({"metadata": {"finalizers": ["amigo.ai/finalizer"]}});
        Ok(api.patch(&name(n), &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    async fn status<K: Resource>(&self, object: &K, mut status: K::Status, reason: Reason) -> Result<K> {
        let state = if reason == Reason::Succeeded { State::Ready } else { State::Reconciling };
        let message = "as the manifest says, more or less".to_owned();
        let generation = object.meta().generation;
        let verdict = Verdict { state, reason, message };
        status.set_conditions(conditions(&[], &verdict, generation, Clock::System.now()));
        status.set_observed_generation(generation);
        let mut next = object.clone();
        next.set_status(status);
        let api: Api<K> = Api::namespaced(self.kubernetes.clone(), NAMESPACE);
        Ok(api.replace_status(&object.name_any(), &PostParams::default(), &next).await?)
    }

    async fn tool(&self, n: usize) -> Result<String> {
        let object: Tool = self.finalizer(n).await?;
        let status = ToolStatus {
            organization: Some(ACME.into()),
            endpoint: Some(self.endpoint.clone()),
            name: Some(remote_name(n)),
            ..ToolStatus::default()
        };
        let object = self.status(&object, status.clone(), Reason::Progressing).await?;
        let tags = json!({"kubernetes_owner": format!("{n:032x}"), "kubernetes_resource": "bench", "team": "travel"});
        let body = json!({"name": remote_name(n), "description": object.spec.description, "tags": tags});
        let answer = self.call(Method::POST, "", Some(body)).await?;
        let id = answer["id"].as_str().ok_or("no id")?.to_owned();
        let status = ToolStatus { tool_id: Some(id.clone()), active_versions: Some(0), ..status };
        self.status(&object, status, Reason::Succeeded).await?;
        Ok(id)
    }

    async fn variables(&self, n: usize, id: &str) -> Result<()> {
        let object: ToolEnvSecret = self.finalizer(n).await?;
        let secrets: Api<Secret> = Api::namespaced(self.kubernetes.clone(), NAMESPACE);
        let secret = secrets.get(&name(n)).await?;
        let value = secret.data.as_ref().and_then(|data| data.get("TOKEN")).ok_or("no value")?;
        let named = |name: &str, visibility| SyncedVariable { name: name.into(), visibility };
        let status = ToolEnvSecretStatus {
            organization: Some(ACME.into()),
            endpoint: Some(self.endpoint.clone()),
            tool_id: Some(id.to_owned()),
            variables: vec![named("TOKEN", Visibility::Secret), named("UNITS", Visibility::Plain)],
            ..ToolEnvSecretStatus::default()
        };
        let object = self.status(&object, status.clone(), Reason::Progressing).await?;
        let inserts = json!([
            {"name": "TOKEN", "value": String::from_utf8_lossy(&value.0), "is_secret": true},
            {"name": "UNITS", "value": "metric", "is_secret": false},
        ]);
        self.call(Method::POST, &format!("{id}/envvar"), Some(json!({"inserts": inserts}))).await?;
        let state = SyncedSecret {
            name: name(n),
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
        };
        let status = ToolEnvSecretStatus {
            last_sync_time: Some(Clock::System.now().to_string()),
            synced_generation: object.metadata.generation,
            synced_secrets: vec![state],
            ..status
        };
        self.status(&object, status, Reason::Succeeded).await?;
        Ok(())
    }

    async fn version(&self, n: usize, id: &str) -> Result<()> {
        let object: ToolVersion = self.finalizer(n).await?;
        let path = format!("{id}/version");
        self.call(Method::GET, &path, None).await?;
        let intent = PublishIntent {
            attempt: 1,
            start_time: Clock::System.now().to_string(),
            known_versions: Vec::new(),
            expected_version: Some("1.0.0".into()),
            user_id: Some("demo-user".into()),
        };
        let status = ToolVersionStatus {
            organization: Some(ACME.into()),
            endpoint: Some(self.endpoint.clone()),
            tool_id: Some(id.to_owned()),
            publish: Some(intent),
            ..ToolVersionStatus::default()
        };
        let object = self.status(&object, status.clone(), Reason::Publishing).await?;
        let body = json!({"branch": "main", "project_path": object.spec.project_path, "bump_type": "major"});
        self.call(Method::POST, &path, Some(body)).await?;
        let list = self.call(Method::GET, &path, None).await?;
        let version = &list["tool_versions"][0];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let status = ToolVersionStatus {
            version: Some("1.0.0".into()),
            version_id: text(&version["id"]),
            commit: text(&version["tool_commit_hash"]),
            created_time: text(&version["created_at"]),
            creator: text(&version["creator"]["user_id"]),
            deprecated: Some(false),
            publish: None,
            ..status
        };
        self.status(&object, status, Reason::Succeeded).await?;
        Ok(())
    }
}
