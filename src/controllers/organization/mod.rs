//! `Organization`: reads the credentials, signs in, keeps the connection for the objects under it, and answers their requests
//! to deprecate.

mod in_use;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::Context;
use super::connection::Established;
use super::deprecations::{self, Grant};
use super::driver::{Kind, Visit};
use super::outcome::{Interrupt, Outcome, STALLED_LOOK, WAITING_LOOK, of_obstacle, of_service_error};
use crate::amigo::{self, ClientOptions, Credentials, Endpoint, Key as ApiKey, Revision};
use crate::kubernetes::conditions::{State, Verdict};
use crate::kubernetes::object::Handle;
use crate::kubernetes::watch::{Cache, Change, Key, key};
use crate::resources::annotations::{self, CONFIRM_DEPRECATIONS};
use crate::resources::organization::ApiRevision;
use crate::resources::{Organization, OrganizationStatus, Reason, Resource};

/// How often an Organization with held deprecations looks whether the hour has passed.
const HELD_LOOK: Duration = Duration::from_secs(60);

/// How often an Organization looks whether a service that did not work works again.
const OUTAGE_LOOK: Duration = Duration::from_secs(30);

impl Kind for Organization {
    const READY_IS_NEWS: bool = true;

    fn cache(ctx: &Context) -> &Cache<Self> {
        &ctx.organizations
    }

    fn tell_others(ctx: &Context, change: &Change<Self>) {
        ctx.tell_others_of_organization(change);
    }

    /// Everything waits for the sign-in.
    const LONGEST_RETRY: Duration = Duration::from_secs(60);

    async fn apply(
        handle: &mut Handle<Self>,
        status: &mut OrganizationStatus,
        visit: Visit,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        let this = key(handle.object());
        let is_new = match establish(handle, status, &this, visit.requested, ctx).await {
            Ok(is_new) => is_new,
            Err(interrupt) => {
                // Those who clean up with a token that still lives are answered all the same.
                if let Some(verdict) = verdict_of(&interrupt) {
                    answer_deprecations(handle, status, &this, &|_| verdict.clone(), ctx).await?;
                }
                return Err(interrupt);
            }
        };
        if is_new {
            // After a start or an outage, or with other credentials, nothing of the Organization changes, and yet its objects
            // wait.
            ctx.try_all_again(&this.0, &this.1);
        }
        ready(handle, status, &this, visit.requested, ctx).await
    }

    async fn clean_up(
        handle: &mut Handle<Self>,
        status: &mut OrganizationStatus,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        let this = key(handle.object());
        if let Some(message) = in_use::message(handle.object(), ctx).await? {
            // Those who use it still must be able to: after a restart, and with credentials that were rotated meanwhile.
            let established = establish(handle, status, &this, false, ctx).await;
            match &established {
                Ok(true) => ctx.try_all_again(&this.0, &this.1),
                Ok(false) => {}
                Err(error) => {
                    tracing::info!(%error, "cannot be connected to while it is deleted");
                }
            }
            let verdict = Verdict { state: State::Reconciling, reason: Reason::InUse, message: message.clone() };
            answer_deprecations(handle, status, &this, &|_| verdict.clone(), ctx).await?;
            let works = established.is_ok() && !is_outage_suspected(&this, ctx);
            let again = if works { WAITING_LOOK } else { OUTAGE_LOOK };
            return Ok(Outcome::working(Reason::InUse, message, again));
        }
        ctx.connections.remove(&this);
        Ok(Outcome::Gone { message: "nothing uses it any more".into() })
    }
}

/// Signs in and keeps the connection; whether it is a new one, or works again after an outage.
async fn establish(
    handle: &Handle<Organization>,
    status: &mut OrganizationStatus,
    this: &Key,
    anew: bool,
    ctx: &Context,
) -> Result<bool, Interrupt> {
    let endpoint = allowed_endpoint(handle.object(), ctx)?;
    let credentials = credentials(handle, ctx).await?;
    let spec = &handle.object().spec;
    let fingerprint = credentials.fingerprint();
    let account = ctx.amigo.account(&endpoint, &spec.organization);
    let client = ctx.amigo.client(&account, credentials, options(handle.object()));
    if anew {
        client.forget_token();
    }
    let user = client.sign_in().await.map_err(|error| sign_in_failed(error, &spec.organization))?;
    client.look().await;
    status.user_id = Some(user.user_id.clone());
    status.api_revision = Some(revision_in_use(spec.api_revision, account.detected_revision()));
    let established = Established {
        client,
        organization: spec.organization.clone(),
        endpoint: endpoint.to_string(),
        user_id: user.user_id,
        fingerprint,
        outages_ended: account.outages_ended(),
    };
    // After a start it takes a moment until it is known what fits; until then what was found before stands.
    if ctx.periods.are_known(&established) || status.effective_resync.is_none() {
        status.effective_resync = Some(ctx.periods.effective(&established, &spec.resync));
    }
    let before = ctx.connections.get(this);
    let is_new = before.is_none_or(|before| before.is_superseded_by(&established));
    ctx.connections.set(this.clone(), established);
    Ok(is_new)
}

