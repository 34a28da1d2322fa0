//! Who may call: sign-in with a key, tokens, permissions.

use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::answer::{Answer, Outcome};
use super::operation::Operation;
use super::settings::seconds;
use super::state::{Moment, State, Token};
use super::validate::Issues;
use crate::amigo::types::{Creator, SignedIn};

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub user_id: String,
    pub user_org_id: String,
    /// Which sign-in gave the token.
    pub sign_in: u64,
}

impl Caller {
    pub(super) fn creator(&self) -> Creator {
        Creator { user_id: self.user_id.clone(), user_org_id: self.user_org_id.clone() }
    }
}

/// `time` plus `after` seconds; the end of time when there is no such time.
pub(super) fn later(time: Timestamp, after: f64) -> Timestamp {
    let duration = SignedDuration::try_from(seconds(after)).unwrap_or(SignedDuration::MAX);
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

impl State {
    /// Gives a token for a key.
    pub(super) fn sign_in(&mut self, organization: &str, headers: &HeaderMap, now: &Moment) -> Outcome {
        let mut issues = Issues::default();
        let [key, key_id, user_id] = ["x-api-key", "x-api-key-id", "x-user-id"].map(|name| {
            let value = text(headers, name);
            if value.is_none() {
                issues.add("missing", &["header", name], "Field required", &Value::Null);
            }
            value.unwrap_or_default().to_owned()
        });
        issues.none()?;
        let known = self.organization(organization)?;
        let valid = known.keys.get(&key_id).is_some_and(|known| {
            known.secret == key && known.expires_at.is_none_or(|expires_at| expires_at > now.time)
        });
        if !valid || !known.users.contains_key(&user_id) {
            return Err(Answer::unauthorized("Invalid API key or user"));
        }
        let expires_at = later(now.time, self.settings.token_seconds);
        let id_token = self.ids.token();
        self.sign_ins += 1;
        let token = Token { organization: organization.to_owned(), user_id, expires_at, sign_in: self.sign_ins };
        self.tokens.retain(|_, token| token.expires_at > now.time);
        self.tokens.insert(id_token.clone(), token);
        Ok(Answer::json(StatusCode::OK, &SignedIn { id_token, expires_at }))
    }

    /// Finds out who calls. A token of another organization is taken when `x-org-id` names that organization.
    pub(super) fn authenticate(&self, organization: &str, headers: &HeaderMap, now: &Moment) -> Result<Caller, Answer> {
        let token = text(headers, "authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.tokens.get(token))
            .filter(|token| token.expires_at > now.time)
            .filter(|token| text(headers, "x-org-id").unwrap_or(organization) == token.organization);
        let Some(token) = token else {
            return Err(Answer::unauthorized("Could not validate credentials"));
        };
        Ok(Caller { user_id: token.user_id.clone(), user_org_id: token.organization.clone(), sign_in: token.sign_in })
    }

    /// Refuses a caller who lacks the permission that the operation needs.
    pub(super) fn permit(&self, caller: &Caller, operation: Operation) -> Result<(), Answer> {
        let Some(permission) = operation.permission() else { return Ok(()) };
        let user = self.organization(&caller.user_org_id)?.users.get(&caller.user_id);
        match user {
            None => Err(Answer::unauthorized("User not found")),
            Some(user) if user.denied.contains(permission) => {
                Err(Answer::refusal(StatusCode::FORBIDDEN, format!("Missing permission {permission}")))
            }
            Some(_) => Ok(()),
        }
    }
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
