//! Publishes in flight. Each runs in a task of its own and occupies no worker; at most one runs for a tool. What is here is
//! lost with the process, and then the intent in the object's status and the list of versions decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::amigo::types::VersionNumber;
use crate::amigo::{self, Effect};
use crate::scope;

/// The publishes that this process sent, by the uid of the ToolVersion. An answer stays until the next publish of the object:
/// the status write that should follow it may fail, and the answer must not be lost with it.
#[derive(Debug, Default, Clone)]
pub struct Publishes(Arc<Mutex<BTreeMap<String, Publish>>>);

#[derive(Debug, Clone)]
struct Publish {
    tool_id: String,
    attempt: i32,
    state: State,
    /// The object is gone. Until this time the publish has its place if nobody knows what became of it.
    left: Option<Instant>,
    /// What stood here before; put back when the publish is not sent after all.
    before: Option<Box<Publish>>,
}

/// What became of a publish.
#[derive(Debug, Clone)]
pub enum State {
    /// No answer yet.
    Running,
    /// It was answered with this number.
    Confirmed(VersionNumber),
    /// It was refused after this time, without effect.
    Refused(Arc<amigo::Error>, Duration),
    /// Its answer was lost.
    Lost,
}

impl Publish {
    /// Whether no other publish of the tool may be sent: while it runs, and after its object has gone also while it is not certain
    /// that the list of versions shows what became of it.
    fn has_the_place(&self) -> bool {
        let may_be_made = matches!(self.state, State::Lost | State::Confirmed(_));
        let is_left = self.left.is_some_and(|left| left > Instant::now());
        matches!(self.state, State::Running) || (may_be_made && is_left)
    }

    /// Whether anybody may still ask for it.
    fn is_needed(&self) -> bool {
        self.left.is_none() || self.has_the_place()
    }
}

impl Publishes {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Publish>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the tool's one place for the object `uid`; false when a publish of the tool runs.
    #[must_use]
    pub fn begin(&self, tool_id: &str, uid: &str, attempt: i32) -> bool {
        let mut all = self.all();
        all.retain(|_, publish| publish.is_needed());
        if all.values().any(|publish| publish.tool_id == tool_id && publish.has_the_place()) {
            return false;
        }
        let before = all.remove(uid).map(|publish| Box::new(Publish { before: None, ..publish }));
        let publish = Publish { tool_id: tool_id.to_owned(), attempt, state: State::Running, left: None, before };
        all.insert(uid.to_owned(), publish);
        true
    }

    /// The publish that was begun is not sent after all.
    pub fn cancel(&self, uid: &str) {
        let mut all = self.all();
        if let Some(before) = all.remove(uid).and_then(|publish| publish.before) {
            all.insert(uid.to_owned(), *before);
        }
    }

    /// Runs the call in a task of its own and keeps its answer.
    pub fn run(
        &self,
        uid: String,
        tasks: &tokio_util::task::TaskTracker,
        call: impl Future<Output = Result<VersionNumber, amigo::Error>> + Send + 'static,
        wake: impl FnOnce() + Send + 'static,
    ) {
        let publishes = self.clone();
        tasks.spawn(scope::carried(async move {
            let started = Instant::now();
            let state = match call.await {
                Ok(number) => State::Confirmed(number),
                Err(error) if error.effect() == Effect::None => State::Refused(Arc::new(error), started.elapsed()),
                Err(error) => {
                    tracing::warn!(%error, "the answer to a publish was lost; the list of versions decides");
                    State::Lost
                }
            };
            let mut all = publishes.all();
            if let Some(publish) = all.get_mut(&uid) {
                publish.state = state;
            }
            all.retain(|_, publish| publish.is_needed());
            drop(all);
            wake();
        }));
    }

    /// What became of the object's publish of this attempt for this tool: one that has another tool now counts its attempts
    /// anew. One that runs is told whatever the attempt: a cache that is behind does not know of it yet.
    #[must_use]
    pub fn state(&self, uid: &str, tool_id: &str, attempt: Option<i32>) -> Option<State> {
        let all = self.all();
        let publish = all.get(uid).filter(|publish| publish.tool_id == tool_id)?;
        let meant = Some(publish.attempt) == attempt || matches!(publish.state, State::Running);
        meant.then(|| publish.state.clone())
    }

    /// The object is about to go while its publish of this attempt is open. Another object of the tool, the same manifest
    /// applied again perhaps, does not publish for so long, unless the answer comes.
    pub fn leave(&self, uid: &str, tool_id: &str, attempt: i32, rest: Duration) {
        let left = Instant::now().checked_add(rest);
        let mut all = self.all();
        let publish = all.entry(uid.to_owned()).or_insert_with(|| Publish {
            tool_id: tool_id.to_owned(),
            attempt,
            state: State::Lost,
            left: None,
            before: None,
        });
        publish.left = left;
    }

    /// The object is gone; a publish that still runs keeps its place until it ends.
    pub fn forget(&self, uid: &str) {
        let mut all = self.all();
        if let Some(publish) = all.get_mut(uid) {
            publish.left.get_or_insert_with(Instant::now);
        }
        all.retain(|_, publish| publish.is_needed());
    }

