//! What a process takes, from `/proc`.

use std::fs;
use std::time::Duration;

use crate::Result;

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The one of this name whose parent is `parent`.
    pub(crate) fn child(parent: u32, name: &str) -> Result<Self> {
        let ids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_child = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            stat.contains(&format!("({name})")) && of == Some(parent)
        };
        ids.into_iter().find(is_child).map(Self).ok_or_else(|| format!("no process {name} under {parent}").into())
    }

    /// The one that asks.
    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    pub(crate) fn peak_memory(self) -> Result<f64> {
        self.status("VmHWM:")
    }

    fn status(self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.ok_or("no memory in /proc")?.parse()?;
        Ok(kilobytes * 1024.0)
    }

    /// Processor time so far.
    pub(crate) fn processor_time(self) -> Result<Duration> {
        /// The kernel counts in hundredths of a second for user space, whatever it does inside.
        const TICK: Duration = Duration::from_millis(10);
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("no times in /proc")?.1.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        Ok(TICK * (ticks(11) + ticks(12)))
    }
}
