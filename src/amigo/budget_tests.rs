//! Tables and a property for the budget.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const NOTHING: Told = Told { limit: None, remaining: None, reset: None, freeze: None };

/// A budget whose service has told just now that nothing was used of late.
fn known(limit: u32, percent: u32) -> Limiter<String> {
    let mut limiter = Limiter::new(limit, percent);
    let now = Instant::now();
    limiter.ceiling = Some(Ceiling { left: usize::MAX, told: now - seconds(1), until: now + WINDOW });
    limiter
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn told(remaining: u32, reset: u64) -> Told {
    Told { remaining: Some(remaining), reset: Some(seconds(reset)), ..NOTHING }
}

fn ask(limiter: &mut Limiter<String>, key: &str, class: Class, now: Instant) -> Option<Slot> {
    match limiter.ask(key, "party", class, key.to_owned(), now) {
        Place::Granted(slot) => Some(slot),
        Place::Queued(_) => None,
    }
}

/// The slot of a call that somebody waits for, where one must be free.
#[track_caller]
fn slot_of(limiter: &mut Limiter<String>, key: &str, now: Instant) -> Slot {
    let Some(slot) = ask(limiter, key, Class::Interactive, now) else { panic!("no slot is free for {key}") };
    slot
}

fn estimate(limiter: &mut Limiter<String>, key: &str, class: Class, now: Instant) -> Option<u64> {
    match limiter.ask(key, "party", class, key.to_owned(), now) {
        Place::Granted(_) => None,
        Place::Queued(estimate) => Some(estimate.as_secs()),
    }
}

/// Grants what is free; who was woken.
fn grant(limiter: &mut Limiter<String>, now: Instant) -> Vec<String> {
    limiter.grant(now);
    limiter.take_woken()
}

/// A call that is sent and answered at once.
fn call(limiter: &mut Limiter<String>, key: &str, now: Instant) {
    let slot = slot_of(limiter, key, now);
    limiter.sent(slot, now);
    limiter.answered(slot, &NOTHING, now);
}

/// What happens to a call that a client holds a slot for.
enum Event {
    Send(Slot),
    Answer(Slot),
    Drop(Slot),
}

/// Drives a limiter with random clients for an hour; when calls arrived at the service.
fn arrivals(seed: u64, limit: u32, percent: u32) -> Vec<u64> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut limiter = known(limit, percent);
    let start = Instant::now();
    let (mut arrivals, mut events) = (Vec::new(), Vec::<(u64, Event)>::new());
    for ms in (0..3_600_000u64).step_by(100) {
        let now = start + Duration::from_millis(ms);
        let (due, later): (Vec<_>, Vec<_>) = events.into_iter().partition(|(at, _)| *at <= ms);
        events = later;
        for (_, event) in due {
            match event {
                Event::Drop(slot) => limiter.unused(slot),
                Event::Answer(slot) => limiter.answered(slot, &NOTHING, now),
                Event::Send(slot) => {
                    limiter.sent(slot, now);
                    // It arrives within ten seconds, and is answered some time after, or never.
                    let arrival = ms + dice.random_range(0..10_000);
                    arrivals.push(arrival);
                    if dice.random_bool(0.8) {
                        events.push((arrival + dice.random_range(0..90_000), Event::Answer(slot)));
                    }
                }
            }
        }
        let key = dice.random_range(0..200u32).to_string();
        let class = [Class::Interactive, Class::Recovery, Class::Resync, Class::Rewrite][dice.random_range(0..4)];
        if let Some(slot) = ask(&mut limiter, &key, class, now) {
            // Some wait long for a token before they send, some give up.
            let wait = if dice.random_bool(0.1) { dice.random_range(0..200_000) } else { 0 };
            let gives_up = dice.random_bool(0.1);
            events.push((ms + wait, if gives_up { Event::Drop(slot) } else { Event::Send(slot) }));
        } else if dice.random_bool(0.01) {
            limiter.release(&key);
        }
        if dice.random_bool(0.3) {
            limiter.grant(now);
        }
    }
    arrivals.sort_unstable();
    arrivals
}

