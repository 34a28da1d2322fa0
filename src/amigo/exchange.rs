//! What every call has in common: a token, a place in the budget, one exchange, and how its answer is read. What the calls
//! mean is in [`super::client`].

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::account::Permit;
use super::client::Client;
use super::error::Error;
use super::headers;
use super::operation::{Class, Operation};
use super::session::{State, Token, life, renewed_after};
use super::transport::{Bounds, TransportError};
use super::types::SignedIn;

/// Largest answer that is read, in bytes: a page of 50 versions fits, each with an input schema of 80 KiB. In memory it may
/// take several times as much.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Longest token that is taken, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// A renewal that failed is tried again this long after, while the token still lives.
const RENEW_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// What must be encoded in a path segment: all but what every URL may hold unencoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// One call before it is sent.
pub(super) struct Call {
    pub operation: Operation,
    pub method: Method,
    pub path: String,
    pub body: Option<Bytes>,
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

/// A success.
struct Answer {
    body: Bytes,
    /// The service's time of day, where it tells.
    date: Option<Timestamp>,
}

impl Client {
    /// Makes a call. One that is refused for its token is made once more with a new one; that is the only answer after which
    /// a write is sent again, as it was refused before any work.
    pub(super) async fn perform(&self, call: &Call, permit: Permit, class: Class) -> Result<Bytes, Error> {
        let token = self.token(None).await?;
        match self.exchange(call, &token, permit).await {
            Ok(answer) => return Ok(answer.body),
            Err(Refused::Call(error)) => return Err(error),
            Err(Refused::Token) => {}
        }
        let token = self.token(Some(token.serial)).await?;
        let permit = self.account.acquire(call.operation, class).await;
        match self.exchange(call, &token, permit).await {
            Ok(answer) => Ok(answer.body),
            Err(Refused::Call(error)) => Err(error),
            Err(Refused::Token) => {
                // A token that was fresh and is refused again means that the credentials are.
                // A look at keys is no measure: a service may hide them so, and nothing depends on it.
                let mut state = self.session.state.lock().await;
                if state.serial == token.serial && call.operation != Operation::ListApiKeys {
                    state.refuse();
                }
                Err(Error::CredentialsRefused {})
            }
        }
    }

    /// A token that serves. `refused` is the serial of one that does not any more. One signs in, and the others wait for what
    /// comes of it, good or bad.
    pub(super) async fn token(&self, refused: Option<u64>) -> Result<Token, Error> {
        let attempts = self.session.attempts();
        let mut state = self.session.state.lock().await;
        if self.session.take_forget() {
            *state = State { serial: state.serial, ..State::default() };
        }
        let now = Instant::now();
        let serves = |token: &&Token| refused != Some(token.serial) && now < token.renew_at;
        if let Some(token) = state.token.as_ref().filter(serves) {
            return Ok(token.clone());
        }
        if state.is_refused() {
            return Err(Error::CredentialsRefused {});
        }
        if let Some(error) = state.failed.clone().filter(|_| self.session.attempts() > attempts) {
            return Err(error);
        }
        let signed_in = self.sign_in_once(&mut state).await;
        self.session.attempted();
        match signed_in {
            Ok(token) => Ok(token),
            Err(error) => {
                state.failed = Some(error.clone());
                // A token that is renewed early still serves while the service does not sign in.
                let living = |token: &&mut Token| refused != Some(token.serial) && Instant::now() < token.ends_at;
                let Some(token) = state.token.as_mut().filter(living) else { return Err(error) };
                token.renew_at = (Instant::now() + RENEW_AGAIN).min(token.ends_at);
                Ok(token.clone())
            }
        }
    }

    async fn sign_in_once(&self, state: &mut State) -> Result<Token, Error> {
        let permit = self.account.acquire(Operation::SignIn, Class::Interactive).await;
        let started = Instant::now();
        let (signed_in, date) = match self.call_sign_in(permit).await {
            Err(error @ Error::CredentialsRefused {}) => {
                state.refuse();
                return Err(error);
            }
            answer => answer?,
        };
        if !is_token(&signed_in.id_token) {
            return Err(Error::Unreadable { operation: Operation::SignIn, text: "the token is none".into() });
        }
        let life = life(signed_in.expires_at, date, self.shared.clock.now());
        state.serial += 1;
        let token = Token {
            bearer: SecretString::from(signed_in.id_token),
            expires_at: signed_in.expires_at,
            ends_at: started + life,
            renew_at: started + renewed_after(life),
            serial: state.serial,
        };
        state.token = Some(token.clone());
        (state.refused, state.failed) = (None, None);
        Ok(token)
    }

