//! The control address: JSON resources over the methods of [`Sandbox`]. `docs/sandbox.md` lists them.

use axum::extract::{Path, Query, State as Extracted};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ControlError, Done, NewTool, NewVersion, ToolEdit, view};
use crate::sandbox::Sandbox;
use crate::sandbox::faults::Fault;
use crate::sandbox::operation::Operation;
use crate::sandbox::settings::Settings;
use crate::sandbox::state::{Project, User};

type Handle = Extracted<Sandbox>;
type Two = Path<(String, String)>;
type Three = Path<(String, String, String)>;

/// The routes.
pub(in crate::sandbox) fn router(sandbox: Sandbox) -> Router {
    let organizations = Router::new()
        .route("/", put(put_organization).delete(remove_organization))
        .route("/tokens", delete(end_tokens))
        .route("/usage", post(use_up))
        .route("/keys/{id}", put(put_key).delete(revoke_key))
        .route("/users/{id}", put(put_user).delete(remove_user))
        .route("/projects/{*path}", put(put_project).delete(remove_project))
        .route("/tools", get(tools).post(add_tool))
        .route("/tools/{tool}", get(tool).put(edit_tool).delete(remove_tool))
        .route("/tools/{tool}/versions", post(add_version))
        .route("/tools/{tool}/versions/{versions}", put(deprecate_versions).delete(remove_versions));
    Router::new()
        .route("/state", get(|Extracted(sandbox): Handle| async move { Json(sandbox.snapshot()) }))
        .route("/settings", get(settings).put(change_settings))
        .route("/counters", get(|Extracted(sandbox): Handle| async move { Json(sandbox.counters()) }))
        .route("/requests", get(requests).delete(forget_requests))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .nest("/organizations/{organization}", organizations)
        .with_state(sandbox)
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

const DONE: StatusCode = StatusCode::NO_CONTENT;

async fn settings(Extracted(sandbox): Handle) -> Json<Settings> {
    Json(sandbox.settings())
}

/// Changes the settings that the body names.
async fn change_settings(Extracted(sandbox): Handle, Json(body): Json<Value>) -> Done<Json<Settings>> {
    let (Ok(mut merged), Some(given)) = (serde_json::to_value(sandbox.settings()), body.as_object()) else {
        return Err(ControlError::Invalid("settings are a JSON object".to_owned()));
    };
    for (name, value) in given {
        merged[name] = value.clone();
    }
    let changed: Settings = serde_json::from_value(merged).map_err(|error| ControlError::Invalid(error.to_string()))?;
    sandbox.change_settings(|settings| *settings = changed);
    Ok(Json(sandbox.settings()))
}

#[derive(Deserialize)]
#[serde(default)]
struct Shown {
    limit: usize,
    bodies: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { limit: 100, bodies: false }
    }
}

async fn requests(Extracted(sandbox): Handle, Query(shown): Query<Shown>) -> Response {
    let requests = if shown.bodies { sandbox.requests_with_bodies(shown.limit) } else { sandbox.requests(shown.limit) };
    Json(requests).into_response()
}

async fn forget_requests(Extracted(sandbox): Handle) -> StatusCode {
    sandbox.forget_requests();
    DONE
}

async fn faults(Extracted(sandbox): Handle) -> Json<Value> {
    Json(view::faults(&sandbox.state()))
}

async fn add_fault(Extracted(sandbox): Handle, Json(fault): Json<Fault>) -> Done<Response> {
    if !Operation::ALL.into_iter().any(|operation| operation.matches(&fault.operations)) {
        return Err(ControlError::Invalid(format!("{:?} names no operation", fault.operations)));
    }
    Ok((StatusCode::CREATED, Json(json!({ "id": sandbox.add_fault(fault) }))).into_response())
}

async fn clear_faults(Extracted(sandbox): Handle) -> StatusCode {
    sandbox.clear_faults();
    DONE
}

