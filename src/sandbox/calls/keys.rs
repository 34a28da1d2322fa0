//! List the API keys of an organization.

use http::StatusCode;
use serde_json::{Value, json};

use super::Inbound;
use crate::sandbox::access::Caller;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::ids::id_of;
use crate::sandbox::state::{Key, State};

pub(super) fn list(state: &State, caller: &Caller, inbound: &Inbound) -> Outcome {
    state.permit(caller, inbound.operation)?;
    let organization = state.organization(&inbound.organization)?;
    let keys: Vec<Value> = organization
        .keys
        .iter()
        .map(|(id, key)| body(id, key, &inbound.organization, caller, state.settings.sparse))
        .collect();
    Ok(Answer::json(StatusCode::OK, &json!({ "api_keys": keys })))
}

/// A key as the API shows it: never the key itself.
fn body(id: &str, key: &Key, organization: &str, caller: &Caller, sparse: bool) -> Value {
    if sparse {
        return json!({ "key_id": id, "expires_at": key.expires_at });
    }
    json!({
        "_id": id_of(id),
        "name": Value::Null,
        "key_id": id,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
        "updated_at": key.created_at,
        "org_id": organization,
        "creator": caller.creator(),
        "role_id": id_of("role"),
    })
}
