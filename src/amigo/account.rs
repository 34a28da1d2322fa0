//! One organization at one endpoint: its budgets, shared by all who mean the same, and what was learnt about it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::{self, Limiter, Slot, State};
use super::endpoint::Endpoint;
use super::headers::Told;
use super::operation::{Class, Operation};
use super::outage::Outage;
use super::revision::Revision;

/// Called when a place in the queue is granted. It must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// On whose behalf a read is made, and how urgent it is.
#[derive(Clone)]
pub struct Asking {
    /// How urgent.
    pub class: Class,
    /// Who comes back for a turn that is a long wait away. Without, whoever asks is only told to ask again.
    pub place: Option<Place>,
}

/// A place in the queue that is kept for who comes back for it.
#[derive(Clone)]
pub struct Place {
    /// Parties of one class take turns.
    pub party: String,
    /// Tells the places of one operation apart.
    pub key: String,
    /// Called when it is granted.
    pub wake: Wake,
}

impl From<Class> for Asking {
    fn from(class: Class) -> Self {
        Self { class, place: None }
    }
}

/// The party of calls that are made for several at once.
const SHARED: &str = "";

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
    state: Use,
}

/// What became of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Not sent: the slot is free again.
    None,
    /// Sent, and never answered as far as is known: the service may count it some time later.
    Sent,
    Answered,
}

impl Permit {
    /// Whether it is for this call of this account.
    pub(super) fn is_for(&self, account: &Arc<Account>, operation: Operation) -> bool {
        Arc::ptr_eq(&self.account, account) && self.operation == operation
    }

    /// The call is about to be sent.
    pub(super) fn sending(&mut self) {
        self.state = Use::Sent;
        self.account.on(self.operation, |limiter, now| limiter.sent(self.slot, now));
    }

    /// The call was answered; what the answer tells about the service's own count.
    pub(super) fn answered(mut self, told: &Told) {
        self.state = Use::Answered;
        self.account.on(self.operation, |limiter, now| limiter.answered(self.slot, told, now));
    }

    /// Nothing of the call left.
    pub(super) fn not_sent(mut self) {
        self.state = Use::None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.state == Use::None {
            self.account.on(self.operation, |limiter, _| limiter.unused(self.slot));
        }
        self.account.changed.notify_one();
    }
}

/// The budgets of one organization at one endpoint.
pub struct Account {
    endpoint: Endpoint,
    organization: String,
    /// By operation, in the order of [`Operation::ALL`].
    limiters: [Mutex<Limiter<Wake>>; Operation::ALL.len()],
    /// Something changed that may let others go earlier.
    changed: Notify,
    detected: Mutex<Option<Revision>>,
    /// How far the service's clock is ahead of ours, as its last answer told.
    ahead: Mutex<SignedDuration>,
    outage: Mutex<Outage>,
    last_key: AtomicU64,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} at {})", self.organization, self.endpoint)
    }
}

