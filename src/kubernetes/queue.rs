//! Which objects are to be looked at next, and the loop that looks at them: at most one look at an object at a time, hundreds
//! of objects side by side. One queue a kind, fed by watches, timers and the remote API; it never fails, so that a
//! broken watch of one kind cannot delay another.
//!
//! Written here and not taken from kube's `Controller`, for two properties: what happens in which order follows from the
//! order of events alone, which the simulation replays; and a waking object costs its own poll only, however many others
//! are under way, where kube's polls all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::watch::Key;

/// How many looks are started before others have a turn.
const STARTED_AT_ONCE: usize = 64;

/// How many looks of one kind are under way at most. Each keeps its object and what it has begun to say in memory, and those
/// that call the API server wait for each other: of tens of thousands that begin at once most would give up before their turn.
/// A publish, or a place in the queue for a call, is waited for outside of a look; the answer to a read is waited for in it, for
/// half a minute where a service hangs, so that there must be room for the looks of many organizations.
pub const UNDER_WAY: usize = 512;

/// Asks for objects of one kind to be reconciled.
#[derive(Debug, Clone)]
pub struct Queue(mpsc::UnboundedSender<Key>);

/// The end that the controller reads.
pub type Requests = mpsc::UnboundedReceiver<Key>;

impl Queue {
    /// A queue and the end that the controller reads.
    #[must_use]
    pub fn new() -> (Self, Requests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Asks for the object to be reconciled. Asking twice before it happens is asking once.
    pub fn push(&self, namespace: &str, name: &str) {
        // The receiver is gone only while the process steps down; the next leader looks at everything anyway.
        let _ = self.0.send((namespace.to_owned(), name.to_owned()));
    }
}

/// Sees what happens in a queue, for metrics.
pub trait Meter {
    /// An object is due that was not before.
    fn added(&self) {}
    /// A look begins, which was due this long ago.
    fn started(&self, _waited: Duration) {}
    /// So many objects are due and are not looked at yet.
    fn waiting(&self, _count: usize) {}
}

/// Sees nothing.
impl Meter for () {}

/// How often it is counted how many objects wait.
const COUNTED: Duration = Duration::from_secs(1);

/// Looks at objects as the queue asks for them, until the queue is closed and nothing is under way. `look` says when to
/// look again, if nobody asks before.
pub async fn run<F>(mut requests: Requests, meter: impl Meter, look: impl Fn(Key) -> F)
where
    F: Future<Output = Option<Duration>>,
{
    let mut agenda = Agenda::default();
    let mut looks = FuturesUnordered::new();
    let mut counted = Instant::now();
    loop {
        let now = Instant::now();
        for _ in 0..STARTED_AT_ONCE {
            if looks.len() >= UNDER_WAY {
                break;
            }
            let Some((key, due)) = agenda.start(now) else { break };
            meter.started(now.duration_since(due));
            // Most looks find nothing to do and are over at once: they need no place among those that wait.
            let mut look = Box::pin(look(key.clone()));
            match futures::poll!(&mut look) {
                Poll::Ready(again) => agenda.ended(&key, again, Instant::now()),
                Poll::Pending => looks.push(async move { (key, look.await) }),
            }
        }
        match agenda.next().filter(|next| *next <= now) {
            None => meter.waiting(0),
            Some(_) if now.duration_since(counted) < COUNTED => {}
            Some(_) => {
                meter.waiting(agenda.due_by(now));
                counted = now;
            }
        }
        let next = agenda.next().filter(|_| looks.len() < UNDER_WAY);
        // In this order, always: the same events give the same run.
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(key) => {
                    if agenda.ask(key, Instant::now()) {
                        meter.added();
                    }
                }
                None if looks.is_empty() => return,
                None => while let Some((key, again)) = looks.next().await { agenda.ended(&key, again, Instant::now()); },
            },
            Some((key, again)) = looks.next() => agenda.ended(&key, again, Instant::now()),
            () = until(next), if next.is_some() => {}
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// When each object is due, and what is under way. Each key is there once.
#[derive(Debug, Default)]
struct Agenda {
    due: BTreeMap<Arc<Key>, Instant>,
    by_time: BTreeSet<(Instant, Arc<Key>)>,
    /// Under way; `true` when it was asked for in the meantime.
    under_way: BTreeMap<Key, bool>,
}

impl Agenda {
    /// The object is to be looked at at this time, or earlier if that was the plan; whether that is news. One that is under way
    /// is looked at again once it has ended: what it reads may be older than the request.
    fn ask(&mut self, key: Key, at: Instant) -> bool {
        if let Some(asked) = self.under_way.get_mut(&key) {
            return !std::mem::replace(asked, true);
        }
        let key = match self.due.get_key_value(&key) {
            Some((_, planned)) if *planned <= at => return false,
            Some((known, planned)) => {
                let known = Arc::clone(known);
                self.by_time.remove(&(*planned, Arc::clone(&known)));
                known
            }
            None => Arc::new(key),
        };
        self.due.insert(Arc::clone(&key), at);
        self.by_time.insert((at, key));
        true
    }

    /// The object that is due first, if one is, and since when it was; it is under way from now on.
    fn start(&mut self, now: Instant) -> Option<(Key, Instant)> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (at, key) = self.by_time.pop_first()?;
        self.due.remove(&key);
        let key = Arc::unwrap_or_clone(key);
        self.under_way.insert(key.clone(), false);
        Some((key, at))
    }

    /// A look ended, and says after what time the next is due.
    fn ended(&mut self, key: &Key, again: Option<Duration>, now: Instant) {
        let asked = self.under_way.remove(key).unwrap_or_default();
        // A duration that no clock can add is as good as never.
        let planned = again.and_then(|again| now.checked_add(again));
        if let Some(at) = if asked { Some(now) } else { planned } {
            let _ = self.ask(key.clone(), at);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// How many are due at this time.
    fn due_by(&self, now: Instant) -> usize {
        self.by_time.iter().take_while(|(at, _)| *at <= now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    fn key(name: &str) -> Key {
        ("travel".into(), name.into())
    }

    #[tokio::test(start_paused = true)]
    async fn the_agenda_keeps_the_earlier_of_two_plans_and_repeats_what_was_asked_meanwhile() {
        let (now, mut agenda) = (Instant::now(), Agenda::default());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(agenda.ask(key("a"), after(9)));
        assert!(!agenda.ask(key("a"), after(20)), "the later plan is no news");
        assert_eq!((agenda.next(), agenda.start(after(8))), (Some(after(9)), None));
        assert!(agenda.ask(key("a"), after(3)) && agenda.ask(key("b"), after(2)));
        assert_eq!([after(1), after(2), after(9)].map(|at| agenda.due_by(at)), [0, 1, 2]);
        let started = |key: Key, at| Some((key, after(at)));
        assert_eq!((agenda.start(after(3)), agenda.start(after(3))), (started(key("b"), 2), started(key("a"), 3)));
        assert_eq!(agenda.start(after(99)), None, "nothing is looked at twice at once");
        assert!(agenda.ask(key("a"), after(3)) && !agenda.ask(key("a"), after(3)));
        assert_eq!(agenda.start(after(99)), None);
        agenda.ended(&key("a"), Some(Duration::from_secs(600)), after(4));
        assert_eq!(agenda.next(), Some(after(4)), "asked for meanwhile");
        agenda.ended(&key("b"), Some(Duration::MAX), after(4));
        assert_eq!(agenda.start(after(4)), started(key("a"), 4));
        agenda.ended(&key("a"), Some(Duration::from_secs(6)), after(5));
        assert_eq!(agenda.next(), Some(after(11)));
        assert_eq!(agenda.start(after(11)), started(key("a"), 11));
        agenda.ended(&key("a"), None, after(12));
        assert_eq!(agenda.next(), None, "only a change brings it back");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_looks_are_under_way_and_the_others_follow() {
        let (queue, requests) = Queue::new();
        let (begun, gate) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
        let (count, open) = (Arc::clone(&begun), Arc::clone(&gate));
        let look = move |_: Key| {
            let (count, open) = (Arc::clone(&count), Arc::clone(&open));
            async move {
                *count.lock().unwrap() += 1;
                open.notified().await;
                None
            }
        };
        for number in 0..UNDER_WAY + 5 {
            queue.push("travel", &number.to_string());
        }
        let run = tokio::spawn(run(requests, (), look));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*begun.lock().unwrap(), UNDER_WAY);
        for _ in 0..3 {
            gate.notify_one();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(*begun.lock().unwrap() > UNDER_WAY, "those that end make room");
        drop(queue);
        for _ in 0..10 {
            gate.notify_waiters();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        run.await.unwrap();
        assert_eq!(*begun.lock().unwrap(), UNDER_WAY + 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_look_holds_up_no_other_object() {
        let (queue, requests) = Queue::new();
        let (looked, slow) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (seen, gate) = (Arc::clone(&looked), Arc::clone(&slow));
        let look = move |(_, name): Key| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            async move {
                if name == "slow" {
                    gate.notified().await;
                }
                seen.lock().unwrap().push(name);
                None
            }
        };
        for name in ["slow", "slow", "quick"] {
            queue.push("travel", name);
        }
        let run = tokio::spawn(run(requests, (), look));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*looked.lock().unwrap(), ["quick"]);
        queue.push("travel", "slow");
        slow.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*looked.lock().unwrap(), ["quick", "slow"], "asked for twice before it began: once");
        slow.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*looked.lock().unwrap(), ["quick", "slow", "slow"], "and once for what was asked meanwhile");
        drop(queue);
        run.await.unwrap();
    }
}
