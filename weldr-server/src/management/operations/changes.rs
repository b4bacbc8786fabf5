//! The differences between two snapshots, which `WatchServers` sends as events.

use std::{cmp::Ordering, sync::Arc, time::SystemTime};

use weldr_proto::v1::server_change::Kind;

use crate::snapshot::{PoolView, ServerView};

/// One event of one server.
#[derive(Debug)]
pub(super) struct ServerEvent {
    pub(super) kind: Kind,
    /// The server after the change; if it was removed, its last state.
    pub(super) server: Arc<ServerView>,
    /// The time of the change if the snapshots contain it, otherwise the time of the comparison.
    pub(super) at: SystemTime,
}

/// The events that lead from `before` to `after`, ordered by address. Servers that did not change cost little, because
/// the snapshots share their views.
pub(super) fn changes(before: &PoolView, after: &PoolView, now: SystemTime) -> Vec<ServerEvent> {
    let mut changes = Vec::new();
    let mut add = |kind, server: &Arc<ServerView>, at| {
        let server = Arc::clone(server);
        changes.push(ServerEvent { kind, server, at });
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
                    add(Kind::Health, new, new.since());
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

/// Also compares the check in effect, which changes with the check of the pool.
fn settings_differ(old: &ServerView, new: &ServerView) -> bool {
    old.desired != new.desired || old.check != new.check
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{
            Health, HealthCheck, HealthState, PoolName, PoolSettings, Reason, Revision, Server,
            ServerId, ServerSpec, Timestamp, Weight,
        },
        snapshot::{LivePool, LiveServer},
    };

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn live_pool() -> Arc<LivePool> {
        LivePool::new(PoolName::default(), 1)
    }

    fn view(port: u16, id: u64) -> ServerView {
        let address = ([127, 0, 0, 1], port).into();
        let id = ServerId(id);
        ServerView {
            keeps_sessions: false,
            desired: Arc::new(Server {
                id,
                address,
                spec: ServerSpec::default(),
                removal: None,
                added_at: Timestamp(0),
                intent_since: Timestamp(0),
                revision: Revision(id.0),
            }),
            health: Health::initial(NOW),
            check: HealthCheck::default(),
            live: LiveServer::new(live_pool(), id, address).0,
        }
    }

    fn pool(servers: impl IntoIterator<Item = ServerView>) -> PoolView {
        let servers = servers.into_iter().map(Arc::new).collect();
        let settings = PoolSettings::default();
        PoolView::new(live_pool(), settings, Revision(0), servers)
    }

    fn told(before: &PoolView, after: &PoolView) -> Vec<(Kind, u16, u64)> {
        changes(before, after, NOW)
            .into_iter()
            .map(|ServerEvent { kind, server, .. }| {
                (kind, server.desired.address.port(), server.desired.id.0)
            })
            .collect()
    }

    #[test]
    fn servers_that_come_and_go_are_told_in_order() {
        let before = pool([view(1, 1), view(3, 3), view(4, 4)]);
        let after = pool([view(2, 5), view(3, 3), view(4, 6), view(9, 7)]);
        assert_eq!(
            told(&before, &after),
            [
                (Kind::Removed, 1, 1),
                (Kind::Added, 2, 5),
                (Kind::Removed, 4, 4),
                (Kind::Added, 4, 6),
                (Kind::Added, 9, 7),
            ]
        );
        assert_eq!(told(&before, &before), []);
        assert_eq!(told(&pool([]), &pool([view(1, 1)])), [(Kind::Added, 1, 1)]);
        assert_eq!(
            told(&pool([view(1, 1)]), &pool([])),
            [(Kind::Removed, 1, 1)]
        );
    }

    #[test]
    fn settings_and_health_are_told_apart() {
        let mut heavier = view(1, 1);
        let mut desired = Server::clone(&heavier.desired);
        desired.spec.weight = Weight::new(5).unwrap();
        heavier.desired = Arc::new(desired);

        let mut checked_otherwise = view(2, 2);
        checked_otherwise.check.interval = Duration::from_secs(1);

        let since = NOW + Duration::from_secs(7);
        let mut well = view(3, 3);
        well.health = Health {
            state: HealthState::Healthy,
            reason: Reason::ChecksPassed,
            description: String::new(),
            since,
        };

        let mut failing = view(4, 4);
        failing.health.reason = Reason::Timeout;

        let mut still_failing = view(5, 5);
        still_failing.health.description = "2 checks failed".to_owned();

        let before = pool([view(1, 1), view(2, 2), view(3, 3), view(4, 4), view(5, 5)]);
        let after = pool([heavier, checked_otherwise, well, failing, still_failing]);
        assert_eq!(
            told(&before, &after),
            [
                (Kind::Updated, 1, 1),
                (Kind::Updated, 2, 2),
                (Kind::Health, 3, 3),
                (Kind::Health, 4, 4),
            ],
            "another description alone is no change"
        );
        let at: Vec<SystemTime> = changes(&before, &after, NOW)
            .into_iter()
            .map(|change| change.at)
            .collect();
        assert_eq!(at, [NOW, NOW, since, NOW], "a state knows since when it is");
    }
}
