//! The brake on deprecations. They cannot be undone, so an Organization lets only so many through in an hour; the others are
//! held until a person confirms their number. Objects ask here; the Organization's controller alone answers, and writes into
//! its status what it lets through before it does.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::amigo::Wake;
use crate::kubernetes::watch::Key;
use crate::resources::organization::RecentDeprecations;

/// A request that is not repeated for this long is dropped: its object is gone or wants something else.
const LAPSES: Duration = Duration::from_secs(1800);

/// What an object that wants to deprecate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Go on.
    Granted,
    /// The Organization has not answered yet, and wakes the object.
    Pending,
    /// Held, until the hour has passed or a person confirms.
    Held,
}

struct Request {
    count: i32,
    grant: Grant,
    asked: Instant,
    place: u64,
    wake: Wake,
}

/// The requests of one process, by Organization and by the uid of the object.
#[derive(Default)]
pub struct Ledger(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    next_place: u64,
    all: BTreeMap<Key, BTreeMap<String, Request>>,
}

impl Ledger {
    /// Asks for `count` deprecations on behalf of the object `uid`; asking again repeats the request. A changed answer wakes
    /// the object.
    pub fn ask(&self, organization: &Key, uid: &str, count: i32, wake: Wake) -> Grant {
        let Ok(mut requests) = self.0.lock() else { return Grant::Pending };
        requests.next_place += 1;
        let place = requests.next_place;
        let request = requests.all.entry(organization.clone()).or_default().entry(uid.to_owned()).or_insert(Request {
            count,
            grant: Grant::Pending,
            asked: Instant::now(),
            place,
            wake,
        });
        request.asked = Instant::now();
        if request.count != count {
            request.count = count;
            request.grant = Grant::Pending;
        }
        request.grant
    }

    /// The object has done it, or does not want it any more.
    pub fn done(&self, organization: &Key, uid: &str) {
        if let Ok(mut requests) = self.0.lock()
            && let Some(of_organization) = requests.all.get_mut(organization)
        {
            of_organization.remove(uid);
        }
    }

    /// What is not granted yet, oldest first: uid and count.
    #[must_use]
    pub fn open(&self, organization: &Key) -> Vec<(String, i32)> {
        let Ok(mut requests) = self.0.lock() else { return Vec::new() };
        let Some(of_organization) = requests.all.get_mut(organization) else { return Vec::new() };
        of_organization.retain(|_, request| request.asked.elapsed() < LAPSES);
        let mut open: Vec<_> = of_organization.iter().filter(|(_, r)| r.grant != Grant::Granted).collect();
        open.sort_by_key(|(_, request)| request.place);
        open.into_iter().map(|(uid, request)| (uid.clone(), request.count)).collect()
    }

    /// Notes the Organization's answer.
    pub fn answer(&self, organization: &Key, uid: &str, grant: Grant) {
        if let Ok(mut requests) = self.0.lock()
            && let Some(request) = requests.all.get_mut(organization).and_then(|all| all.get_mut(uid))
            && request.grant != grant
        {
            request.grant = grant;
            (request.wake)();
        }
    }
}

/// An Organization's answer to everything that is open.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Uids that may go on, and how many deprecations they make in all.
    pub granted: Vec<String>,
    /// Their number.
    pub granted_count: i32,
    /// How many deprecations are held.
    pub held: i32,
}

/// Lets requests through in their order while the hour's limit lasts; `confirmed` is the number that a person let through,
/// which counts only if it is the number held at this moment.
#[must_use]
pub fn settle(limit: i32, done_this_hour: i32, open: &[(String, i32)], confirmed: Option<i32>) -> Answer {
    let mut left = limit.saturating_sub(done_this_hour);
    let mut answer = Answer { granted: Vec::new(), granted_count: 0, held: 0 };
    for (uid, count) in open {
        if answer.held == 0 && *count <= left {
            left -= count;
            answer.granted.push(uid.clone());
            answer.granted_count += count;
        } else {
            answer.held += count;
        }
    }
    if confirmed == Some(answer.held) {
        answer.granted = open.iter().map(|(uid, _)| uid.clone()).collect();
        answer.granted_count += answer.held;
        answer.held = 0;
    }
    answer
}

/// How many deprecations stand in the hour before `now`; entries that cannot be read count, older ones go.
#[must_use]
pub fn this_hour(recent: &[RecentDeprecations], now: Timestamp) -> Vec<RecentDeprecations> {
    let since = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
    let young = |entry: &&RecentDeprecations| entry.time.parse::<Timestamp>().map_or(true, |time| time > since);
    recent.iter().filter(young).cloned().collect()
}

