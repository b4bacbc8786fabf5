//! Which members respond, and since when one does not. Pure; the time is given.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long a member does not respond until that is news.
const SILENT: Duration = Duration::from_secs(3);

/// The members that do not respond.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Contacts(HashMap<u64, Silence>);

#[derive(Debug)]
struct Silence {
    since: Instant,
    told: bool,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum ContactNews {
    /// It has not responded for this time.
    Silent(Duration),
    /// It responds again, after this time.
    Back(Duration),
}

impl Contacts {
    /// Forgets members for which `is_member` does not hold.
    pub(in crate::cluster) fn retain(&mut self, is_member: impl Fn(u64) -> bool) {
        self.0.retain(|id, _| is_member(*id));
    }

    /// Notes that a member responds, or does not, and returns what is new.
    pub(in crate::cluster) fn note(
        &mut self,
        id: u64,
        responds: bool,
        now: Instant,
    ) -> Option<ContactNews> {
        if responds {
            let silence = self.0.remove(&id).filter(|silence| silence.told)?;
            return Some(ContactNews::Back(now.duration_since(silence.since)));
        }
        let silence = self.0.entry(id).or_insert(Silence {
            since: now,
            told: false,
        });
        let lasted = now.duration_since(silence.since);
        if silence.told || lasted < SILENT {
            return None;
        }
        silence.told = true;
        Some(ContactNews::Silent(lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_and_its_end_once() {
        let (mut contacts, begun) = (Contacts::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(contacts.note(1, true, begun), None);
        assert_eq!(contacts.note(1, false, at(1)), None);
        assert_eq!(contacts.note(1, false, at(3)), None);
        let told = contacts.note(1, false, at(4));
        assert_eq!(told, Some(ContactNews::Silent(SILENT)));
        assert_eq!(contacts.note(1, false, at(9)), None);
        let back = contacts.note(1, true, at(11));
        assert_eq!(back, Some(ContactNews::Back(Duration::from_secs(10))));
        assert_eq!(contacts.note(1, true, at(12)), None);
    }

    #[test]
    fn a_short_silence_is_not_told() {
        let (mut contacts, begun) = (Contacts::default(), Instant::now());
        assert_eq!(contacts.note(1, false, begun), None);
        assert_eq!(contacts.note(1, true, begun + SILENT), None);
    }

    #[test]
    fn a_removed_member_is_forgotten() {
        let (mut contacts, begun) = (Contacts::default(), Instant::now());
        contacts.note(1, false, begun);
        contacts.note(1, false, begun + SILENT);
        contacts.retain(|_| false);
        assert_eq!(contacts.note(1, true, begun + SILENT), None);
    }
}
