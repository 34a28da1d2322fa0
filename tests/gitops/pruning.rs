//! What GitOps tools do to objects besides applying them: they replace, they delete and create anew, they prune. None of it is an
//! order to deprecate; only a manifest is.

use amigo_operator::sandbox::{Operation, Settings};

use crate::support::manifests::{acme, all, env, secret, tool, variables, version};
use crate::support::{ACME, Setup, World, field};

/// Everything that a tool of a repository may prune.
const PRUNED: [&str; 9] = [
    "apply",
    "--prune",
    "--selector=repository=tools",
    "--prune-allowlist=amigo.ai/v1alpha1/Organization",
    "--prune-allowlist=amigo.ai/v1alpha1/Tool",
    "--prune-allowlist=amigo.ai/v1alpha1/ToolVersion",
    "--prune-allowlist=amigo.ai/v1alpha1/ToolEnvSecret",
    "--prune-allowlist=core/v1/Secret",
    "--filename=-",
];

/// What is there all the time.
const OBJECTS: [(&str, &str); 4] =
    [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")];

/// The manifests as a repository has them, each with the label by which it is found again.
fn repository(manifests: &[String]) -> String {
    let labelled =
        |manifest: &String| manifest.replace("metadata: {name:", "metadata: {labels: {repository: tools}, name:");
    all(manifests.iter().map(labelled))
}

/// A ToolVersion of another Tool than `weather`.
fn version_of(tool: &str, more: &str) -> String {
    version("1.0.0", more).replace("name: weather", &format!("name: {tool}"))
}

fn deprecations(world: &World) -> (u64, u64) {
    (world.sandbox.calls(Operation::DeprecateTool), world.sandbox.calls(Operation::DeprecateVersions))
}

fn sync(world: &World, arguments: &[&str], manifests: &[String]) {
    world.kubectl_with(arguments, &repository(manifests)).unwrap();
}

/// What is in the service: name, deprecated, active versions.
fn remote(world: &World) -> Vec<(String, bool, Vec<String>)> {
    let tools = world.sandbox.tools(ACME);
    let mut shown: Vec<_> = tools.iter().map(|it| (it.name.clone(), it.deprecated, it.active_versions())).collect();
    shown.sort();
    shown
}

fn retained(names: &[&str]) -> Vec<(String, bool, Vec<String>)> {
    names.iter().map(|name| ((*name).to_owned(), false, vec!["1.0.0".to_owned()])).collect()
}

#[test]
fn replacing_and_pruning_deprecate_nothing() {
    // Variables that were deleted are set again soon.
    let service = Settings { publish_seconds: 1.0, blocked_name_seconds: 1.0, ..Settings::default() };
    let world = World::with("prune", Setup { service, ..Setup::default() });
    let shared = vec![acme(&world)];
    let weather = vec![tool("weather", ""), variables("weather", &env(&[("UNITS", "metric")])), version("1.0.0", "")];
    let travel = vec![tool("travel", ""), version_of("travel", "")];
    let everything = [shared.clone(), weather.clone(), travel].concat();
    let ready = || {
        for (kind, name) in OBJECTS {
            world.ready(kind, name);
        }
        ["weather", "travel"].map(|name| world.tool(name).id)
    };
    sync(&world, &PRUNED, &everything);
    world.ready("ToolVersion", "travel-1.0.0");
    let ids = ready();

    let before = uid(&world, "weather");
    sync(&world, &["replace", "--force", "--filename=-"], &everything);
    world.wait_for("Tool", "weather", |object| object["metadata"]["uid"] != before.as_str(), "is another object");
    world.ready("ToolVersion", "travel-1.0.0");
    assert_eq!(ready(), ids, "the same tools, claimed by their marks");
    assert_eq!(remote(&world), retained(&["travel", "weather"]));
    sync(&world, &["replace", "--filename=-"], &everything);
    assert_eq!(ready(), ids);

    // kubectl prunes only what it has applied, which it must do once more after a replace.
    sync(&world, &PRUNED, &everything);
    sync(&world, &PRUNED, &[shared, weather].concat());
    world.gone("Tool", "travel");
    world.gone("ToolVersion", "travel-1.0.0");
    assert_eq!(ready(), ids);
    for cascade in ["foreground", "background", "orphan"] {
        world.kubectl(&["delete", "toolversion", "weather-1.0.0", &format!("--cascade={cascade}")]);
        sync(&world, &["apply", "--filename=-"], &everything);
        assert_eq!(ready(), ids);
    }
    // Everything at once, the credentials with it.
    sync(&world, &PRUNED, &[secret("unrelated", "a: b")]);
    for (kind, name) in OBJECTS {
        world.gone(kind, name);
    }
    assert_eq!(remote(&world), retained(&["travel", "weather"]));
    assert_eq!(deprecations(&world), (0, 0));
    assert_eq!(world.made(Operation::CreateTool) + world.made(Operation::PublishVersion), 4, "nothing was made twice");
    world.finish();
}

fn uid(world: &World, tool: &str) -> String {
    world.kubectl(&["get", "tool", tool, "--output=jsonpath={.metadata.uid}"])
}

#[test]
fn pruning_deprecates_exactly_what_manifests_order() {
    let world = World::new("pruneorder");
    let orders = "deletionPolicy: Deprecate";
    let shared = vec![acme(&world)];
    let objects = vec![
        tool("doomed", orders),
        version_of("doomed", ""),
        tool("weather", ""),
        version("1.0.0", orders),
        tool("kept", ""),
        version_of("kept", ""),
    ];
    sync(&world, &PRUNED, &[shared.clone(), objects].concat());
    let names = ["doomed", "kept", "weather"];
    for name in names {
        world.ready("Tool", name);
        world.ready("ToolVersion", &format!("{name}-1.0.0"));
    }
    assert_eq!(remote(&world), retained(&names));
    let id = field(&world.ready("Tool", "doomed"), "toolId");
    sync(&world, &PRUNED, &shared);
    for name in names {
        world.gone("Tool", name);
        world.gone("ToolVersion", &format!("{name}-1.0.0"));
    }
    assert!(world.tool(&id).deprecated, "that order stood in a manifest");
    let weather = world.tool("weather");
    assert!(!weather.deprecated && weather.active_versions().is_empty(), "so did that one: {weather:?}");
    assert_eq!(world.tool("kept").active_versions(), ["1.0.0"]);
    assert!(!world.tool("kept").deprecated);
    assert_eq!(deprecations(&world), (1, 1));
    world.finish();
}
