//! Figures for people and for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::Result;

/// The figures of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub scenario: &'static str,
    pub machine: Machine,
    pub figures: Vec<Figure>,
}

/// What it was measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub cores: usize,
    pub processor: String,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    /// The most, or where it says so the least, that was aimed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'static str>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Self {
        println!("\n{scenario}");
        Self { scenario, machine: machine(), figures: Vec::new() }
    }

    /// Notes a figure and prints it.
    pub(crate) fn note(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.push(Figure { what: what.into(), value, unit, target: None });
    }

    /// A figure for which there is a target.
    pub(crate) fn aim(&mut self, what: impl Into<String>, value: f64, unit: &'static str, target: &'static str) {
        self.push(Figure { what: what.into(), value, unit, target: Some(target) });
    }

    fn push(&mut self, figure: Figure) {
        let target = figure.target.map(|target| format!("   (target: {target})")).unwrap_or_default();
        println!("  {:<62} {:>12} {}{target}", figure.what, shown(figure.value), figure.unit);
        self.figures.push(figure);
    }

    /// Writes the figures where programs find them.
    pub(crate) fn write(self, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let file = directory.join(format!("{}.json", self.scenario));
        fs::write(&file, serde_json::to_string_pretty(&self)? + "\n")?;
        Ok(self)
    }
}

fn machine() -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine { cores, processor: model.map_or_else(String::new, |(_, name)| name.trim().to_owned()) }
}

/// Three significant digits, whole numbers whole.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The figures that have a target, in the README's form.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut table = "| what | measured | target |\n|---|---|---|\n".to_owned();
    for figure in reports.iter().flat_map(|report| &report.figures) {
        if let Some(target) = figure.target {
            let _ = writeln!(table, "| {} | {} {} | {target} |", figure.what, shown(figure.value), figure.unit);
        }
    }
    table
}

/// The value below which this part of the sorted values lies.
pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let index = ((last as f64) * part).ceil() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// A count as a number to reckon with.
#[allow(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(0) as f64
}
