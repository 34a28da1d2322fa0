//! The Amigo tool API: wire types, transport, sessions, budgets and typed errors. Knows nothing of Kubernetes.
//!
//! [`Amigo`] is one per process; an [`Account`] is one organization at one endpoint, with its budgets; a [`Client`] calls it
//! with one set of credentials.

mod account;
mod budget;
mod client;
mod endpoint;
mod error;
mod exchange;
mod headers;
mod http;
mod key;
mod operation;
mod outage;
mod query;
mod reads;
mod revision;
mod session;
mod specifier;
pub mod transport;
mod turns;
pub mod types;
mod variables;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use account::{Account, Asking, Claim, Permit, Place, Wake};
pub use budget::{State as BudgetState, Waiting};
pub use client::{Client, ClientOptions, SignedInUser};
pub use endpoint::{AllowedEndpoints, Endpoint, InvalidEndpoint};
pub use error::{Effect, Error};
pub use http::{HttpTransport, InvalidTransport};
pub use key::{Key, KeyLife};
pub use operation::{Class, Operation};
pub use query::{ListTools, ListVersions};
pub use reads::TOOLS_A_CALL;
pub use revision::{PublishRequest, Revision};
pub use session::{Credentials, InvalidCredentials};
pub use specifier::{InvalidSpecifier, Specifier};
pub use variables::{DeleteVariable, InsertVariable, UpdateVariable, VariablesDelta};

use self::reads::Reads;
use self::session::Session;
use self::transport::Transport;
use crate::clock::Clock;

/// Asked just before every call; `false` stops it.
pub type Guard = Arc<dyn Fn() -> bool + Send + Sync>;

/// Sees every call, for metrics.
pub trait Observer: Send + Sync {
    /// A call was answered, or not; `outcome` is from a closed set.
    fn call(&self, organization: &str, operation: Operation, outcome: &str, elapsed: Duration);
    /// The service refused a call as too many, which should not happen.
    fn rate_limited(&self, organization: &str, operation: Operation);
}

/// Sees nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn call(&self, _: &str, _: Operation, _: &str, _: Duration) {}
    fn rate_limited(&self, _: &str, _: Operation) {}
}

/// What all clients share.
struct Shared {
    transport: Arc<dyn Transport>,
    clock: Clock,
    guard: Guard,
    observer: Arc<dyn Observer>,
}

/// The remote API of one process.
pub struct Amigo {
    shared: Arc<Shared>,
    accounts: Mutex<BTreeMap<(Endpoint, String), Arc<Account>>>,
    sessions: Mutex<BTreeMap<SessionKey, Shareable>>,
}

/// What clients with the same credentials share.
type Shareable = (Arc<Session>, Arc<Reads>);

/// Endpoint, organization, the fingerprint of the credentials and the cluster: who means the same shares one token.
type SessionKey = (Endpoint, String, String, Option<String>);

impl Amigo {
    /// The API over `transport`; `guard` is asked before every call.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, clock: Clock, guard: Guard, observer: Arc<dyn Observer>) -> Self {
        let shared = Arc::new(Shared { transport, clock, guard, observer });
        Self { shared, accounts: Mutex::default(), sessions: Mutex::default() }
    }

    /// The budgets of an organization at an endpoint, one for all who mean the same.
    #[must_use]
    pub fn account(&self, endpoint: &Endpoint, organization: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint.clone(), organization.to_owned());
        Arc::clone(accounts.entry(key).or_insert_with(|| Account::start(endpoint.clone(), organization.to_owned())))
    }

    /// The organizations that somebody uses.
    #[must_use]
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.values().filter(|account| Arc::strong_count(account) > 1).cloned().collect()
    }

    /// When the tokens end that serve now, by endpoint and organization; where there are several, the last.
    #[must_use]
    pub fn tokens(&self) -> BTreeMap<(Endpoint, String), Timestamp> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = BTreeMap::new();
        for ((endpoint, organization, ..), (session, _)) in sessions.iter() {
            if let Some(expires_at) = session.expires_at() {
                let last = tokens.entry((endpoint.clone(), organization.clone())).or_insert(expires_at);
                *last = expires_at.max(*last);
            }
        }
        tokens
    }

    /// When the keys end that are in use, where the service tells, by endpoint and organization; where there are several, the
    /// first.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<(Endpoint, String), Timestamp> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = BTreeMap::new();
        for ((endpoint, organization, ..), (session, _)) in sessions.iter() {
            if let Some(life) = session.key().key.life().filter(|_| Arc::strong_count(session) > 1) {
                let first = keys.entry((endpoint.clone(), organization.clone())).or_insert(life.ends_at);
                *first = life.ends_at.min(*first);
            }
        }
        keys
    }

    /// A client. Who comes with the same credentials shares one token and its reads.
    #[must_use]
    pub fn client(&self, account: &Arc<Account>, credentials: Credentials, options: ClientOptions) -> Client {
        account.set_budget_percent(options.budget_percent);
        if let Some(detected) = options.detected.filter(|_| account.detected_revision().is_none()) {
            account.set_detected_revision(detected);
        }
        let cluster = options.mongo_cluster.clone();
        let key = (account.endpoint().clone(), account.organization().to_owned(), credentials.fingerprint(), cluster);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys are replaced again and again: those that nobody uses any more go from memory.
        sessions.retain(|other, (session, _)| *other == key || Arc::strong_count(session) > 1 || !session.is_empty());
        let (session, reads) =
            sessions.entry(key).or_insert_with(|| (Arc::new(Session::new(credentials)), Arc::default()));
        Client {
            shared: Arc::clone(&self.shared),
            account: Arc::clone(account),
            session: Arc::clone(session),
            reads: Arc::clone(reads),
            options,
        }
    }
}