    async fn call_sign_in(&self, permit: Permit) -> Result<(SignedIn, Option<Timestamp>), Error> {
        let operation = Operation::SignIn;
        let path = "/user/signin_with_api_key".to_owned();
        let mut request = self.request(&Call { operation, method: Method::POST, path, body: None })?;
        let credentials = &self.session.credentials;
        let entries = [
            ("x-api-key", credentials.api_key.expose_secret()),
            ("x-api-key-id", credentials.api_key_id.as_str()),
            ("x-user-id", credentials.user_id.as_str()),
        ];
        for (name, value) in entries {
            let mut value = HeaderValue::from_str(value).map_err(|_| Error::CredentialsRefused {})?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        match self.send(operation, request, permit, None).await {
            Ok(answer) => Ok((decode(operation, &answer.body)?, answer.date)),
            Err(Refused::Token) => Err(Error::CredentialsRefused {}),
            Err(Refused::Call(error)) => Err(error),
        }
    }

    async fn exchange(&self, call: &Call, token: &Token, permit: Permit) -> Result<Answer, Refused> {
        let mut request = self.request(call)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.bearer.expose_secret()))
            .map_err(|_| Error::Unreadable { operation: Operation::SignIn, text: "the token is none".into() })?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        if !permit.is_for(&self.account, call.operation) {
            return Err(Error::NotSent("the place in the queue is for another call".into()).into());
        }
        self.send(call.operation, request, permit, Some(token)).await
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, Error> {
        let organization = self.account.organization();
        if organization.is_empty() || matches!(organization, "." | "..") {
            // Such a segment leads to another path, encoded or not.
            return Err(Error::NotSent("the organization's name cannot be part of a path".into()));
        }
        let uri = format!("{}/v1/{}{}", self.account.endpoint(), segment(organization), call.path);
        let mut builder =
            Request::builder().method(call.method.clone()).uri(uri).header(header::ACCEPT, "application/json");
        if call.body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(cluster) = &self.options.mongo_cluster {
            builder = builder.header("x-mongo-cluster-name", cluster);
        }
        let unsendable = |error: http::Error| Error::NotSent(format!("the request cannot be made: {error}"));
        builder.body(call.body.clone().unwrap_or_default()).map_err(unsendable)
    }

    /// One exchange: counted, measured, and read for what it tells about the budget.
    async fn send(
        &self,
        operation: Operation,
        request: Request<Bytes>,
        mut permit: Permit,
        token: Option<&Token>,
    ) -> Result<Answer, Refused> {
        // Whoever does not lead may not write, and a read would use up what the leader counts on.
        if !(self.shared.guard)() {
            return Err(Error::NotLeader.into());
        }
        permit.sending();
        let started = Instant::now();
        let bounds = Bounds { timeout: operation.timeout(), max_body: MAX_BODY };
        let result = match self.shared.transport.send(request, bounds).await {
            Err(error) => {
                if let TransportError::NotSent(_) = error {
                    permit.not_sent();
                }
                Err(Refused::Call(Error::from_transport(operation, error)))
            }
            Ok(answer) => {
                let now = self.shared.clock.now();
                let told = headers::read(answer.status(), answer.headers(), now);
                permit.answered(&told);
                let date = headers::date(answer.headers());
                if let Some(date) = date {
                    self.account.note_time(date, now);
                }
                match answer.status() {
                    status if status.is_success() => Ok(Answer { body: answer.into_body(), date }),
                    StatusCode::UNAUTHORIZED => Err(Refused::Token),
                    status => {
                        let key = self.session.credentials.api_key.expose_secret();
                        let bearer = token.map_or("", |token| token.bearer.expose_secret());
                        let (status, body) = (status.as_u16(), answer.body());
                        Err(Error::from_status(operation, status, told.freeze, body, &[key, bearer]).into())
                    }
                }
            }
        };
        let fails = matches!(&result, Err(Refused::Call(error)) if error.is_of_the_service());
        self.account.note_reach(!fails);
        self.observe(operation, &result, started);
        result
    }

    fn observe(&self, operation: Operation, result: &Result<Answer, Refused>, started: Instant) {
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

/// Whether the text can be sent as a token. It goes with every call, and is kept.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|b| (0x21..0x7f).contains(&b))
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A body as JSON.
pub(super) fn json<T: Serialize>(operation: Operation, body: &T) -> Result<Bytes, Error> {
    let unwritable = |error| Error::NotSent(format!("the body of {} cannot be written: {error}", operation.as_str()));
    serde_json::to_vec(body).map(Bytes::from).map_err(unwritable)
}

/// Where the JSON stops making sense is told, never what stands there.
pub(super) fn decode<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "unexpected fields or values",
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        };
        Error::Unreadable { operation, text: format!("{what} at line {} column {}", error.line(), error.column()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specifier_is_one_segment() {
        for (text, encoded) in [
            ("==1.2.3", "%3D%3D1.2.3"),
            ("==1.2.*", "%3D%3D1.2.*"),
            (">=1, <2", "%3E%3D1%2C%20%3C2"),
            ("~=1.0/../x?#", "%7E%3D1.0%2F..%2Fx%3F%23"),
            ("!=1+a%", "%21%3D1%2Ba%25"),
        ] {
            assert_eq!(segment(text), encoded);
        }
    }
}
