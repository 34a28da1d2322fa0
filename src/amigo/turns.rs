//! Who goes next among those who wait for one kind of call: the better class first; within a class one party after the other,
//! so that who has a thousand waiting does not hold up who has one; within a party the oldest. A class that was passed over
//! too often has its turn all the same. Pure; when a call is free is for [`super::budget`] to say.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::operation::Class;

/// A class that waits is passed over this often at most.
const FLOOR: u32 = 8;

/// Those who wait. `W` is what wakes one of them.
#[derive(Debug)]
pub(super) struct Turns<W> {
    waiters: BTreeMap<String, Waiter<W>>,
    /// By the time that each last asked, and its key.
    by_asked: BTreeSet<(Instant, String)>,
    /// By class, in the order of [`Class::ALL`].
    lanes: [Lane; Class::ALL.len()],
    arrivals: u64,
}

#[derive(Debug)]
struct Waiter<W> {
    class: Class,
    party: String,
    /// Which one it was to come.
    arrival: u64,
    asked: Instant,
    /// When it came.
    since: Instant,
    wake: W,
}

/// Those of one class.
#[derive(Debug, Default)]
struct Lane {
    parties: BTreeMap<String, Party>,
    waiting: usize,
    /// The round that is being served.
    round: u64,
    /// How often others had their turn while somebody waited here.
    passed_over: u32,
}

/// Those of one party in a lane: one of them goes in each round.
#[derive(Debug, Default)]
struct Party {
    /// Keys by arrival.
    queue: BTreeMap<u64, String>,
    /// The round in which the next of them goes.
    round: u64,
}

impl<W> Turns<W> {
    pub(super) fn new() -> Self {
        Self {
            waiters: BTreeMap::new(),
            by_asked: BTreeSet::new(),
            lanes: Class::ALL.map(|_| Lane::default()),
            arrivals: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Waits, or goes on waiting: a place once taken is kept. A better class than before moves it there.
    pub(super) fn join(&mut self, key: &str, party: &str, class: Class, wake: W, now: Instant) {
        let before = self.take(key);
        let class = before.as_ref().map_or(class, |before| before.class.min(class));
        let (arrival, since) = before.map_or((self.arrivals, now), |before| (before.arrival, before.since));
        self.arrivals = self.arrivals.max(arrival + 1);
        let lane = &mut self.lanes[class as usize];
        lane.waiting += 1;
        let round = lane.round;
        let place = lane.parties.entry(party.to_owned()).or_default();
        // Who comes back, or comes late, makes up for nothing.
        place.round = place.round.max(round);
        place.queue.insert(arrival, key.to_owned());
        self.by_asked.insert((now, key.to_owned()));
        let waiter = Waiter { class, party: party.to_owned(), arrival, asked: now, since, wake };
        self.waiters.insert(key.to_owned(), waiter);
    }

    /// Waits no more.
    pub(super) fn leave(&mut self, key: &str) {
        self.take(key);
    }

    /// Takes out whoever has not asked since this time.
    pub(super) fn lapse(&mut self, since: Instant) {
        while let Some((asked, key)) = self.by_asked.first()
            && *asked <= since
        {
            let key = key.clone();
            self.take(&key);
        }
    }

    fn take(&mut self, key: &str) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(key)?;
        self.by_asked.remove(&(waiter.asked, key.to_owned()));
        let lane = &mut self.lanes[waiter.class as usize];
        lane.waiting -= 1;
        if let Some(party) = lane.parties.get_mut(&waiter.party) {
            party.queue.remove(&waiter.arrival);
        }
        lane.tidy();
        Some(waiter)
    }

    /// Whose turn it is: its key and what wakes it. It waits no more.
    pub(super) fn next(&mut self) -> Option<(String, W)> {
        let waiting = || self.lanes.iter().enumerate().filter(|(_, lane)| lane.waiting > 0);
        let overdue = waiting().filter(|(_, lane)| lane.passed_over >= FLOOR);
        let chosen = overdue.max_by_key(|(_, lane)| lane.passed_over).or_else(|| waiting().next())?.0;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.passed_over = if index == chosen || lane.waiting == 0 { 0 } else { lane.passed_over + 1 };
        }
        let key = self.lanes[chosen].next()?;
        let waiter = self.take(&key)?;
        Some((key, waiter.wake))
    }

