//! *growth*: the same with 100, 1,000 and 10,000 objects: how time, memory and calls grow. An exponent of 1 is proportional.

use super::converge::measure;
use crate::audit::all_writes;
use crate::fleet::Fleet;
use crate::report::{Report, number};
use crate::world::total;
use crate::{Arguments, Result};

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let mut report = Report::new("growth");
    let mut points: Vec<[f64; 4]> = Vec::new();
    for objects in [100, 1_000, 10_000] {
        let fleet = Fleet::whole(arguments.divided(objects).div_ceil(3));
        let cost = measure(arguments, fleet).await?;
        let size = number(fleet.objects());
        let memory = (cost.memory - cost.empty).max(1.0);
        let calls = number(total(&cost.calls));
        report.note(format!("time for {objects} objects"), cost.time.as_secs_f64(), "s");
        report.note(format!("memory for {objects} objects"), memory / 1024.0 / size, "KiB an object");
        report.note(format!("calls to the service for {objects} objects"), calls / size, "an object");
        let writes = number(all_writes(&cost.requests));
        report.note(format!("writes to Kubernetes for {objects} objects"), writes / size, "an object");
        points.push([size, cost.time.as_secs_f64(), memory, calls]);
    }
    for (index, what) in [(1, "time"), (2, "memory"), (3, "calls to the service")] {
        let curve: Vec<(f64, f64)> = points.iter().map(|point| (point[0], point[index])).collect();
        report.aim(format!("growth exponent of {what}, 100 to 10,000"), exponent(&curve), "", "at most 1.05");
    }
    report.write(&arguments.directory)
}

/// The slope of the line through the points on logarithmic paper, by least squares.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = number(points.len());
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (mean_x, mean_y) =
        (logs.iter().map(|(x, _)| x).sum::<f64>() / count, logs.iter().map(|(_, y)| y).sum::<f64>() / count);
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}

#[cfg(test)]
mod tests {
    use super::exponent;

    #[test]
    fn what_grows_in_proportion_has_the_exponent_one_and_what_does_not_another() {
        let curve = |power: i32| [1.0_f64, 10.0, 100.0].map(|x| (x, 7.0 * x.powi(power)));
        for power in [0, 1, 2] {
            assert!((exponent(&curve(power)) - f64::from(power)).abs() < 1e-9);
        }
    }
}
