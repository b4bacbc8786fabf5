//! The servers that changed last.

use std::net::SocketAddr;

use rpds::ListSync;

use super::Revision;

/// The addresses of the servers that changed last, the newest first, so that a reader that follows a pool
/// of ten thousand servers need not compare them all.
///
/// It can be derived from the states, so two states that differ only in it are equal, and it is not stored.
#[derive(Debug, Clone, Default)]
pub struct RecentChanges {
    changes: ListSync<(Revision, SocketAddr)>,
    /// Every change after this one is listed.
    complete_after: Option<Revision>,
}

/// The minimum number of changes that are kept; the list grows to twice this number before it is cut.
const KEPT: usize = 512;

impl RecentChanges {
    /// Records that the server at `address` changed with `revision`, the newest revision.
    pub(super) fn record(&mut self, revision: Revision, address: SocketAddr) {
        let before = Revision(revision.0.saturating_sub(1));
        self.complete_after.get_or_insert(before);
        self.changes.push_front_mut((revision, address));
        if self.changes.len() > 2 * KEPT {
            let kept: Vec<_> = self.changes.iter().take(KEPT).copied().collect();
            self.complete_after = self.changes.iter().nth(KEPT).map(|(revision, _)| *revision);
            self.changes = kept
                .into_iter()
                .rev()
                .fold(ListSync::new_sync(), |mut list, change| {
                    list.push_front_mut(change);
                    list
                });
        }
    }

    /// The servers that changed after `revision`, possibly with duplicates; `None` when `revision` is too old.
    pub fn since(&self, revision: Revision) -> Option<impl Iterator<Item = SocketAddr>> {
        let known = self
            .complete_after
            .is_some_and(|complete_after| revision >= complete_after);
        let after = move |change: &&(Revision, SocketAddr)| change.0 > revision;
        known.then(|| {
            self.changes
                .iter()
                .take_while(after)
                .map(|(_, address)| *address)
        })
    }
}

impl PartialEq for RecentChanges {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u64) -> SocketAddr {
        let port = u16::try_from(number).unwrap();
        ([127, 0, 0, 1], port).into()
    }

    fn since(changes: &RecentChanges, revision: u64) -> Option<Vec<SocketAddr>> {
        changes.since(Revision(revision)).map(Iterator::collect)
    }

    #[test]
    fn only_later_changes_are_named() {
        let mut changes = RecentChanges::default();
        assert_eq!(since(&changes, 0), None, "nothing is known yet");
        changes.record(Revision(5), server(1));
        changes.record(Revision(7), server(2));
        assert_eq!(
            since(&changes, 3),
            None,
            "revision 4 may have changed another"
        );
        assert_eq!(since(&changes, 4), Some(vec![server(2), server(1)]));
        assert_eq!(since(&changes, 5), Some(vec![server(2)]));
        assert_eq!(since(&changes, 7), Some(vec![]));
    }

    #[test]
    fn old_changes_are_forgotten_and_not_hidden() {
        let mut changes = RecentChanges::default();
        let newest = 5 * KEPT as u64;
        for revision in 1..=newest {
            changes.record(Revision(revision), server(revision));
            assert!(changes.changes.len() <= 2 * KEPT);
        }
        assert_eq!(since(&changes, 0), None);
        let oldest_known = (0..newest)
            .find(|revision| since(&changes, *revision).is_some())
            .unwrap();
        assert!(newest - oldest_known >= KEPT as u64);
        let named = since(&changes, oldest_known).unwrap();
        assert_eq!(
            named.len() as u64,
            newest - oldest_known,
            "each change after it is named"
        );
    }
}
