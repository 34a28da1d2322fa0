//! Control from outside the API: what a test or a person at the demo sees, sets and changes by hand. The methods of
//! [`Sandbox`] are the interface; `routes` puts them on an address.

mod by_hand;
mod routes;
mod view;

use jiff::SignedDuration;
use serde_json::Value;

use super::access::later;
use super::faults::Fault;
use super::journal::{Counters, Exchange};
use super::operation::Operation;
use super::settings::{Settings, seconds};
use super::state::{Key, Organization, Project, State, User};
use super::{Account, Sandbox};

pub use by_hand::{NewTool, NewVersion, ToolEdit};
pub(super) use routes::router;
pub use view::ToolView;

/// Why something could not be done by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such organization, tool, version or fault.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// What was given makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// What something done by hand comes to.
pub(super) type Done<T = ()> = Result<T, ControlError>;

impl State {
    fn controlled(&mut self, organization: &str) -> Done<&mut Organization> {
        self.organizations.get_mut(organization).ok_or(ControlError::NotFound("organization"))
    }
}

/// Organizations, keys, users, projects.
impl Sandbox {
    /// Makes the organization, the key and the user of an account, where they are missing.
    pub fn put_account(&self, account: &Account) {
        let now = self.moment().time;
        let state = &mut *self.state();
        let organization = state.organizations.entry(account.organization.clone()).or_default();
        let key = Key { secret: account.api_key.clone(), created_at: now, expires_at: None };
        organization.keys.insert(account.api_key_id.clone(), key);
        organization.users.entry(account.user_id.clone()).or_default();
    }

    /// Makes an organization, unless there is one.
    pub fn put_organization(&self, organization: &str) {
        self.state().organizations.entry(organization.to_owned()).or_default();
    }

    /// Removes an organization with all it has.
    pub fn remove_organization(&self, organization: &str) -> Done {
        let state = &mut *self.state();
        state.tokens.retain(|_, token| token.organization != organization);
        state.organizations.remove(organization).map(drop).ok_or(ControlError::NotFound("organization"))
    }

    /// Puts an organization under maintenance (503 to every call), or ends it.
    pub fn set_maintenance(&self, organization: &str, maintenance: bool) -> Done {
        self.state().controlled(organization)?.maintenance = maintenance;
        Ok(())
    }

    /// Hides an organization from requests without this value in `x-mongo-cluster-name`; `None` shows it again.
    pub fn set_mongo_cluster_name(&self, organization: &str, name: Option<&str>) -> Done {
        self.state().controlled(organization)?.mongo_cluster_name = name.map(str::to_owned);
        Ok(())
    }

    /// Makes a key, or replaces one of this id. With `lives_seconds` it expires.
    pub fn put_key(&self, organization: &str, key_id: &str, key: &str, lives_seconds: Option<f64>) -> Done {
        self.put_aged_key(organization, key_id, key, 0.0, lives_seconds)
    }

    /// Makes a key that looks as if it had been made `age_seconds` ago, or replaces one of this id. With `lives_seconds` it
    /// expires that long from now.
    pub fn put_aged_key(
        &self,
        organization: &str,
        key_id: &str,
        key: &str,
        age_seconds: f64,
        lives_seconds: Option<f64>,
    ) -> Done {
        let now = self.moment().time;
        let age = SignedDuration::try_from(seconds(age_seconds)).unwrap_or_default();
        let created_at = now.saturating_sub(age).unwrap_or(now);
        let expires_at = lives_seconds.map(|seconds| later(now, seconds));
        let key = Key { secret: key.to_owned(), created_at, expires_at };
        self.state().controlled(organization)?.keys.insert(key_id.to_owned(), key);
        Ok(())
    }

    /// Revokes a key. Tokens that it gave live on, until [`Sandbox::end_tokens`].
    pub fn revoke_key(&self, organization: &str, key_id: &str) -> Done {
        self.state().controlled(organization)?.keys.remove(key_id).map(drop).ok_or(ControlError::NotFound("key"))
    }

