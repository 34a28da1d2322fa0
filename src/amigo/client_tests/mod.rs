//! The client against a transport that answers as each test says, on a paused clock.

mod reads;
mod sessions;
mod writes;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::transport::{Bounds, Exchange, Transport, TransportError};
use super::super::types::{Branch, BumpType, Tags};
use super::super::{Amigo, Claim, Credentials, Effect, Endpoint, InsertVariable, NoObserver};
use super::*;
use crate::clock::Clock;

/// What the service answers.
enum Reply {
    Json(u16, Value),
    Lost,
    NotSent,
    /// After so many seconds, 204.
    Late(u64),
}

/// What a test sees of a request.
#[derive(Debug, Clone)]
struct Sent {
    line: String,
    token: String,
    body: Value,
    at: Duration,
}

type Script = Box<dyn Fn(&Sent, usize) -> Option<Reply> + Send + Sync>;

struct Fake {
    script: Script,
    sent: Mutex<Vec<Sent>>,
    started: tokio::time::Instant,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    fn answer(&self, request: &http::Request<Bytes>) -> Reply {
        let uri = request.uri().path_and_query().expect("every call has a path").as_str();
        let sent = Sent {
            line: format!(
                "{} {}",
                request.method(),
                uri.strip_prefix("/v1/acme").expect("every call is for the organization")
            ),
            token: request
                .headers()
                .get("authorization")
                .map_or("", |v| v.to_str().expect("a token is ASCII"))
                .to_owned(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
            at: self.started.elapsed(),
        };
        let mut all = self.sent.lock().expect("no script has panicked");
        let before = all.iter().filter(|other| other.line == sent.line).count();
        let reply = (self.script)(&sent, before);
        let signs_in = sent.line == SIGN_IN;
        let count = all.iter().filter(|other| other.line == SIGN_IN).count();
        all.push(sent);
        let token = json!({"id_token": format!("token{count}-canary"), "expires_at": at_minute(60 + self.minutes()).to_string()});
        reply.unwrap_or_else(|| if signs_in { Reply::Json(200, token) } else { Reply::Json(404, json!({})) })
    }

    fn minutes(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_secs() / 60).expect("no test takes so long")
    }
}

impl Transport for Fake {
    fn send(&self, request: http::Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        Box::pin(async move {
            let reply = self.answer(&request);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (status, body) = match reply {
                Reply::Json(status, body) => (status, body.to_string()),
                Reply::Lost => return Err(TransportError::Unknown("reset".into())),
                Reply::NotSent => return Err(TransportError::NotSent("refused".into())),
                Reply::Late(seconds) => {
                    let wait = tokio::time::sleep(Duration::from_secs(seconds));
                    let late = tokio::time::timeout(bounds.timeout, wait).await;
                    late.map_err(|_| TransportError::Unknown("timed out".into()))?;
                    (204, String::new())
                }
            };
            Ok(http::Response::builder()
                .status(status)
                .body(Bytes::from(body))
                .expect("the script gives a valid status"))
        })
    }
}

const SIGN_IN: &str = "POST /user/signin_with_api_key";

fn at_minute(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).expect("a minute within the times that there are")
}

struct World {
    fake: Arc<Fake>,
    leads: Arc<AtomicBool>,
    amigo: Amigo,
}

impl World {
    fn new(script: impl Fn(&Sent, usize) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let started = tokio::time::Instant::now();
        let fake = Arc::new(Fake { script: Box::new(script), sent: Mutex::default(), started });
        let leads = Arc::new(AtomicBool::new(true));
        let guard = Arc::clone(&leads);
        let amigo = Amigo::new(
            Arc::clone(&fake) as Arc<dyn Transport>,
            Clock::starting_at(at_minute(0)),
            Arc::new(move || guard.load(Ordering::SeqCst)),
            Arc::new(NoObserver),
        );
        Self { fake, leads, amigo }
    }

    fn client_with(&self, key: &str, revision: Revision) -> Client {
        let endpoint = Endpoint::parse("https://api.amigo.ai").expect("the service's own endpoint");
        let account = self.amigo.account(&endpoint, "acme");
        let credentials = Credentials::new(SecretString::from(key), "key-id".into(), "user".into())
            .expect("credentials that can be sent");
        let options = ClientOptions { revision, mongo_cluster: None, budget_percent: 100, detected: None };
        self.amigo.client(&account, credentials, options)
    }

    fn client(&self) -> Client {
        self.client_with("key-canary", Revision::Auto)
    }

    fn sent(&self) -> Vec<Sent> {
        self.fake.sent.lock().expect("no script has panicked").clone()
    }

    /// How many requests began with this.
    fn count(&self, line: &str) -> usize {
        self.sent().iter().filter(|sent| sent.line.starts_with(line)).count()
    }
}

fn permit(client: &Client, operation: Operation) -> Permit {
    match client.account().claim(operation, Class::Interactive, "party", "test", Arc::new(|| {})) {
        Claim::Granted(permit) => permit,
        Claim::Queued { estimate } => panic!("queued for {estimate:?}"),
    }
}

fn id(n: usize) -> String {
    format!("{n:024x}")
}

fn tool(n: usize) -> Value {
    json!({"id": id(n), "name": format!("tool_{n}"), "deprecated": false, "unknown": {}})
}

fn version(n: usize) -> Value {
    json!({"id": id(n), "version": {"major": n, "minor": 0, "patch": 0}, "deprecated": false})
}

fn page(key: &str, entries: &[Value], next: Option<usize>) -> Reply {
    Reply::Json(200, json!({key: entries, "has_more": next.is_some(), "continuation_token": next}))
}

/// Answers a list of tools by the ids that it asks for, as far as they are below `known`.
fn by_ids(line: &str, known: usize) -> Option<Reply> {
    let query = line.strip_prefix("GET /tool/?")?;
    let ids = query.split('&').filter_map(|pair| pair.strip_prefix("id="));
    let numbers =
        ids.map(|id| usize::from_str_radix(id, 16).expect("an id in hexadecimal digits")).filter(|n| *n < known);
    Some(page("tools", &numbers.map(tool).collect::<Vec<_>>(), None))
}

fn number_of(query: &str, name: &str) -> usize {
    let value = query.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map_or(0, |value| value.parse().expect("a number in the query"))
}

fn a_publish() -> PublishRequest {
    PublishRequest { branch: Branch::Main, project_path: "tools/weather".into(), bump: BumpType::Major }
}
