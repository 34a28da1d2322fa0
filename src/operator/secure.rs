//! Metrics over TLS, for callers whom the API server knows and lets read them: who asks brings a token, TokenReview says whose
//! it is, SubjectAccessReview whether they may `get` the path. The same as controller-runtime's secure metrics, so that the
//! same ServiceMonitors and roles serve.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::certificate::Certificate;
use crate::kubernetes::object::bounded;

/// How long an answer of the API server is believed: a scrape is made every half minute as a rule, and a permission that is
/// withdrawn should not serve for long.
const BELIEVED: Duration = Duration::from_secs(60);

/// How many answers are kept at most. Who brings a new token each time gets no more of the memory than this.
const KEPT: usize = 256;

/// How many callers are reviewed at once. The operator's own calls go through the same client: strangers who bring a new token
/// each time must not take their turns.
const REVIEWS_AT_ONCE: usize = 2;

/// Serves `router` over TLS to those who may read it, until the process ends. Fails when the certificate cannot be had.
pub async fn serve(
    listener: TcpListener,
    certificate: Certificate,
    client: Client,
    router: Router,
) -> Result<(), String> {
    let config = certificate.load().await?;
    let gate = Gate { client, known: Arc::default(), reviews: Arc::new(Semaphore::new(REVIEWS_AT_ONCE)) };
    let router = router.layer(middleware::from_fn_with_state(gate, admit));
    let server = axum_server::from_tcp_rustls(listener, config).map_err(|error| error.to_string())?;
    tokio::spawn(server.serve(router.into_make_service()));
    Ok(())
}

/// What the API server has answered, by the digest of token and path.
type Known = HashMap<[u8; 32], (Instant, Admission)>;

#[derive(Clone)]
struct Gate {
    client: Client,
    known: Arc<Mutex<Known>>,
    reviews: Arc<Semaphore>,
}

/// Whether somebody may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Allowed,
    /// The token is nobody's.
    Unknown,
    /// Somebody's, who may not.
    Forbidden,
}

async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Some(token) = bearer(request.headers()) else {
        return refuse(StatusCode::UNAUTHORIZED, "a bearer token is missing");
    };
    match gate.admission(token, request.uri().path()).await {
        Ok(Admission::Allowed) => next.run(request).await,
        Ok(Admission::Unknown) => refuse(StatusCode::UNAUTHORIZED, "the token is not known"),
        Ok(Admission::Forbidden) => refuse(StatusCode::FORBIDDEN, "the caller may not `get` this path"),
        Err(error) => {
            tracing::warn!(%error, "who asks for metrics cannot be reviewed");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the caller cannot be reviewed; the operator's log says why")
        }
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

impl Gate {
    async fn admission(&self, token: &str, path: &str) -> Result<Admission, String> {
        let digest: [u8; 32] = Sha256::new().chain_update(path).chain_update([0]).chain_update(token).finalize().into();
        let now = Instant::now();
        if let Some(admission) = known(&mut self.lock(), &digest, now) {
            return Ok(admission);
        }
        let _turn = self.reviews.acquire().await.map_err(|error| error.to_string())?;
        let admission = self.review(token, path).await?;
        self.lock().insert(digest, (now, admission));
        Ok(admission)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn review(&self, token: &str, path: &str) -> Result<Admission, String> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let said = bounded(api.create(&PostParams::default(), &review)).await.map_err(|error| error.to_string())?;
        let status = said.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Admission::Unknown);
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some("get".to_owned()),
                }),
                resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let said = bounded(api.create(&PostParams::default(), &review)).await.map_err(|error| error.to_string())?;
        let allowed = said.status.is_some_and(|status| status.allowed);
        Ok(if allowed { Admission::Allowed } else { Admission::Forbidden })
    }
}

/// What is known and still believed. Makes room for one more.
fn known(all: &mut Known, digest: &[u8; 32], now: Instant) -> Option<Admission> {
    all.retain(|_, (since, _)| now.duration_since(*since) < BELIEVED);
    if let Some((_, admission)) = all.get(digest) {
        return Some(*admission);
    }
    if all.len() >= KEPT {
        all.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_counts() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer(&headers), token, "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_a_minute_and_the_memory_is_bounded() {
        let (mut all, now) = (Known::new(), Instant::now());
        all.insert([1; 32], (now, Admission::Forbidden));
        assert_eq!(known(&mut all, &[1; 32], now + Duration::from_secs(59)), Some(Admission::Forbidden));
        assert_eq!(known(&mut all, &[2; 32], now), None);
        assert_eq!(known(&mut all, &[1; 32], now + BELIEVED), None);
        for number in 0..=u8::MAX {
            assert_eq!(known(&mut all, &[number; 32], now), None);
            all.insert([number; 32], (now, Admission::Unknown));
        }
        assert_eq!((all.len(), known(&mut all, &[9; 32], now)), (KEPT, Some(Admission::Unknown)));
        let mut digest = [0; 32];
        digest[1] = 1;
        assert_eq!((known(&mut all, &digest, now), all.len()), (None, 0));
    }
}