    /// Ends every token of an organization before its time.
    pub fn end_tokens(&self, organization: &str) {
        self.state().tokens.retain(|_, token| token.organization != organization);
    }

    /// Makes a user, or replaces one of this id.
    pub fn put_user(&self, organization: &str, user_id: &str, user: User) -> Done {
        self.state().controlled(organization)?.users.insert(user_id.to_owned(), user);
        Ok(())
    }

    /// Removes a user.
    pub fn remove_user(&self, organization: &str, user_id: &str) -> Done {
        self.state().controlled(organization)?.users.remove(user_id).map(drop).ok_or(ControlError::NotFound("user"))
    }

    /// Takes permissions from a user, such as `Tool:ModifyTool`; those taken before are given back.
    pub fn deny(&self, organization: &str, user_id: &str, permissions: &[&str]) -> Done {
        let denied = permissions.iter().map(|permission| (*permission).to_owned()).collect();
        self.put_user(organization, user_id, User { denied })
    }

    /// Says what a project path holds.
    pub fn put_project(&self, organization: &str, path: &str, project: Project) -> Done {
        self.state().controlled(organization)?.projects.insert(path.to_owned(), project);
        Ok(())
    }

    /// Forgets what a project path holds. Whether it then exists is a setting.
    pub fn remove_project(&self, organization: &str, path: &str) -> Done {
        let removed = self.state().controlled(organization)?.projects.remove(path);
        removed.map(drop).ok_or(ControlError::NotFound("project"))
    }

    /// Uses up the budget of an operation, as other clients of the organization would.
    pub fn use_up(&self, organization: &str, operation: Operation, calls: usize) -> Done {
        let now = self.moment().instant;
        self.state().controlled(organization)?.windows.use_up(operation, calls, now);
        Ok(())
    }
}

/// Settings and faults.
impl Sandbox {
    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    /// Changes settings; what is under way keeps those it started with. The seed stays.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let state = &mut *self.state();
        let seed = state.settings.seed;
        change(&mut state.settings);
        state.settings.seed = seed;
    }

    /// Sets a fault and tells its number.
    #[expect(clippy::must_use_candidate, reason = "most faults are used up, not removed")]
    pub fn add_fault(&self, fault: Fault) -> u64 {
        self.state().faults.add(fault)
    }

    /// Removes a fault before it is used up.
    pub fn remove_fault(&self, number: u64) -> Done {
        if self.state().faults.remove(number) { Ok(()) } else { Err(ControlError::NotFound("fault")) }
    }

    /// Removes every fault.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// The faults that are not used up, by number.
    #[must_use]
    pub fn faults(&self) -> Vec<(u64, Fault)> {
        self.state().faults.all().to_vec()
    }
}

/// What was asked.
impl Sandbox {
    /// The last `count` requests, oldest first, without bodies.
    #[must_use]
    pub fn requests(&self, count: usize) -> Vec<Exchange> {
        self.state().journal.last(count, false)
    }

    /// The last `count` requests, oldest first, with bodies: also those that hold values of variables.
    #[must_use]
    pub fn requests_with_bodies(&self, count: usize) -> Vec<Exchange> {
        self.state().journal.last(count, true)
    }

    /// Counters by operation.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().journal.counters.clone()
    }

    /// How many requests of an operation came.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().journal.counters.get(&operation).map_or(0, |counter| counter.calls)
    }

    /// How many requests went beyond a rate limit.
    #[must_use]
    pub fn rate_limit_violations(&self) -> u64 {
        self.state().journal.counters.values().map(|counter| counter.rate_limit_violations).sum()
    }

    /// Forgets the requests and the counters.
    pub fn forget_requests(&self) {
        self.state().journal.forget();
    }

    /// Everything, as JSON: also values of variables, but no keys, no tokens and no bodies.
    #[must_use]
    pub fn snapshot(&self) -> Value {
        view::snapshot(&self.state(), &self.moment())
    }
}
