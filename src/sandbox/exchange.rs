//! One exchange, from the request to what the client gets: look-up of the organization, rate limit, faults, the call,
//! the log. Also the router that leads to it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State as Extracted};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use jiff::fmt::rfc2822;
use serde_json::Value;
use tokio::time::Instant;

use super::Sandbox;
use super::access::text;
use super::answer::Answer;
use super::calls::{Inbound, perform};
use super::faults::{Plan, Reply, Target};
use super::journal::{Ending, Exchange};
use super::limits::Standing;
use super::operation::Operation;
use super::state::{Moment, State};

/// The largest body that is read.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Marks a response in whose place the connection breaks: what carries the response must not deliver it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The request arrived; there is no answer.
    NoAnswer,
    /// There was no connection.
    NotConnected,
}

/// The routes of the API.
pub(super) fn router(sandbox: Sandbox) -> Router {
    let call = |operation: Operation| {
        move |Extracted(sandbox): Extracted<Sandbox>, Path(path): Path<BTreeMap<String, String>>, request: Request| {
            exchange(sandbox, operation, path, request)
        }
    };
    Router::new()
        .route("/v1/{organization}/user/signin_with_api_key", post(call(Operation::SignIn)))
        .route("/v1/{organization}/tool/", get(call(Operation::ListTools)).post(call(Operation::CreateTool)))
        .route(
            "/v1/{organization}/tool/{tool_id}",
            post(call(Operation::ModifyTool)).delete(call(Operation::DeprecateTool)),
        )
        .route("/v1/{organization}/tool/{tool_id}/envvar", post(call(Operation::ModifyVariables)))
        .route(
            "/v1/{organization}/tool/{tool_id}/version",
            get(call(Operation::ListVersions)).post(call(Operation::PublishVersion)),
        )
        .route("/v1/{organization}/tool/{tool_id}/version/{versions}", delete(call(Operation::DeprecateVersions)))
        .route("/v1/{organization}/organization/api_key/", get(call(Operation::ListApiKeys)))
        .fallback(|| async { Answer::refusal(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async { Answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed") })
        .with_state(sandbox)
}

async fn exchange(
    sandbox: Sandbox,
    operation: Operation,
    mut path: BTreeMap<String, String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut part = |name: &str| path.remove(name).unwrap_or_default();
    let mut inbound = Inbound {
        operation,
        organization: part("organization"),
        tool_id: part("tool_id"),
        versions: part("versions"),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: Bytes::new(),
        sequence: 0,
    };
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return Answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large").into_response();
    };
    inbound.body = body;
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut record = Record::begin(&sandbox, &mut inbound, parts.method.as_str(), target);
    let admission = admit(&mut sandbox.state(), &inbound, &sandbox.moment());
    let (standing, reply) = match admission {
        Err((standing, answer)) => (standing, Reply::Whole(answer)),
        Ok((standing, plan)) => {
            let view = plan.view();
            let work = async {
                match perform(&sandbox, &inbound, view).await {
                    Ok(answer) | Err(answer) => answer,
                }
            };
            (standing, plan.play(work).await)
        }
    };
    record.end(&reply);
    let mut response = deliver(reply);
    add_date(&mut response, &sandbox.moment());
    if let Some(standing) = standing {
        add_limits(&mut response, &standing, &sandbox.moment());
    }
    response
}

/// Decides what a request meets before its call: the standing of its budget, and a refusal or the faults.
fn admit(
    state: &mut State,
    inbound: &Inbound,
    now: &Moment,
) -> Result<(Option<Standing>, Plan), (Option<Standing>, Answer)> {
    let State { organizations, settings, faults, dice, journal, .. } = state;
    let cluster = text(&inbound.headers, "x-mongo-cluster-name");
    let organization = organizations.get_mut(&inbound.organization).filter(|organization| {
        organization.mongo_cluster_name.is_none() || organization.mongo_cluster_name.as_deref() == cluster
    });
    let Some(organization) = organization else { return Err((None, Answer::not_found("Organization"))) };
    let standing = organization.windows.admit(inbound.operation, settings, now.instant);
    if let Some(refused) = standing.filter(|standing| !standing.admitted) {
        journal.counter(inbound.operation).rate_limit_violations += 1;
        let answer = Answer::refusal(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
        return Err((standing, answer.with_header(RETRY_AFTER, whole_seconds(refused.reset))));
    }
    let tool_id = Some(inbound.tool_id.as_str()).filter(|id| !id.is_empty());
    let target = Target { operation: inbound.operation, organization: &inbound.organization, tool_id };
    let plan = faults.plan(&target, dice);
    if let Some(entry) = journal.entry(inbound.sequence) {
        entry.faults.clone_from(&plan.faults);
    }
    if plan.is_unreachable() {
        organization.windows.take_back(inbound.operation);
        return Ok((None, plan));
    }
    Ok((standing, plan))
}

/// Seconds, rounded up, so that who waits for them does not come too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The time of day, which a server on sockets would add by itself.
fn add_date(response: &mut Response, now: &Moment) {
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now.time);
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
}

fn add_limits(response: &mut Response, standing: &Standing, now: &Moment) {
    let reset = now.time.as_second() + i64::try_from(whole_seconds(standing.reset)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-ratelimit-limit"), HeaderValue::from(standing.limit));
    headers.insert(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from(standing.remaining));
    headers.insert(HeaderName::from_static("x-ratelimit-reset"), HeaderValue::from(reset));
}

/// What the client gets, as a response. One that is [`Broken`] stands for a connection that breaks.
fn deliver(reply: Reply) -> Response {
    let broken = |how| {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(how);
        response
    };
    match reply {
        Reply::Whole(answer) => answer.into_response(),
        Reply::Lost(_) => broken(Broken::NoAnswer),
        Reply::NotConnected => broken(Broken::NotConnected),
        Reply::Truncated(answer) if answer.body.is_none() => broken(Broken::NoAnswer),
        Reply::Truncated(answer) => truncated(answer),
        Reply::Garbage(answer) => {
            let status = if answer.body.is_none() { StatusCode::OK } else { answer.status };
            let mut response = Response::new(Body::from("<html><body>upstream says hello</body></html>"));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            response
        }
    }
}

/// An answer whose body promises its whole length, holds half of it and then fails.
fn truncated(answer: Answer) -> Response {
    let bytes = Bytes::from(answer.bytes());
    let half = bytes.slice(..bytes.len() / 2);
    // The pause lets the head and the first half leave before the connection breaks.
    let cut = futures::stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("fault: truncated body"))
    });
    let body = futures::stream::iter([Ok(half)]).chain(cut);
    let mut response = answer.into_response();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    *response.body_mut() = Body::from_stream(body);
    response
}

/// The entry of an exchange in the log. Dropped before its end, the client went away.
struct Record {
    sandbox: Sandbox,
    operation: Operation,
    sequence: u64,
    started: Instant,
    ended: bool,
}

impl Record {
    fn begin(sandbox: &Sandbox, inbound: &mut Inbound, method: &str, target: String) -> Self {
        let now = sandbox.moment();
        let body = (!inbound.body.is_empty()).then(|| {
            serde_json::from_slice(&inbound.body)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&inbound.body).into_owned()))
        });
        let entry = Exchange {
            sequence: 0,
            at: now.time,
            organization: inbound.organization.clone(),
            operation: inbound.operation,
            method: method.to_owned(),
            target,
            user_id: None,
            sign_in: None,
            traceparent: text(&inbound.headers, "traceparent").map(ToOwned::to_owned),
            body,
            ending: Ending::UnderWay,
            status: None,
            seconds: 0.0,
            faults: Vec::new(),
        };
        let state = &mut *sandbox.state();
        inbound.sequence = state.journal.begin(entry, state.settings.log_size);
        Self {
            sandbox: sandbox.clone(),
            operation: inbound.operation,
            sequence: inbound.sequence,
            started: now.instant,
            ended: false,
        }
    }

    fn end(&mut self, reply: &Reply) {
        self.ended = true;
        let (answer, ending) = match reply {
            Reply::Whole(answer) => (Some(answer), Ending::Answered),
            Reply::Garbage(answer) | Reply::Truncated(answer) => (Some(answer), Ending::Lost),
            Reply::Lost(answer) => (answer.as_ref(), Ending::Lost),
            Reply::NotConnected => (None, Ending::NotConnected),
        };
        self.note(answer.map(|answer| answer.status.as_u16()), ending);
    }

    fn note(&self, status: Option<u16>, ending: Ending) {
        let state = &mut *self.sandbox.state();
        let counter = state.journal.counter(self.operation);
        if let Some(status) = status {
            *counter.answers.entry(status).or_default() += 1;
        }
        match ending {
            Ending::Lost => counter.lost += 1,
            Ending::ClientGone => counter.client_gone += 1,
            Ending::NotConnected => counter.calls = counter.calls.saturating_sub(1),
            Ending::Answered | Ending::UnderWay => {}
        }
        if let Some(entry) = state.journal.entry(self.sequence) {
            entry.ending = ending;
            entry.status = status;
            entry.seconds = self.started.elapsed().as_secs_f64();
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            self.note(None, Ending::ClientGone);
        }
    }
}
