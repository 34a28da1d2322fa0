//! How much memory the operator takes.

use std::fs;

use super::World;

impl World {
    /// The most memory that the operator which was started first has taken so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let group = self.operators[0].process_group();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_operator = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            stat.contains("(amigo-operator)") && parent == Some(group)
        };
        let id = ids.find(is_operator).expect("an operator runs");
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|number| number.parse::<u64>().ok()).expect("Linux tells the peak") * 1024
    }
}
