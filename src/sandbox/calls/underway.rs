//! Operations that take time and of which a tool has one at a time. The work is a task of its own, so that it does not
//! depend on the connection of the client that asked for it.

use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;

use super::Inbound;
use crate::sandbox::Sandbox;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::settings::OnDisconnect;
use crate::sandbox::state::{Moment, State};

/// Something that takes time and then has an effect.
pub(super) struct Work<E> {
    pub name: &'static str,
    pub duration: Duration,
    pub effect: E,
}

/// Does the work and waits for it. 409 when the tool has other work under way.
pub(super) async fn run<E>(sandbox: &Sandbox, inbound: &Inbound, work: Work<E>) -> Outcome
where
    E: FnOnce(&mut State, &Moment) -> Outcome + Send + 'static,
{
    let reservation = Reservation::take(sandbox, inbound, work.name)?;
    let aborts = sandbox.state().settings.on_disconnect == OnDisconnect::Aborts;
    let task = tokio::spawn(async move {
        if !work.duration.is_zero() {
            tokio::time::sleep(work.duration).await;
        }
        let now = reservation.sandbox.moment();
        (work.effect)(&mut reservation.sandbox.state(), &now)
    });
    let mut guard = AbortOnDrop { task, armed: aborts };
    match (&mut guard.task).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")),
    }
}

/// The right to work on a tool; given back when dropped.
struct Reservation {
    sandbox: Sandbox,
    organization: String,
    tool_id: String,
}

impl Reservation {
    fn take(sandbox: &Sandbox, inbound: &Inbound, name: &'static str) -> Result<Self, Answer> {
        let state = &mut *sandbox.state();
        let running = &mut state.organization_mut(&inbound.organization)?.running;
        if let Some(other) = running.get(&inbound.tool_id) {
            return Err(Answer::conflict(format!("A related operation is in progress: {other}")));
        }
        running.insert(inbound.tool_id.clone(), name);
        Ok(Self {
            sandbox: sandbox.clone(),
            organization: inbound.organization.clone(),
            tool_id: inbound.tool_id.clone(),
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Ok(organization) = self.sandbox.state().organization_mut(&self.organization) {
            organization.running.remove(&self.tool_id);
        }
    }
}

/// Ends the work with the client that waits for it, if it is set so.
struct AbortOnDrop {
    task: JoinHandle<Outcome>,
    armed: bool,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.task.abort();
        }
    }
}