async fn remove_fault(Extracted(sandbox): Handle, Path(id): Path<u64>) -> Done<StatusCode> {
    sandbox.remove_fault(id).map(|()| DONE)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OrganizationBody {
    maintenance: Option<bool>,
    /// An empty text shows the organization to every request again.
    mongo_cluster_name: Option<String>,
}

async fn put_organization(
    Extracted(sandbox): Handle,
    Path(organization): Path<String>,
    Json(body): Json<OrganizationBody>,
) -> Done<StatusCode> {
    sandbox.put_organization(&organization);
    if let Some(maintenance) = body.maintenance {
        sandbox.set_maintenance(&organization, maintenance)?;
    }
    if let Some(name) = body.mongo_cluster_name {
        sandbox.set_mongo_cluster_name(&organization, Some(name.as_str()).filter(|name| !name.is_empty()))?;
    }
    Ok(DONE)
}

async fn remove_organization(Extracted(sandbox): Handle, Path(organization): Path<String>) -> Done<StatusCode> {
    sandbox.remove_organization(&organization).map(|()| DONE)
}

async fn end_tokens(Extracted(sandbox): Handle, Path(organization): Path<String>) -> StatusCode {
    sandbox.end_tokens(&organization);
    DONE
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Usage {
    operation: Operation,
    calls: usize,
}

async fn use_up(
    Extracted(sandbox): Handle,
    Path(organization): Path<String>,
    Json(usage): Json<Usage>,
) -> Done<StatusCode> {
    sandbox.use_up(&organization, usage.operation, usage.calls).map(|()| DONE)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    key: String,
    #[serde(default)]
    age_seconds: f64,
    #[serde(default)]
    lives_seconds: Option<f64>,
}

async fn put_key(
    Extracted(sandbox): Handle,
    Path((organization, id)): Two,
    Json(body): Json<KeyBody>,
) -> Done<StatusCode> {
    sandbox.put_aged_key(&organization, &id, &body.key, body.age_seconds, body.lives_seconds).map(|()| DONE)
}

async fn revoke_key(Extracted(sandbox): Handle, Path((organization, id)): Two) -> Done<StatusCode> {
    sandbox.revoke_key(&organization, &id).map(|()| DONE)
}

async fn put_user(
    Extracted(sandbox): Handle,
    Path((organization, id)): Two,
    Json(user): Json<User>,
) -> Done<StatusCode> {
    sandbox.put_user(&organization, &id, user).map(|()| DONE)
}

async fn remove_user(Extracted(sandbox): Handle, Path((organization, id)): Two) -> Done<StatusCode> {
    sandbox.remove_user(&organization, &id).map(|()| DONE)
}

async fn put_project(
    Extracted(sandbox): Handle,
    Path((organization, path)): Two,
    Json(project): Json<Project>,
) -> Done<StatusCode> {
    sandbox.put_project(&organization, &path, project).map(|()| DONE)
}

async fn remove_project(Extracted(sandbox): Handle, Path((organization, path)): Two) -> Done<StatusCode> {
    sandbox.remove_project(&organization, &path).map(|()| DONE)
}

async fn tools(Extracted(sandbox): Handle, Path(organization): Path<String>) -> Response {
    Json(sandbox.tools(&organization)).into_response()
}

async fn tool(Extracted(sandbox): Handle, Path((organization, tool)): Two) -> Done<Response> {
    sandbox.tool(&organization, &tool).map(|view| Json(view).into_response())
}

async fn add_tool(
    Extracted(sandbox): Handle,
    Path(organization): Path<String>,
    Json(body): Json<NewTool>,
) -> Done<Response> {
    let id = sandbox.add_tool(&organization, body)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

async fn edit_tool(
    Extracted(sandbox): Handle,
    Path((organization, tool)): Two,
    Json(edit): Json<ToolEdit>,
) -> Done<StatusCode> {
    sandbox.edit_tool(&organization, &tool, edit).map(|()| DONE)
}

async fn remove_tool(Extracted(sandbox): Handle, Path((organization, tool)): Two) -> Done<StatusCode> {
    sandbox.remove_tool(&organization, &tool).map(|()| DONE)
}

async fn add_version(
    Extracted(sandbox): Handle,
    Path((organization, tool)): Two,
    Json(body): Json<NewVersion>,
) -> Done<Response> {
    let number = sandbox.add_version(&organization, &tool, body)?;
    Ok((StatusCode::CREATED, Json(json!({ "version": number.to_string() }))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionsEdit {
    deprecated: bool,
}

async fn deprecate_versions(
    Extracted(sandbox): Handle,
    Path((organization, tool, versions)): Three,
    Json(edit): Json<VersionsEdit>,
) -> Done<Json<Value>> {
    if !edit.deprecated {
        return Err(ControlError::Invalid("a deprecation of versions cannot be undone".to_owned()));
    }
    let deprecated = sandbox.deprecate_versions(&organization, &tool, &versions)?;
    Ok(Json(json!({ "deprecated": deprecated })))
}

async fn remove_versions(Extracted(sandbox): Handle, Path((organization, tool, versions)): Three) -> Done<Json<Value>> {
    let removed = sandbox.remove_versions(&organization, &tool, &versions)?;
    Ok(Json(json!({ "removed": removed })))
}