    /// How many go before the waiter of this key, leaving the floor aside.
    pub(super) fn before(&self, key: &str) -> Option<usize> {
        let waiter = self.waiters.get(key)?;
        let lane = &self.lanes[waiter.class as usize];
        let own = lane.parties.get(&waiter.party)?;
        let rank = own.queue.range(..waiter.arrival).count();
        Some(self.better(waiter.class) + lane.before(&waiter.party, own.round, rank))
    }

    /// How many would go before a new waiter.
    pub(super) fn before_new(&self, party: &str, class: Class) -> usize {
        let lane = &self.lanes[class as usize];
        let own = lane.parties.get(party);
        let round = own.map_or(lane.round, |own| own.round.max(lane.round));
        self.better(class) + lane.before(party, round, own.map_or(0, |own| own.queue.len()))
    }

    /// Whether somebody of the class, or of a better one, waits.
    pub(super) fn is_any(&self, class: Class) -> bool {
        self.lanes[..=class as usize].iter().any(|lane| lane.waiting > 0)
    }

    /// How many of each class wait, and since when the oldest; classes for which nobody waits are left out.
    pub(super) fn waiting(&self) -> Vec<(Class, usize, Instant)> {
        let of = |class: Class| {
            let waiters = self.waiters.values().filter(|waiter| waiter.class == class);
            Some((class, self.lanes[class as usize].waiting, waiters.map(|waiter| waiter.since).min()?))
        };
        Class::ALL.into_iter().filter_map(of).collect()
    }

    fn better(&self, class: Class) -> usize {
        self.lanes[..class as usize].iter().map(|lane| lane.waiting).sum()
    }
}

impl Lane {
    /// The key whose turn it is: of the parties whose round it is, the one whose oldest waits longest.
    fn next(&mut self) -> Option<String> {
        let waiting = self.parties.values_mut().filter(|party| !party.queue.is_empty());
        let party = waiting.min_by_key(|party| (party.round, party.queue.keys().next().copied()))?;
        self.round = party.round;
        party.round += 1;
        party.queue.values().next().cloned()
    }

    /// How many go before the one of this rank of a party.
    fn before(&self, party: &str, round: u64, rank: usize) -> usize {
        let last = round.saturating_add(rank as u64);
        let others = self.parties.iter().filter(|(name, _)| name.as_str() != party).map(|(_, other)| {
            let rounds = last.saturating_add(1).saturating_sub(other.round);
            other.queue.len().min(usize::try_from(rounds).unwrap_or(usize::MAX))
        });
        rank + others.sum::<usize>()
    }

