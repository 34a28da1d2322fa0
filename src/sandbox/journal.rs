//! What was asked and answered: a log of the last requests, and counters that are never cut.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::operation::Operation;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It has not.
    UnderWay,
    /// With an answer.
    Answered,
    /// A fault kept the answer from the client, whole or in part.
    Lost,
    /// A fault kept the request from arriving. It is not counted as a call.
    NotConnected,
    /// The client went away before there was an answer.
    ClientGone,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// Counts from 1.
    pub sequence: u64,
    /// When it came.
    pub at: Timestamp,
    /// The organization in its path.
    pub organization: String,
    /// The call.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Who asked, where a token told.
    pub user_id: Option<String>,
    /// Which sign-in gave the token, counted from 1: replicas of one user are told apart by it.
    pub sign_in: Option<u64>,
    /// The header `traceparent`, by which the client's traces tell the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The body; only shown when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// How it ended.
    pub ending: Ending,
    /// The status of the answer, whether or not it arrived.
    pub status: Option<u16>,
    /// How long it took.
    pub seconds: f64,
    /// The faults that were at work.
    pub faults: Vec<u64>,
}

/// What was counted of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Requests that arrived.
    pub calls: u64,
    /// Answers by status, whether or not they arrived.
    pub answers: BTreeMap<u16, u64>,
    /// Answers that faults kept from the client.
    pub lost: u64,
    /// Requests whose client went away.
    pub client_gone: u64,
    /// Requests beyond the rate limit.
    pub rate_limit_violations: u64,
}

/// Counters by operation.
pub type Counters = BTreeMap<Operation, Counter>;

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub counters: Counters,
    exchanges: VecDeque<Exchange>,
    sequence: u64,
}

impl Journal {
    /// Notes a request and gives it its number.
    pub(super) fn begin(&mut self, mut exchange: Exchange, log_size: usize) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        exchange.sequence = self.sequence;
        self.counter(exchange.operation).calls += 1;
        self.exchanges.push_back(exchange);
        while self.exchanges.len() > log_size {
            self.exchanges.pop_front();
        }
        self.sequence
    }

    /// The request of that number, while it is remembered.
    pub(super) fn entry(&mut self, sequence: u64) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().rev().find(|exchange| exchange.sequence == sequence)
    }

    pub(super) fn counter(&mut self, operation: Operation) -> &mut Counter {
        self.counters.entry(operation).or_default()
    }

    /// The last `count` requests, oldest first.
    pub(super) fn last(&self, count: usize, bodies: bool) -> Vec<Exchange> {
        let skip = self.exchanges.len().saturating_sub(count);
        let shown = self.exchanges.iter().skip(skip).cloned();
        shown.map(|exchange| Exchange { body: exchange.body.filter(|_| bodies), ..exchange }).collect()
    }

    /// Forgets requests and counters; numbers go on.
    pub(super) fn forget(&mut self) {
        self.exchanges.clear();
        self.counters.clear();
    }
}
