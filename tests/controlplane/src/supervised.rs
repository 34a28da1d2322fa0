//! One server process that cannot outlive the process which started it.
//!
//! Each server runs in a process group of its own, under a shell that holds the reading end of a pipe. The writing end
//! is in this process alone. However this process ends, SIGKILL included, the kernel closes the pipe, and the shell's
//! watchdog kills the whole group. That works on every Unix with a POSIX shell, and without unsafe code; a death
//! signal set by `prctl` would need both Linux and unsafe code, and is bound to a thread instead of the process.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::error::{Error, file_error};

/// The watchdog begins before the server, so that there is no moment without one. Standard input is the pipe. `kill 0`
/// is the process group: server, watchdog and shell. On SIGTERM, which goes to the whole group, shell and watchdog
/// stay: the shell to report how the server ended, the watchdog in case the server does not. SIGUSR1 and SIGUSR2, which go to
/// the shell alone, pause the server and let it go on: the watchdog must stay awake.
const SUPERVISOR: &str = r#"
exec 3<&0
trap : TERM
trap 'kill -STOP "$server"' USR1
trap 'kill -CONT "$server"' USR2
( trap '' TERM; read -r _ <&3; kill -KILL 0 ) &
watchdog=$!
"$@" </dev/null 3<&- &
server=$!
while :; do
  wait "$server"
  status=$?
  kill -0 "$server" 2>/dev/null || break
done
kill -KILL "$watchdog"
exit "$status"
"#;

/// How long a server may take to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long what is left of a killed server is waited for.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Lines of the log that an error shows.
const LOG_LINES: usize = 20;

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Supervised {
    name: &'static str,
    log: PathBuf,
    /// The shell, which leads the group. It holds the pipe's writing end as `stdin`.
    supervisor: Child,
}

impl Supervised {
    /// Starts a program. Its output is appended to the log file, its environment is empty but for PATH, HOME and what is
    /// given: settings such as `ETCD_DATA_DIR` in the user's environment must not reach it.
    pub fn start(
        name: &'static str,
        program: &Path,
        flags: &[String],
        variables: &[(&str, String)],
        log: PathBuf,
    ) -> Result<Self, Error> {
        let output = OpenOptions::new().create(true).append(true).open(&log).map_err(file_error("open", &log))?;
        let errors = output.try_clone().map_err(file_error("open", &log))?;
        let home = log.parent().unwrap_or(Path::new("/")).to_owned();
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, name])
            .arg(program)
            .args(flags)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", home)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Run { program: program.to_owned(), source })?;
        Ok(Self { name, log, supervisor })
    }

    /// Waits until the condition is true; an error says how the server ended or what its log ends with.
    pub fn wait_until(
        &mut self,
        what: &'static str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            if condition() {
                return Ok(());
            }
            let (server, log) = (self.name, self.log.clone());
            if let Ok(Some(status)) = self.supervisor.try_wait() {
                return Err(Error::ServerEnded { server, status: status.to_string(), log, tail: self.log_tail() });
            }
            if started.elapsed() > limit {
                return Err(Error::NotReady { server, what, waited: limit, log, tail: self.log_tail() });
            }
            thread::sleep(POLL);
        }
    }

    /// The process group of the server and its watchdog.
    #[must_use]
    pub fn process_group(&self) -> u32 {
        self.supervisor.id()
    }

    /// Stops the server where it is, between any two of its instructions, until [`Self::resume`]: SIGSTOP. It keeps its
    /// connections, and its clocks go on.
    pub fn pause(&self) {
        self.tell_supervisor(Signal::SIGUSR1);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.tell_supervisor(Signal::SIGUSR2);
    }

    fn tell_supervisor(&self, signal: Signal) {
        // As below: without it there is nobody to tell.
        if let Ok(supervisor) = i32::try_from(self.supervisor.id()) {
            let _ = kill(Pid::from_raw(supervisor), signal);
        }
    }

    /// Asks the server to end, and kills it if it does not.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let started = Instant::now();
        while started.elapsed() < STOP_GRACE {
            match self.supervisor.try_wait() {
                Ok(None) => thread::sleep(POLL / 5),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // Dropping it now kills it.
    }

    fn signal(&self, signal: Signal) {
        // The group is there as long as its leader has not been waited for; afterwards there is nobody to tell.
        if let Ok(group) = i32::try_from(self.supervisor.id()) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    /// Waits until nothing of a killed group is left: a server that is still being taken down keeps its port, and the next one
    /// could not have it. Where nobody reaps orphans they stay in the group, so that the wait must have an end.
    fn wait_for_group(&self) {
        let started = Instant::now();
        let Ok(group) = i32::try_from(self.supervisor.id()) else { return };
        while started.elapsed() < KILL_GRACE && killpg(Pid::from_raw(group), None).is_ok() {
            thread::sleep(POLL / 20);
        }
    }

    fn log_tail(&self) -> String {
        let content = fs::read(&self.log).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let lines: Vec<_> = content.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            self.signal(Signal::SIGKILL);
            // The answer does not matter, only that no zombie stays.
            let _ = self.supervisor.wait();
            self.wait_for_group();
        }
    }
}
