//! An operator whose time of day is wrong.
//!
//! A small library, compiled when a test needs it, comes between the process and the C library and moves the clock of the
//! day; the clocks that only go forward stay as they are, as they do on a machine whose clock is set wrong. It needs Linux and
//! a C compiler, which the build of this project needs anyway. The operator itself has no setting for this.

use std::process::Command;

use super::World;

impl World {
    /// What must stand in the environment of an operator whose clock of the day is so many seconds ahead.
    pub fn clock_ahead(&self, seconds: i64) -> [(&'static str, String); 2] {
        let library = self.folder.path().join("libskewed_clock.so");
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/skewed_clock.c");
            let compiled =
                Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
            assert!(compiled.unwrap().success(), "{source} cannot be compiled");
        }
        [("LD_PRELOAD", library.display().to_string()), ("CLOCK_OFFSET_SECONDS", seconds.to_string())]
    }
}