#[tokio::test(start_paused = true)]
async fn no_sixty_seconds_see_more_than_the_limit() {
    for (seed, limit, percent, allowed) in [(1, 50, 100, 50), (2, 10, 80, 8), (3, 5, 100, 5), (4, 20, 1, 1)] {
        let arrivals = arrivals(seed, limit, percent);
        assert!(arrivals.len() > 20 * allowed, "only {} calls of {allowed} a minute in an hour", arrivals.len());
        for (i, first) in arrivals.iter().enumerate() {
            let within = arrivals[i..].iter().take_while(|at| **at - first < 60_000).count();
            assert!(within <= allowed, "{within} calls of {allowed} within a minute from {first} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_free_a_minute_after_its_answer_or_after_its_latest_arrival() {
    for (what, answered, free) in [
        ("answered at once", Some(0), 60),
        ("answered late", Some(9), 69),
        ("answered very late", Some(50), 70),
        ("never answered", None, 70),
    ] {
        let mut limiter = known(1, 100);
        let now = Instant::now();
        let slot = slot_of(&mut limiter, "first", now);
        limiter.sent(slot, now);
        if let Some(at) = answered {
            limiter.answered(slot, &NOTHING, now + seconds(at));
        }
        let wait = seconds(answered.unwrap_or(0));
        assert_eq!(
            estimate(&mut limiter, "next", Class::Interactive, now + wait),
            Some(free - wait.as_secs()),
            "{what}"
        );
        assert_eq!(limiter.next_grant(now + wait), Some(now + seconds(free)), "{what}");
        assert!(grant(&mut limiter, now + seconds(free) - Duration::from_nanos(1)).is_empty(), "{what}");
        assert_eq!(grant(&mut limiter, now + seconds(free)), ["next"], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_waits_to_be_sent_stays_taken() {
    let mut limiter = known(1, 100);
    let now = Instant::now();
    let slot = slot_of(&mut limiter, "slow", now);
    assert!(ask(&mut limiter, "next", Class::Interactive, now + seconds(100)).is_none());
    limiter.sent(slot, now + seconds(100));
    assert!(grant(&mut limiter, now + seconds(169)).is_empty());
    assert_eq!(grant(&mut limiter, now + seconds(170)), ["next"]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_serves_the_best_class_first() {
    let mut limiter = known(1, 100);
    let start = Instant::now();
    call(&mut limiter, "first", start);
    assert!(ask(&mut limiter, "rewrite", Class::Rewrite, start).is_none());
    for n in 0..5 {
        assert!(ask(&mut limiter, &format!("person{n}"), Class::Interactive, start).is_none());
    }
    let (mut order, mut now) = (Vec::new(), start);
    for _ in 0..6 {
        now += seconds(60);
        let key = grant(&mut limiter, now).remove(0);
        let slot = slot_of(&mut limiter, &key, now);
        limiter.sent(slot, now);
        limiter.answered(slot, &NOTHING, now);
        order.push(key);
        for key in ["rewrite", "person0", "person1", "person2", "person3", "person4"] {
            if !order.iter().any(|served| served == key) {
                let class = if key == "rewrite" { Class::Rewrite } else { Class::Interactive };
                assert!(ask(&mut limiter, key, class, now).is_none());
            }
        }
    }
    assert_eq!(order, ["person0", "person1", "person2", "person3", "person4", "rewrite"]);
}

#[tokio::test(start_paused = true)]
async fn who_gets_a_slot_while_another_asks_is_woken() {
    let mut limiter = known(1, 100);
    let now = Instant::now();
    call(&mut limiter, "first", now);
    assert!(ask(&mut limiter, "second", Class::Interactive, now).is_none());
    assert!(ask(&mut limiter, "third", Class::Interactive, now + seconds(60)).is_none());
    assert_eq!(limiter.take_woken(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn the_service_s_count_is_believed() {
    let mut limiter = known(50, 100);
    let now = Instant::now();
    let slot = slot_of(&mut limiter, "first", now);
    limiter.sent(slot, now);
    limiter.answered(slot, &Told { limit: Some(10), ..told(0, 20) }, now);
    assert_eq!(limiter.allowance(), 10);
    assert_eq!(estimate(&mut limiter, "a", Class::Interactive, now), Some(20));
    assert_eq!(limiter.next_grant(now), Some(now + seconds(20)));
    assert_eq!(grant(&mut limiter, now + seconds(20)), ["a"]);
    limiter.freeze(seconds(100_000), now);
    assert_eq!(estimate(&mut limiter, "b", Class::Interactive, now), Some(900));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_sent_than_other_clients_leave() {
    let mut limiter = known(50, 100);
    let now = Instant::now();
    let slots: Vec<_> = ["a", "b", "c"].map(|key| slot_of(&mut limiter, key, now)).into();
    for slot in &slots {
        limiter.sent(*slot, now);
    }
    // Two calls are under way and may not be counted yet: of six that are left, four are free.
    limiter.answered(slots[0], &told(6, 30), now);
    let granted = |limiter: &mut Limiter<String>, keys: std::ops::Range<u32>, now| {
        let slots: Vec<Slot> = keys.filter_map(|n| ask(limiter, &n.to_string(), Class::Interactive, now)).collect();
        for slot in &slots {
            limiter.sent(*slot, now);
        }
        slots.len()
    };
    assert_eq!(granted(&mut limiter, 0..3, now), 3);
    // An answer that is overtaken by a later one does not raise it again.
    limiter.answered(slots[2], &told(5, 30), now);
    limiter.answered(slots[1], &told(6, 30), now);
    assert_eq!(granted(&mut limiter, 3..20, now), 1);
    assert_eq!(limiter.next_grant(now), Some(now + seconds(30)));
    let alone = grant(&mut limiter, now + seconds(30));
    assert_eq!(alone.len(), 1, "what others did meanwhile is not known");
    let slot = slot_of(&mut limiter, &alone[0], now + seconds(30));
    limiter.sent(slot, now + seconds(30));
    limiter.answered(slot, &told(40, 30), now + seconds(30));
    assert_eq!(grant(&mut limiter, now + seconds(30)).len(), 15);
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_what_counts_and_who_waits() {
    let (mut limiter, now) = (Limiter::new(5, 80), Instant::now());
    assert_eq!(limiter.state(now), None, "nobody has drawn on it");
    let first = slot_of(&mut limiter, "first", now);
    limiter.sent(first, now);
    ask(&mut limiter, "second", Class::Resync, now);
    let waiting = |seconds_ago| vec![Waiting { class: Class::Resync, calls: 1, oldest: seconds(seconds_ago) }];
    let state = |used, remaining, waiting| Some(State { allowance: 4, used, remaining, waiting });
    assert_eq!(limiter.state(now), state(1, None, waiting(0)), "what is left is not known");
    limiter.answered(first, &told(2, 30), now + seconds(3));
    assert_eq!(limiter.state(now + seconds(3)), state(1, Some(2), waiting(3)));
    limiter.release("second");
    assert_eq!(limiter.state(now + seconds(33)), state(1, None, vec![]), "the service counts anew");
    assert_eq!(limiter.state(now + seconds(63)), state(0, None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn places_that_nobody_uses_lapse() {
    let mut limiter = known(1, 100);
    let now = Instant::now();
    let slot = slot_of(&mut limiter, "a", now);
    assert!(ask(&mut limiter, "gone", Class::Interactive, now).is_none());
    limiter.unused(slot);
    assert_eq!(grant(&mut limiter, now), ["gone"]);
    assert!(ask(&mut limiter, "b", Class::Interactive, now).is_none());
    assert_eq!(grant(&mut limiter, now + UNUSED), ["b"]);
    assert!(ask(&mut limiter, "c", Class::Interactive, now + UNUSED).is_none());
    limiter.release("b");
    assert_eq!(grant(&mut limiter, now + UNUSED), ["c"]);
    // Not asked for again for two minutes, a place in the queue is gone.
    assert!(ask(&mut limiter, "d", Class::Interactive, now + UNUSED).is_none());
    limiter.release("c");
    assert!(grant(&mut limiter, now + UNUSED + UNASKED).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_estimate_counts_those_who_go_before() {
    let mut limiter = known(2, 100);
    let now = Instant::now();
    call(&mut limiter, "first", now);
    assert_eq!(limiter.estimate("party", Class::Rewrite, now), Duration::ZERO);
    call(&mut limiter, "second", now + seconds(10));
    let now = now + seconds(10);
    for (key, class, expected) in [
        ("a", Class::Resync, 50),
        ("b", Class::Resync, 60),
        ("c", Class::Interactive, 50),
        ("d", Class::Rewrite, 120),
        ("a", Class::Resync, 60),
    ] {
        assert_eq!(estimate(&mut limiter, key, class, now), Some(expected), "{key}");
    }
    assert!(limiter.is_waited_for(Class::Interactive));
    limiter.release("c");
    assert!(!limiter.is_waited_for(Class::Recovery));
    assert!(limiter.is_waited_for(Class::Resync));
}

/// How many new callers get a slot at once.
fn free(limiter: &mut Limiter<String>, now: Instant) -> usize {
    let keys = (0..100).map(|n| format!("new{n}"));
    keys.take_while(|key| ask(limiter, key, Class::Interactive, now).is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_the_service_s_count_ten_seconds_after_it_was_sent() {
    for (seconds_ago, left) in [(0, 3), (9, 3), (10, 4), (30, 4)] {
        let (mut limiter, start) = (known(50, 100), Instant::now());
        let now = start + seconds(seconds_ago);
        for (key, sent) in [("early", start), ("late", now)] {
            let slot = slot_of(&mut limiter, key, sent);
            limiter.sent(slot, sent);
            if key == "late" {
                limiter.answered(slot, &told(4, 30), now);
            }
        }
        assert_eq!(free(&mut limiter, now), left, "{seconds_ago} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_holds_until_a_later_call_is_counted_or_it_starts_anew() {
    // When the second call is sent and answered, and how many are free then; a third call stays under way.
    for (what, sent, answered, left) in [
        ("overlaps, and may have been counted before", 0, 1, 2),
        ("sent after the first answer", 2, 3, 19),
        ("the count has started anew", 0, 30, 20),
        ("a moment before it does", 0, 29, 2),
    ] {
        let (mut limiter, start) = (known(50, 100), Instant::now());
        let at = |second: u64| start + seconds(second);
        let slots = ["a", "b", "c"].map(|key| slot_of(&mut limiter, key, start));
        limiter.sent(slots[0], start);
        limiter.sent(slots[2], start);
        if sent == 0 {
            limiter.sent(slots[1], start);
        }
        limiter.answered(slots[0], &told(4, 30), start);
        limiter.sent(slots[1], at(sent));
        limiter.answered(slots[1], &told(20, 30), at(answered));
        assert_eq!(free(&mut limiter, at(answered)), left, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_given_back_is_left_again() {
    let (mut limiter, now) = (known(50, 100), Instant::now());
    let slot = slot_of(&mut limiter, "first", now);
    limiter.sent(slot, now);
    limiter.answered(slot, &told(2, 30), now);
    let slots = ["a", "b"].map(|key| slot_of(&mut limiter, key, now));
    assert_eq!(free(&mut limiter, now), 0);
    for slot in slots {
        limiter.unused(slot);
    }
    limiter.release("new0");
    assert_eq!(free(&mut limiter, now), 2);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_is_not_believed() {
    let (mut limiter, now) = (known(50, 100), Instant::now());
    for (limit, allowance) in [(Some(0), 50), (None, 50), (Some(1), 1), (Some(20), 20)] {
        let slot = slot_of(&mut limiter, "any", now);
        limiter.answered(slot, &Told { limit, ..NOTHING }, now);
        limiter.unused(slot);
        assert_eq!(limiter.allowance(), allowance, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_grant_is_told_whatever_it_waits_for() {
    let start = Instant::now();
    let at = |second: u64| start + seconds(second);
    let next = |limiter: &Limiter<String>, now| limiter.next_grant(now).map(|next| (next - start).as_secs());
    let mut limiter = known(1, 100);
    assert_eq!(next(&limiter, start), None, "nobody waits");
    let held = slot_of(&mut limiter, "held", start);
    assert!(ask(&mut limiter, "a", Class::Interactive, start).is_none());
    assert_eq!(next(&limiter, start), None, "a call that is not sent yet may take for ever");
    limiter.unused(held);
    assert_eq!(next(&limiter, at(3)), Some(3), "a slot is free");
    limiter.freeze(seconds(7), at(3));
    assert_eq!(next(&limiter, at(4)), Some(10), "the service asks to wait");
    assert_eq!(next(&limiter, at(11)), Some(11), "that has passed");
    assert_eq!(grant(&mut limiter, at(11)), ["a"]);
    assert_eq!(next(&limiter, at(12)), Some(11 + 30), "who was told may not come");
    assert!(ask(&mut limiter, "b", Class::Interactive, at(12)).is_none());
    assert_eq!(next(&limiter, at(12)), Some(11 + 30), "and then the other has the slot");
    let slot = slot_of(&mut limiter, "a", at(13));
    limiter.sent(slot, at(13));
    assert_eq!(next(&limiter, at(13)), Some(13 + 10 + 60), "the call may arrive late");
    limiter.answered(slot, &NOTHING, at(14));
    assert_eq!(next(&limiter, at(14)), Some(14 + 60));
    limiter.freeze(seconds(100), at(14));
    assert_eq!(next(&limiter, at(14)), Some(14 + 100), "the last of several reasons counts");
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_used_up_is_waited_for() {
    let (mut limiter, now) = (known(50, 100), Instant::now());
    let slot = slot_of(&mut limiter, "first", now);
    limiter.sent(slot, now);
    limiter.answered(slot, &told(1, 30), now);
    assert_eq!(limiter.estimate("party", Class::Interactive, now), Duration::ZERO, "one is left");
    assert!(ask(&mut limiter, "last", Class::Interactive, now).is_some());
    assert_eq!(limiter.estimate("party", Class::Interactive, now), seconds(30));
    assert_eq!(estimate(&mut limiter, "next", Class::Interactive, now + seconds(10)), Some(20));
    assert_eq!(limiter.next_grant(now + seconds(10)), Some(now + seconds(30)));
}

#[tokio::test(start_paused = true)]
async fn an_estimate_goes_by_whole_rounds() {
    let (mut limiter, now) = (known(3, 100), Instant::now());
    let keys = ["a", "b", "c"];
    let slots = keys.map(|key| slot_of(&mut limiter, key, now));
    assert_eq!(limiter.estimate("party", Class::Rewrite, now), seconds(60), "taken as sent now");
    for (place, slot) in slots.into_iter().enumerate() {
        let at = now + seconds(10 * place as u64);
        limiter.sent(slot, at);
        limiter.answered(slot, &NOTHING, at);
    }
    let now = now + seconds(20);
    let expected = [40, 50, 60, 100, 110, 120, 160, 170];
    let found: Vec<_> =
        (0..8).map(|n| estimate(&mut limiter, &format!("waiter{n}"), Class::Rewrite, now).expect("it waits")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_small_share_still_allows_one_call() {
    for (limit, percent, allowance) in [(20, 80, 16), (10, 1, 1), (50, 100, 50), (5, 500, 5), (1, 0, 1)] {
        assert_eq!(Limiter::<String>::new(limit, percent).allowance(), allowance, "{percent} % of {limit}");
        let mut changed = Limiter::<String>::new(limit, 50);
        changed.set_percent(percent);
        assert_eq!(changed.allowance(), allowance, "changed to {percent} % of {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_call_of_a_silent_minute_goes_alone() {
    let (mut limiter, start) = (Limiter::new(50, 100), Instant::now());
    let after = |s| start + seconds(s);
    let first = slot_of(&mut limiter, "a", start);
    assert!(ask(&mut limiter, "b", Class::Interactive, start).is_none(), "what others used of late is not known");
    assert_eq!(limiter.next_grant(start), None, "one that is not sent yet says nothing of when");
    limiter.sent(first, start);
    assert_eq!(limiter.next_grant(start), Some(after(10)));
    limiter.answered(first, &told(2, 60), after(1));
    assert_eq!(grant(&mut limiter, after(1)), ["b"]);
    assert!(ask(&mut limiter, "c", Class::Interactive, after(1)).is_some(), "and now it is");
    assert!(ask(&mut limiter, "d", Class::Interactive, after(1)).is_none(), "others had used all but two");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_lets_the_next_go_alone_once_it_has_arrived() {
    let (mut limiter, start) = (Limiter::new(50, 100), Instant::now());
    let first = slot_of(&mut limiter, "a", start);
    limiter.sent(first, start);
    for name in ["b", "c"] {
        assert!(ask(&mut limiter, name, Class::Interactive, start).is_none());
    }
    assert!(grant(&mut limiter, start + seconds(9)).is_empty());
    assert_eq!(grant(&mut limiter, start + seconds(10)), ["b"]);
    assert!(grant(&mut limiter, start + seconds(10)).is_empty());
}
