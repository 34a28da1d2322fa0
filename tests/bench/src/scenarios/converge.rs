//! *converge*: 1,000 Tools, 1,000 ToolEnvSecrets and 1,000 ToolVersions applied at once, and how long until all are Ready,
//! against the bare client; and what that costs, per object.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{PATIENCE, generous};
use crate::audit::{Requests, all_writes, writes};
use crate::bare::Bare;
use crate::fleet::Fleet;
use crate::report::{Report, number};
use crate::world::{Times, World, total};
use crate::{Arguments, Result};

/// What a fleet cost until it was Ready.
pub(super) struct Cost {
    pub time: Duration,
    pub requests: Requests,
    pub calls: amigo_operator::sandbox::Counters,
    /// Processor time of each process.
    pub times: Times,
    /// Resident memory once all was Ready, and before there was any object; in bytes.
    pub memory: f64,
    pub empty: f64,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let fleet = Fleet::whole(arguments.divided(1000));
    let mut report = Report::new("converge");
    let (before, bare) = floor(arguments, fleet).await?;
    let cost = measure(arguments, fleet).await?;
    let (after, _) = floor(arguments, fleet).await?;
    let floor = before.min(after);
    report.note("objects", number(fleet.objects()), "");
    report.note("the bare client, first", before.as_secs_f64(), "s");
    report.note("the bare client, second", after.as_secs_f64(), "s");
    report.note("the operator", cost.time.as_secs_f64(), "s");
    report.aim("converge / floor", cost.time.as_secs_f64() / floor.as_secs_f64(), "", "at most 1.3");
    costs(&mut report, fleet, &cost);
    for (whose, times) in [("with the bare client", &bare), ("with the operator", &cost.times)] {
        for (name, time) in times {
            let each = time.as_secs_f64() * 1000.0 / number(fleet.size);
            report.note(format!("processor time {whose}: {name}"), each, "ms a tool");
        }
    }
    report.write(&arguments.directory)
}

/// How long the bare client takes, and what of the processors.
async fn floor(arguments: &Arguments, fleet: Fleet) -> Result<(Duration, Times)> {
    let world = World::start(arguments, generous()).await?;
    let before = world.processor_times()?;
    let bare = Bare::sign_in(&world).await?;
    let (made, members) = mpsc::unbounded_channel();
    let began = Instant::now();
    let serving = tokio::spawn(bare.serve(members));
    fleet
        .apply(&world.client, |n| {
            // The other end is gone only when it has failed, which is told below.
            let _ = made.send(n);
        })
        .await?;
    drop(made);
    serving.await??;
    let time = world.ready.reached(fleet.objects(), PATIENCE).await?.duration_since(began);
    Ok((time, since(&before, &world)?))
}

/// The processor time that was taken since.
fn since(before: &Times, world: &World) -> Result<Times> {
    let mut times = world.processor_times()?;
    for (name, time) in &mut times {
        *time = time.saturating_sub(before.get(name).copied().unwrap_or_default());
    }
    Ok(times)
}

/// What the operator takes.
pub(super) async fn measure(arguments: &Arguments, fleet: Fleet) -> Result<Cost> {
    let mut world = World::start(arguments, generous()).await?;
    world.start_operator().await?;
    // The Organization is Ready, and the operator at rest.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = world.process()?.memory()?;
    world.sandbox.forget_requests();
    let (mark, before) = (world.audit.mark()?, world.processor_times()?);
    let began = Instant::now();
    fleet.apply(&world.client, |_| ()).await?;
    let time = world.ready.reached(fleet.objects(), PATIENCE).await?.duration_since(began);
    let times = since(&before, &world)?;
    let (requests, calls) = (world.audit.since(mark)?, world.counters());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let memory = world.process()?.memory()?;
    world.stop_operator().await?;
    Ok(Cost { time, requests, calls, times, memory, empty })
}

/// Notes what each object cost.
fn costs(report: &mut Report, fleet: Fleet, cost: &Cost) {
    let each = |count: u64| number(count) / number(fleet.size);
    let events = |requests: &Requests| each(writes(requests, "events"));
    for (resource, target) in [("tools", "3"), ("toolenvsecrets", "3"), ("toolversions", "4")] {
        let what = format!("writes to Kubernetes until Ready, per object of {resource}");
        report.aim(what, each(writes(&cost.requests, resource)), "", target);
    }
    report.note("Events, per tool", events(&cost.requests), "");
    report.note("all writes to Kubernetes, per tool", each(all_writes(&cost.requests)), "");
    for (name, count) in &cost.requests {
        report.note(format!("Kubernetes: {name}, per tool"), each(*count), "");
    }
    for (operation, counter) in &cost.calls {
        report.note(format!("service: {operation}, per tool"), each(counter.calls), "");
    }
    report.note("service: all calls, per tool", each(total(&cost.calls)), "");
}