impl Account {
    /// Budgets that nothing was drawn from yet. A task hands out what becomes free, for as long as the account is used.
    pub(super) fn start(endpoint: Endpoint, organization: String) -> Arc<Self> {
        let account = Arc::new(Self {
            endpoint,
            organization,
            limiters: Operation::ALL.map(|operation| Mutex::new(Limiter::new(operation.limit_per_minute(), 100))),
            changed: Notify::new(),
            detected: Mutex::default(),
            ahead: Mutex::default(),
            outage: Mutex::default(),
            last_key: AtomicU64::default(),
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

    /// Does something to the budget of an operation, hands out what that sets free, and wakes who got it, without the lock.
    fn on<T>(&self, operation: Operation, change: impl FnOnce(&mut Limiter<Wake>, Instant) -> T) -> T {
        let (result, woken) = {
            let mut limiter = self.limiters[operation as usize].lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let result = change(&mut limiter, now);
            limiter.grant(now);
            (result, limiter.take_woken())
        };
        for wake in woken {
            wake();
        }
        result
    }

    /// How much of each limit may be used, 1 to 100; sign-in has its own limit, unscaled.
    pub fn set_budget_percent(&self, percent: u32) {
        for operation in Operation::ALL.into_iter().filter(|operation| *operation != Operation::SignIn) {
            self.on(operation, |limiter, _| limiter.set_percent(percent));
        }
        self.changed.notify_one();
    }

    /// How many calls may be made in a minute.
    #[must_use]
    pub fn allowance(&self, operation: Operation) -> usize {
        self.on(operation, |limiter, _| limiter.allowance())
    }

    /// What each budget that was drawn on is at.
    #[must_use]
    pub fn budgets(&self) -> Vec<(Operation, State)> {
        let of = |operation| Some((operation, self.on(operation, |limiter, now| limiter.state(now))?));
        Operation::ALL.into_iter().filter_map(of).collect()
    }

    /// A place in the queue for a call, under `key`; asking again keeps it. Parties of one class take turns. Never waits: `wake`
    /// is called when the place is granted, and then asking again gives the permit. A place that is not asked for again in 20
    /// minutes is given up, and one that was granted and is not fetched in 30 seconds.
    pub fn claim(self: &Arc<Self>, operation: Operation, class: Class, party: &str, key: &str, wake: Wake) -> Claim {
        match self.on(operation, |limiter, now| limiter.ask(key, party, class, wake, now)) {
            budget::Place::Granted(slot) => {
                Claim::Granted(Permit { account: Arc::clone(self), operation, slot, state: Use::None })
            }
            budget::Place::Queued(estimate) => {
                self.changed.notify_one();
                Claim::Queued { estimate }
            }
        }
    }

    /// Waits for a permit; given up when the future is dropped.
    pub(super) async fn acquire(self: &Arc<Self>, operation: Operation, class: Class) -> Permit {
        let key = format!("wait-{}", self.last_key.fetch_add(1, Ordering::Relaxed));
        self.acquire_as(operation, class, SHARED, key).await
    }

    /// Waits for a permit at a place that may be there already.
    pub(super) async fn acquire_as(
        self: &Arc<Self>,
        operation: Operation,
        class: Class,
        party: &str,
        key: String,
    ) -> Permit {
        let granted = Arc::new(Notify::new());
        let place = GiveUp { account: Arc::clone(self), operation, key };
        loop {
            let notify = Arc::clone(&granted);
            match self.claim(operation, class, party, &place.key, Arc::new(move || notify.notify_one())) {
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
        self.on(operation, |limiter, _| limiter.release(key));
        self.changed.notify_one();
    }

    /// About how long a new call would wait.
    #[must_use]
    pub fn estimate(&self, operation: Operation, class: Class) -> Duration {
        self.on(operation, |limiter, now| limiter.estimate(SHARED, class, now))
    }

    /// Whether another call of the class, or of a better one, waits already.
    pub(super) fn is_waited_for(&self, operation: Operation, class: Class) -> bool {
        self.on(operation, |limiter, _| limiter.is_waited_for(class))
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

    /// The service told its time of day at `now`, by our clock.
    pub(super) fn note_time(&self, told: Timestamp, now: Timestamp) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = told.duration_since(now);
    }

    /// What the service's clock shows when ours shows `now`. Until it has told, its clock counts as right as ours.
    pub(super) fn service_time(&self, now: Timestamp) -> Timestamp {
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        now.checked_add(ahead).unwrap_or(now)
    }

    fn outage<T>(&self, act: impl FnOnce(&mut Outage) -> T) -> T {
        act(&mut self.outage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether no call has found the service working for a while.
    #[must_use]
    pub fn is_outage_suspected(&self) -> bool {
        self.outage(|outage| outage.is_suspected(Instant::now()))
    }

    /// Whether somebody should look if the service works.
    #[must_use]
    pub fn is_look_due(&self) -> bool {
        self.outage(|outage| outage.is_look_due(Instant::now()))
    }

    /// How many outages have ended.
    #[must_use]
    pub fn outages_ended(&self) -> u64 {
        self.outage(|outage| outage.ended())
    }

    /// Somebody looks if the service works.
    pub(super) fn looks(&self) {
        self.outage(|outage| outage.looks(Instant::now()));
    }

    /// A look did not find the service working.
    pub(super) fn look_failed(&self) {
        self.outage(Outage::look_failed);
    }

    /// A call found the service working, or not.
    pub(super) fn note_reach(&self, works: bool) {
        if !works {
            self.outage(|outage| outage.failed(Instant::now()));
        } else if self.outage(Outage::answered) {
            tracing::info!(organization = self.organization, endpoint = %self.endpoint, "the service works again");
        }
    }

    /// When there may be something to hand out again.
    fn next_grant(&self) -> Option<Instant> {
        Operation::ALL
            .into_iter()
            .filter_map(|operation| {
                self.on(operation, |limiter, now| {
                    limiter.grant(now);
                    limiter.next_grant(now)
                })
            })
            .min()
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
async fn hand_out(account: Weak<Account>) {
    /// Looks this often whether the account is still used.
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        let Some(account) = account.upgrade() else { return };
        let next = account.next_grant();
        let look = Instant::now() + LOOK;
        // At least a millisecond, so that a slot that becomes free at this very moment is free then.
        let wake = next.map_or(look, |next| next.min(look)).max(Instant::now() + Duration::from_millis(1));
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake) => {}
            () = account.changed.notified() => {}
        }
    }
}
