//! What `/metrics` shows of a real operator on a real control plane, and to whom.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::manifests::{acme, all, env, tool, variables, version};
use support::{Setup, World};

/// The samples of a name, without it.
fn samples<'a>(metrics: &'a str, name: &str) -> Vec<&'a str> {
    let of_name = metrics.lines().filter_map(|line| line.strip_prefix(name));
    of_name.filter(|rest| rest.starts_with('{') || rest.starts_with(' ')).collect()
}

#[test]
fn what_belongs_to_an_object_shows_while_it_is_there_and_goes_with_it() {
    let world = World::new("metrics");
    let objects = [acme(&world), tool("weather", ""), variables("weather", &env(&[("A", "1")])), version("1.0.0", "")];
    world.apply(&all(objects));
    for (kind, name) in [("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    let namespace = &world.namespace;
    let condition = |kind: &str, name: &str| {
        format!("{{kind=\"{kind}\",namespace=\"{namespace}\",name=\"{name}\",type=\"Ready\",status=\"True\"}} 1")
    };
    let metrics = world.metrics();
    let conditions = samples(&metrics, "amigo_resource_condition");
    for (kind, name) in
        [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")]
    {
        assert!(conditions.contains(&condition(kind, name).as_str()), "{kind} {name} in {conditions:?}");
    }
    assert!(samples(&metrics, "amigo_resources").contains(&"{kind=\"Tool\",ready=\"True\",reason=\"Succeeded\"} 1"));
    let create = format!("{{endpoint=\"{}\",organization=\"acme\",operation=\"create_tool\"}}", world.endpoint());
    for (name, value) in [
        ("amigo_api_budget_limit", " 16.0"),
        ("amigo_api_budget_used", " 1.0"),
        ("amigo_api_rate_limit_remaining", " 19.0"),
    ] {
        assert!(samples(&metrics, name).contains(&format!("{create}{value}").as_str()), "{name} in {metrics}");
    }
    assert_eq!(samples(&metrics, "amigo_token_expiry_timestamp_seconds").len(), 1, "{metrics}");
    assert!(samples(&metrics, "amigo_publishes_in_flight").contains(&" 0"), "{metrics}");
    assert_eq!(samples(&metrics, "amigo_resync_period_seconds").len(), 2, "{metrics}");
    assert!(!samples(&metrics, "rest_client_requests_total").is_empty() && !metrics.contains("# EOF"), "{metrics}");

    world.delete("ToolVersion", "weather-1.0.0");
    world.gone("ToolVersion", "weather-1.0.0");
    world.until("its series are gone", || {
        let metrics = world.metrics();
        let kinds = samples(&metrics, "amigo_resource_condition");
        !kinds.iter().any(|labels| labels.contains("ToolVersion")) && !kinds.is_empty()
    });
    world.finish();
}

#[test]
fn over_tls_only_those_may_read_whom_the_api_server_lets() {
    let setup = Setup { flags: vec!["--metrics-listen=127.0.0.1:0".into()], ..Setup::default() };
    let mut world = World::without_operator("metrics-tls", setup);
    world.permit_reviews();
    let (reader, stranger) = (world.token_of("reader", true), world.token_of("stranger", false));
    world.start_operator();
    world.until("it serves", || world.log().contains("metrics are served over TLS"));
    let log = world.log();
    let line = log.lines().find(|line| line.contains("metrics are served over TLS")).unwrap();
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let url = format!("https://{address}/metrics");
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    let ask = |token: Option<&str>| {
        let request = token.into_iter().fold(client.get(&url), reqwest::RequestBuilder::bearer_auth);
        world.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    };
    for (token, status, shows) in [
        (None, 401, "a bearer token is missing"),
        (Some("nobody's"), 401, "the token is not known"),
        (Some(stranger.as_str()), 403, "may not `get`"),
        (Some(reader.as_str()), 200, "leader_election_master_status"),
        (Some(reader.as_str()), 200, "amigo_build_info"),
    ] {
        let (answered, text) = ask(token);
        assert!(answered == status && text.contains(shows), "{answered} {text}");
    }
    assert_eq!(world.metrics(), "", "nothing in the clear");
    world.finish();
}
