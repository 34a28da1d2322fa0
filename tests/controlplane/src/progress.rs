//! Signs of life while programs are built, which takes a quarter of an hour on a small machine.

use std::io::Write as _;
use std::time::Duration;

use crate::Program;

/// Where a build stands. Told about once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same programs; this one waits for it.
    Waiting {
        /// For how long already.
        elapsed: Duration,
    },
    /// A program is being compiled.
    Building {
        /// Which one.
        program: Program,
        /// The first program is number 1.
        number: usize,
        /// How many are built in all.
        of: usize,
        /// Go packages compiled for it so far; those in Go's own cache are not counted.
        packages: usize,
        /// Since this program was begun.
        elapsed: Duration,
    },
    /// A program is ready.
    Built {
        /// Which one.
        program: Program,
        /// The first program is number 1.
        number: usize,
        /// How many are built in all.
        of: usize,
        /// How long it took.
        elapsed: Duration,
    },
}

/// Prints a plain line to standard error when something begins or ends, and every 15 seconds in between.
///
/// It writes past the capture of `cargo test`, so that somebody who runs a single test sees why nothing happens yet.
pub fn print_progress(progress: &Progress) {
    let line = match *progress {
        Progress::Waiting { elapsed } if is_due(elapsed) => {
            format!("waiting for another build of the same programs, {} s", elapsed.as_secs())
        }
        Progress::Building { program, number, of, packages, elapsed } if is_due(elapsed) => {
            format!("building {program} ({number} of {of}), {packages} packages compiled, {} s", elapsed.as_secs())
        }
        Progress::Built { program, number, of, elapsed } => {
            format!("built {program} ({number} of {of}) in {} s", elapsed.as_secs())
        }
        Progress::Waiting { .. } | Progress::Building { .. } => return,
    };
    // A closed standard error is no reason to stop a build.
    let _ = writeln!(std::io::stderr(), "programs of the tests: {line}");
}

fn is_due(elapsed: Duration) -> bool {
    elapsed.as_secs().is_multiple_of(15)
}
