//! Which reconcile the code that runs belongs to, for log lines and traces. It goes with the future and not with the thread, and
//! costs nothing but two counters until somebody asks for it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::Either;
use opentelemetry::trace::SpanContext;

/// An object that can be named.
pub trait Subject: Send + Sync {
    /// What it is called.
    fn names(&self) -> Names<'_>;
}

/// What an object is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<'a> {
    /// Its kind, such as `ToolVersion`.
    pub kind: Cow<'a, str>,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// One reconcile of one object.
#[derive(Clone)]
pub struct Scope {
    subject: Arc<dyn Subject>,
    number: u64,
    span: Option<SpanContext>,
}

tokio::task_local! {
    static CURRENT: Scope;
}

static LAST: AtomicU64 = AtomicU64::new(0);

impl Scope {
    /// A new reconcile of this object, with its span if it is traced.
    #[must_use]
    pub fn new(subject: Arc<dyn Subject>, span: Option<SpanContext>) -> Self {
        Self { subject, number: LAST.fetch_add(1, Ordering::Relaxed), span }
    }

    /// What the object is called.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        self.subject.names()
    }

    /// Tells this reconcile apart from every other, also of other processes.
    #[must_use]
    pub fn id(&self) -> Id {
        Id(self.number)
    }

    /// The span of the reconcile, if it is traced.
    #[must_use]
    pub const fn span(&self) -> Option<&SpanContext> {
        self.span.as_ref()
    }

    /// Runs the future as part of this reconcile.
    pub fn of<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// The id of a reconcile, written only when it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(rand::random);
        write!(f, "{:016x}-{:x}", *PROCESS, self.0)
    }
}

/// Looks at the reconcile that runs; `None` outside of any.
pub fn current<T>(look: impl FnOnce(&Scope) -> T) -> Option<T> {
    CURRENT.try_with(look).ok()
}

/// The future as part of the reconcile that runs now, wherever it is run: for tasks that a reconcile starts.
pub fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match current(Clone::clone) {
        Some(scope) => Either::Left(scope.of(future)),
        None => Either::Right(future),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Weather;

    impl Subject for Weather {
        fn names(&self) -> Names<'_> {
            Names { kind: "Tool".into(), namespace: "travel", name: "weather" }
        }
    }

    fn seen() -> Option<String> {
        current(|scope| scope.id().to_string())
    }

    #[tokio::test]
    async fn a_task_that_a_reconcile_starts_belongs_to_it_and_no_other_does() {
        let (one, other) = (Scope::new(Arc::new(Weather), None), Scope::new(Arc::new(Weather), None));
        let ids = [one.id().to_string(), other.id().to_string()];
        assert_ne!(ids[0], ids[1]);
        let begin = || async { [tokio::spawn(carried(async { seen() })), tokio::spawn(async { seen() })] };
        let (of_one, of_other) = tokio::join!(one.of(begin()), other.of(begin()));
        for (tasks, id) in [(of_one, &ids[0]), (of_other, &ids[1])] {
            let [carried, not] = tasks;
            assert_eq!((carried.await.unwrap().as_ref(), not.await.unwrap()), (Some(id), None));
        }
        assert_eq!(seen(), None);
        assert_eq!(carried(async { seen() }).await, None);
    }
}
