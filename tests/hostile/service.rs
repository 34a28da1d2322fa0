//! The whole operator, and the client alone, against the attacks.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use amigo_operator::amigo::types::CreateTool;
use amigo_operator::amigo::{
    Amigo, Claim, Class, ClientOptions, Credentials, Effect, Endpoint, Error, HttpTransport, NoObserver, Operation,
    Revision,
};
use amigo_operator::clock::Clock;

use serde_json::{Value, json};

use super::attacks::{Attack, Elsewhere, ID, ON_CALLS, ON_SIGN_IN};
use super::server::{Request, Server, TOKEN, answer, signed_in};
use super::support::manifests::{acme, all, tool, version};
use super::support::{Setup, World, field, message, reason_of};

/// How much more memory the operator may take while it is attacked from all sides, in bytes.
const MORE_MEMORY: u64 = 100_000_000;

/// Who waits for the service this long has waited long enough: with a patient operator this is its longest time-out twice.
const TIME: Duration = Duration::from_secs(75);

/// The server of all attacks, and the one where redirects lead.
fn servers() -> (Server, Server) {
    let elsewhere = Server::start(Arc::new(|_, stream| signed_in(stream, TOKEN)));
    let place = Elsewhere(elsewhere.url());
    let attack = move |request: &Request, stream: &mut std::net::TcpStream| {
        let find =
            |attacks: &[(&str, Attack)]| attacks.iter().find(|(name, _)| *name == request.organization).map(|it| it.1);
        match (request.is_sign_in(), find(ON_SIGN_IN), find(ON_CALLS)) {
            (true, Some(attack), _) => attack(request, stream, &place),
            (true, None, _) => signed_in(stream, TOKEN),
            (false, _, Some(attack)) => attack(request, stream, &place),
            (false, _, None) => Ok(()),
        }
    };
    (Server::start(Arc::new(attack)), elsewhere)
}

fn organization(name: &str, endpoint: &str) -> String {
    format!(
        "{{apiVersion: amigo.ai/v1alpha1, kind: Organization, metadata: {{name: {name}}}, spec: {{organization: {name}, \
         endpoint: '{endpoint}', credentialsRef: {{name: acme-api-key}}}}}}"
    )
}

fn tool_of(name: &str) -> String {
    format!(
        "{{apiVersion: amigo.ai/v1alpha1, kind: Tool, metadata: {{name: {name}}}, spec: {{organizationRef: {{name: {name}}}, \
         description: Attacked.}}}}"
    )
}

/// The mark of the tool that the operator asks for first.
static MARK: OnceLock<String> = OnceLock::new();

#[test]
fn attacked_from_all_sides_the_operator_serves_the_others() {
    let (server, elsewhere) = servers();
    let flags = vec![format!("--allowed-endpoint={}", server.url())];
    let world = World::with("hostile", Setup { flags, ..Setup::default() });
    world.apply(&all([acme(&world), tool("before", "")]));
    world.ready("Tool", "before");
    let before = world.peak_memory();
    let names = || ON_CALLS.iter().chain(ON_SIGN_IN).map(|(name, _)| *name);
    world.apply(&all(names().map(|name| organization(name, &server.url()))));
    world.apply(&all(names().map(tool_of)));
    let started = Instant::now();
    world.apply(&tool("meanwhile", ""));
    world.ready("Tool", "meanwhile");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "another organization's tool took {took:?}");
    for (name, _) in ON_CALLS.iter().filter(|(name, _)| *name != "pages-for-ever") {
        world.until(&format!("{name} is asked for"), || server.requests(name) > 0);
        let object = world.wait_for("Tool", name, says_what_was_answered, "says what was answered");
        eprintln!("{name}: {:?} {}", reason_of(&object), message(&object));
        assert_eq!(field(&object, "toolId"), "", "{name}: nothing can be bound to");
        assert!(!message(&object).contains(TOKEN), "{name}");
    }
    for (name, _) in ON_SIGN_IN {
        let object = world.wait_for("Organization", name, |object| reason_of(object).is_some(), "says why");
        eprintln!("{name}: {:?} {}", reason_of(&object), message(&object));
        assert_ne!(reason_of(&object).as_deref(), Some("Succeeded"), "{name}");
        assert_eq!(server.requests(name), 0, "{name}");
    }
    world.until("pages are read on", || server.requests("pages-for-ever") > 30 || started.elapsed() > TIME);
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    assert!(!world.log().contains(TOKEN) && !world.log().contains("panicked"));
    let more = world.peak_memory() - before;
    eprintln!("memory: {before} bytes before, {more} more at the peak");
    assert!(more < MORE_MEMORY, "{more} bytes more");
    world.request("Tool", "before");
    world.finish();
}

