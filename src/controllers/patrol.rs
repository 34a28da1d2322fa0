//! The resync of tools: goes round the bound Tools of each organization, twenty to a call, evenly over the period. Where a read
//! differs from the one before, the objects that it concerns are woken; nobody else is. A period that does not fit into the
//! budget is stretched.
//!
//! Where in the round it begins follows from the time of day, so that a restart neither bunches the calls nor begins the round
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::Context;
use super::connection::Established;
use super::memory::seconds;
use crate::amigo::{Class, Operation, TOOLS_A_CALL};
use crate::kubernetes::watch::{Key, key};
use crate::resources::organization::Resync;
use crate::resources::{Organization, Resource};

/// How much of what may be read in a minute is for the resync, in percent; the rest is for what somebody waits for.
const SHARE: u64 = 50;

/// How often it is looked for organizations that have come, and for Tools and periods that have changed.
const LOOK: Duration = Duration::from_secs(10);

/// A change of a stretched period by less than this part is not told.
const WORTH_TELLING: f64 = 0.1;

/// Endpoint and organization.
type Place = (String, String);

/// The periods that fit, by organization.
#[derive(Debug, Default)]
pub struct Periods(Mutex<BTreeMap<Place, usize>>);

impl Periods {
    /// So many Tools are bound there; whether that is news.
    fn note(&self, place: &Place, tools: usize) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(place.clone()).or_default();
        #[allow(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let is_news = (tools.abs_diff(*known) as f64) > WORTH_TELLING * (*known as f64);
        if is_news {
            *known = tools;
        }
        is_news
    }

    fn tools(&self, at: &Established) -> usize {
        let place = (at.endpoint.clone(), at.organization.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&place).copied().unwrap_or_default()
    }

    /// Whether the number of Tools is known.
    #[must_use]
    pub fn are_known(&self, at: &Established) -> bool {
        let place = (at.endpoint.clone(), at.organization.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&place)
    }

    /// The periods that fit.
    #[must_use]
    pub fn effective(&self, at: &Established, given: &Resync) -> Resync {
        let whole = |period: Duration| i32::try_from(period.as_secs()).unwrap_or(i32::MAX);
        Resync {
            tools_period_seconds: whole(self.of_tools(at, seconds(given.tools_period_seconds))),
            versions_period_seconds: whole(self.of_versions(at, seconds(given.versions_period_seconds))),
            ..given.clone()
        }
    }

    /// How long a round of the tools takes: the given period, or longer where it does not fit.
    #[must_use]
    pub fn of_tools(&self, at: &Established, period: Duration) -> Duration {
        let allowance = at.client.account().allowance(Operation::ListTools);
        stretched(period, self.tools(at).div_ceil(TOOLS_A_CALL), allowance)
    }

    /// The same for the lists of versions, of which each takes a call.
    #[must_use]
    pub fn of_versions(&self, at: &Established, period: Duration) -> Duration {
        let allowance = at.client.account().allowance(Operation::ListVersions);
        stretched(period, self.tools(at), allowance)
    }
}

/// The period, or the shortest in which so many calls fit into the share of so many a minute.
fn stretched(period: Duration, calls: usize, allowance: usize) -> Duration {
    let (calls, allowance) = (calls as u64, (allowance as u64).max(1));
    period.max(Duration::from_millis(calls.saturating_mul(60_000 * 100) / (allowance * SHARE)))
}

/// The Tools of one organization, in the order in which they are read.
struct Round {
    at: Established,
    organizations: Vec<Arc<Organization>>,
    period: Duration,
    /// By the id of the remote tool: the Tools that are bound to it.
    stops: BTreeMap<String, Vec<Key>>,
    made: Instant,
}

/// Goes round for as long as the term lasts.
pub async fn run(ctx: &Context) {
    let (mut walks, mut walked) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        for place in places(ctx) {
            if walked.insert(place.clone()) {
                walks.push(walk(ctx, place));
            }
        }
        let look = tokio::time::sleep(LOOK);
        tokio::pin!(look);
        loop {
            tokio::select! {
                biased;
                Some(gone) = walks.next() => { walked.remove(&gone); }
                () = &mut look => break,
            }
        }
    }
}

