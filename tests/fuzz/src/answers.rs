//! Whole answers: status, headers and body, read by the client as it reads those of the service. Each target is one call, and
//! its input is written as HTTP writes an answer: status, headers, an empty line, and the body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, Exchange, Transport, TransportError};
use amigo_operator::amigo::types::{Branch, BumpType, CreateTool, ModifyTool};
use amigo_operator::amigo::{
    Amigo, Claim, Class, Client, ClientOptions, Credentials, Effect, Endpoint, Error, Key, NoObserver, Operation,
    Permit, PublishRequest, Revision, Specifier, VariablesDelta,
};
use amigo_operator::clock::Clock;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use jiff::Timestamp;
use serde_json::Value;

use crate::clean::{KEY, TOKEN, assert_clean, assert_no_secret};

const ID: &str = "0123456789abcdef01234567";

/// The most that is answered in one run: a list that has no end would take long.
const ANSWERS: u32 = 6;

/// The longest that a call may take, with all its waits for a place in the budget and for the service.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Answering {
    sign_in: Bytes,
    to: Operation,
    answer: (u16, Vec<(HeaderName, HeaderValue)>, Bytes),
    given: AtomicU32,
}

impl Answering {
    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let is_sign_in = request.uri().path().ends_with("/user/signin_with_api_key");
        if is_sign_in != (self.to == Operation::SignIn) {
            return Ok(Response::new(self.sign_in.clone()));
        }
        if self.given.fetch_add(1, Ordering::Relaxed) >= ANSWERS {
            return Err(TransportError::Unknown("enough".into()));
        }
        let (status, headers, body) = &self.answer;
        let mut response = Response::new(body.clone());
        *response.status_mut() = http::StatusCode::from_u16(*status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    }
}

impl Transport for Answering {
    fn send(&self, request: Request<Bytes>, _: Bounds) -> Exchange<'_> {
        Box::pin(async move { self.answer(&request) })
    }
}

/// The status, the headers that can be some, and the body.
fn parse(bytes: &[u8]) -> (u16, Vec<(HeaderName, HeaderValue)>, Bytes) {
    let head = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let mut lines = bytes[..head].split(|byte| *byte == b'\n');
    let status = std::str::from_utf8(lines.next().unwrap_or_default()).ok().and_then(|text| text.parse().ok());
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    let status = status.filter(|status| (100..1000).contains(status)).unwrap_or(200);
    (status, lines.filter_map(header).collect(), Bytes::copy_from_slice(bytes.get(head + 2..).unwrap_or_default()))
}

fn sign_in() -> Bytes {
    Bytes::from(serde_json::json!({"id_token": TOKEN, "expires_at": "2030-01-01T00:00:00Z"}).to_string())
}

fn permit(client: &Client, operation: Operation) -> Permit {
    match client.account().claim(operation, Class::Interactive, "party", "fuzz", Arc::new(|| {})) {
        Claim::Granted(permit) => permit,
        Claim::Queued { .. } => panic!("the first call needs no queue"),
    }
}

/// What a call came to: nothing, the ids of what was found, or an error.
async fn call(client: &Client, operation: Operation) -> Result<Vec<String>, Error> {
    let permit = |operation| permit(client, operation);
    match operation {
        Operation::SignIn => client.sign_in().await.map(|user| vec![user.user_id]),
        Operation::ListTools => {
            let found = client.tool(ID, Class::Interactive).await?;
            Ok(found.into_iter().map(|tool| tool.id).collect())
        }
        Operation::ListVersions => {
            let found = client.versions(ID, Class::Interactive).await?;
            Ok(found.into_iter().map(|version| version.id).collect())
        }
        Operation::CreateTool => {
            let body = CreateTool { name: "weather".into(), description: "Weather.".into(), tags: [].into() };
            client.create_tool(permit(operation), &body).await.map(|id| vec![id])
        }
        Operation::ModifyTool => {
            client.modify_tool(permit(operation), ID, &ModifyTool::default()).await.map(|()| Vec::new())
        }
        Operation::DeprecateTool => client.deprecate_tool(permit(operation), ID).await.map(|()| Vec::new()),
        Operation::ModifyVariables => {
            client.modify_variables(permit(operation), ID, &VariablesDelta::default()).await.map(|()| Vec::new())
        }
        Operation::PublishVersion => {
            let (branch, project_path, bump) = (Branch::Main, "tools/weather".into(), BumpType::Major);
            let number = client.publish(permit(operation), ID, &PublishRequest { branch, project_path, bump }).await?;
            Ok(vec![number.to_string()])
        }
        Operation::DeprecateVersions => {
            let versions = Specifier::parse("==1.2.3").unwrap();
            client.deprecate_versions(permit(operation), ID, &versions).await.map(|()| Vec::new())
        }
        Operation::ListApiKeys => match client.key(true).await {
            Key::Lives(life) => Ok(vec![life.ends_at.as_second().to_string()]),
            // That it cannot be read is told nobody: nothing depends on it.
            Key::Untold | Key::Unknown => Ok(Vec::new()),
        },
    }
}

