//! How a worker follows the changes of a listener.

use std::{rc::Rc, sync::Arc};

use crate::{
    model::{Listener, ListenerName, ListenerSpec, Revision},
    proxy::served_listener::ServedListener,
    snapshot::{ListenerViews, Pools, Publisher, Snapshot, test_views::default_pool},
};

use super::worker;

fn snapshot(version: u64, listeners: &ListenerViews) -> Snapshot {
    Snapshot {
        version,
        revision: Revision(version),
        removals: 0,
        pools: Pools::new(default_pool()),
        listeners: listeners.clone(),
        session_keys: Arc::default(),
    }
}

#[test]
fn a_change_is_followed_that_comes_while_the_listener_is_taken_up() {
    let name = ListenerName::default();
    let mut listeners = ListenerViews::default_listener(1);
    let (publisher, snapshots) = Publisher::new(snapshot(0, &listeners), 1);
    let context = worker(&snapshots);
    let (view, changes) = context.listener_view(&name);
    let view = view.unwrap();
    let next = Listener::new(ListenerSpec::default(), Revision(1));
    listeners.put(view.changed_to(Arc::new(next)));
    publisher.publish(snapshot(1, &listeners));
    let served = ServedListener::new(Rc::clone(&context), (view, changes), false);
    assert_eq!(served.current().view.desired.spec_revision, Revision(1));
}
