//! Makes a failing plan smaller: leaves out what it fails without, part by part.

use std::collections::BTreeSet;

use tracing_subscriber::filter::LevelFilter;

use crate::plan::Plan;
use crate::run::{Report, run};
use crate::stories::Story;

/// Most runs that are spent on it.
const MOST_RUNS: usize = 400;

/// The parts that the run fails without, and how it fails then.
#[must_use]
pub fn minimise(seed: u64, only: Option<Story>, mut report: Report) -> (BTreeSet<String>, Report) {
    let mut without = BTreeSet::new();
    let mut runs = 0;
    let rule = report.violation.as_ref().map(|violation| violation.rule);
    loop {
        let plan = Plan::new(seed, only).without(&without);
        let parts: Vec<String> = plan.parts().into_iter().chain(report.injected.iter().cloned()).collect();
        let smaller = parts.into_iter().filter(|part| !without.contains(part)).find_map(|part| {
            runs += 1;
            let mut fewer = without.clone();
            fewer.insert(part);
            let report = (runs < MOST_RUNS).then(|| run(Plan::new(seed, only).without(&fewer), LevelFilter::WARN))?;
            let same = report.violation.as_ref().map(|violation| violation.rule) == rule;
            same.then_some((fewer, report))
        });
        match smaller {
            Some((fewer, smaller)) => (without, report) = (fewer, smaller),
            None => return (without, report),
        }
    }
}