/// The organizations that there are connections to.
fn places(ctx: &Context) -> BTreeSet<Place> {
    let connected = ctx.organizations.all().into_iter().filter_map(|object| ctx.connections.get(&key(&*object)));
    connected.map(|at| (at.endpoint, at.organization)).collect()
}

/// Goes round the Tools of one organization until nothing leads to it any more; which one it was.
async fn walk(ctx: &Context, place: Place) -> Place {
    let Some(mut round) = Round::of(&place, ctx) else { return place };
    let begun = phase(ctx.clock.now(), round.period);
    let mut cursor = round.stop_at(begun);
    // The pace is kept from before the start: a part of the pause has passed.
    let passed = round.pace().mul_f64((begun * round.calls()).fract());
    let mut last = Instant::now().checked_sub(passed).unwrap_or_else(Instant::now);
    loop {
        let due = last + round.pace();
        if due > Instant::now() {
            tokio::time::sleep(due.saturating_duration_since(Instant::now()).min(LOOK)).await;
        }
        if round.made.elapsed() >= LOOK {
            let Some(anew) = Round::of(&place, ctx) else { return place };
            round = anew;
        }
        if Instant::now() >= last + round.pace() {
            last = Instant::now();
            cursor = round.read_after(cursor, ctx).await;
        }
    }
}

/// How far the round of this period is at this time of day, from 0 to 1.
fn phase(now: Timestamp, period: Duration) -> f64 {
    let period = period.as_secs_f64().max(1.0);
    now.as_duration().as_secs_f64().rem_euclid(period) / period
}

impl Round {
    /// The round as it is now; `None` when nothing leads to the organization.
    fn of(place: &Place, ctx: &Context) -> Option<Self> {
        let connected = |object: &Arc<Organization>| {
            let at = ctx.connections.get(&key(&**object))?;
            ((&at.endpoint, &at.organization) == (&place.0, &place.1)).then(|| (Arc::clone(object), at))
        };
        let leading: Vec<_> = ctx.organizations.all().iter().filter_map(connected).collect();
        let at = leading.first()?.1.clone();
        let mut organizations: Vec<_> = leading.into_iter().map(|(object, _)| object).collect();
        organizations.retain(|object| object.is_ready() && !object.spec.suspend);
        let mut stops: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for object in &organizations {
            let (namespace, name) = key(&**object);
            for tool in ctx.tools_of_organization(&namespace, &name) {
                // What is stalled waits for a person, and is not polled.
                let goes_on = tool.metadata.deletion_timestamp.is_none() && !tool.spec.suspend && !tool.is_stalled();
                let status = tool.status.as_ref().filter(|_| goes_on);
                if let Some(id) = status.and_then(|status| status.tool_id.clone()) {
                    stops.entry(id).or_default().push(key(&*tool));
                }
            }
        }
        let told = ctx.periods.note(place, stops.len());
        let shortest = organizations.iter().map(|object| seconds(object.spec.resync.tools_period_seconds)).min();
        let period = ctx.periods.of_tools(&at, shortest.unwrap_or(LOOK));
        let round = Self { at, organizations, period, stops, made: Instant::now() };
        if told {
            round.tell(ctx);
        }
        Some(round)
    }

    /// The status of the Organizations says what period fits.
    fn tell(&self, ctx: &Context) {
        for object in &self.organizations {
            let told = object.status.as_ref().and_then(|status| status.effective_resync.as_ref());
            if told != Some(&ctx.periods.effective(&self.at, &object.spec.resync)) {
                let (namespace, name) = key(&**object);
                ctx.queues.organizations.push(&namespace, &name);
            }
        }
    }

    /// How many calls a round takes.
    fn calls(&self) -> f64 {
        f64::from(u32::try_from(self.stops.len().div_ceil(TOOLS_A_CALL).max(1)).unwrap_or(u32::MAX))
    }

