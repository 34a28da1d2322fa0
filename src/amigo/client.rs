//! The calls. Each is one exchange with a token, within the budget, decided by its status; reads come whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::account::{Account, Permit};
use super::error::Error;
use super::headers;
use super::operation::{Class, Operation};
use super::query::{ListTools, ListVersions};
use super::revision::{self, PublishRequest, Revision};
use super::session::{Session, Token, renew_at};
use super::specifier::Specifier;
use super::transport::Bounds;
use super::types::{
    CreateTool, Created, ModifyTool, Published, SignedIn, Tool, ToolPage, ToolVersion, VersionNumber, VersionPage,
};
use super::variables::VariablesDelta;
use super::{Shared, reads};

/// Largest answer that is read, in bytes: a page of 50 versions with large input schemas fits many times.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long a read waits for its turn before it says so instead.
const PATIENCE: Duration = Duration::from_secs(10);

/// What must be encoded in a path segment.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'=')
    .add(b',')
    .add(b'!')
    .add(b'~')
    .add(b'+')
    .add(b'&');

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Which revision of the publish call.
    pub revision: Revision,
    /// Sent as `x-mongo-cluster-name`.
    pub mongo_cluster: Option<String>,
    /// How much of each limit may be used, 1 to 100.
    pub budget_percent: u32,
    /// What a publish has shown before; where [`Revision::Auto`] starts.
    pub detected: Option<Revision>,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedInUser {
    /// The user.
    pub user_id: String,
    /// When the token ends.
    pub expires_at: Timestamp,
}

/// Calls one organization with one set of credentials. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) account: Arc<Account>,
    pub(super) session: Arc<Session>,
    pub(super) reads: Arc<reads::Reads>,
    pub(super) options: ClientOptions,
}

/// One call before it is sent.
struct Call {
    operation: Operation,
    method: Method,
    path: String,
    body: Option<Bytes>,
}

impl Client {
    /// The budgets that this client draws on.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Signs in, unless a token is there that still serves.
    pub async fn sign_in(&self) -> Result<SignedInUser, Error> {
        let token = self.token(None).await?;
        Ok(SignedInUser { user_id: self.session.credentials.user_id.clone(), expires_at: token.expires_at })
    }

    /// The next call signs in again, also with credentials that were refused.
    pub fn forget_token(&self) {
        self.session.forget_token();
    }

    /// One tool by its id, together with others that are asked for at the same time. `None` when no read finds it, not even
    /// one for deprecated tools.
    pub async fn tool(&self, id: &str, class: Class) -> Result<Option<Tool>, Error> {
        self.reads.tool(self, id, class).await
    }

    /// The active tools with a tag. The service's filter is not relied upon.
    pub async fn tools_with_tag(&self, key: &str, value: &str, class: Class) -> Result<Vec<Tool>, Error> {
        let query = ListTools {
            tags: vec![format!("{key}:{value}")],
            deprecated: Some(false),
            limit: 20,
            ..ListTools::default()
        };
        let mut found = reads::all_tools(self, query, class).await?;
        found.retain(|tool| !tool.deprecated && tool.tag(key).flatten().map(str::trim) == Some(value));
        Ok(found)
    }

    /// The active tool of a name, from a sweep over all pages that began after this was asked; many share one sweep.
    pub async fn tool_by_name(&self, name: &str, class: Class) -> Result<Option<Tool>, Error> {
        let tools = self.reads.sweep(self, class).await?;
        Ok(tools.iter().find(|tool| !tool.deprecated && tool.name == name).cloned())
    }

    /// One page of tools.
    pub async fn list_tools(&self, query: &ListTools, class: Class) -> Result<ToolPage, Error> {
        let turn = self.turn(Operation::ListTools, class).await?;
        self.list_tools_with(turn, query, class).await
    }

    /// All versions of a tool; those who ask before a read begins share it.
    pub async fn versions(&self, tool_id: &str, class: Class) -> Result<Vec<ToolVersion>, Error> {
        self.reads.versions(self, tool_id, class).await
    }

