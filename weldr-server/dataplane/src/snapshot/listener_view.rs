//! The listeners as the data path sees them.

use std::{sync::Arc, time::Duration};

use rpds::RedBlackTreeMapSync;

use crate::{
    model::{Listener, ListenerName, ListenerSpec, RemovedListener, Revision},
    tls::ServerTls,
};

use super::{
    LiveListener,
    routes::{HttpChallenges, Router},
};

/// A listener at one moment: what is wanted of it, its rules compiled, and what lives on.
#[derive(Debug)]
pub struct ListenerView {
    /// What operators want.
    pub desired: Arc<Listener>,
    /// Its rules.
    pub router: Router,
    /// What it accumulates.
    pub live: Arc<LiveListener>,
    /// How it performs TLS handshakes; `None`: no address of it is for TLS.
    pub tls: Option<Arc<ServerTls>>,
}

impl ListenerView {
    /// A new listener.
    pub fn new(live: Arc<LiveListener>, desired: Arc<Listener>) -> Self {
        Self {
            router: Router::new(&desired, live.workers()),
            desired,
            live,
            tls: None,
        }
    }

    /// The same, with TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// The same, with challenges of ACME.
    #[must_use]
    pub fn with_challenges(mut self, challenges: Option<Arc<HttpChallenges>>) -> Self {
        self.router.set_challenges(challenges);
        self
    }

    /// The same listener, of which operators want something else. What did not change is shared.
    #[must_use]
    pub fn changed_to(&self, desired: Arc<Listener>) -> Self {
        let mut router = self.router.clone();
        if desired.spec.default_route != self.desired.spec.default_route {
            router.set_default(&desired.spec.default_route);
        }
        router.follow(&desired, self.live.workers());
        Self {
            desired,
            router,
            live: Arc::clone(&self.live),
            tls: self.tls.clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ListenerName {
        &self.live.name
    }
}

/// The listeners of a snapshot, ordered by name. The default one is always one of them.
///
/// Versions share what they have in common: a listener that did not change is the same [`ListenerView`] in the next
/// snapshot.
#[derive(Debug, Clone)]
pub struct ListenerViews {
    by_name: RedBlackTreeMapSync<ListenerName, Arc<ListenerView>>,
    /// Those that were removed last.
    removed: RedBlackTreeMapSync<ListenerName, RemovedListener>,
    /// Counts the changes, so that a worker sees at once that there was none.
    changes: u64,
}

impl ListenerViews {
    /// The default listener alone, as it is before the first change, for `workers` workers.
    pub fn default_listener(workers: usize) -> Self {
        let live = LiveListener::new(ListenerName::default(), workers);
        let desired = Listener::new(ListenerSpec::default(), Revision::default());
        Self::new(ListenerView::new(live, Arc::new(desired)))
    }

    /// This default listener alone.
    pub fn new(default: ListenerView) -> Self {
        debug_assert_eq!(*default.name(), ListenerName::default());
        let mut views = Self {
            by_name: RedBlackTreeMapSync::new_sync(),
            removed: RedBlackTreeMapSync::new_sync(),
            changes: 0,
        };
        views.put(default);
        views
    }

    /// Adds a listener, or replaces the one of its name.
    pub fn put(&mut self, view: ListenerView) {
        self.by_name.insert_mut(view.name().clone(), Arc::new(view));
        self.changes += 1;
    }

    /// Takes a listener out. The default one stays.
    pub fn take(&mut self, name: &ListenerName) {
        if *name != ListenerName::default() && self.by_name.remove_mut(name) {
            self.changes += 1;
        }
    }

    /// Notes the listeners that were removed last.
    pub fn set_removed(&mut self, removed: RedBlackTreeMapSync<ListenerName, RemovedListener>) {
        self.removed = removed;
    }

    /// How long running requests of a listener may go on that was removed; `None`: it was not removed, or long ago.
    pub fn drain_deadline(&self, name: &ListenerName) -> Option<Duration> {
        let removed = self.removed.get(name)?;
        Some(removed.drain_deadline)
    }

    /// The listener of that name.
    pub fn get(&self, name: &ListenerName) -> Option<&Arc<ListenerView>> {
        self.by_name.get(name)
    }

    /// The listeners, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ListenerView>> {
        self.by_name.values()
    }

    /// How many changes there were so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str) -> ListenerView {
        let live = LiveListener::new(name.parse().unwrap(), 1);
        let desired = Listener::new(ListenerSpec::default(), Revision(1));
        ListenerView::new(live, Arc::new(desired))
    }

    #[test]
    fn a_change_is_counted_and_shares_the_rest() {
        let before = ListenerViews::default_listener(1);
        let mut after = before.clone();
        after.put(view("web"));
        assert!(after.changes() > before.changes());
        let default = ListenerName::default();
        assert!(Arc::ptr_eq(
            before.get(&default).unwrap(),
            after.get(&default).unwrap()
        ));
        let changes = after.changes();
        after.take(&"none".parse().unwrap());
        after.take(&default);
        assert_eq!(after.changes(), changes);
        after.take(&"web".parse().unwrap());
        assert_eq!(after.iter().count(), 1);
        assert!(after.changes() > changes);
    }
}