    /// Whether a publish of the tool runs.
    #[must_use]
    pub fn is_busy(&self, tool_id: &str) -> bool {
        self.all().values().any(|publish| publish.tool_id == tool_id && matches!(publish.state, State::Running))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<VersionNumber, amigo::Error> {
        Err(amigo::Error::NotSent("refused".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_outlives_a_failed_status_write_and_a_later_publish_that_is_not_sent() {
        let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
        assert!(publishes.begin("tool", "a", 1));
        assert!(!publishes.begin("tool", "b", 1), "one at a time for a tool");
        assert!(publishes.begin("other", "c", 1));
        publishes.run("a".into(), &tasks, async { refused() }, || ());
        tasks.close();
        tasks.wait().await;
        for _ in 0..2 {
            assert!(matches!(publishes.state("a", "tool", Some(1)), Some(State::Refused(..))));
        }
        assert!(publishes.state("a", "tool", None).is_none());
        assert!(publishes.begin("tool", "a", 1));
        assert!(matches!(publishes.state("a", "tool", None), Some(State::Running)));
        publishes.cancel("a");
        assert!(matches!(publishes.state("a", "tool", Some(1)), Some(State::Refused(..))));
        assert!(!publishes.is_busy("tool") && publishes.is_busy("other"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_a_number_a_refusal_or_lost() {
        let number = VersionNumber::new(1, 2, 3);
        let lost = || amigo::Error::Unknown { operation: amigo::Operation::PublishVersion, text: "reset".into() };
        for (answer, expected) in [(Ok(number), "confirmed"), (refused(), "refused"), (Err(lost()), "lost")] {
            let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
            let woken = Arc::new(Mutex::new(0));
            let wake = Arc::clone(&woken);
            assert!(publishes.begin("tool", "a", 1));
            publishes.run("a".into(), &tasks, async { answer }, move || *wake.lock().unwrap() += 1);
            tasks.close();
            tasks.wait().await;
            let found = match publishes.state("a", "tool", Some(1)).unwrap() {
                State::Running => "running",
                State::Confirmed(found) if found == number => "confirmed",
                State::Confirmed(_) => "confirmed as something else",
                State::Refused(..) => "refused",
                State::Lost => "lost",
            };
            assert_eq!(found, expected);
            assert_eq!(*woken.lock().unwrap(), 1, "{expected}");
            assert!(publishes.state("a", "tool", Some(2)).is_none(), "another attempt has another answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_for_a_tool_that_was_replaced_is_none_for_its_successor() {
        let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
        assert!(publishes.begin("old", "a", 1));
        publishes.run("a".into(), &tasks, async { Ok(VersionNumber::new(1, 0, 0)) }, || ());
        tasks.close();
        tasks.wait().await;
        assert!(publishes.begin("new", "a", 1));
        publishes.cancel("a");
        assert!(matches!(publishes.state("a", "old", Some(1)), Some(State::Confirmed(_))));
        assert!(publishes.state("a", "new", Some(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_keeps_its_place_while_its_publish_runs() {
        let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
        assert!(publishes.begin("tool", "a", 1));
        publishes.forget("a");
        assert!(publishes.is_busy("tool"));
        publishes.run("a".into(), &tasks, async { refused() }, || ());
        tasks.close();
        tasks.wait().await;
        assert!(publishes.all().is_empty(), "nobody asks for it any more");
        assert!(publishes.begin("tool", "a", 1));
        publishes.run("a".into(), &tasks, async { refused() }, || ());
        tasks.wait().await;
        publishes.forget("b");
        assert!(publishes.state("a", "tool", Some(1)).is_some(), "another object's end is not its own");
        publishes.forget("a");
        assert!(publishes.state("a", "tool", Some(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_keeps_its_place_while_nobody_knows_what_became_of_its_publish() {
        let rest = Duration::from_secs(600);
        let lost = || amigo::Error::Unknown { operation: amigo::Operation::PublishVersion, text: "reset".into() };
        let made = Ok(VersionNumber::new(1, 0, 0));
        let answers = [
            ("no answer in this process", None),
            ("lost", Some(Err(lost()))),
            ("made, and perhaps not listed yet", Some(made)),
            ("refused", Some(refused())),
        ];
        for (case, answer) in answers {
            let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
            let is_open = case != "refused";
            let runs = answer.is_some();
            if let Some(answer) = answer {
                assert!(publishes.begin("tool", "a", 1));
                publishes.run("a".into(), &tasks, async { answer }, || ());
            }
            publishes.leave("a", "tool", 1, rest);
            publishes.forget("a");
            assert_eq!(publishes.is_busy("tool"), runs, "{case}");
            tasks.close();
            tasks.wait().await;
            assert_eq!(publishes.begin("tool", "b", 1), !is_open, "{case}");
            assert!(publishes.begin("other", "c", 1), "{case}");
            tokio::time::advance(rest).await;
            assert_eq!(publishes.begin("tool", "b", 1), is_open, "{case}: once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_before_the_object_went_leaves_the_place_free() {
        let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
        assert!(publishes.begin("tool", "a", 1));
        publishes.run("a".into(), &tasks, async { refused() }, || ());
        tasks.close();
        tasks.wait().await;
        publishes.leave("a", "tool", 1, Duration::from_secs(600));
        assert!(publishes.begin("tool", "b", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_answer_is_kept() {
        let (publishes, tasks) = (Publishes::default(), tokio_util::task::TaskTracker::new());
        tasks.close();
        for attempt in 1..=3 {
            assert!(publishes.begin("tool", "a", attempt));
            publishes.run("a".into(), &tasks, async { refused() }, || ());
            tasks.wait().await;
        }
        assert!(publishes.begin("tool", "a", 4));
        let kept = std::iter::successors(publishes.all().remove("a"), |publish| publish.before.as_deref().cloned());
        assert_eq!(kept.map(|publish| publish.attempt).collect::<Vec<_>>(), [4, 3]);
    }

    #[test]
    fn a_publish_that_is_not_sent_leaves_nothing_behind() {
        let publishes = Publishes::default();
        assert!(publishes.begin("tool", "a", 1));
        publishes.cancel("a");
        assert!(publishes.state("a", "tool", Some(1)).is_none() && !publishes.is_busy("tool"));
    }
}