/// Adds `count` deprecations at `now`, merged by the minute so that the list stays short.
pub fn add(recent: &mut Vec<RecentDeprecations>, count: i32, now: Timestamp) {
    if count == 0 {
        return;
    }
    let minute =
        Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(60) + 59).unwrap_or(now).to_string();
    match recent.last_mut().filter(|last| last.time == minute) {
        Some(last) => last.count = last.count.saturating_add(count),
        None => recent.push(RecentDeprecations { time: minute, count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(counts: &[i32]) -> Vec<(String, i32)> {
        counts.iter().enumerate().map(|(i, count)| (i.to_string(), *count)).collect()
    }

    #[test]
    fn lets_through_what_fits_and_holds_the_rest() {
        // (limit, done, requests, confirmed), requests granted and deprecations that they make, deprecations held
        type Case<'a> = ((i32, i32, &'a [i32], Option<i32>), (usize, i32), i32);
        let table: &[Case<'_>] = &[
            ((10, 0, &[1, 1], None), (2, 2), 0),
            ((10, 10, &[1, 1], None), (0, 0), 2),
            ((10, 9, &[1, 1], None), (1, 1), 1),
            ((10, 0, &[4, 3, 3], None), (3, 10), 0),
            ((10, 0, &[4, 3, 4], None), (2, 7), 4),
            ((10, 0, &[4, 7, 1], None), (1, 4), 8),
            ((10, 0, &[11], None), (0, 0), 11),
            ((10, 0, &[11, 1], None), (0, 0), 12),
            ((10, 9, &[1, 1], Some(1)), (2, 2), 0),
            ((10, 9, &[1, 1], Some(2)), (1, 1), 1),
            ((10, 5, &[4, 3, 2], Some(5)), (3, 9), 0),
            ((10, 12, &[1], None), (0, 0), 1),
            ((0, 0, &[1], None), (0, 0), 1),
            ((0, 0, &[1], Some(1)), (1, 1), 0),
            ((10, 0, &[], Some(0)), (0, 0), 0),
            ((10, 0, &[2], Some(0)), (1, 2), 0),
        ];
        for ((limit, done, requests, confirmed), granted, held) in table {
            let answer = settle(*limit, *done, &open(requests), *confirmed);
            assert_eq!(
                ((answer.granted.len(), answer.granted_count), answer.held),
                (*granted, *held),
                "{limit} {done} {requests:?} {confirmed:?}"
            );
        }
    }

    #[test]
    fn an_hour_later_the_limit_is_free_again() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut recent = Vec::new();
        add(&mut recent, 2, now);
        add(&mut recent, 1, now);
        assert_eq!(recent.iter().map(|r| r.count).sum::<i32>(), 3);
        assert_eq!(recent.len(), 1);
        let later = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        assert_eq!(this_hour(&recent, later(3500)).len(), 1);
        assert_eq!(this_hour(&recent, later(3661)).len(), 0);
    }

    #[test]
    fn a_minute_is_one_entry_that_counts_for_an_hour_from_its_end() {
        // 1_000_000 is second 40 of its minute, whose last second is 19 later.
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let mut recent = Vec::new();
        for (second, count) in [(-40, 1), (19, 2), (20, 4), (21, 0), (81, 0)] {
            add(&mut recent, count, at(second));
        }
        let shown: Vec<_> =
            recent.iter().map(|entry| (entry.time.parse::<Timestamp>().unwrap(), entry.count)).collect();
        assert_eq!(shown, [(at(19), 3), (at(79), 4)]);
        for (second, entries) in [(19, 2), (19 + 3599, 2), (19 + 3600, 1), (79 + 3599, 1), (79 + 3600, 0)] {
            assert_eq!(this_hour(&recent, at(second)).len(), entries, "{second}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_counts() {
        let unreadable = RecentDeprecations { time: "yesterday".into(), count: 7 };
        let kept = this_hour(&[unreadable], Timestamp::from_second(1_000_000).unwrap());
        assert_eq!(kept.iter().map(|entry| entry.count).sum::<i32>(), 7);
    }

    fn wake() -> Wake {
        std::sync::Arc::new(|| {})
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_open_is_told_in_the_order_of_asking() {
        let ledger = Ledger::default();
        let organization = ("a".to_owned(), "b".to_owned());
        for (uid, count) in [("z", 1), ("a", 2), ("m", 3), ("z", 1)] {
            ledger.ask(&organization, uid, count, wake());
        }
        let open = |expected: &[(&str, i32)]| {
            let found = ledger.open(&organization);
            assert_eq!(found.iter().map(|(uid, count)| (uid.as_str(), *count)).collect::<Vec<_>>(), expected);
        };
        open(&[("z", 1), ("a", 2), ("m", 3)]);
        ledger.answer(&organization, "a", Grant::Granted);
        ledger.answer(&organization, "m", Grant::Held);
        open(&[("z", 1), ("m", 3)]);
        ledger.done(&organization, "z");
        open(&[("m", 3)]);
        assert!(ledger.open(&("another".to_owned(), "b".to_owned())).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_answer_wakes_the_object_once() {
        let ledger = Ledger::default();
        let organization = ("a".to_owned(), "b".to_owned());
        let woken = std::sync::Arc::new(Mutex::new(0));
        let count = std::sync::Arc::clone(&woken);
        ledger.ask(&organization, "x", 1, std::sync::Arc::new(move || *count.lock().unwrap() += 1));
        for (grant, times) in [(Grant::Pending, 0), (Grant::Held, 1), (Grant::Held, 1), (Grant::Granted, 2)] {
            ledger.answer(&organization, "x", grant);
            assert_eq!(*woken.lock().unwrap(), times, "{grant:?}");
        }
        ledger.answer(&organization, "y", Grant::Granted);
        assert_eq!(ledger.ask(&organization, "y", 1, wake()), Grant::Pending, "what nobody asked for is not answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_lapses_when_it_is_not_repeated() {
        let ledger = Ledger::default();
        let organization = ("a".to_owned(), "b".to_owned());
        assert_eq!(ledger.ask(&organization, "x", 1, wake()), Grant::Pending);
        ledger.answer(&organization, "x", Grant::Held);
        assert_eq!(ledger.ask(&organization, "x", 1, wake()), Grant::Held);
        assert_eq!(ledger.ask(&organization, "x", 2, wake()), Grant::Pending);
        tokio::time::advance(LAPSES.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(ledger.ask(&organization, "x", 2, wake()), Grant::Pending);
        tokio::time::advance(LAPSES.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(ledger.open(&organization).len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ledger.open(&organization).is_empty());
    }
}