fn property(operation: Operation, bytes: &[u8]) {
    let answer = parse(bytes);
    let (status, body) = (answer.0, answer.2.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (result, took, next) = runtime.block_on(async {
        let answering = Answering { sign_in: sign_in(), to: operation, answer, given: AtomicU32::new(0) };
        let clock = Clock::starting_at(Timestamp::from_second(1_750_000_000).unwrap());
        let amigo = Amigo::new(Arc::new(answering), clock, Arc::new(|| true), Arc::new(NoObserver));
        let account = amigo.account(&Endpoint::parse("https://api.amigo.ai").unwrap(), "acme");
        let credentials = Credentials::new(KEY.into(), "id".into(), "user".into()).unwrap();
        let options =
            ClientOptions { revision: Revision::Auto, mongo_cluster: None, budget_percent: 80, detected: None };
        let client = amigo.client(&account, credentials, options);
        let started = tokio::time::Instant::now();
        let result = call(&client, operation).await;
        (result, started.elapsed(), account.estimate(operation, Class::Resync))
    });
    assert!(took <= LONGEST, "took {took:?}");
    assert!(next <= Duration::from_secs(15 * 60), "the next call would wait {next:?}");
    match result {
        Ok(found) => assert_found(operation, status, &body, &found),
        Err(error) => assert_error(operation, status, &body, &error),
    }
}

/// What was found stands in the answer, and the answer was a success that says so.
fn assert_found(operation: Operation, status: u16, body: &[u8], found: &[String]) {
    if operation == Operation::ListApiKeys && found.is_empty() {
        return;
    }
    assert!((200..300).contains(&status), "{status}");
    let json = serde_json::from_slice::<Value>(body);
    let field = match operation {
        Operation::ListTools => "tools",
        Operation::ListVersions => "tool_versions",
        Operation::CreateTool => "id",
        Operation::PublishVersion => "new_version",
        Operation::SignIn => return assert!(json.unwrap()["id_token"].is_string()),
        Operation::ListApiKeys => return assert!(json.unwrap()["api_keys"].is_array()),
        _ => return,
    };
    let json = json.unwrap_or_else(|error| panic!("nothing can be found in what is no JSON: {error}"));
    let answered = &json[field];
    assert!(answered.is_array() || answered.is_string(), "garbage is not the absence of something");
    assert!(found.iter().all(|id| !id.is_empty() && answered.to_string().contains(id.as_str())), "{found:?}");
    if let Some(entries) = answered.as_array().filter(|_| operation == Operation::ListVersions) {
        assert!(entries.len() == found.len() && json["has_more"] == false, "some of a list is not the list");
    }
    if let Some(entries) = answered.as_array().filter(|_| operation == Operation::ListTools && found.is_empty()) {
        assert!(entries.iter().all(|entry| entry["id"] != ID), "it is there");
    }
    for id in found.iter().filter(|_| operation != Operation::PublishVersion) {
        assert!(id.len() == 24 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id:?}");
    }
}

/// An error says what happened, no more, and nothing that must not be read.
fn assert_error(operation: Operation, status: u16, body: &[u8], error: &Error) {
    assert_clean(&error.to_string(), 800);
    assert_no_secret(&format!("{error:?}"));
    let refused = (400..500).contains(&status) && status != 408;
    match error.effect() {
        Effect::None => assert!(refused || !operation.writes(), "{status}: {error:?}"),
        Effect::Unknown => assert!(!refused && operation.writes(), "{status}: {error:?}"),
    }
    if let Some(told) = error.status() {
        assert!(told == status || operation == Operation::SignIn, "{told} for {status}");
    }
    match error {
        Error::RateLimited { retry_after, .. } => {
            assert!(retry_after.is_some_and(|wait| wait <= Duration::from_secs(900)), "{retry_after:?}");
        }
        Error::Unreadable { .. } => assert!((200..300).contains(&status), "{status}"),
        Error::Queued { .. } | Error::NotLeader => panic!("nobody else was there: {error:?} {body:?}"),
        _ => {}
    }
}

const REFUSALS: [&[u8]; 10] = [
    b"401\n\n{\"detail\": \"token canary-token.1.2\"}",
    b"403\n\n{\"detail\": \"missing Tool:CreateTool for canary-key\\\"\\\\<1>\"}",
    b"404\n\n{\"detail\": \"unknown\"}",
    b"409\nx-ratelimit-limit: 20\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 99999999999999\n\n",
    b"422\n\n{\"detail\": [{\"loc\": [\"body\", \"branch\"], \"msg\": \"x\"}]}",
    b"429\nretry-after: 7\ndate: Thu, 01 Jan 1970 00:00:00 GMT\n\n",
    b"429\nretry-after: 18446744073709551615\nx-ratelimit-limit: 0\n\n",
    b"429\nretry-after: Fri, 31 Dec 9999 23:59:59 GMT\n\n",
    b"503\nretry-after: -1\ncontent-type: \xff\n\n\x1b[31m\0",
    b"307\nlocation: http://evil.example/\n\n",
];

fn seeds(more: &[&'static [u8]]) -> Vec<&'static [u8]> {
    REFUSALS.iter().copied().chain(more.iter().copied()).collect()
}

target!(
    /// Signing in.
    any_sign_in, 1_000,
    &seeds(&[
        b"200\ndate: Sat, 14 Jun 2025 12:00:00 GMT\n\n{\"id_token\": \"canary-token.1.2\", \"expires_at\": \"2025-07-26T05:36:03Z\"}",
        b"200\n\n{\"id_token\": \"a\\nb\", \"expires_at\": \"9999-12-31T23:59:59Z\"}",
        b"200\n\n{\"id_token\": \"\", \"expires_at\": \"-009999-01-01T00:00:00Z\"}",
    ]),
    |bytes: &[u8]| property(Operation::SignIn, bytes)
);

target!(
    /// A page of tools.
    any_page_of_tools, 1_500,
    &seeds(&[
        b"200\n\n{\"tools\": [{\"id\": \"0123456789abcdef01234567\", \"name\": \"weather\", \"deprecated\": false, \"tags\": [{\"key\": \"a\", \"value\": null}]}], \"has_more\": false}",
        b"200\n\n{\"tools\": [], \"has_more\": true, \"continuation_token\": 20}",
        b"200\n\n{\"tools\": null, \"has_more\": false, \"continuation_token\": {\"a\": [1]}}",
        b"200\n\n{\"tools\": [{\"id\": \"x\", \"name\": \"weather\", \"deprecated\": 1}], \"has_more\": false}",
    ]),
    |bytes: &[u8]| property(Operation::ListTools, bytes)
);

target!(
    /// A page of versions.
    any_page_of_versions, 1_500,
    &seeds(&[
        b"200\n\n{\"tool_versions\": [{\"id\": \"0123456789abcdef01234567\", \"version\": {\"major\": 1, \"minor\": 2, \"patch\": 3}, \"deprecated\": false, \"created_at\": \"2025-07-26T05:36:03\", \"creator\": {\"user_id\": \"me\"}}], \"has_more\": false}",
        b"200\n\n{\"tool_versions\": [], \"has_more\": true, \"continuation_token\": \"50\"}",
        b"200\n\n{\"tool_versions\": [], \"has_more\": false}",
        b"200\n\n{\"tool_versions\": [{\"id\": \"../../x\", \"version\": {\"major\": 1.5}, \"deprecated\": false}]}",
    ]),
    |bytes: &[u8]| property(Operation::ListVersions, bytes)
);

target!(
    /// A list of API keys.
    any_list_of_api_keys, 1_000,
    &seeds(&[
        b"200\n\n{\"api_keys\": [{\"_id\": \"0123456789abcdef01234567\", \"key_id\": \"id\", \"created_at\": \"2025-07-26T05:36:03Z\", \"expires_at\": \"2025-08-26T05:36:03\"}]}",
        b"200\n\n{\"api_keys\": [{\"key_id\": \"id\", \"created_at\": \"9999-12-31T23:59:59Z\", \"expires_at\": \"-009999-01-01T00:00:00Z\"}]}",
        b"200\n\n{\"api_keys\": []}",
    ]),
    |bytes: &[u8]| property(Operation::ListApiKeys, bytes)
);

target!(
    /// The answer to a create.
    any_answer_to_a_create, 1_000,
    &seeds(&[b"201\n\n{\"id\": \"0123456789abcdef01234567\"}", b"201\n\n{\"id\": \"../canary-token.1.2\"}"]),
    |bytes: &[u8]| property(Operation::CreateTool, bytes)
);

target!(
    /// The answer to a publish.
    any_answer_to_a_publish, 1_000,
    &seeds(&[b"201\n\n{\"new_version\": \"1.2.3\"}", b"201\n\n{\"new_version\": \"canary-token.1.2 \\u001b[31m\"}"]),
    |bytes: &[u8]| property(Operation::PublishVersion, bytes)
);

target!(
    /// The answers that have no body.
    any_answer_without_body, 500, &seeds(&[b"204\n\n", b"200\n\n{}"]), |bytes: &[u8]| {
        for operation in [
            Operation::ModifyTool,
            Operation::DeprecateTool,
            Operation::ModifyVariables,
            Operation::DeprecateVersions,
        ] {
            property(operation, bytes);
        }
    }
);
