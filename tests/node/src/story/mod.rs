//! What is proved, step by step. Each step leaves the release, the objects and the service as the next one takes them up.

mod change;
mod install;
mod leave;
mod trouble;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::machine::Part;
use crate::node::Node;
use crate::release::Release;
use crate::service::Service;
use crate::wait::{PATIENCE, until, until_true};
use crate::{Result, objects};

/// The tool that most of the story is about.
const TOOL: &str = "weather";

/// What the steps act on.
struct World {
    node: Node,
    service: Service,
    release: Release,
    /// The chart as it was before.
    earlier_chart: PathBuf,
}

type Step = fn(&World) -> Result<()>;

const STEPS: [(&str, Step); 12] = [
    ("a Pod is not Ready as long as /readyz says no", install::waits_for_readiness),
    ("helm install --wait: objects become Ready, the service is found by DNS", install::becomes_ready),
    ("a name of /etc/hosts is found, too", install::finds_a_name_of_the_hosts_file),
    ("helm upgrade replaces the Pod while a version is published, and nothing is published twice", change::rolls),
    ("a deleted Pod ends with 0 after its publish, and the next one leads meanwhile", change::drains),
    ("without a Pod nobody holds the Lease", change::gives_the_lease_up),
    ("an operator that hangs is restarted by its liveness probe", trouble::hangs),
    ("a memory limit that is too small: killed in the middle of a publish, nothing is done twice", trouble::is_killed),
    ("helm rollback puts the limit right, and the publish is found", trouble::rolls_back),
    ("helm uninstall leaves definitions, objects and everything in the service", leave::uninstalls),
    ("installed again, it takes up where it was", leave::comes_back),
    ("an installation of the chart before is upgraded with its objects", leave::upgrades_from_before),
];

/// Starts the node and tells the story, up to the first step that fails.
pub(crate) fn tell(part: &Part, images: &[PathBuf], chart: &Path, earlier_chart: &Path) -> Result<()> {
    let started = Instant::now();
    let node = Node::start(part, images)?;
    let service = Service::start(&node).inspect_err(|_| node.tell())?;
    println!("a node runs Pods ({:.1} s)", started.elapsed().as_secs_f64());
    let world = World { node, service, release: Release::new(chart)?, earlier_chart: earlier_chart.to_owned() };
    for (name, step) in STEPS {
        let started = Instant::now();
        let outcome = step(&world);
        let took = started.elapsed().as_secs_f64();
        println!("{name}: {} ({took:.1} s)", if outcome.is_ok() { "ok" } else { "FAILED" });
        outcome.map_err(|error| format!("{name}: {error}")).inspect_err(|_| world.node.tell())?;
    }
    Ok(())
}

impl World {
    /// Applies a user's manifest.
    fn apply(&self, manifest: &serde_json::Value) -> Result<()> {
        self.node.apply(objects::NAMESPACE, manifest)
    }

    /// Waits until a user's object is Ready.
    fn ready(&self, object: &str) -> Result<()> {
        self.node.ready(objects::NAMESPACE, object)
    }

    /// Applies a version of the tool whose publish takes so long, and waits until it is under way.
    fn begin_to_publish(&self, version: &str, seconds: u32) -> Result<()> {
        self.service.publish_takes(seconds)?;
        self.apply(&objects::version(TOOL, version))?;
        until_true("a publish is under way", PATIENCE, || self.service.publishes(TOOL))
    }

    /// The uids of all objects of the user, by kind and name.
    fn uids(&self) -> Result<Vec<String>> {
        let objects = self.node.get(objects::NAMESPACE, "amigo")?;
        let objects = objects["items"].as_array().cloned().unwrap_or_default();
        Ok(objects
            .iter()
            .map(|it| format!("{}/{} {}", it["kind"], it["metadata"]["name"], it["metadata"]["uid"]))
            .collect())
    }

    /// Asks for a look at an object, and waits until the operator has looked and the object is Ready.
    fn is_looked_at(&self, object: &str) -> Result<()> {
        let request = format!("{:?}", Instant::now());
        let annotation = format!("amigo.ai/reconcile-requested-at={request}");
        let namespace = objects::NAMESPACE;
        self.node.kubectl(&["annotate", object, &annotation, "--overwrite", "--namespace", namespace])?;
        until(&format!("{object} is looked at"), PATIENCE, || {
            let found = self.node.get(namespace, object)?;
            Ok((found["status"]["lastHandledReconcileAt"] == request.as_str()).then_some(()))
        })?;
        self.ready(object)
    }
}