/// What the status will say about an interrupt.
fn verdict_of(interrupt: &Interrupt) -> Option<Verdict> {
    match interrupt {
        Interrupt::Outcome(outcome) => outcome.verdict(),
        Interrupt::Service(error) => of_service_error(error).verdict(),
        Interrupt::Kubernetes(_) => None,
    }
}

async fn ready(
    handle: &mut Handle<Organization>,
    status: &mut OrganizationStatus,
    this: &Key,
    requested: bool,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let limit = handle.object().spec.max_deprecations_per_hour;
    let secret = handle.object().spec.credentials_ref.name.clone();
    let (key, now) = key_of(this, requested, ctx).await;
    let expiring = expiring(key, handle.object(), now);
    if key != ApiKey::Unknown {
        status.api_key_expires_at = key.life().map(|life| life.ends_at.to_string());
    }
    let verdict = |status: &OrganizationStatus| Verdict {
        state: State::Ready,
        reason: if expiring { Reason::CredentialExpiring } else { Reason::Succeeded },
        message: signed_in(status, expiring.then_some(&secret), limit),
    };
    answer_deprecations(handle, status, this, &verdict, ctx).await?;
    let again = match (is_outage_suspected(this, ctx), status.held_deprecations) {
        (true, _) => OUTAGE_LOOK,
        (false, Some(_)) => HELD_LOOK,
        (false, None) => STALLED_LOOK,
    };
    let Verdict { reason, message, .. } = verdict(status);
    Ok(Outcome::Ready { reason, message, again })
}

/// What the service tells of the key that is signed in with, and the time by the service's own clock.
async fn key_of(this: &Key, requested: bool, ctx: &Context) -> (ApiKey, Timestamp) {
    match ctx.connections.get(this) {
        Some(Established { client, .. }) => (client.key(requested).await, client.service_time()),
        None => (ApiKey::Unknown, ctx.clock.now()),
    }
}

/// Whether it is time to replace the key. While the service does not answer, what was said before stands.
fn expiring(key: ApiKey, organization: &Organization, now: Timestamp) -> bool {
    match key {
        ApiKey::Lives(life) => now >= life.replace_from,
        ApiKey::Untold => false,
        ApiKey::Unknown => {
            organization.condition("Ready").is_some_and(|ready| ready.reason == Reason::CredentialExpiring.as_str())
        }
    }
}

/// Whether no call has found the service working for a while.
fn is_outage_suspected(this: &Key, ctx: &Context) -> bool {
    ctx.connections.get(this).is_some_and(|established| established.client.account().is_outage_suspected())
}

/// The message of a Ready Organization, with what is held, and with the Secret whose key ends soon.
fn signed_in(status: &OrganizationStatus, expiring: Option<&String>, limit: i32) -> String {
    let user = status.user_id.as_deref().unwrap_or_default();
    let signed_in = match (expiring, &status.api_key_expires_at) {
        (Some(secret), Some(ends)) => format!(
            "signed in as user {user}; its API key ends at {ends}: make a new one and put it into Secret {secret}, where it is \
             used at once"
        ),
        _ => format!("signed in as user {user}"),
    };
    let Some(held) = status.held_deprecations else { return signed_in };
    let is_used = status.last_handled_confirmation.as_deref() == Some(held.to_string().as_str());
    let first = if is_used { " (remove the annotation of this value first: it was used)" } else { "" };
    format!(
        "{signed_in}; {held} deprecations are held, as more than {limit} were asked for in an hour: check them, then annotate \
         `{CONFIRM_DEPRECATIONS}: \"{held}\"`{first}"
    )
}