    /// How long from one call to the next.
    fn pace(&self) -> Duration {
        self.period.div_f64(self.calls())
    }

    /// The stop at this part of the round.
    fn stop_at(&self, phase: f64) -> Option<String> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (self.stops.len() as f64 * phase) as usize;
        self.stops.keys().nth(index).cloned()
    }

    /// Reads the stops after this one; the last that was read.
    async fn read_after(&self, cursor: Option<String>, ctx: &Context) -> Option<String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = cursor.as_ref().map_or(Unbounded, Excluded);
        let all = self.stops.range::<String, _>((after, Unbounded)).chain(&self.stops);
        let batch: Vec<&String> = all.map(|(id, _)| id).take(TOOLS_A_CALL.min(self.stops.len())).collect();
        let Some(last) = batch.last().map(|id| (*id).clone()) else { return cursor };
        let began = Instant::now();
        let ids: BTreeSet<String> = batch.into_iter().cloned().collect();
        match self.at.client.tools(ids.clone(), Class::Resync).await {
            Ok(found) => {
                for id in &ids {
                    if ctx.remote.read_tool(&self.at, id, found.get(id), began) {
                        self.wake(id, ctx);
                    }
                }
                Some(last)
            }
            Err(error) => {
                tracing::debug!(organization = self.at.organization, %error, "a read of the resync failed; it is made again");
                let mut keys = self.stops.get(&last).into_iter().flatten();
                if let Some(tool) = keys.find_map(|(namespace, name)| ctx.tools.get(namespace, name)) {
                    ctx.call_failed(&*tool, &error);
                }
                cursor
            }
        }
    }

    /// The objects that a remote tool concerns.
    fn wake(&self, id: &str, ctx: &Context) {
        for (namespace, name) in self.stops.get(id).into_iter().flatten() {
            ctx.queues.tools.push(namespace, name);
            for variables in ctx.variables.by(&super::wake::by_tool(namespace, name)) {
                ctx.queues.variables.push(namespace, &variables.name_any());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_that_does_not_fit_into_half_of_the_budget_is_stretched() {
        let period = Duration::from_secs(600);
        for (calls, allowance, expected) in
            [(0, 40, 600), (200, 40, 600), (201, 40, 603), (500, 40, 1500), (1, 1, 600), (100, 1, 12_000), (1, 0, 600)]
        {
            assert_eq!(stretched(period, calls, allowance), Duration::from_secs(expected), "{calls} of {allowance}");
        }
    }

    #[test]
    fn a_round_goes_on_where_the_time_of_day_says() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (second, expected) in [(0, 0.0), (150, 0.25), (599, 599.0 / 600.0), (600, 0.0), (-150, 0.75)] {
            let found = phase(at(second), Duration::from_secs(600));
            assert!((found - expected).abs() < 1e-9, "{second}: {found}");
        }
    }

    #[tokio::test]
    async fn the_periods_in_use_are_those_that_fit() {
        let (periods, at) = (Periods::default(), Established::for_tests("acme", "me"));
        let given = Resync::default();
        assert!(!periods.are_known(&at) && periods.effective(&at, &given) == given);
        periods.note(&(at.endpoint.clone(), at.organization.clone()), 10_000);
        // All 50 reads a minute are allowed here, and half of them are for the resync.
        let expected = Resync { tools_period_seconds: 1200, versions_period_seconds: 24_000, ..given.clone() };
        assert!(periods.are_known(&at));
        assert_eq!(periods.effective(&at, &given), expected);
    }

    #[test]
    fn only_a_change_that_is_worth_it_is_told() {
        let (periods, place) = (Periods::default(), ("endpoint".to_owned(), "acme".to_owned()));
        for (tools, told) in [(0, false), (1, true), (1, false), (100, true), (105, false), (110, false), (111, true)] {
            assert_eq!(periods.note(&place, tools), told, "{tools}");
        }
    }
}
