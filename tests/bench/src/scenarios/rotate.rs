//! *rotate*: 200 Secrets changed one after the other among 1,000 ToolEnvSecrets, while a resync runs and 20 publishes are in
//! flight: how long from the change until its call has arrived at the service.

use std::time::{Duration, Instant};

use amigo_operator::resources::ToolVersion;
use amigo_operator::sandbox::Operation;
use serde_json::json;

use super::{PATIENCE, generous};
use crate::fleet::{self, Fleet};
use crate::report::{Report, number, percentile};
use crate::world::World;
use crate::{Arguments, Result};

/// How many publishes are in flight.
const PUBLISHES: usize = 20;

/// The longest that one change may take.
const SENT_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let fleet = Fleet { versions: false, ..Fleet::whole(arguments.divided(1000)) };
    let rotations = arguments.divided(200);
    let mut report = Report::new("rotate");
    let mut world = World::start(arguments, generous()).await?;
    world.patch_organization(&json!({"resync": {"toolsPeriodSeconds": 30}}))?;
    world.start_operator().await?;
    fleet.apply(&world.client, |_| ()).await?;
    world.ready.reached(fleet.objects(), PATIENCE).await?;
    world.sandbox.change_settings(|settings| settings.publish_seconds = 3600.0);
    for n in 0..PUBLISHES.min(fleet.size) {
        fleet::create::<ToolVersion>(&world.client, fleet::version(n)).await?;
    }
    let began = Instant::now();
    while world.calls(Operation::PublishVersion) < PUBLISHES.min(fleet.size) as u64 {
        if began.elapsed() > PATIENCE {
            return Err("the publishes were not sent".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reads = world.calls(Operation::ListTools);
    let mut times = Vec::new();
    for rotation in 0..rotations {
        let n = (rotation * 7 + PUBLISHES) % fleet.size;
        times.push(rotate(&world, fleet, n, &format!("rotation-{rotation}")).await?.as_secs_f64() * 1000.0);
        // Where in the resync it falls is left to chance.
        tokio::time::sleep(Duration::from_millis(100 + (rotation as u64 * 37) % 200)).await;
    }
    report.note("rotations", number(times.len()), "");
    report.aim("from a changed Secret to its call, p50", percentile(&mut times, 0.5), "ms", "at most 50");
    report.aim("from a changed Secret to its call, p99", percentile(&mut times, 0.99), "ms", "at most 300");
    report.note("from a changed Secret to its call, longest", percentile(&mut times, 1.0), "ms");
    report.note("reads of tools meanwhile", number(world.calls(Operation::ListTools) - reads), "");
    world.stop_operator().await?;
    report.write(&arguments.directory)
}

async fn rotate(world: &World, fleet: Fleet, n: usize, value: &str) -> Result<Duration> {
    let before = world.calls(Operation::ModifyVariables);
    fleet.rotate(&world.client, n, value).await?;
    let changed = Instant::now();
    while world.calls(Operation::ModifyVariables) == before {
        if changed.elapsed() > SENT_WITHIN {
            return Err(format!("the change of {} was not sent", fleet::name(n)).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(changed.elapsed())
}
