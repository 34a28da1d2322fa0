//! The operator's permissions, proved both ways from the audit log: for each set of them that the profiles render, the operator
//! runs as a process with the ServiceAccount and the command line of that very rendering, through all that it ever does; nothing
//! that it asks is refused, and nothing that it is granted goes unused. What is not used here is to be taken out of the chart.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use amigo_operator::sandbox::NewVersion;
use serde_json::{Value, json};

use crate::helm::{Helm, profile};
use crate::permissions::rules;
use crate::profiles;
use crate::rendered::arguments;
use crate::rights::{Right, complaints, granted};
use crate::server::{PATIENCE, apply, cluster, permissions, remove};
use crate::support::audit::Request;
use crate::support::manifests::{all, named_version, object, organization, variables};
use crate::support::{ACME, Setup, World, field, has_reason, is_ready};

/// The one thing that is asked in vain: an Organization of a namespace in which the profile grants no Secret names one all the
/// same, and is to be told what it lacks.
const NOT_GRANTED: &str = "not-granted";

/// Where the certificate of the metrics is mounted.
const MOUNT: &str = "/etc/amigo-operator/metrics";

#[test]
fn the_operator_is_refused_nothing_and_granted_nothing_that_it_does_not_use() {
    let distinct = distinct_profiles();
    assert!(distinct.len() > 6, "{distinct:?}");
    for profile in distinct {
        let began = Instant::now();
        prove(&profile);
        println!("{profile}: {} s", began.elapsed().as_secs());
    }
}

/// One profile for each set of permissions.
fn distinct_profiles() -> Vec<String> {
    let mut seen = BTreeSet::from([BTreeSet::new()]);
    let is_new = |name: &String| {
        let rendered = Helm::four().objects_with(&profile(name), &["--set", "serviceAccount.name=operator"]);
        seen.insert(granted(&rendered, "operator"))
    };
    profiles().into_iter().filter(is_new).collect()
}

fn prove(name: &str) {
    let setup = Setup { leader_elect: true, neighbour: true, ..Setup::default() };
    let mut world = World::on(cluster(), &format!("rights-{name}"), setup);
    let account = format!("rights-{name}");
    let values =
        profile(name).replace("travel", &world.namespace).replace("billing", world.neighbour.as_deref().unwrap());
    let rendered = render(&world, &account, &values);
    let (roles, rights) = (permissions(&rendered), granted(&rendered, &account));
    apply(cluster(), &roles, &[]);
    wait_until_granted(&world, &account, &rights);
    let certificate = tempfile::tempdir().unwrap();
    let flags = at_home(arguments(&rendered), certificate.path());
    let is_secure = flags.iter().any(|flag| flag.starts_with("--metrics-listen"));
    world.install(&account, flags);
    let places = places(&world, &values);
    let told = catch_unwind(AssertUnwindSafe(|| story(&mut world, &places, is_secure)));
    let in_vain = |request: &Request| request.resource == "secrets" && request.name == NOT_GRANTED;
    let (in_vain, requests): (Vec<Request>, Vec<Request>) = world.requests().into_iter().partition(in_vain);
    if !in_vain.is_empty() {
        world.expect_refusals();
    }
    let complaints = complaints(&rights, &requests);
    if let Err(failed) = told {
        eprintln!("{name}: the story stopped; until then:\n{}", complaints.join("\n"));
        resume_unwind(failed);
    }
    assert!(complaints.is_empty(), "{name}:\n{}", complaints.join("\n"));
    remove(&roles);
    world.finish();
}

/// What the chart makes of a profile, as an installation of its own.
fn render(world: &World, account: &str, values: &str) -> Vec<Value> {
    let set = [
        format!("namespaceOverride={}", world.system()),
        format!("fullnameOverride={account}"),
        format!("allowedEndpoints={{{}}}", world.endpoint()),
        "secrets.pollSeconds=1".to_owned(),
    ];
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
    Helm::four().objects_with(values, &set)
}

