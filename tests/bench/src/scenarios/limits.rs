//! *limits*: 300 Tools under the service's real limits. What part of the time that the budget forces is all that is taken.

use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Operation, Settings};

use crate::fleet::Fleet;
use crate::report::{Report, number};
use crate::world::World;
use crate::{Arguments, Result};

/// What `budgetPercent` allows of the service's 20 creates a minute, unless it is set.
const CREATES_A_MINUTE: u64 = 16;

/// Somewhat more than three times what is to be expected.
const PATIENCE: Duration = Duration::from_secs(4000);

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let fleet = Fleet { variables: false, versions: false, ..Fleet::whole(arguments.divided(300)) };
    let mut report = Report::new("limits");
    let mut world = World::start(arguments, Settings { publish_seconds: 0.0, ..Settings::default() }).await?;
    world.start_operator().await?;
    let mark = world.audit.mark()?;
    let began = Instant::now();
    fleet.apply(&world.client, |_| ()).await?;
    let first = arrival(&world, 1, began).await?;
    let size = fleet.size as u64;
    let last = arrival(&world, size, began).await?;
    world.ready.reached(fleet.objects(), PATIENCE).await?;
    // A full minute's calls may go at once, and then each again when it no longer counts.
    let ideal = 60.0 * number((size - 1) / CREATES_A_MINUTE);
    let taken = last.duration_since(first).as_secs_f64();
    report.note("tools", number(fleet.size), "");
    report.note("from the first create to the last", taken, "s");
    report.aim("budget used while work waits", 100.0 * ideal / taken, "%", "at least 97");
    report.aim("answers 429", number(world.sandbox.rate_limit_violations()), "", "0");
    for (operation, counter) in world.counters() {
        report.note(format!("service: {operation}"), number(counter.calls), "");
    }
    for (name, count) in world.audit.since(mark)? {
        report.note(format!("Kubernetes: {name}, per tool"), number(count) / number(fleet.size), "");
    }
    world.stop_operator().await?;
    report.write(&arguments.directory)
}

/// When so many creates had arrived.
async fn arrival(world: &World, creates: u64, began: Instant) -> Result<Instant> {
    while world.calls(Operation::CreateTool) < creates {
        if began.elapsed() > PATIENCE {
            return Err(format!("{} of {creates} tools were created", world.calls(Operation::CreateTool)).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Instant::now())
}
