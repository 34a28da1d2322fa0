//! What happened in a run, line by line, in virtual time. Two runs of one seed have the same trace to the byte. No secret
//! value may be in it.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

/// Every secret value of a run contains this.
pub const CANARY: &str = "canary";

/// The trace of one run. Clones share it.
#[derive(Debug, Clone)]
pub struct Trace {
    began: Instant,
    text: Arc<Mutex<String>>,
}

impl Trace {
    /// An empty trace that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), text: Arc::default() }
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub fn line(&self, who: &str, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let _ = writeln!(self.text(), "{at:10.3} {who:<10} {what}");
    }

    /// The whole trace.
    #[must_use]
    pub fn whole(&self) -> String {
        self.text().clone()
    }

    /// Where a secret value is in it, if anywhere.
    #[must_use]
    pub fn leak(&self) -> Option<String> {
        self.text().lines().find(|line| line.contains(CANARY)).map(ToOwned::to_owned)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the operator's log lines.
impl io::Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line("log", String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Trace {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