    /// A party that nobody waits for is remembered as long as it had more than its share of the round.
    fn tidy(&mut self) {
        let round = self.round;
        self.parties.retain(|_, party| !party.queue.is_empty() || party.round > round);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn join(turns: &mut Turns<()>, key: &str, class: Class) {
        let party = key.trim_end_matches(|c: char| c.is_ascii_digit());
        turns.join(key, party, class, (), Instant::now());
    }

    fn order(turns: &mut Turns<()>) -> Vec<String> {
        std::iter::from_fn(|| turns.next().map(|(key, ())| key)).collect()
    }

    #[test]
    fn a_party_of_one_does_not_wait_behind_a_thousand_of_another() {
        let mut turns = Turns::new();
        for n in 0..1000 {
            join(&mut turns, &format!("many{n}"), Class::Interactive);
        }
        assert_eq!(turns.next().unwrap().0, "many0");
        join(&mut turns, "one0", Class::Interactive);
        join(&mut turns, "one1", Class::Interactive);
        assert_eq!((turns.before("one0"), turns.before("one1")), (Some(0), Some(2)));
        assert_eq!((turns.before("many1"), turns.before("many9")), (Some(2), Some(10)));
        assert_eq!(turns.before_new("one", Class::Interactive), 4);
        assert_eq!(turns.before_new("another", Class::Interactive), 1);
        assert_eq!(order(&mut turns)[..6], ["one0", "many1", "one1", "many2", "many3", "many4"]);
    }

    #[test]
    fn who_asks_again_and_again_for_one_call_takes_no_more_than_its_share() {
        let mut turns = Turns::new();
        for n in 0..4 {
            join(&mut turns, &format!("many{n}"), Class::Interactive);
        }
        let mut served = Vec::new();
        for n in 0..6 {
            join(&mut turns, &format!("one{n}"), Class::Interactive);
            served.push(turns.next().unwrap().0);
        }
        let others = served.iter().filter(|key| key.starts_with("many")).count();
        assert_eq!(others, 3, "{served:?}");
    }

    #[test]
    fn who_was_served_and_comes_back_waits_for_the_next_round() {
        let mut turns = Turns::new();
        for key in ["many0", "many1", "one0"] {
            join(&mut turns, key, Class::Interactive);
        }
        assert_eq!([turns.next().unwrap().0, turns.next().unwrap().0], ["many0", "one0"]);
        join(&mut turns, "one1", Class::Interactive);
        assert_eq!(order(&mut turns), ["many1", "one1"]);
    }

    #[test]
    fn it_is_told_how_many_of_each_class_wait_and_since_when_the_oldest() {
        let (mut turns, now) = (Turns::new(), Instant::now());
        let later = now + Duration::from_secs(9);
        assert_eq!(turns.waiting(), []);
        for (key, class, asked) in [
            ("a0", Class::Interactive, now),
            ("b0", Class::Resync, later),
            ("a1", Class::Interactive, later),
            ("a0", Class::Interactive, later),
        ] {
            turns.join(key, "party", class, (), asked);
        }
        assert_eq!(turns.waiting(), [(Class::Interactive, 2, now), (Class::Resync, 1, later)]);
    }

    #[test]
    fn a_party_is_forgotten_once_its_round_is_over() {
        let mut turns = Turns::new();
        let parties =
            |turns: &Turns<()>| turns.lanes[Class::Interactive as usize].parties.keys().cloned().collect::<Vec<_>>();
        for (key, remembered) in [("a0", &["a"][..]), ("b0", &["a", "b"]), ("a1", &["a"])] {
            join(&mut turns, key, Class::Interactive);
            assert_eq!(turns.next().unwrap().0, key);
            assert_eq!(parties(&turns), remembered, "{key}");
        }
    }

    #[test]
    fn a_better_class_goes_first_and_none_is_passed_over_for_ever() {
        let mut turns = Turns::new();
        for n in 0..30 {
            join(&mut turns, &format!("person{n}"), Class::Interactive);
        }
        for n in 0..2 {
            join(&mut turns, &format!("resync{n}"), Class::Resync);
            join(&mut turns, &format!("rewrite{n}"), Class::Rewrite);
        }
        assert_eq!(turns.before("rewrite1"), Some(30 + 2 + 1));
        let order = order(&mut turns);
        let place = |key: &str| order.iter().position(|served| served == key).unwrap();
        assert!(order[..8].iter().all(|key| key.starts_with("person")));
        let places: Vec<usize> = ["rewrite0", "resync0", "rewrite1", "resync1"].map(place).into();
        assert_eq!(places, [8, 9, 17, 18]);
    }

    #[test]
    fn a_place_is_kept_moves_to_a_better_class_and_lapses() {
        let (mut turns, now) = (Turns::new(), Instant::now());
        let later = now + Duration::from_secs(1);
        for (key, class, asked) in [
            ("a0", Class::Resync, now),
            ("a1", Class::Resync, now),
            ("a0", Class::Rewrite, later),
            ("a2", Class::Resync, later),
            ("a2", Class::Interactive, later),
        ] {
            turns.join(key, "a", class, (), asked);
        }
        assert_eq!(["a0", "a1", "a2", "a3"].map(|key| turns.before(key)), [Some(1), Some(2), Some(0), None]);
        assert!(turns.is_any(Class::Interactive));
        turns.lapse(now);
        assert_eq!(["a0", "a1"].map(|key| turns.before(key)), [Some(1), None]);
        turns.leave("a2");
        assert!(!turns.is_any(Class::Recovery) && turns.is_any(Class::Resync));
        assert_eq!(order(&mut turns), ["a0"]);
        assert!(turns.is_empty() && turns.lanes.iter().all(|lane| lane.waiting == 0));
    }
}
