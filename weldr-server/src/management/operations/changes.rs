//! What changed between two snapshots, as `WatchServers` tells it. Pure.

use std::{cmp::Ordering, sync::Arc, time::SystemTime};

use weldr_proto::v1::server_change::Kind;

use crate::snapshot::{PoolView, ServerView};

/// One change of one server.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// The server after it; when it is gone, its last state.
    pub(super) server: Arc<ServerView>,
    /// When, where the snapshots know it; when they were compared otherwise.
    pub(super) at: SystemTime,
}

/// The changes that make `after` of `before`, ordered by address. Costs little for what did not change:
/// snapshots share the views of those servers.
pub(super) fn changes(before: &PoolView, after: &PoolView, now: SystemTime) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |kind, server: &Arc<ServerView>, at| {
        let server = Arc::clone(server);
        changes.push(Change { kind, server, at });
    };
    let (mut old, mut new) = (
        before.servers.iter().peekable(),
        after.servers.iter().peekable(),
    );
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.desired.address.cmp(&new.desired.address),
        };
        let gone = old.next_if(|_| order.is_le());
        let come = new.next_if(|_| order.is_ge());
        match (gone, come) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
            (Some(old), Some(new)) if old.desired.id == new.desired.id => {
                if settings_differ(old, new) {
                    add(Kind::Updated, new, now);
                }
                let state_differs = old.health.state != new.health.state;
                if state_differs {
                    add(Kind::Health, new, new.health.since);
                } else if old.health.reason != new.health.reason {
                    add(Kind::Health, new, now);
                }
            }
            (old, new) => {
                if let Some(old) = old {
                    add(Kind::Removed, old, now);
                }
                if let Some(new) = new {
                    add(Kind::Added, new, now);
                }
            }
        }
    }
}

/// The check that is made may change without the server: with the pool's.
fn settings_differ(old: &ServerView, new: &ServerView) -> bool {
    old.desired != new.desired || old.check != new.check
}
