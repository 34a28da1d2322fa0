//! The links between one replica and the two APIs. Everything that a replica does goes through here: here faults are
//! injected, what is asked for is judged, and a replica that is dead or frozen is cut off. A request that has left a
//! replica arrives whatever becomes of the replica.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, Exchange, Transport, TransportError};
use amigo_operator::sandbox::Fault;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::chaos::{KubeFault, RemoteFault};
use crate::kubernetes::{Answer, Refusal, Request, Watching, refused};
use crate::sim::Sim;

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It is stopped and may go on: nothing leaves it, and nothing reaches it.
    Frozen,
    /// It was killed.
    Dead,
}

/// Whether a replica lives, for all who wait for that, in the order in which they wait.
#[derive(Debug)]
pub struct Pulse {
    life: Mutex<Life>,
    changed: Notify,
}

impl Pulse {
    /// It runs.
    #[must_use]
    pub fn running() -> Arc<Self> {
        Arc::new(Self { life: Mutex::new(Life::Running), changed: Notify::new() })
    }

    /// From now on this.
    pub fn set(&self, life: Life) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
        self.changed.notify_waiters();
    }

    /// Passes while it runs, waits while it is frozen, and never ends when it is dead.
    async fn alive(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let life = *self.life.lock().unwrap_or_else(PoisonError::into_inner);
            match life {
                Life::Running => return,
                Life::Frozen => changed.await,
                Life::Dead => std::future::pending().await,
            }
        }
    }
}

/// How long the server keeps a watch open.
pub const WATCH_LASTS: Duration = Duration::from_secs(200);

/// The links of one run of one replica.
#[derive(Clone)]
pub struct Link {
    /// Unique to this run; holds the Lease.
    pub me: String,
    /// The replica, for the dice.
    pub node: String,
    /// The world.
    pub sim: Arc<Sim>,
    /// Whether the replica lives.
    pub life: Arc<Pulse>,
}

/// What a replica gets from Kubernetes.
pub type Reply = http::Response<UnsyncBoxBody<Bytes, std::io::Error>>;

impl Link {
    async fn alive(&self) {
        self.life.alive().await;
    }

    /// Whether the replica does not reach Kubernetes.
    fn is_cut_off(&self) -> bool {
        ["kubernetes", &self.node].into_iter().any(|of| self.sim.chaos.is_away(of))
    }

    /// One request to Kubernetes.
    pub async fn kube(self, request: http::Request<Body>) -> Result<Reply, std::io::Error> {
        self.alive().await;
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let request = Request::read(&head, &body);
        let place = format!("kube/{}/{}", self.node, request.describe());
        let judged = !request.collection.ends_with("/leases");
        if judged {
            self.sim.trace.line(&self.me, &request.describe());
        }
        if request.verb.writes() {
            self.sim.judge_kube_write(&self.me, &request);
        }
        self.sim.count_request();
        let answer = if self.is_cut_off() {
            Err(std::io::Error::other("simulated: no connection"))
        } else {
            self.exchange(&place, request).await
        };
        self.alive().await;
        match answer? {
            Answer::Document(code, value) => {
                if judged {
                    self.sim.trace.line(&self.me, &format!("  {code} {place}"));
                }
                Ok(response(
                    code,
                    Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync(),
                ))
            }
            Answer::Watch(watching) => Ok(response(200, self.follow(watching))),
        }
    }

    async fn exchange(&self, place: &str, request: Request) -> Result<Answer, std::io::Error> {
        let fault = self.sim.chaos.kube(place);
        if let Some(fault) = &fault {
            self.sim.trace.line(&self.me, &format!("  fault {fault:?} {place}"));
        }
        let sim = Arc::clone(&self.sim);
        let perform = move || {
            let answer = sim.kubernetes.answer(&request);
            sim.after_kube(&request, &answer);
            answer
        };
        match fault {
            None => Ok(perform()),
            Some(KubeFault::Slow(before, after)) => {
                let answer = detached(before, perform).await?;
                tokio::time::sleep(after).await;
                Ok(answer)
            }
            Some(KubeFault::Refused(code)) => Ok(refused(&Refusal { code, reason: "Simulated" })),
            Some(KubeFault::NotConnected) => Err(std::io::Error::other("simulated: no connection")),
            Some(KubeFault::LostBefore(after)) => {
                tokio::time::sleep(after).await;
                Err(std::io::Error::other("simulated: request lost"))
            }
            Some(KubeFault::LostAfter(after)) => {
                perform();
                tokio::time::sleep(after).await;
                Err(std::io::Error::other("simulated: answer lost"))
            }
        }
    }

