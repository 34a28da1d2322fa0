//! The client against the service in memory: in process on a paused clock, and once over a socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amigo_operator::amigo::types::{Branch, BumpType, CreateTool, ModifyTool};
use amigo_operator::amigo::{
    Amigo, Claim, Class, Client, ClientOptions, Credentials, DeleteVariable, Effect, Endpoint, Error, HttpTransport,
    InsertVariable, NoObserver, Operation, Permit, PublishRequest, Revision, Specifier, VariablesDelta,
};
use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::Server;
use amigo_operator::sandbox::{self, Effect as Happens, Fault, NewTool, NewVersion, Sandbox, Settings};
use tokio::time::Instant;

const ACME: &str = "acme";

struct Setup {
    sandbox: Sandbox,
    amigo: Amigo,
    leads: Arc<AtomicBool>,
}

fn setup(settings: Settings) -> Setup {
    let sandbox = Sandbox::for_tests(settings);
    let leads = Arc::new(AtomicBool::new(true));
    let guard = Arc::clone(&leads);
    let transport = Arc::new(sandbox.in_process());
    let amigo =
        Amigo::new(transport, sandbox.clock(), Arc::new(move || guard.load(Ordering::SeqCst)), Arc::new(NoObserver));
    Setup { sandbox, amigo, leads }
}

impl Setup {
    fn client(&self, key: &str, revision: Revision) -> Client {
        let account = self.amigo.account(&Endpoint::parse("https://api.amigo.ai").unwrap(), ACME);
        let credentials = Credentials::new(key.to_owned().into(), "demo-key-id".into(), "demo-user".into()).unwrap();
        let options = ClientOptions { revision, mongo_cluster: None, budget_percent: 80, detected: None };
        self.amigo.client(&account, credentials, options)
    }

    fn add_tools(&self, count: usize) -> Vec<String> {
        let new = |n| NewTool { name: format!("tool_{n}"), description: "A tool.".into(), ..NewTool::default() };
        (0..count).map(|n| self.sandbox.add_tool(ACME, new(n)).unwrap()).collect()
    }
}

/// A permit, waited for as a controller waits: asked for again when it is woken.
async fn permit(client: &Client, operation: Operation) -> Permit {
    let granted = Arc::new(tokio::sync::Notify::new());
    loop {
        let notify = Arc::clone(&granted);
        let wake = Arc::new(move || notify.notify_one());
        match client.account().claim(operation, Class::Interactive, "party", "test", wake) {
            Claim::Granted(permit) => return permit,
            Claim::Queued { .. } => granted.notified().await,
        }
    }
}

fn request() -> PublishRequest {
    PublishRequest { branch: Branch::Main, project_path: "tools/weather".into(), bump: BumpType::Major }
}