/// Answers what objects ask for; what is let through stands in the status before they hear of it.
async fn answer_deprecations(
    handle: &mut Handle<Organization>,
    status: &mut OrganizationStatus,
    this: &Key,
    verdict: &(dyn Fn(&OrganizationStatus) -> Verdict + Sync),
    ctx: &Context,
) -> Result<(), Interrupt> {
    let now = ctx.clock.now();
    let annotation = annotations::value(handle.object(), CONFIRM_DEPRECATIONS).map(str::to_owned);
    if annotation.is_none() {
        status.last_handled_confirmation = None;
    }
    let confirmed = annotation.clone().filter(|value| status.last_handled_confirmation.as_ref() != Some(value));
    let open = ctx.deprecations.open(this);
    let mut recent = deprecations::this_hour(&status.recent_deprecations, now);
    let done = recent.iter().map(|entry| entry.count).sum();
    let limit = handle.object().spec.max_deprecations_per_hour;
    let without = deprecations::settle(limit, done, &open, None);
    let answer =
        deprecations::settle(limit, done, &open, confirmed.as_deref().and_then(|text| text.trim().parse().ok()));
    if answer != without {
        status.last_handled_confirmation = annotation;
    }
    // What is older than an hour goes with the next that are added: by itself it is worth no write.
    if answer.granted_count > 0 {
        deprecations::add(&mut recent, answer.granted_count, now);
        status.recent_deprecations = recent;
    }
    status.held_deprecations = (answer.held > 0).then_some(answer.held);
    if !answer.granted.is_empty() {
        handle.write_status(status.clone(), &verdict(status), now).await?;
    }
    for (uid, _) in &open {
        let granted = answer.granted.contains(uid);
        ctx.deprecations.answer(this, uid, if granted { Grant::Granted } else { Grant::Held });
    }
    Ok(())
}

fn allowed_endpoint(organization: &Organization, ctx: &Context) -> Result<Endpoint, Outcome> {
    let given = &organization.spec.endpoint;
    let endpoint = Endpoint::parse(given)
        .map_err(|error| Outcome::stalled(Reason::EndpointNotAllowed, format!("`spec.endpoint`: {error}")))?;
    if ctx.settings.allowed_endpoints.allows(&endpoint) {
        return Ok(endpoint);
    }
    let message = format!(
        "`spec.endpoint` {given} is not on the operator's list of allowed endpoints; whoever runs the operator adds it with \
         `--allowed-endpoint` (with the Helm chart: `allowedEndpoints`)"
    );
    Err(Outcome::stalled(Reason::EndpointNotAllowed, message))
}

async fn credentials(handle: &Handle<Organization>, ctx: &Context) -> Result<Credentials, Interrupt> {
    let name = &handle.object().spec.credentials_ref.name;
    let secret = ctx.read_secret(&handle.namespace(), name).await?;
    let Some(secret) = secret.here() else {
        let (reason, message) = secret.why_not(name);
        return Err(of_obstacle(reason, message).into());
    };
    Ok(credentials_of(secret, name)?)
}

/// The keys of a Secret with credentials.
const KEYS: [&str; 3] = ["api-key", "api-key-id", "user-id"];

/// The credentials that a Secret holds.
pub fn credentials_of(secret: &Secret, name: &str) -> Result<Credentials, Outcome> {
    let value_of = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let missing: Vec<_> = KEYS.into_iter().filter(|key| value_of(key).is_none()).collect();
    if !missing.is_empty() {
        return Err(Outcome::waiting(Reason::SecretKeyNotFound, without(name, &missing)));
    }
    let text = |key: &str| text_of(value_of(key).map_or(&[], |value| value.0.as_slice()), key, name);
    let [api_key, api_key_id, user_id] = KEYS.map(text);
    Credentials::new(SecretString::from(api_key?), api_key_id?, user_id?)
        .map_err(|error| Outcome::stalled(Reason::SecretValueInvalid, format!("Secret {name}: {error}")))
}

fn without(name: &str, missing: &[&str]) -> String {
    match missing {
        [key] => format!("Secret {name} has no key {key}; add it"),
        keys => format!("Secret {name} has no keys {}; add them", keys.join(", ")),
    }
}

fn text_of(value: &[u8], key: &str, name: &str) -> Result<String, Outcome> {
    match std::str::from_utf8(value) {
        // A line break at the end comes from `echo` and editors, and is never meant.
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => {
            Err(Outcome::stalled(Reason::SecretValueInvalid, format!("key {key} of Secret {name} is not UTF-8 text")))
        }
    }
}

fn options(organization: &Organization) -> ClientOptions {
    let detected = organization.status.as_ref().and_then(|s| s.api_revision).filter(|r| *r != ApiRevision::Auto);
    ClientOptions {
        revision: revision(organization.spec.api_revision),
        mongo_cluster: organization.spec.mongo_cluster_name.clone(),
        budget_percent: u32::try_from(organization.spec.budget_percent).unwrap_or(1),
        detected: detected.filter(|_| organization.spec.api_revision == ApiRevision::Auto).map(revision),
    }
}

