//! Which keys a node asks the others for, and when. Pure: the caller reads the clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::model::SealingKeyId;

/// The pause after the first time that no node had the key. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the others are asked for a key: for about ten minutes. A node that has it and comes later says so by itself.
const MOST_ATTEMPTS: u32 = 26;
/// How many keys are searched at the same time.
const MOST_SEARCHES: usize = 256;

/// The keys that are missing.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<SealingKeyId, Search>);

#[derive(Debug, Clone, Copy)]
struct Search {
    /// How often nobody had the key.
    attempts: u32,
    /// Before this moment, nobody is asked again.
    next: Instant,
}

impl Searches {
    /// Notes that a key is needed, now. Returns whether the others are to be asked because of that.
    pub(super) fn begin(&mut self, id: SealingKeyId, now: Instant) -> bool {
        let has_room = self.0.len() < MOST_SEARCHES;
        let was_given_up = |search: &Search| search.attempts >= MOST_ATTEMPTS && search.next <= now;
        let fresh = Search {
            attempts: 0,
            next: now,
        };
        let begins = self.0.get(&id).map_or(has_room, was_given_up);
        if begins {
            self.0.insert(id, fresh);
        }
        begins
    }

    /// The keys to ask for now.
    pub(super) fn due(&self, now: Instant) -> Vec<SealingKeyId> {
        let due = self.open().filter(|(_, search)| search.next <= now);
        due.map(|(id, _)| *id).collect()
    }

    /// When the next key is due; `None` if none is searched.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open().map(|(_, search)| search.next).min()
    }

    /// Notes that no node had a key. Returns how often that was so.
    pub(super) fn failed(&mut self, id: SealingKeyId, now: Instant) -> u32 {
        let Some(search) = self.0.get_mut(&id) else {
            return 0;
        };
        // 2^16 quarters of a second are longer than the longest pause.
        let pause = FIRST_PAUSE * (1 << search.attempts.min(16));
        search.attempts += 1;
        search.next = now + pause.min(LONGEST_PAUSE);
        search.attempts
    }

    /// Ends the search for a key that is there.
    pub(super) fn end(&mut self, id: SealingKeyId) {
        self.0.remove(&id);
    }

    fn open(&self) -> impl Iterator<Item = (&SealingKeyId, &Search)> {
        let searches = self.0.iter();
        searches.filter(|(_, search)| search.attempts < MOST_ATTEMPTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> SealingKeyId {
        format!("{n:016x}").parse().unwrap()
    }

    #[test]
    fn a_key_is_searched_with_growing_pauses_and_not_for_ever() {
        let mut searches = Searches::default();
        let begun = Instant::now();
        let mut now = begun;
        assert_eq!(searches.next(), None);
        assert!(searches.begin(id(1), now));
        let mut pauses = Vec::new();
        while let Some(next) = searches.next() {
            assert!(!searches.begin(id(1), now), "it is being searched");
            pauses.push(next - now);
            now = next;
            assert_eq!(searches.due(now), [id(1)]);
            searches.failed(id(1), now);
            assert!(searches.due(now).is_empty());
        }
        let millis: Vec<u128> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis[..5], [0, 250, 500, 1000, 2000]);
        assert_eq!(millis.last(), Some(&30_000));
        let lasted = now - begun;
        assert!((Duration::from_mins(8)..Duration::from_mins(12)).contains(&lasted));
        // It begins again when the key is needed again, but not at once.
        assert!(!searches.begin(id(1), now));
        assert!(searches.begin(id(1), now + LONGEST_PAUSE));
        assert_eq!(searches.due(now + LONGEST_PAUSE), [id(1)]);
        searches.end(id(1));
        assert_eq!(searches.next(), None);
    }

    #[test]
    fn their_number_has_a_bound() {
        let mut searches = Searches::default();
        let now = Instant::now();
        for n in 0..=MOST_SEARCHES as u64 {
            let is_first = searches.begin(id(n), now);
            assert_eq!(is_first, n < MOST_SEARCHES as u64);
        }
        assert_eq!(searches.due(now).len(), MOST_SEARCHES);
    }
}
