//! Many Tools, each with a Secret, a ToolEnvSecret and a ToolVersion; and what must have come of them, exactly once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use amigo_operator::sandbox::{ToolView, Variable};

use super::manifests::{all, object, secret};
use super::see::is_ready;
use super::{ACME, World};

/// So many Tools with all that belongs to them.
pub struct Crowd {
    /// How many.
    pub size: usize,
    /// More fields of each Tool.
    pub tool: &'static str,
    /// What each ToolVersion asks for.
    pub version: &'static str,
    /// How long a publish without an answer is waited for, in seconds.
    pub publish_timeout: u32,
    /// The value of the secret variable of each.
    pub secrets: Vec<String>,
}

impl Crowd {
    /// A crowd whose secret values are looked for everywhere in the end.
    pub fn new(world: &World, size: usize) -> Self {
        let secrets = (0..size).map(|_| world.canary()).collect();
        Self { size, tool: "", version: "version: 1.0.0", publish_timeout: 10, secrets }
    }

    /// The name of one.
    pub fn name(n: usize) -> String {
        format!("tool-{n:03}")
    }

    /// The remote name of one.
    pub fn remote(n: usize) -> String {
        format!("tool_{n:03}")
    }

    /// The Secret of one.
    pub fn secret(&self, n: usize) -> String {
        secret(&Self::name(n), &format!("TOKEN: {}", self.secrets[n]))
    }

    /// The manifests of one: Tool, Secret, ToolEnvSecret and ToolVersion.
    pub fn manifests(&self, n: usize) -> [String; 4] {
        let name = Self::name(n);
        let of_tool = |more: String| format!("toolRef: {{name: {name}}}, {more}");
        let tool = format!("organizationRef: {{name: acme}}, description: Tool {n}., {}", self.tool);
        let variables = format!("env: [{{name: COUNT, value: '{n}'}}], envFrom: [{{secretRef: {{name: {name}}}}}]");
        [
            object("Tool", &name, &tool),
            self.secret(n),
            object("ToolEnvSecret", &name, &of_tool(variables)),
            self.version(n, &name, self.version),
        ]
    }

    /// A ToolVersion of one.
    fn version(&self, n: usize, name: &str, wanted: &str) -> String {
        let (tool, timeout) = (Self::name(n), self.publish_timeout);
        let of_tool =
            format!("toolRef: {{name: {tool}}}, projectPath: tools/weather, publishTimeoutSeconds: {timeout}");
        object("ToolVersion", name, &format!("{of_tool}, {wanted}"))
    }

    /// One more version of one, by a bump.
    pub fn bump(&self, n: usize) -> String {
        self.version(n, &Self::bump_name(n), "bumpType: minor")
    }

    /// The name of the ToolVersion of [`Self::bump`].
    pub fn bump_name(n: usize) -> String {
        format!("{}-next", Self::name(n))
    }

    /// One more version of each, by a bump.
    pub fn bumps(&self) -> String {
        all((0..self.size).map(|n| self.bump(n)))
    }

    /// Whether all of them are Ready.
    pub fn bumps_are_ready(&self, world: &World) -> bool {
        (0..self.size).all(|n| world.get("ToolVersion", &Self::bump_name(n)).is_some_and(|object| is_ready(&object)))
    }

    /// Everything, in order.
    pub fn everything(&self) -> String {
        all((0..self.size).flat_map(|n| self.manifests(n)))
    }

    /// How many objects are Ready.
    pub fn ready(&self, world: &World) -> usize {
        let ready = |kind: &str, n: usize| world.get(kind, &Self::name(n)).is_some_and(|object| is_ready(&object));
        let objects = (0..self.size).flat_map(|n| ["Tool", "ToolEnvSecret", "ToolVersion"].map(|kind| (kind, n)));
        objects.filter(|(kind, n)| ready(kind, *n)).count()
    }

    /// Whether all objects are Ready.
    pub fn is_ready(&self, world: &World) -> bool {
        self.ready(world) == 3 * self.size
    }

    /// Waits until all objects are Ready.
    #[track_caller]
    pub fn wait_until_ready(&self, world: &World, patience: Duration) {
        let began = Instant::now();
        world.until_within(patience, "the crowd is Ready", || self.is_ready(world));
        println!("the crowd was Ready after {:.1} s", began.elapsed().as_secs_f64());
    }

    /// Whether every variable has arrived: a Secret that changes makes no object unready.
    pub fn is_sent(&self, world: &World) -> bool {
        let tools = world.sandbox.tools(ACME);
        (0..self.size).all(|n| {
            let tool = tools.iter().find(|tool| tool.name == Self::remote(n));
            tool.is_some_and(|tool| tool.variables == self.variables(n))
        })
    }

    fn variables(&self, n: usize) -> BTreeMap<String, Variable> {
        let secret = Variable { value: self.secrets[n].clone(), is_secret: true };
        let plain = Variable { value: n.to_string(), is_secret: false };
        BTreeMap::from([("TOKEN".to_owned(), secret), ("COUNT".to_owned(), plain)])
    }

    /// How many tools have a publish under way at the service.
    pub fn under_way(world: &World) -> usize {
        world.sandbox.tools(ACME).iter().filter(|tool| tool.under_way.is_some()).count()
    }

    /// Checks that the service has for each object what it asks for, once: no duplicate, no loss, no deprecation.
    pub fn check(&self, world: &World, versions: &[&str]) {
        let mut tools: BTreeMap<String, Vec<ToolView>> = BTreeMap::new();
        for tool in world.sandbox.tools(ACME) {
            tools.entry(tool.name.clone()).or_default().push(tool);
        }
        let mut wrong = Vec::new();
        for n in 0..self.size {
            let found = tools.remove(&Self::remote(n)).unwrap_or_default();
            let [tool] = &found[..] else {
                wrong.push(format!("tool {n} is there {} times", found.len()));
                continue;
            };
            let made: Vec<String> = tool.versions.iter().map(|version| version.version.to_string()).collect();
            if tool.deprecated || made != versions || tool.active_versions() != versions {
                wrong.push(format!("tool {n} has versions {made:?}, deprecated: {}", tool.deprecated));
            }
            if tool.variables != self.variables(n) {
                wrong.push(format!("tool {n} has variables {:?}", tool.variables));
            }
        }
        wrong.extend(tools.into_keys().map(|name| format!("nobody asked for tool {name}")));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