    /// The body of a watch.
    fn follow(&self, watching: Watching) -> UnsyncBoxBody<Bytes, std::io::Error> {
        let place = format!("watch/{}/{}", self.node, watching.describe());
        let ends = tokio::time::Instant::now() + WATCH_LASTS;
        let state = Follow { link: self.clone(), watching, place, ends, again: None, over: false };
        let lines = futures::stream::unfold(state, |mut state| async move { Some((state.line().await?, state)) });
        StreamBody::new(lines.map(|line| line.map(http_body::Frame::data))).boxed_unsync()
    }

    /// One request to the remote API.
    async fn remote(
        &self,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let decided = tokio::time::Instant::now();
        self.alive().await;
        let call = self.sim.judge_call(&self.me, &request, decided);
        self.sim.trace.line(&self.me, &call.describe());
        self.sim.count_request();
        let place = format!("amigo/{}", call.describe());
        let answer = if self.sim.chaos.is_away("service") {
            Err(TransportError::NotSent("simulated: no connection".into()))
        } else {
            let fault = self.sim.chaos.remote(&place, call.is_list());
            if let Some(fault) = &fault {
                self.sim.trace.line(&self.me, &format!("  fault {fault:?} {place}"));
            }
            match fault {
                None => self.sim.service.send(request, bounds).await,
                Some(RemoteFault::Effect(effect)) => {
                    self.sim.sandbox.add_fault(Fault::once(call.operation, effect));
                    self.sim.service.send(request, bounds).await
                }
                Some(RemoteFault::Slow(part)) => self.slowly(bounds.timeout.mul_f64(part), request, bounds).await,
            }
        };
        self.sim.after_call(&self.me, &call, answer.as_ref().ok());
        self.alive().await;
        let outcome = match &answer {
            Ok(answer) => {
                let told = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
                format!("{} ({} left)", answer.status().as_u16(), told("x-ratelimit-remaining"))
            }
            Err(error) => error.to_string(),
        };
        self.sim.trace.line(&self.me, &format!("  {outcome} {place}"));
        answer
    }

    /// The request is on its way for a while. It arrives also when nobody waits for it any more.
    async fn slowly(
        &self,
        before: Duration,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let service = self.sim.service.clone();
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(before).await;
            let _ = sender.send(service.send(request, bounds).await);
        });
        match tokio::time::timeout(bounds.timeout, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(TransportError::Unknown("simulated: timed out".into())),
        }
    }
}

/// Does something after a while, whether or not somebody still waits for it.
async fn detached<T: Send + 'static>(
    after: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        let _ = sender.send(act());
    });
    receiver.await.map_err(std::io::Error::other)
}

/// An answer of Kubernetes.
pub fn response(code: u16, body: UnsyncBoxBody<Bytes, std::io::Error>) -> Reply {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

struct Follow {
    link: Link,
    watching: Watching,
    place: String,
    ends: tokio::time::Instant,
    again: Option<Value>,
    over: bool,
}

impl Follow {
    /// The next line; `None` ends the watch.
    async fn line(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.over {
            return None;
        }
        let event = loop {
            if let Some(event) = self.again.take().or_else(|| self.watching.next()) {
                break event;
            }
            if tokio::time::timeout_at(self.ends, self.watching.changed()).await.is_err() {
                self.link.alive().await;
                return None;
            }
        };
        let chaos = &self.link.sim.chaos;
        tokio::time::sleep(chaos.lag(&format!("lag/{}", self.place))).await;
        self.link.alive().await;
        if self.link.is_cut_off() {
            return None;
        }
        match chaos.breaks(&format!("break/{}", self.place)) {
            None => {}
            Some(true) => {
                self.over = true;
                return Some(Ok(Bytes::from(r#"{"type":"MOD"#)));
            }
            Some(false) => return None,
        }
        if chaos.repeats(&format!("repeat/{}", self.place)) {
            self.again = Some(event.clone());
        }
        self.over = event["type"] == "ERROR";
        Some(Ok(Bytes::from(format!("{event}\n"))))
    }
}

impl Transport for Link {
    fn send(&self, request: http::Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        Box::pin(self.remote(request, bounds))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("me", &self.me).finish_non_exhaustive()
    }
}
