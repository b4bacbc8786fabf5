//! The listeners: what of them is in the next snapshot.

use std::sync::Arc;

use crate::{
    model::{DesiredState, ListenerName},
    snapshot::{ListenerView, ListenerViews, LiveListener},
};

use super::{challenges::Challenges, tls::TlsMaterial};

/// The listeners, as they were followed last.
#[derive(Debug)]
pub(super) struct TrackedListeners {
    workers: usize,
    views: ListenerViews,
    challenges: Challenges,
}

impl TrackedListeners {
    /// The default listener, as it is before the first state is followed.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            views: ListenerViews::default_listener(workers),
            challenges: Challenges::default(),
        }
    }

    /// Applies the listeners of `state`. Those that did not change are the same values as before. Returns whether any did.
    pub(super) fn follow(&mut self, state: &DesiredState, tls: &mut TlsMaterial) -> bool {
        let changes = self.views.changes();
        self.views.set_removed(state.removed_listeners.clone());
        let desired = &state.listeners;
        let is_gone = |name: &&ListenerName| !desired.contains_key(*name);
        let names = self.views.iter().map(|view| view.name());
        let gone: Vec<ListenerName> = names.filter(is_gone).cloned().collect();
        for name in gone {
            self.views.take(&name);
        }
        let challenges_changed = self.challenges.follow(state);
        for (name, desired) in desired {
            let secured = tls.of_listener(state, name, &desired.spec);
            if let Some(secured) = &secured {
                secured.set_challenges(self.challenges.tls.clone());
            }
            let view = match self.views.get(name) {
                Some(view) if Arc::ptr_eq(&view.desired, desired) => {
                    if !challenges_changed
                        && view.tls.as_ref().map(Arc::as_ptr) == secured.as_ref().map(Arc::as_ptr)
                    {
                        continue;
                    }
                    view.changed_to(Arc::clone(desired))
                }
                Some(view) => view.changed_to(Arc::clone(desired)),
                None => {
                    let live = LiveListener::new(name.clone(), self.workers);
                    ListenerView::new(live, Arc::clone(desired))
                }
            };
            let http = self.challenges.http.clone();
            self.views.put(view.with_tls(secured).with_challenges(http));
        }
        self.views.changes() != changes
    }

    /// The listeners for the next snapshot.
    pub(super) fn views(&self) -> &ListenerViews {
        &self.views
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Listener, ListenerSpec, PoolSettings, Revision};

    use super::*;

    #[test]
    fn a_listener_that_did_not_change_is_the_same_value() {
        let mut state = DesiredState::new(PoolSettings::default());
        let web: ListenerName = "web".parse().unwrap();
        let listener = |revision| {
            let spec = ListenerSpec {
                address: Some(([127, 0, 0, 1], 80).into()),
                ..ListenerSpec::default()
            };
            Arc::new(Listener::new(spec, Revision(revision)))
        };
        state.listeners.insert_mut(web.clone(), listener(1));
        let mut tracked = TrackedListeners::new(1);
        let mut tls = TlsMaterial::without_certificates();
        assert!(tracked.follow(&state, &mut tls));
        let first = tracked.views().clone();
        assert!(!tracked.follow(&state, &mut tls));
        assert_eq!(tracked.views().changes(), first.changes());
        state.listeners.insert_mut(web.clone(), listener(2));
        assert!(tracked.follow(&state, &mut tls));
        let view =
            |views: &ListenerViews, name: &ListenerName| Arc::clone(views.get(name).unwrap());
        let default = ListenerName::default();
        assert!(Arc::ptr_eq(
            &view(&first, &default),
            &view(tracked.views(), &default)
        ));
        let (before, after) = (view(&first, &web), view(tracked.views(), &web));
        assert!(!Arc::ptr_eq(&before, &after) && Arc::ptr_eq(&before.live, &after.live));
        state.listeners.remove_mut(&web);
        assert!(tracked.follow(&state, &mut tls));
        assert!(tracked.views().get(&web).is_none());
    }
}
