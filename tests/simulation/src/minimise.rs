//! Makes a failing plan smaller: leaves out whole parts that it fails without, then faults, in ever smaller portions.

use std::collections::BTreeSet;

use tracing_subscriber::filter::LevelFilter;

use crate::plan::{Cut, Plan};
use crate::run::{Report, run};
use crate::stories::Story;

/// Most runs that are spent on it.
const MOST_RUNS: usize = 300;

/// A failing run that is being made smaller.
struct Shrinking {
    seed: u64,
    only: Option<Story>,
    rule: Option<&'static str>,
    runs: usize,
    cut: Cut,
    report: Report,
}

/// What can be cut from the plan so that it still breaks the same rule, and how it does so then.
#[must_use]
pub fn minimise(seed: u64, only: Option<Story>, report: Report) -> (Cut, Report) {
    let rule = report.violation.as_ref().map(|violation| violation.rule);
    let mut shrinking = Shrinking { seed, only, rule, runs: 0, cut: Cut::default(), report };
    for part in Plan::new(seed, only).parts() {
        let mut cut = shrinking.cut.clone();
        cut.without.insert(part);
        shrinking.try_cut(cut);
    }
    shrinking.fewer_faults();
    (shrinking.cut, shrinking.report)
}

impl Shrinking {
    /// Keeps the cut if the rule is still broken.
    fn try_cut(&mut self, cut: Cut) -> bool {
        self.runs += 1;
        if self.runs > MOST_RUNS {
            return false;
        }
        let report = run(Plan::new(self.seed, self.only).cut(&cut), LevelFilter::WARN);
        let same = report.violation.as_ref().map(|violation| violation.rule) == self.rule;
        if same {
            (self.cut, self.report) = (cut, report);
        }
        same
    }

    fn fewer_faults(&mut self) {
        let mut portion = self.report.injected.len().div_ceil(2);
        while portion > 0 {
            let mut start = 0;
            while start < self.report.injected.len() {
                let faults = self.report.injected.clone();
                let end = (start + portion).min(faults.len());
                let kept: BTreeSet<String> = faults
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| !(start..end).contains(n))
                    .map(|(_, f)| f.clone())
                    .collect();
                if !self.try_cut(Cut { faults: Some(kept), ..self.cut.clone() }) {
                    start = end;
                }
            }
            portion = if portion == 1 { 0 } else { portion.div_ceil(2) };
        }
    }
}