/// The command line of the rendered Deployment, but for where a process outside of a Pod listens and finds its files.
fn at_home(arguments: Vec<String>, certificate: &Path) -> Vec<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(certificate.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(certificate.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let at_home = arguments.into_iter().map(|argument| match argument.split_once('=') {
        Some((flag @ ("--listen" | "--metrics-listen"), _)) => format!("{flag}=127.0.0.1:0"),
        Some(("--log-format", _)) => "--log-format=text".to_owned(),
        _ => argument.replace(MOUNT, certificate.to_str().unwrap()),
    });
    at_home.collect()
}

/// The API server learns of new roles within moments.
fn wait_until_granted(world: &World, account: &str, rights: &BTreeSet<Right>) {
    let user = format!("system:serviceaccount:{}:{account}", world.system());
    for namespace in [world.system(), &world.namespace, world.neighbour.as_deref().unwrap()] {
        let wanted: BTreeSet<String> =
            rights.iter().filter(|right| right.reaches(namespace)).map(ToString::to_string).collect();
        let began = Instant::now();
        while !wanted.is_subset(&rules(namespace, &user)) {
            assert!(began.elapsed() < PATIENCE, "{account} in {namespace}: not {wanted:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A namespace in which the operator works.
struct Place {
    namespace: String,
    /// Whether the Organization that is used is here.
    is_first: bool,
    /// Names the tool of this place in the service.
    tool: &'static str,
    /// Secrets that it may read, but for the credentials of the Organization that is used.
    secrets: Vec<String>,
}

impl Place {
    /// A Secret for an Organization that does not come to read it.
    fn any_secret(&self) -> &str {
        let own = self.secrets.first().map(String::as_str);
        own.unwrap_or(if self.is_first { CREDENTIALS } else { NOT_GRANTED })
    }
}

/// The credentials' Secret.
const CREDENTIALS: &str = "acme-api-key";

/// The namespaces of a profile.
fn places(world: &World, values: &str) -> Vec<Place> {
    let values: Value = serde_saphyr::from_str(values).unwrap();
    let names = values["secrets"]["names"].as_object();
    let listed = values["namespaces"].as_array();
    let mut places = Vec::new();
    for (namespace, tool) in [(&world.namespace, "first"), (world.neighbour.as_ref().unwrap(), "second")] {
        if listed.is_some_and(|listed| !listed.iter().any(|it| it == namespace.as_str())) {
            continue;
        }
        let texts = |names: &Value| -> Vec<String> {
            names.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let mut secrets = names.map_or(vec!["weather-credentials".to_owned()], |names| {
            names.get(namespace.as_str()).map(texts).unwrap_or_default()
        });
        let is_first = places.is_empty();
        secrets.retain(|name| name != CREDENTIALS || !is_first);
        places.push(Place { namespace: namespace.clone(), is_first, tool, secrets });
    }
    places
}

/// All that the operator ever does.
fn story(world: &mut World, places: &[Place], is_secure: bool) {
    world.start_operator();
    connects(world);
    for place in places {
        begins(world, place);
    }
    for place in places {
        becomes_ready(world, place);
        follows_secrets(world, place);
        is_edited_meanwhile(world, place);
    }
    if is_secure {
        is_scraped(world);
    }
    changes_hands(world);
    is_still_used(world);
    for place in places {
        holds_what_is_required(world, place);
        goes(world, place);
    }
    world.gone("Organization", "acme");
    world.stop_operator();
}

/// An Organization that the Tools of all namespaces may use.
fn connects(world: &World) {
    let data = format!("api-key: {}, api-key-id: demo-key-id, user-id: demo-user", world.api_key());
    world.apply(&all([secret(CREDENTIALS, &data), organization(world, "allowedNamespaces: {from: All}")]));
    world.ready("Organization", "acme");
}

/// Labelled, as some profiles require.
fn secret(name: &str, data: &str) -> String {
    let metadata = format!("{{name: {name}, labels: {{amigo.ai/sync: 'true'}}}}");
    format!("{{apiVersion: v1, kind: Secret, metadata: {metadata}, stringData: {{{data}}}}}")
}

/// An Organization whose endpoint is not allowed: the operator says so, and never signs in.
fn stranger(place: &Place) -> String {
    let endpoint = "https://elsewhere.example";
    let secret = place.any_secret();
    let spec = format!("organization: acme, endpoint: '{endpoint}', credentialsRef: {{name: {secret}}}");
    object("Organization", "stranger", &spec)
}

fn begins(world: &World, place: &Place) {
    let spec = format!(
        "name: {}, description: Weather., organizationRef: {{name: acme, namespace: {}}}",
        place.tool, world.namespace
    );
    let entry = |(index, name): (usize, &String)| {
        format!("{{name: KEY_{index}, valueFrom: {{secretKeyRef: {{name: {name}, key: token}}}}}}")
    };
    let plain = std::iter::once("{name: UNITS, value: metric}".to_owned());
    let entries: Vec<String> = plain.chain(place.secrets.iter().enumerate().map(entry)).collect();
    let secrets = place.secrets.iter().map(|name| secret(name, &format!("token: {}", world.canary())));
    let objects = [
        stranger(place),
        object("Tool", "weather", &spec),
        variables("weather", &format!("env: [{}]", entries.join(", "))),
        named_version("weather", "version: 1.0.0, deletionPolicy: Deprecate"),
    ];
    world.apply_in(&place.namespace, &all(secrets.chain(objects)));
}

fn becomes_ready(world: &World, place: &Place) {
    for kind in ["Tool", "ToolEnvSecret", "ToolVersion"] {
        world.wait_in(&place.namespace, kind, "weather", is_ready, "is Ready");
    }
    let refused = |object: &Value| has_reason(object, "EndpointNotAllowed");
    world.wait_in(&place.namespace, "Organization", "stranger", refused, "says EndpointNotAllowed");
}

/// The id of the tool in the service.
fn tool_id(world: &World, place: &Place) -> String {
    let is_bound = |object: &Value| !field(object, "toolId").is_empty();
    field(&world.wait_in(&place.namespace, "Tool", "weather", is_bound, "is bound"), "toolId")
}

fn follows_secrets(world: &World, place: &Place) {
    let tool = tool_id(world, place);
    for (index, name) in place.secrets.iter().enumerate() {
        let value = world.canary();
        world.apply_in(&place.namespace, &secret(name, &format!("token: {value}")));
        world.until("the service has the new value", || {
            world.variable(&tool, &format!("KEY_{index}")).as_ref() == Some(&value)
        });
    }
}

/// A status that is written after the object was edited is refused as too late, and the object is read again.
fn is_edited_meanwhile(world: &World, place: &Place) {
    let is_read_again = || {
        let mut requests = world.requests().into_iter();
        requests.any(|it| {
            (it.verb.as_str(), it.resource.as_str()) == ("get", "organizations") && it.namespace == place.namespace
        })
    };
    let limits = std::cell::Cell::new(11);
    world.until("an edit comes between", || {
        let next = || limits.replace(limits.get() + 1);
        let specs = (0..20).map(|_| json!({"maxDeprecationsPerHour": next()}));
        world.edit_in_a_row(&place.namespace, "Organization", "stranger", specs);
        is_read_again()
    });
}

/// Who asks for metrics over TLS is looked up.
fn is_scraped(world: &World) {
    let token = world.token_of("reader", true);
    let log = world.log();
    let line = log.lines().find(|line| line.contains("metrics are served over TLS")).unwrap();
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    let asked = client.get(format!("https://{address}/metrics")).bearer_auth(token).send();
    assert_eq!(world.block_on(asked).unwrap().status(), 200);
}

/// Another replica takes over.
fn changes_hands(world: &mut World) {
    let first = world.lease_holder().unwrap();
    world.start_operator();
    world.stop_first_operator();
    world.until("another leads", || world.lease_holder().is_some_and(|holder| holder != first));
}

/// An Organization that is deleted waits for those who use it, and looks whether they are still there.
fn is_still_used(world: &World) {
    world.delete("Organization", "acme");
    world.reason("Organization", "acme", "InUse");
}

/// A variable that a version requires stays, unless the namespace itself goes, for which it is looked at.
fn holds_what_is_required(world: &World, place: &Place) {
    let required_envvars = ["UNITS".to_owned()].into();
    let requiring = NewVersion { required_envvars, ..NewVersion::default() };
    world.sandbox.add_version(ACME, &tool_id(world, place), requiring).unwrap();
    world.delete_in(&place.namespace, "ToolEnvSecret", "weather");
    let held = |object: &Value| has_reason(object, "VariableInUse");
    world.wait_in(&place.namespace, "ToolEnvSecret", "weather", held, "says VariableInUse");
}

/// The version is deprecated, as its manifest orders.
fn goes(world: &World, place: &Place) {
    for (kind, name) in
        [("ToolVersion", "weather"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("Organization", "stranger")]
    {
        if kind != "ToolEnvSecret" {
            world.delete_in(&place.namespace, kind, name);
        }
        world.gone_in(&place.namespace, kind, name);
    }
}