    /// One page of versions.
    pub async fn list_versions(&self, tool_id: &str, query: &ListVersions, class: Class) -> Result<VersionPage, Error> {
        let turn = self.turn(Operation::ListVersions, class).await?;
        let path = format!("/tool/{}/version{}", segment(tool_id), query.encode());
        self.read(turn, Operation::ListVersions, path, class).await
    }

    /// One page of tools, by a turn that was waited for before.
    pub(super) async fn list_tools_with(
        &self,
        turn: Permit,
        query: &ListTools,
        class: Class,
    ) -> Result<ToolPage, Error> {
        self.read(turn, Operation::ListTools, format!("/tool/{}", query.encode()), class).await
    }

    /// Waits for the turn of a read; where the queue is long, says so instead of waiting unseen.
    pub(super) async fn turn(&self, operation: Operation, class: Class) -> Result<Permit, Error> {
        let estimate = self.account.estimate(operation, class);
        if estimate > PATIENCE {
            return Err(Error::Queued { operation, estimate });
        }
        Ok(self.account.acquire(operation, class).await)
    }

    /// Creates a tool; its id.
    pub async fn create_tool(&self, permit: Permit, body: &CreateTool) -> Result<String, Error> {
        let operation = Operation::CreateTool;
        let answer =
            self.write(permit, operation, Method::POST, "/tool/".to_owned(), Some(json(operation, body)?)).await?;
        let created: Created = decode(operation, &answer)?;
        if is_id(&created.id) {
            return Ok(created.id);
        }
        Err(Error::Unreadable { operation, text: "the id is none".into() })
    }

    /// Changes a tool.
    pub async fn modify_tool(&self, permit: Permit, id: &str, body: &ModifyTool) -> Result<(), Error> {
        let operation = Operation::ModifyTool;
        let body = Some(json(operation, body)?);
        self.write(permit, operation, Method::POST, format!("/tool/{}", segment(id)), body).await.map(drop)
    }

    /// Deprecates a tool, for good.
    pub async fn deprecate_tool(&self, permit: Permit, id: &str) -> Result<(), Error> {
        let path = format!("/tool/{}", segment(id));
        self.write(permit, Operation::DeprecateTool, Method::DELETE, path, None).await.map(drop)
    }

    /// Changes a tool's variables, all or none. No text of a refusal is kept.
    pub async fn modify_variables(&self, permit: Permit, id: &str, delta: &VariablesDelta) -> Result<(), Error> {
        let operation = Operation::ModifyVariables;
        let unwritable = |_| Error::NotSent("the variables cannot be written as JSON".into());
        let body = Some(delta.body().map_err(unwritable)?);
        self.write(permit, operation, Method::POST, format!("/tool/{}/envvar", segment(id)), body).await.map(drop)
    }

