//! One organization at one endpoint: its budgets, shared by all who mean the same, and what was learnt about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::{Limiter, Place, Slot};
use super::endpoint::Endpoint;
use super::operation::{Class, Operation};
use super::revision::Revision;

/// Called when a place in the queue is granted.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The call may be made now.
    Granted(Permit),
    /// It is queued, for about this long.
    Queued {
        /// An estimate.
        estimate: Duration,
    },
}

/// The right to make one call. Dropped unused, it goes back.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    operation: Operation,
    slot: Slot,
    sent: bool,
}

impl Permit {
    /// The call is about to be sent.
    pub(super) fn use_now(&mut self) {
        self.sent = true;
        self.account.limiters().get_mut(&self.operation).into_iter().for_each(|l| l.sent(self.slot, Instant::now()));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(limiter) = self.account.limiters().get_mut(&self.operation) {
            if self.sent { limiter.answered(self.slot, now) } else { limiter.unused(self.slot, now) }
        }
        self.account.changed.notify_one();
    }
}

/// The budgets of one organization at one endpoint.
pub struct Account {
    endpoint: Endpoint,
    organization: String,
    limiters: Mutex<BTreeMap<Operation, Limiter>>,
    wakers: Mutex<BTreeMap<(Operation, String), Wake>>,
    changed: Notify,
    detected: Mutex<Option<Revision>>,
    next_key: Mutex<u64>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} at {})", self.organization, self.endpoint)
    }
}

impl Account {
    /// Budgets that nothing was drawn from yet. A task hands out what becomes free, for as long as the account is used.
    pub(super) fn start(endpoint: Endpoint, organization: String) -> Arc<Self> {
        let limiters =
            Operation::ALL.iter().map(|operation| (*operation, Limiter::new(operation.limit_per_minute(), 100)));
        let account = Arc::new(Self {
            endpoint,
            organization,
            limiters: Mutex::new(limiters.collect()),
            wakers: Mutex::default(),
            changed: Notify::new(),
            detected: Mutex::default(),
            next_key: Mutex::default(),
        });
        tokio::spawn(hand_out(Arc::downgrade(&account)));
        account
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The organization.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    fn limiters(&self) -> MutexGuard<'_, BTreeMap<Operation, Limiter>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wakers(&self) -> MutexGuard<'_, BTreeMap<(Operation, String), Wake>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of each limit may be used; sign-in has its own limit, unscaled.
    pub fn set_budget_percent(&self, percent: u32) {
        for (operation, limiter) in self.limiters().iter_mut() {
            if *operation != Operation::SignIn {
                limiter.set_percent(percent);
            }
        }
        self.changed.notify_one();
    }

    /// A place in the queue for a call, under `key`; asking again keeps it. Never waits: `wake` is called when the place is
    /// granted, and then asking again gives the permit.
    pub fn claim(self: &Arc<Self>, operation: Operation, class: Class, key: &str, wake: Wake) -> Claim {
        let now = Instant::now();
        let place = match self.limiters().get_mut(&operation) {
            Some(limiter) => limiter.ask(key, class, now),
            None => Place::Queued(Duration::MAX),
        };
        match place {
            Place::Granted(slot) => {
                self.wakers().remove(&(operation, key.to_owned()));
                Claim::Granted(Permit { account: Arc::clone(self), operation, slot, sent: false })
            }
            Place::Queued(estimate) => {
                self.wakers().insert((operation, key.to_owned()), wake);
                self.changed.notify_one();
                Claim::Queued { estimate }
            }
        }
    }

    /// Waits for a permit; given up when the future is dropped.
    pub(super) async fn acquire(self: &Arc<Self>, operation: Operation, class: Class) -> Permit {
        let key = {
            let mut next = self.next_key.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            format!("wait-{next}")
        };
        let granted = Arc::new(Notify::new());
        let given_up = GiveUp { account: Arc::clone(self), operation, key };
        loop {
            let notify = Arc::clone(&granted);
            match self.claim(operation, class, &given_up.key, Arc::new(move || notify.notify_one())) {
                Claim::Granted(permit) => return permit,
                Claim::Queued { .. } => {
                    // Asked again before the place lapses for want of asking.
                    let _ = tokio::time::timeout(Duration::from_secs(60), granted.notified()).await;
                }
            }
        }
    }

    /// Gives a place in the queue up.
    pub fn release(&self, operation: Operation, key: &str) {
        if let Some(limiter) = self.limiters().get_mut(&operation) {
            limiter.release(key, Instant::now());
        }
        self.wakers().remove(&(operation, key.to_owned()));
        self.changed.notify_one();
    }

    /// About how long a new call would wait.
    #[must_use]
    pub fn estimate(&self, operation: Operation, class: Class) -> Duration {
        self.limiters().get(&operation).map(|limiter| limiter.estimate(class, Instant::now())).unwrap_or_default()
    }

    /// What an answer tells about the service's own count.
    pub(super) fn learn(&self, operation: Operation, told: &super::headers::Told) {
        let now = Instant::now();
        if let Some(limiter) = self.limiters().get_mut(&operation) {
            limiter.learn(told.limit, told.remaining, told.reset, now);
            if let Some(wait) = told.freeze {
                limiter.freeze(wait, now);
            }
        }
        self.changed.notify_one();
    }

    /// The revision of the API that a publish has shown.
    #[must_use]
    pub fn detected_revision(&self) -> Option<Revision> {
        *self.detected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a publish has shown, or what was known from before.
    pub fn set_detected_revision(&self, revision: Revision) {
        *self.detected.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }

    /// Grants what is free and wakes who got it; when to do it again.
    fn hand_out(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut granted = Vec::new();
        let mut next: Option<Instant> = None;
        for (operation, limiter) in self.limiters().iter_mut() {
            granted.extend(limiter.grant(now).into_iter().map(|key| (*operation, key)));
            let at = limiter.next_grant(now);
            next = [next, at].into_iter().flatten().min();
        }
        {
            let limiters = self.limiters();
            self.wakers().retain(|(operation, key), _| limiters.get(operation).is_some_and(|l| l.has_waiter(key)));
        }
        for key in granted {
            let wake = self.wakers().get(&key).cloned();
            if let Some(wake) = wake {
                wake();
            }
        }
        next
    }
}

/// Gives the place of a waiting future up when the future is dropped. A place that was granted and used is gone already.
struct GiveUp {
    account: Arc<Account>,
    operation: Operation,
    key: String,
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.account.release(self.operation, &self.key);
    }
}

/// Hands out slots as they become free, until the account is gone.
async fn hand_out(account: std::sync::Weak<Account>) {
    /// Looks this often whether the account is still used.
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        let Some(account) = account.upgrade() else { return };
        let next = account.hand_out();
        let look = Instant::now() + LOOK;
        // At least a millisecond, so that a slot that becomes free at this very moment is free then.
        let wake = next.map_or(look, |next| next.min(look)).max(Instant::now() + Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = account.changed.notified() => {}
        }
    }
}
