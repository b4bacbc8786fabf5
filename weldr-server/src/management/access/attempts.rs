//! Failed attempts to authenticate: counted and slowed down by address.
//!
//! What is slowed down is the refusal, never the check, so a caller with a valid token is served at once, whatever others
//! behind the same address do. Pure, but for the mutex.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The most addresses that are remembered. When there are more, the one that has been quiet for longest is forgotten.
const MOST_ADDRESSES: usize = 1024;
/// So many attempts are refused at once: somebody has mistyped something.
const FREE: u32 = 3;
/// The delay of the next refusal, which doubles with each attempt, and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(3);
/// An address without an attempt for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// The most refusals that wait, of one address and in all. Further ones are sent at once, and say to come back later.
const MOST_WAITING_OF_ADDRESS: usize = 16;
const MOST_WAITING: usize = 512;

/// The failed attempts of all addresses. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Failures>,
    waiting: usize,
    total: u64,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    waiting: usize,
}

/// What is to be done with a failed attempt.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is refused after this time. The place is held until then.
    After(Duration, Waiting),
    /// There are too many attempts: it is refused at once.
    TooMany,
}

/// The place of a refusal that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    ip: IpAddr,
    attempts: Attempts,
}

impl Attempts {
    /// Notes a failed attempt of `ip`.
    pub(super) fn failed(&self, ip: IpAddr, now: Instant) -> Refusal {
        let mut table = self.table();
        table.total = table.total.saturating_add(1);
        table.make_room(ip, now);
        let all_waiting = table.waiting;
        let failures = table.addresses.entry(ip).or_insert(Failures {
            count: 0,
            last: now,
            waiting: 0,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if failures.waiting >= MOST_WAITING_OF_ADDRESS || all_waiting >= MOST_WAITING {
            return Refusal::TooMany;
        }
        failures.waiting += 1;
        let delay = delay(failures.count);
        table.waiting += 1;
        let attempts = self.clone();
        Refusal::After(delay, Waiting { ip, attempts })
    }

    /// How many attempts have failed since the start, of all addresses.
    pub(super) fn total(&self) -> u64 {
        self.table().total
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self, ip: IpAddr, now: Instant) {
        if self.addresses.contains_key(&ip) || self.addresses.len() < MOST_ADDRESSES {
            let is_forgotten = |failures: &mut Failures| {
                failures.waiting == 0 && now.duration_since(failures.last) >= FORGET_AFTER
            };
            if self.addresses.get_mut(&ip).is_some_and(is_forgotten) {
                self.addresses.remove(&ip);
            }
            return;
        }
        let entries = self.addresses.iter();
        let quietest = entries.min_by_key(|(_, failures)| (failures.waiting > 0, failures.last));
        if let Some(ip) = quietest.map(|(ip, _)| *ip) {
            self.addresses.remove(&ip);
        }
    }
}

/// How long the refusal of the attempt with this number waits.
fn delay(count: u32) -> Duration {
    match count.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_DELAY
            .saturating_mul(1 << doublings.min(10))
            .min(LONGEST_DELAY),
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut table = self.attempts.table();
        table.waiting = table.waiting.saturating_sub(1);
        if let Some(failures) = table.addresses.get_mut(&self.ip) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn waits(refusal: &Refusal) -> Option<Duration> {
        match refusal {
            Refusal::After(delay, _) => Some(*delay),
            Refusal::TooMany => None,
        }
    }

    #[test]
    fn each_attempt_of_an_address_is_slower_and_others_are_not() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let millis = |n| Some(Duration::from_millis(n));
        for expected in [0, 0, 0, 100, 200, 400, 800, 1600, 3000, 3000] {
            assert_eq!(waits(&attempts.failed(ip(1), now)), millis(expected));
        }
        assert_eq!(waits(&attempts.failed(ip(2), now)), millis(0));
        let later = now + FORGET_AFTER;
        assert_eq!(waits(&attempts.failed(ip(1), later)), millis(0));
        assert_eq!(attempts.total(), 12);
    }

    #[test]
    fn only_so_many_refusals_wait() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let mut waiting: Vec<_> = (0..16).map(|_| attempts.failed(ip(1), now)).collect();
        assert_eq!(waits(&attempts.failed(ip(1), now)), None);
        assert!(waits(&attempts.failed(ip(2), now)).is_some());
        waiting.pop();
        assert!(waits(&attempts.failed(ip(1), now)).is_some());
        let others = (10..).map(|n| attempts.failed(ip(n), now));
        let all: Vec<_> = others
            .take_while(|refusal| waits(refusal).is_some())
            .collect();
        assert_eq!(waiting.len() + all.len(), MOST_WAITING);
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for n in 0..3000 {
            drop(attempts.failed(ip(n), now + Duration::from_millis(n.into())));
        }
        let table = attempts.table();
        assert_eq!(table.addresses.len(), MOST_ADDRESSES);
        assert!(table.addresses.contains_key(&ip(2999)));
        assert_eq!(table.waiting, 0);
    }
}
