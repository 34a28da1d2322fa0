//! The Amigo tool API in memory, for the demo and the tests: the same calls, limits, waits and refusals as the service,
//! and faults on request. Knows the wire types and the transport seam of [`crate::amigo`], nothing of Kubernetes.
//!
//! [`Sandbox`] is a handle around the state. It is called in process ([`Sandbox::in_process`]) or over sockets
//! ([`serve`]); its methods and the control address ([`Sandbox::control_router`]) look at the state, change it by hand
//! and set faults. Time passes on tokio's clock only.

mod access;
mod answer;
mod calls;
mod control;
mod exchange;
mod faults;
mod ids;
mod in_process;
mod journal;
mod limits;
mod operation;
mod query;
pub mod serve;
mod settings;
mod state;
mod timeline;
mod validate;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use jiff::Timestamp;
use tokio::time::Instant;

pub use control::{ControlError, NewTool, NewVersion, ToolEdit, ToolView};
pub use faults::{Effect, Fault};
pub use in_process::InProcess;
pub use journal::{Counter, Counters, Ending, Exchange};
pub use operation::Operation;
pub use settings::{Numbering, OnDisconnect, RateLimits, Revision, Settings, SeveralTags};
pub use state::{Project, User, Variable};

use crate::clock::Clock;
use state::{Moment, State};

/// An organization with one key and one user: what a client needs to sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The organization.
    pub organization: String,
    /// Sent as `x-api-key-id`.
    pub api_key_id: String,
    /// Sent as `x-api-key`.
    pub api_key: String,
    /// Sent as `x-user-id`.
    pub user_id: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("organization", &self.organization).finish_non_exhaustive()
    }
}

impl Default for Account {
    /// The account of the demo.
    fn default() -> Self {
        Self {
            organization: "acme".to_owned(),
            api_key_id: "demo-key-id".to_owned(),
            api_key: "demo-key".to_owned(),
            user_id: "demo-user".to_owned(),
        }
    }
}

/// The service. Clones share one state.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

impl Sandbox {
    /// A service without organizations.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { clock, state: Mutex::new(State::new(settings)) }) }
    }

    /// A service with one organization.
    #[must_use]
    pub fn with_account(settings: Settings, clock: Clock, account: &Account) -> Self {
        let sandbox = Self::new(settings, clock);
        sandbox.put_account(account);
        sandbox
    }

    /// A service for a test: the default [`Account`], and a day that starts at a fixed time on tokio's clock.
    #[must_use]
    pub fn for_tests(settings: Settings) -> Self {
        let epoch = Timestamp::from_second(1_754_006_400).unwrap_or(Timestamp::UNIX_EPOCH);
        Self::with_account(settings, Clock::starting_at(epoch), &Account::default())
    }

    /// The clock that the service goes by; a client of a test goes by the same.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// The service as a transport, without sockets.
    #[must_use]
    pub fn in_process(&self) -> InProcess {
        InProcess::new(self.router())
    }

    /// The routes of the API. Responses of faults that break the connection need what carries them to know them:
    /// use [`serve`] or [`Sandbox::in_process`].
    pub fn router(&self) -> Router {
        exchange::router(self.clone())
    }

    /// The routes of the control address.
    pub fn control_router(&self) -> Router {
        control::router(self.clone())
    }

    /// The state. Never held across an await, nor while something that takes it is dropped.
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before anything can panic; a poisoned lock protects nothing here.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        Moment { instant: Instant::now(), time: self.shared.clock.now() }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}
