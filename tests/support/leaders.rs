//! Who led when, as the API server saw it, and who wrote meanwhile.

use std::time::Duration;

use amigo_operator::sandbox::Operation;
use jiff::Timestamp;

use super::World;

/// Between the last check of a write to the service and its arrival there, on a machine that is busy.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// How long after a takeover a write to the API server may arrive that was under way before.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// A replica took the lease.
#[derive(Debug, Clone)]
struct Term {
    since: Timestamp,
    credential: String,
}

/// Since when each replica led, in order; replicas are told apart by their tokens.
fn terms(world: &World) -> Vec<Term> {
    let mut requests = world.requests();
    requests.sort_by(|a, b| a.at.cmp(&b.at));
    let renewals = requests.into_iter().filter(|it| it.resource == "leases" && it.writes() && it.code < 300);
    let mut terms: Vec<Term> =
        renewals.map(|it| Term { since: it.at.parse().unwrap(), credential: it.credential }).collect();
    terms.dedup_by(|later, earlier| later.credential == earlier.credential);
    terms
}

/// The one who led at a time.
fn leader(terms: &[Term], at: Timestamp) -> Option<&str> {
    terms.iter().rev().find(|term| term.since <= at).map(|term| term.credential.as_str())
}

/// Checks that whoever wrote anything, to the API server or to the service, was the leader when it arrived there. Returns how
/// often the lease changed hands, and how many writes were looked at.
///
/// A refused write counts as none. A write to the API server that was under way in a replica when it was paused may arrive
/// when it wakes, just after another has taken over: it carries the object's resourceVersion, and is refused if the new leader
/// has written the object. A write to the service, which nobody would refuse, may do so for an instant only: what had passed
/// the last check when the process was put to sleep leaves when it wakes, and no check can help that. That nothing happens
/// twice all the same is for the tests to see.
///
/// To the service a replica is known by its sign-in, which it makes while it leads.
pub fn check(world: &World) -> (usize, usize) {
    let terms = terms(world);
    let mut wrong = Vec::new();
    let requests = world.requests().into_iter();
    let writes: Vec<_> = requests.filter(|it| it.writes() && it.code < 300 && it.resource != "leases").collect();
    for write in &writes {
        // Events are told after the fact, by nobody who waits for them.
        let at: Timestamp = write.at.parse().unwrap();
        let led = |at| leader(&terms, at) == Some(&write.credential);
        if !led(at) && !led(at - UNDER_WAY) && write.resource != "events" {
            wrong.push(format!("{write:?} is not the leader's"));
        }
    }
    let exchanges = world.sandbox.requests(usize::MAX);
    let sign_ins = exchanges.iter().filter(|it| it.operation == Operation::SignIn && it.status == Some(200));
    let signed_in: Vec<Option<&str>> = sign_ins.map(|it| leader(&terms, it.at)).collect();
    let reads = [Operation::SignIn, Operation::ListTools, Operation::ListVersions];
    let writes_there = exchanges.iter().filter(|it| !reads.contains(&it.operation));
    // What is lost before it has an effect is nobody's.
    let calls: Vec<_> = writes_there.filter_map(|it| it.sign_in.map(|number| (number, it))).collect();
    for (number, call) in &calls {
        let index = usize::try_from(number - 1).unwrap();
        let by = signed_in.get(index).copied().flatten();
        let led = |at| by.is_some() && leader(&terms, at) == by;
        if !led(call.at) && !led(call.at - ON_ITS_WAY) {
            wrong.push(format!("{} {} at {} is not the leader's", call.method, call.target, call.at));
        }
    }
    assert!(wrong.is_empty(), "{}\n{terms:?}", wrong.join("\n"));
    (terms.len() - 1, writes.len() + calls.len())
}