    /// Publishes a version; takes minutes. A 422 has no effect and is answered with the next revision of the call.
    pub async fn publish(&self, permit: Permit, id: &str, request: &PublishRequest) -> Result<VersionNumber, Error> {
        let operation = Operation::PublishVersion;
        let path = format!("/tool/{}/version", segment(id));
        let mut permit = Some(permit);
        let mut refused = Error::RevisionMismatch {};
        for revision in revision::to_try(self.options.revision, self.account.detected_revision()) {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.account.acquire(operation, Class::Interactive).await,
            };
            let body = json(operation, &revision::body(revision, request))?;
            match self.write(permit, operation, Method::POST, path.clone(), Some(body)).await {
                Ok(answer) => {
                    self.account.set_detected_revision(revision);
                    let published: Published = decode(operation, &answer)?;
                    let unreadable =
                        |error: super::types::InvalidVersion| Error::Unreadable { operation, text: error.to_string() };
                    return published.new_version.parse().map_err(unreadable);
                }
                Err(error) if error.status() == Some(422) => refused = error,
                Err(error) => {
                    if matches!(error.status(), Some(400 | 404 | 409)) {
                        // Refused for what it asks, not for its form: the service speaks this revision.
                        self.account.set_detected_revision(revision);
                    }
                    return Err(error);
                }
            }
        }
        Err(if self.account.detected_revision().is_some() { refused } else { Error::RevisionMismatch {} })
    }

    /// Deprecates every version that matches, for good.
    pub async fn deprecate_versions(&self, permit: Permit, id: &str, specifier: &Specifier) -> Result<(), Error> {
        let path = format!("/tool/{}/version/{}", segment(id), segment(&specifier.to_string()));
        self.write(permit, Operation::DeprecateVersions, Method::DELETE, path, None).await.map(drop)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        turn: Permit,
        operation: Operation,
        path: String,
        class: Class,
    ) -> Result<T, Error> {
        let call = Call { operation, method: Method::GET, path, body: None };
        let token = self.token(None).await?;
        let answer = match self.exchange(&call, &token, turn).await {
            Err(Refused::Token) => {
                let token = self.token(Some(token.serial)).await?;
                let turn = self.account.acquire(operation, class).await;
                self.exchange(&call, &token, turn).await
            }
            other => other,
        };
        decode(operation, &self.settle(answer).await?)
    }

    async fn write(
        &self,
        permit: Permit,
        operation: Operation,
        method: Method,
        path: String,
        body: Option<Bytes>,
    ) -> Result<Bytes, Error> {
        let call = Call { operation, method, path, body };
        let token = self.token(None).await?;
        let answer = match self.exchange(&call, &token, permit).await {
            // Refused before any work: the only answer after which a write is sent again, once, with a new token.
            Err(Refused::Token) => {
                let token = self.token(Some(token.serial)).await?;
                let permit = self.account.acquire(operation, Class::Interactive).await;
                self.exchange(&call, &token, permit).await
            }
            other => other,
        };
        self.settle(answer).await
    }

    /// A token that was fresh and is refused again means that the credentials are.
    async fn settle(&self, answer: Result<Bytes, Refused>) -> Result<Bytes, Error> {
        match answer {
            Ok(body) => Ok(body),
            Err(Refused::Call(error)) => Err(error),
            Err(Refused::Token) => {
                let mut state = self.session.state.lock().await;
                state.token = None;
                state.refused = Some(Instant::now());
                Err(Error::CredentialsRefused {})
            }
        }
    }

    /// A token that serves. `refused` is the serial of one that does not any more. One signs in, the others wait for it.
    async fn token(&self, refused: Option<u64>) -> Result<Token, Error> {
        let mut state = self.session.state.lock().await;
        if self.session.take_forget() {
            state.token = None;
            state.refused = None;
        }
        let now = self.shared.clock.now();
        let serves = |token: &&Token| refused != Some(token.serial) && now < token.renew_at;
        if let Some(token) = state.token.as_ref().filter(serves) {
            return Ok(token.clone());
        }
        if state.is_refused() {
            return Err(Error::CredentialsRefused {});
        }
        let permit = self.account.acquire(Operation::SignIn, Class::Interactive).await;
        let now = self.shared.clock.now();
        match self.call_sign_in(permit).await {
            Ok(signed_in) => {
                state.serial += 1;
                let token = Token {
                    bearer: SecretString::from(signed_in.id_token),
                    expires_at: signed_in.expires_at,
                    renew_at: renew_at(now, signed_in.expires_at),
                    serial: state.serial,
                };
                state.token = Some(token.clone());
                state.refused = None;
                Ok(token)
            }
            Err(error @ Error::CredentialsRefused {}) => {
                state.token = None;
                state.refused = Some(Instant::now());
                Err(error)
            }
            // A token that is renewed early may still serve while the service does not sign in.
            Err(error) => match state.token.as_ref().filter(|t| refused != Some(t.serial) && now < t.expires_at) {
                Some(token) => Ok(token.clone()),
                None => Err(error),
            },
        }
    }

    async fn call_sign_in(&self, permit: Permit) -> Result<SignedIn, Error> {
        let operation = Operation::SignIn;
        let path = "/user/signin_with_api_key".to_owned();
        let mut request = self.request(&Call { operation, method: Method::POST, path, body: None })?;
        let credentials = &self.session.credentials;
        let mut insert = |name: &'static str, value: &str| -> Result<(), Error> {
            let mut value = HeaderValue::from_str(value).map_err(|_| Error::CredentialsRefused {})?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
            Ok(())
        };
        insert("x-api-key", credentials.api_key.expose_secret())?;
        insert("x-api-key-id", &credentials.api_key_id)?;
        insert("x-user-id", &credentials.user_id)?;
        match self.send(operation, request, permit).await {
            Ok(body) => decode(operation, &body),
            Err(Refused::Token) => Err(Error::CredentialsRefused {}),
            Err(Refused::Call(error)) => Err(error),
        }
    }

    async fn exchange(&self, call: &Call, token: &Token, permit: Permit) -> Result<Bytes, Refused> {
        let mut request = self.request(call)?;
        let bearer = format!("Bearer {}", token.bearer.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| Error::Unreadable { operation: Operation::SignIn, text: "the token is none".into() })?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        if call.operation.writes() && !(self.shared.guard)() {
            return Err(Error::NotLeader.into());
        }
        self.send(call.operation, request, permit).await
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, Error> {
        let unsendable = |error: http::Error| Error::NotSent(format!("the request cannot be made: {error}"));
        let uri = format!("{}/v1/{}{}", self.account.endpoint(), segment(self.account.organization()), call.path);
        let mut builder =
            Request::builder().method(call.method.clone()).uri(uri).header(header::ACCEPT, "application/json");
        if call.body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(cluster) = &self.options.mongo_cluster {
            builder = builder.header("x-mongo-cluster-name", cluster);
        }
        builder.body(call.body.clone().unwrap_or_default()).map_err(unsendable)
    }

    /// One exchange: counted, measured, and read for what it tells about the budget.
    async fn send(&self, operation: Operation, request: Request<Bytes>, mut permit: Permit) -> Result<Bytes, Refused> {
        permit.use_now();
        let started = Instant::now();
        let bounds = Bounds { timeout: operation.timeout(), max_body: MAX_BODY };
        let answer = self.shared.transport.send(request, bounds).await;
        let result = match answer {
            Err(error) => Err(Refused::Call(Error::from_transport(operation, error))),
            Ok(answer) => {
                let told = headers::read(answer.status(), answer.headers(), self.shared.clock.now());
                self.account.learn(operation, &told);
                match answer.status() {
                    status if status.is_success() => Ok(answer.into_body()),
                    StatusCode::UNAUTHORIZED => Err(Refused::Token),
                    status => {
                        let mask = [self.session.credentials.api_key.expose_secret()];
                        let error = Error::from_status(operation, status.as_u16(), told.freeze, answer.body(), &mask);
                        Err(Refused::Call(error))
                    }
                }
            }
        };
        drop(permit);
        self.observe(operation, &result, started);
        result
    }

    fn observe(&self, operation: Operation, result: &Result<Bytes, Refused>, started: Instant) {
        let outcome = match result {
            Ok(_) => "2xx",
            Err(Refused::Token) => "401",
            Err(Refused::Call(error)) => error.label(),
        };
        let organization = self.account.organization();
        self.shared.observer.call(organization, operation, outcome, started.elapsed());
        if outcome == "429" {
            tracing::error!(
                operation = operation.as_str(),
                organization,
                "the service refused a call as too many: others use the budget too; lower `budgetPercent`"
            );
            self.shared.observer.rate_limited(organization, operation);
        }
        tracing::debug!(operation = operation.as_str(), organization, outcome, "called");
    }
}

/// Why an exchange has no result: the token is not taken any more, or the call itself.
enum Refused {
    Token,
    Call(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// `^[a-f0-9]{24}$`
fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn json<T: Serialize>(operation: Operation, body: &T) -> Result<Bytes, Error> {
    let unwritable = |error| Error::NotSent(format!("the body of {} cannot be written: {error}", operation.as_str()));
    serde_json::to_vec(body).map(Bytes::from).map_err(unwritable)
}

/// Where the JSON stops making sense is told, never what stands there.
fn decode<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "unexpected fields or values",
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        };
        Error::Unreadable { operation, text: format!("{what} at line {} column {}", error.line(), error.column()) }
    })
}