#[tokio::test(start_paused = true)]
async fn fifty_tools_are_read_in_three_calls_and_with_one_sign_in() {
    let setup = setup(Settings::default());
    let ids = setup.add_tools(50);
    let client = setup.client("demo-key", Revision::Auto);
    let reads = ids.iter().map(|id| client.tool(id, Class::Interactive));
    let tools = futures::future::join_all(reads).await;
    assert!(tools.iter().zip(&ids).all(|(tool, id)| tool.as_ref().unwrap().as_ref().unwrap().id == *id));
    assert_eq!(setup.sandbox.calls(sandbox::Operation::ListTools), 3);
    assert_eq!(setup.sandbox.calls(sandbox::Operation::SignIn), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_is_the_service_s_whatever_our_clock_says() {
    let setup = setup(Settings::default());
    let ahead = Clock::starting_at(setup.sandbox.clock().now() + Duration::from_secs(7200));
    let transport = Arc::new(setup.sandbox.in_process());
    let amigo = Amigo::new(transport, ahead, Arc::new(|| true), Arc::new(NoObserver));
    let client = Setup { amigo, ..setup }.client("demo-key", Revision::Auto);
    assert_eq!(client.service_time(), ahead.now(), "as long as the service has told nothing");
    client.sign_in().await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    let behind = client.service_time().duration_since(ahead.now()).as_secs();
    assert!((-7201..=-7199).contains(&behind), "{behind} s");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_no_read_finds_is_looked_for_among_the_deprecated_too() {
    let setup = setup(Settings::default());
    let client = setup.client("demo-key", Revision::Auto);
    assert_eq!(client.tool(&"a".repeat(24), Class::Interactive).await.unwrap(), None);
    assert_eq!(setup.sandbox.calls(sandbox::Operation::ListTools), 2);
}

#[tokio::test(start_paused = true)]
async fn sweeps_are_shared_by_those_who_asked_before_they_began() {
    let setup = setup(Settings::default());
    setup.add_tools(45);
    let client = setup.client("demo-key", Revision::Auto);
    let names: Vec<String> = (0..45).map(|n| format!("tool_{n}")).collect();
    let reads = names.iter().map(|name| client.tool_by_name(name, Class::Interactive));
    assert!(futures::future::join_all(reads).await.iter().all(|tool| tool.as_ref().unwrap().is_some()));
    assert_eq!(setup.sandbox.calls(sandbox::Operation::ListTools), 3);
    setup
        .sandbox
        .add_tool(ACME, NewTool { name: "late".into(), description: "x".into(), ..NewTool::default() })
        .unwrap();
    assert!(
        client.tool_by_name("late", Class::Interactive).await.unwrap().is_some(),
        "a later question has its own sweep"
    );
}

#[tokio::test(start_paused = true)]
async fn all_versions_are_read_over_all_pages() {
    let setup = setup(Settings::default());
    let id = setup.add_tools(1).remove(0);
    for _ in 0..120 {
        let new = NewVersion { bump_type: Some(BumpType::Patch), ..NewVersion::default() };
        let first = NewVersion { bump_type: Some(BumpType::Major), ..NewVersion::default() };
        setup.sandbox.add_version(ACME, &id, new).or_else(|_| setup.sandbox.add_version(ACME, &id, first)).unwrap();
    }
    let client = setup.client("demo-key", Revision::Auto);
    assert_eq!(client.versions(&id, Class::Interactive).await.unwrap().len(), 120);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_never_exceeded_however_many_ask() {
    let setup = setup(Settings::default());
    let client = setup.client("demo-key", Revision::Auto);
    let started = Instant::now();
    for n in 0..40 {
        let body = CreateTool { name: format!("t{n}"), description: "x".into(), tags: [].into() };
        client.create_tool(permit(&client, Operation::CreateTool).await, &body).await.unwrap();
    }
    assert_eq!(setup.sandbox.rate_limit_violations(), 0);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    assert!((2.0..2.6).contains(&minutes), "40 creates at 16 a minute took {minutes} minutes");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_tried_again_until_they_are_forgotten() {
    let setup = setup(Settings::default());
    let client = setup.client("wrong", Revision::Auto);
    for _ in 0..5 {
        assert!(matches!(client.sign_in().await, Err(Error::CredentialsRefused {})));
    }
    assert_eq!(setup.sandbox.calls(sandbox::Operation::SignIn), 1);
    client.forget_token();
    assert!(client.sign_in().await.is_err());
    assert_eq!(setup.sandbox.calls(sandbox::Operation::SignIn), 2);
    assert!(setup.client("demo-key", Revision::Auto).sign_in().await.is_ok(), "other credentials are another matter");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_ends_and_once_after_a_refusal() {
    let setup = setup(Settings { token_seconds: 3600.0, ..Settings::default() });
    let ids = setup.add_tools(1);
    let client = setup.client("demo-key", Revision::Auto);
    client.sign_in().await.unwrap();
    tokio::time::advance(Duration::from_secs(3310)).await;
    client.tool(&ids[0], Class::Interactive).await.unwrap();
    assert_eq!(setup.sandbox.calls(sandbox::Operation::SignIn), 2);
    setup.sandbox.end_tokens(ACME);
    client.tool(&ids[0], Class::Interactive).await.unwrap();
    assert_eq!(setup.sandbox.calls(sandbox::Operation::SignIn), 3);
}

#[tokio::test(start_paused = true)]
async fn auto_finds_the_revision_and_remembers_it() {
    for (speaks, found, calls) in [
        (sandbox::Revision::July2025, Revision::R202507, 1),
        (sandbox::Revision::September2025, Revision::R202509, 2),
        (sandbox::Revision::Year2026, Revision::R2026, 3),
    ] {
        let setup = setup(Settings { revision: speaks, refuse_extra_fields: true, ..Settings::default() });
        let id = setup.add_tools(1).remove(0);
        let client = setup.client("demo-key", Revision::Auto);
        let first = permit(&client, Operation::PublishVersion).await;
        assert_eq!(client.publish(first, &id, &request()).await.unwrap().to_string(), "1.0.0");
        assert_eq!(client.account().detected_revision(), Some(found));
        assert_eq!(setup.sandbox.calls(sandbox::Operation::PublishVersion), calls);
        let second = permit(&client, Operation::PublishVersion).await;
        client.publish(second, &id, &request()).await.unwrap();
        assert_eq!(setup.sandbox.calls(sandbox::Operation::PublishVersion), calls + 1);
    }
    let setup =
        setup(Settings { revision: sandbox::Revision::Year2026, refuse_extra_fields: true, ..Settings::default() });
    let id = setup.add_tools(1).remove(0);
    let client = setup.client("demo-key", Revision::R202507);
    let permit = permit(&client, Operation::PublishVersion).await;
    assert!(matches!(client.publish(permit, &id, &request()).await, Err(Error::RevisionMismatch { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_had_an_effect_is_told_from_what_has_not() {
    let setup = setup(Settings::default());
    let client = setup.client("demo-key", Revision::Auto);
    client.sign_in().await.unwrap();
    let table = [
        (Happens::NotConnected, Effect::None),
        (Happens::LostBeforeEffect, Effect::Unknown),
        (Happens::LostAfterEffect { seconds: None }, Effect::Unknown),
        (Happens::TruncatedBody, Effect::Unknown),
        (Happens::GarbageBody, Effect::Unknown),
        (Happens::TooManyRequests { retry_after: None }, Effect::None),
        (Happens::Unavailable, Effect::Unknown),
        (Happens::Delay { seconds: 3600.0, after_effect: false }, Effect::Unknown),
    ];
    for (n, (happens, effect)) in table.into_iter().enumerate() {
        setup.sandbox.clear_faults();
        setup.sandbox.add_fault(Fault::once("create-tool", happens.clone()));
        let body = CreateTool { name: format!("t{n}"), description: "x".into(), tags: [].into() };
        let error = client.create_tool(permit(&client, Operation::CreateTool).await, &body).await.unwrap_err();
        assert_eq!(error.effect(), effect, "{happens:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_without_leadership() {
    let setup = setup(Settings::default());
    let id = setup.add_tools(1).remove(0);
    let client = setup.client("demo-key", Revision::Auto);
    client.sign_in().await.unwrap();
    setup.leads.store(false, Ordering::SeqCst);
    let modify = ModifyTool { description: Some("y".into()), tags: None };
    let modified = client.modify_tool(permit(&client, Operation::ModifyTool).await, &id, &modify).await;
    let deprecated = client.deprecate_tool(permit(&client, Operation::DeprecateTool).await, &id).await;
    let published = client.publish(permit(&client, Operation::PublishVersion).await, &id, &request()).await;
    assert_eq!(modified.unwrap_err(), Error::NotLeader);
    assert_eq!(deprecated.unwrap_err(), Error::NotLeader);
    assert_eq!(published.unwrap_err(), Error::NotLeader);
    assert_eq!(setup.sandbox.tool(ACME, &id).unwrap().description, "A tool.");
    let calls = setup.sandbox.calls(sandbox::Operation::ListTools);
    assert_eq!(client.tool(&id, Class::Interactive).await.unwrap_err(), Error::NotLeader);
    assert_eq!(
        setup.sandbox.calls(sandbox::Operation::ListTools),
        calls,
        "a read would use up what the leader counts on"
    );
}

#[tokio::test(start_paused = true)]
async fn variables_and_specifiers_arrive_and_refusals_show_no_value() {
    let setup = setup(Settings::default());
    let id = setup.add_tools(1).remove(0);
    let client = setup.client("demo-key", Revision::Auto);
    let insert = |name: &str| VariablesDelta {
        inserts: vec![InsertVariable { name: name.into(), value: "canary".into(), is_secret: true }],
        ..VariablesDelta::default()
    };
    let operation = Operation::ModifyVariables;
    client.modify_variables(permit(&client, operation).await, &id, &insert("KEY")).await.unwrap();
    assert_eq!(setup.sandbox.tool(ACME, &id).unwrap().variables["KEY"].value, "canary");
    let again = client.modify_variables(permit(&client, operation).await, &id, &insert("KEY")).await.unwrap_err();
    let invalid = client.modify_variables(permit(&client, operation).await, &id, &insert("lower")).await.unwrap_err();
    assert_eq!((again.status(), invalid.status()), (Some(409), Some(422)));
    assert!(!format!("{again} {again:?} {invalid} {invalid:?}").contains("canary"));
    let delete = VariablesDelta { deletes: vec![DeleteVariable { name: "KEY".into() }], ..VariablesDelta::default() };
    client.modify_variables(permit(&client, operation).await, &id, &delete).await.unwrap();

    client.publish(permit(&client, Operation::PublishVersion).await, &id, &request()).await.unwrap();
    let specifier = Specifier::parse(">=1, <2").unwrap();
    client.deprecate_versions(permit(&client, Operation::DeprecateVersions).await, &id, &specifier).await.unwrap();
    assert!(setup.sandbox.tool(ACME, &id).unwrap().active_versions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_trouble_never_exceeds_a_limit_and_reads_what_is_there() {
    let setup = setup(Settings { token_seconds: 900.0, log_size: 10_000, ..Settings::default() });
    let ids = setup.add_tools(60);
    let client = setup.client("demo-key", Revision::Auto);
    for (operations, effect, probability) in [
        ("*", Happens::Delay { seconds: 7.0, after_effect: false }, 0.2),
        ("*", Happens::Delay { seconds: 9.0, after_effect: true }, 0.2),
        ("list-*", Happens::LostBeforeEffect, 0.05),
        ("*", Happens::NotConnected, 0.05),
        ("*", Happens::Unavailable, 0.05),
        ("*", Happens::Status { status: 401, body: None, after_effect: false, seconds: None }, 0.02),
    ] {
        setup.sandbox.add_fault(Fault::always(operations, effect).with_probability(probability));
    }
    let reader = |n: usize| {
        let (client, ids) = (client.clone(), ids.clone());
        async move {
            for round in 0..60 {
                let id = &ids[(n * 7 + round) % ids.len()];
                let class = if n.is_multiple_of(2) { Class::Resync } else { Class::Interactive };
                match (n + round) % 4 {
                    // What is read may fail; it is never wrong.
                    0 => assert!(client.tool(id, class).await.map_or(true, |tool| tool.is_some())),
                    1 => assert!(client.versions(id, class).await.map_or(true, |versions| versions.is_empty())),
                    2 => assert!(client.tool_by_name("tool_59", class).await.map_or(true, |tool| tool.is_some())),
                    _ => drop(tokio::time::timeout(Duration::from_millis(50), client.versions(id, class)).await),
                }
                tokio::time::sleep(Duration::from_secs(u64::try_from(n % 50).unwrap())).await;
            }
        }
    };
    let writer = async {
        for n in 0..120 {
            let modify = ModifyTool { description: Some(format!("{n}")), tags: None };
            let permit = permit(&client, Operation::ModifyTool).await;
            let _ = client.modify_tool(permit, &ids[n % ids.len()], &modify).await;
        }
    };
    let started = Instant::now();
    tokio::join!(futures::future::join_all((0..100).map(reader)), writer);
    assert!(started.elapsed() > Duration::from_secs(1800));
    assert_eq!(setup.sandbox.rate_limit_violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_other_clients_use_is_left_to_them() {
    let setup = setup(Settings::default());
    let ids = setup.add_tools(60);
    let client = setup.client("demo-key", Revision::Auto);
    client.versions(&ids[0], Class::Interactive).await.unwrap();
    setup.sandbox.use_up(ACME, sandbox::Operation::ListVersions, 40).unwrap();
    let started = Instant::now();
    for id in &ids[1..30] {
        client.versions(id, Class::Interactive).await.unwrap();
    }
    assert_eq!(setup.sandbox.rate_limit_violations(), 0);
    assert!(started.elapsed() >= Duration::from_secs(59), "{:?}", started.elapsed());
}

#[tokio::test]
async fn over_a_socket_redirects_are_not_followed_and_dropped_connections_are_unknown() {
    let sandbox = Sandbox::for_tests(Settings::default());
    let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), None).unwrap();
    let transport = Arc::new(HttpTransport::new(None).unwrap());
    let amigo = Amigo::new(transport, sandbox.clock(), Arc::new(|| true), Arc::new(NoObserver));
    let account = amigo.account(&Endpoint::parse(&server.url()).unwrap(), ACME);
    let credentials = Credentials::new("demo-key".to_owned().into(), "demo-key-id".into(), "demo-user".into()).unwrap();
    let options = ClientOptions { revision: Revision::Auto, mongo_cluster: None, budget_percent: 100, detected: None };
    let client = amigo.client(&account, credentials, options);
    client.sign_in().await.unwrap();
    let body = |name: &str| CreateTool { name: name.into(), description: "x".into(), tags: [].into() };
    sandbox.add_fault(Fault::once("create-tool", Happens::LostAfterEffect { seconds: None }));
    let lost = client.create_tool(permit(&client, Operation::CreateTool).await, &body("lost")).await.unwrap_err();
    assert_eq!(lost.effect(), Effect::Unknown, "{lost}");
    assert_eq!(sandbox.calls(sandbox::Operation::CreateTool), 1, "nothing below sends a write again");
    let redirect = Happens::Redirect { location: "http://127.0.0.1:1/".into(), status: 307 };
    sandbox.add_fault(Fault::once("create-tool", redirect));
    let redirected =
        client.create_tool(permit(&client, Operation::CreateTool).await, &body("moved")).await.unwrap_err();
    assert_eq!(redirected.status(), Some(307));
    server.stop().await.unwrap();
    let gone = client.create_tool(permit(&client, Operation::CreateTool).await, &body("gone")).await.unwrap_err();
    assert!(matches!(gone, Error::NotSent(_)), "{gone:?}");
}