const fn revision(revision: ApiRevision) -> Revision {
    match revision {
        ApiRevision::Auto => Revision::Auto,
        ApiRevision::R202507 => Revision::R202507,
        ApiRevision::R202509 => Revision::R202509,
        ApiRevision::R2026 => Revision::R2026,
    }
}

/// The revision to show: as given, or as detected, or `Auto` while no publish has told.
const fn revision_in_use(given: ApiRevision, detected: Option<Revision>) -> ApiRevision {
    match (given, detected) {
        (ApiRevision::Auto, Some(Revision::R202507)) => ApiRevision::R202507,
        (ApiRevision::Auto, Some(Revision::R202509)) => ApiRevision::R202509,
        (ApiRevision::Auto, Some(Revision::R2026)) => ApiRevision::R2026,
        (given, _) => given,
    }
}

/// What a failed sign-in means for the Organization itself.
fn sign_in_failed(error: amigo::Error, organization: &str) -> Interrupt {
    match error {
        amigo::Error::CredentialsRefused { .. } => Outcome::stalled(
            Reason::CredentialsRefused,
            "the service refused the credentials; put a valid key into the Secret, which is used at once",
        )
        .into(),
        amigo::Error::Status { status: 404, .. } => Outcome::stalled(
            Reason::InvalidSpec,
            format!(
                "the service does not know the organization {organization} of `spec.organization`; that cannot be changed: apply \
                 another object with the right name, or correct `spec.endpoint`"
            ),
        )
        .into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use serde_json::json;

    use super::*;
    use crate::amigo::KeyLife;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn organization(reason: Reason) -> Organization {
        let ready = Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: reason.as_str().into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(at(0)),
        };
        let spec = serde_json::from_value(json!({"organization": "acme", "credentialsRef": {"name": "key"}})).unwrap();
        let status = OrganizationStatus { conditions: vec![ready], ..OrganizationStatus::default() };
        Organization { status: Some(status), ..Organization::new("acme", spec) }
    }

    #[test]
    fn a_key_is_told_of_in_time_and_no_answer_changes_nothing() {
        use Reason::{CredentialExpiring, Succeeded};
        let lives = ApiKey::Lives(KeyLife { ends_at: at(90), replace_from: at(76) });
        for (key, before, now, expected) in [
            (lives, Succeeded, 75, false),
            (lives, Succeeded, 76, true),
            (lives, CredentialExpiring, 75, false),
            (lives, CredentialExpiring, 91, true),
            (ApiKey::Untold, CredentialExpiring, 80, false),
            (ApiKey::Unknown, CredentialExpiring, 80, true),
            (ApiKey::Unknown, Succeeded, 80, false),
        ] {
            assert_eq!(expiring(key, &organization(before), at(now)), expected, "{key:?} {before:?} {now}");
        }
    }

    #[test]
    fn all_keys_that_a_secret_lacks_are_named_at_once() {
        for (there, told) in [
            (&["api-key", "api-key-id", "user-id"][..], None),
            (&["api-key", "user-id"], Some("Secret acme has no key api-key-id; add it")),
            (&["api-key", "other"], Some("Secret acme has no keys api-key-id, user-id; add them")),
            (&[], Some("Secret acme has no keys api-key, api-key-id, user-id; add them")),
        ] {
            let data = there.iter().map(|key| ((*key).to_owned(), ByteString(b"x\n".to_vec()))).collect();
            let found = credentials_of(&Secret { data: Some(data), ..Secret::default() }, "acme");
            let expected = told.map(|told| Outcome::waiting(Reason::SecretKeyNotFound, told));
            assert_eq!(found.err(), expected, "{there:?}");
        }
    }

    #[test]
    fn the_message_names_the_end_of_the_key_and_the_secret() {
        let ends = Some("2026-12-01T00:00:00Z".to_owned());
        let status = OrganizationStatus { user_id: Some("me".into()), api_key_expires_at: ends, ..Default::default() };
        assert_eq!(signed_in(&status, None, 10), "signed in as user me");
        let message = signed_in(&status, Some(&"acme-api-key".to_owned()), 10);
        assert!(
            message.contains("ends at 2026-12-01T00:00:00Z") && message.contains("Secret acme-api-key"),
            "{message}"
        );
    }
}
