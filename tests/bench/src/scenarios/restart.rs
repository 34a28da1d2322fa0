//! *restart*: 10,000 Tools, ToolEnvSecrets (Secrets of 4 KiB) and ToolVersions in sync. How soon after a start a change is
//! served, what the start causes, and what the operator takes at rest.

use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Operation, RateLimits};

use super::{PATIENCE, generous};
use crate::audit::{Requests, all_writes};
use crate::fleet::Fleet;
use crate::report::{Report, number};
use crate::world::{World, total};
use crate::{Arguments, Result};

/// How long the operator is watched at rest.
const REST: Duration = Duration::from_secs(120);

/// The operator looks every ten seconds how many Tools an organization has.
const SETTLED_AFTER: Duration = Duration::from_secs(25);

/// The longest that a change may take to be served.
const SERVED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let fleet = Fleet { secret_bytes: 4096, ..Fleet::whole(arguments.divided(10_000)) };
    let mut report = Report::new("restart");
    let mut world = World::start(arguments, generous()).await?;
    world.start_operator().await?;
    // The Organization is Ready, and the operator at rest.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = world.process()?.memory()?;
    let began = Instant::now();
    fleet.apply(&world.client, |_| ()).await?;
    let filled = world.ready.reached(fleet.objects(), PATIENCE).await?;
    report.note("objects", number(fleet.objects()), "");
    report.note("time until all were Ready", filled.duration_since(began).as_secs_f64(), "s");
    written_out(&world).await?;
    report.note("time until their versions were counted, too", began.elapsed().as_secs_f64(), "s");
    world.stop_operator().await?;
    // From here on the limits are those of the service; what follows from that for the status is written before the start that
    // is measured.
    world.sandbox.change_settings(|settings| settings.rate_limits = RateLimits::Real);
    // The service counts what came within the last minute.
    tokio::time::sleep(Duration::from_secs(65)).await;
    world.start_operator().await?;
    tokio::time::sleep(SETTLED_AFTER).await;
    quiet(&world).await?;
    world.stop_operator().await?;
    restart(&mut world, fleet, &mut report).await?;
    rest(&mut world, fleet, empty, &mut report).await?;
    world.stop_operator().await?;
    report.write(&arguments.directory)
}

async fn restart(world: &mut World, fleet: Fleet, report: &mut Report) -> Result<()> {
    world.sandbox.forget_requests();
    let mark = world.audit.mark()?;
    let started = world.start_operator().await?;
    let listed = world.logged("the watches are synced").await?;
    let before = world.calls(Operation::ModifyVariables);
    fleet.rotate(&world.client, fleet.size / 2, "changed").await?;
    let deadline = Instant::now() + SERVED_WITHIN;
    while world.calls(Operation::ModifyVariables) == before {
        if Instant::now() > deadline {
            return Err("the change was not served".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let served = Instant::now();
    report.note("from the start until the lists are there", listed.duration_since(started).as_secs_f64(), "s");
    let after = served.duration_since(listed).as_secs_f64();
    report.aim("from the lists until a change is served", after, "s", "at most 5");
    quiet(world).await?;
    report.note("from the start until the operator is at rest", started.elapsed().as_secs_f64(), "s");
    let requests = world.audit.since(mark)?;
    // The change itself writes the status once.
    report.aim("writes to Kubernetes because of the start", number(all_writes(&requests)) - 1.0, "", "0");
    tell(report, &requests);
    report.note("calls to the service until then", number(total(&world.counters())), "");
    report.note("peak memory", world.process()?.peak_memory()? / 1_000_000.0, "MB");
    Ok(())
}

/// Waits until nothing is written any more: the versions of Tools that are Ready are counted in turns.
async fn written_out(world: &World) -> Result<()> {
    loop {
        let mark = world.audit.mark()?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        if all_writes(&world.audit.since(mark)?) == 0 {
            return Ok(());
        }
    }
}

/// Waits until the operator takes next to no processor time.
async fn quiet(world: &World) -> Result<()> {
    let process = world.process()?;
    loop {
        let before = process.processor_time()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if process.processor_time()?.saturating_sub(before) < Duration::from_millis(60) {
            return Ok(());
        }
    }
}

/// What it takes at rest; `empty` is the memory without any object.
async fn rest(world: &mut World, fleet: Fleet, empty: f64, report: &mut Report) -> Result<()> {
    let process = world.process()?;
    let mark = world.audit.mark()?;
    world.sandbox.forget_requests();
    let (before, began) = (process.processor_time()?, Instant::now());
    tokio::time::sleep(REST).await;
    let share = process.processor_time()?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    report.aim("processor at rest", share * 100.0, "% of a core", "at most 1");
    let memory = process.memory()?;
    report.aim("resting memory", memory / 1_000_000.0, "MB", "at most 150");
    report.note("resting memory without any object", empty / 1_000_000.0, "MB");
    let slope = (memory - empty).max(0.0) / 1000.0 / number(fleet.objects());
    report.aim("resting memory, more for each object", slope, "KB", "at most 4");
    let requests = world.audit.since(mark)?;
    report.aim("writes to Kubernetes at rest", number(all_writes(&requests)), "", "0");
    tell(report, &requests);
    for (operation, counter) in world.counters() {
        report.note(format!("service: {operation} at rest"), number(counter.calls) / minutes, "a minute");
    }
    Ok(())
}

fn tell(report: &mut Report, requests: &Requests) {
    for (name, count) in requests {
        report.note(format!("Kubernetes: {name}"), number(*count), "");
    }
}