/// Whether a Tool says more than that it is new, or waits for its Organization.
fn says_what_was_answered(tool: &Value) -> bool {
    reason_of(tool).is_some_and(|reason| !["Unknown", "OrganizationNotReady"].contains(&reason.as_str()))
}

#[test]
fn what_the_service_says_of_a_version_fits_into_the_status_whatever_it_is() {
    let answers = |request: &Request, stream: &mut std::net::TcpStream| {
        if request.is_sign_in() {
            return signed_in(stream, TOKEN);
        }
        if request.rest.contains("/organization/api_key/") {
            return answer(stream, 403, "", b"{}");
        }
        let query = request.rest.split_once('?').map_or("", |(_, query)| query);
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let tag = pairs.into_owned().find(|(name, _)| name == "tag").map(|(_, tag)| tag).unwrap_or_default();
        let (key, value) = tag.split_once(':').unwrap_or_default();
        let names: Vec<String> = (0..20_000).map(|n| format!("NAME_{n}\u{202e}")).collect();
        let long = "c".repeat(100_000);
        let body = if request.rest.contains("/version") {
            json!({"tool_versions": [{
                "id": ID, "version": {"major": 1, "minor": 0, "patch": 0}, "deprecated": false, "created_at": "long ago",
                "tool_commit_hash": long, "creator": {"user_id": long}, "required_envvars": names,
                "required_secret_envvars": [long, "\u{0}"],
            }], "has_more": false})
        } else {
            json!({"tools": [{
                "id": ID, "name": "odd", "deprecated": false, "description": "Attacked.",
                "tags": [{"key": "kubernetes_owner", "value": MARK.get_or_init(|| value.to_owned())}, {"key": key}],
            }], "has_more": false})
        };
        answer(stream, 200, "", body.to_string().as_bytes())
    };
    let server = Server::start(Arc::new(answers));
    let flags = vec![format!("--allowed-endpoint={}", server.url())];
    let world = World::with("oddversion", Setup { flags, ..Setup::default() });
    world.apply(&all([acme(&world), organization("odd", &server.url()), tool_of("odd")]));
    let version =
        version("1.0.0", "expectedCommit: cccccccc").replace("toolRef: {name: weather}", "toolRef: {name: odd}");
    world.apply(&version);
    let object = world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(field(&object, "versionId"), ID);
    assert_eq!(object["status"]["requiredVariables"].as_array().unwrap().len(), 512);
    world.finish();
}

/// A write that was answered so may have had its effect, unless it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_came_to_is_not_known_unless_it_is_refused() {
    let (server, elsewhere) = servers();
    let transport = Arc::new(HttpTransport::new(None).unwrap());
    let amigo = Amigo::new(transport, Clock::System, Arc::new(|| true), Arc::new(NoObserver));
    let slow = ["trickles", "drips-headers", "silent", "continues"];
    let calls = ON_CALLS.iter().filter(|(name, _)| !slow.contains(name)).map(|(name, _)| {
        let account = amigo.account(&Endpoint::parse(&server.url()).unwrap(), name);
        let key = format!("canary-key-{name}");
        let credentials = Credentials::new(key.clone().into(), "id".into(), "user".into()).unwrap();
        let options =
            ClientOptions { revision: Revision::Auto, mongo_cluster: None, budget_percent: 80, detected: None };
        let client = amigo.client(&account, credentials, options);
        async move {
            let Claim::Granted(permit) =
                client.account().claim(Operation::CreateTool, Class::Interactive, "party", "test", Arc::new(|| {}))
            else {
                panic!("the first call needs no queue");
            };
            let body = CreateTool { name: "weather".into(), description: "x".into(), tags: [].into() };
            let error = client.create_tool(permit, &body).await.expect_err(name);
            let text = format!("{error} {error:?}");
            assert!(text.len() < 2000 && !text.contains(TOKEN) && !text.contains(&key), "{name}: {text}");
            let refused = matches!(error, Error::RateLimited { .. } | Error::Status { status: 400, .. });
            let expected = if refused { Effect::None } else { Effect::Unknown };
            assert_eq!(error.effect(), expected, "{name}: {error:?}");
            assert_ne!(error.status(), Some(404), "{name}");
        }
    });
    tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(calls)).await.expect("it ends");
    let sent_again: Vec<_> = ON_CALLS.iter().filter(|(name, _)| server.requests(name) > 1).map(|it| it.0).collect();
    assert!(sent_again.is_empty(), "{sent_again:?}");
    assert_eq!(elsewhere.connections(), 0);
}
