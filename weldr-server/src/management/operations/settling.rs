//! The first moments of a removal.

use std::{future, sync::Arc, time::Duration};

use tokio::time;

use crate::snapshot::{ServerView, Snapshot, Snapshots};

/// The time limit for learning whether requests run on the server.
const SETTLING_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until the removal of `server` has ended, or is known to wait for running requests or sessions, and returns the
/// newest snapshot. `begun` is a snapshot in which the server gets no new requests but those of its sessions.
///
/// So the caller who removes an idle server is told that it is removed, and not that it drains for another
/// millisecond. That nothing runs on the server is final only after every worker has seen `begun`. If neither
/// is known in time, the response says that the server is draining.
pub(super) async fn settled(
    snapshots: &Snapshots,
    begun: &Snapshot,
    server: &ServerView,
) -> Arc<Snapshot> {
    let over = snapshots.wait_until(|snapshot| !removes(snapshot, server));
    let pool = begun.pools.get(&server.live.pool.name);
    let has_sessions = server.keeps_sessions && pool.is_some_and(|pool| pool.sticky.is_some());
    let drains = async {
        snapshots.seen_by_all_workers(begun.version).await;
        if !has_sessions && server.live.in_flight() == 0 {
            future::pending::<()>().await;
        }
    };
    let known = async {
        tokio::select! {
            biased;
            _ = over => {}
            () = drains => {}
        }
    };
    let _ = time::timeout(SETTLING_TIMEOUT, known).await;
    snapshots.current()
}

/// Whether `server` is being removed in `snapshot`; not if it is removed already, or another call has kept it.
fn removes(snapshot: &Snapshot, server: &ServerView) -> bool {
    let there = snapshot.pools.view_of(&server.live);
    there.is_some_and(|view| view.desired.removal.is_some())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        model::{
            Health, HealthCheck, PoolName, PoolSettings, Removal, Revision, Server, ServerId,
            ServerSpec, Timestamp,
        },
        snapshot::{ListenerViews, LivePool, LiveServer, PoolView, Pools, Publisher},
    };

    fn live_pool() -> Arc<LivePool> {
        LivePool::new(PoolName::default(), 1)
    }

    fn draining() -> Arc<ServerView> {
        let (id, address) = (ServerId(1), ([127, 0, 0, 1], 80).into());
        let removal = Removal {
            drain_deadline: Duration::from_secs(9),
            deadline: Timestamp(9),
        };
        Arc::new(ServerView {
            keeps_sessions: false,
            desired: Arc::new(Server {
                id,
                address,
                spec: ServerSpec::default(),
                removal: Some(removal),
                added_at: Timestamp(0),
                intent_since: Timestamp(0),
                revision: Revision(2),
            }),
            health: Health::initial(SystemTime::UNIX_EPOCH),
            check: HealthCheck::default(),
            live: LiveServer::new(live_pool(), id, address).0,
        })
    }

    fn snapshot(version: u64, servers: &[&Arc<ServerView>]) -> Snapshot {
        let servers = servers.iter().map(|&view| Arc::clone(view)).collect();
        let settings = PoolSettings::default();
        let pool = PoolView::new(live_pool(), settings, Revision(0), servers);
        Snapshot {
            version,
            revision: Revision(version),
            removals: 0,
            pools: Pools::new(pool),
            listeners: ListenerViews::default_listener(1),
            session_keys: Arc::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_server_is_waited_for_until_it_is_gone() {
        let server = draining();
        let (publisher, snapshots) = Publisher::new(snapshot(1, &[&server]), 1);
        let begun = snapshots.current();
        let mut settling = Box::pin(settled(&snapshots, &begun, &server));
        assert!(settling.as_mut().now_or_never().is_none());
        publisher.publish(snapshot(2, &[&server]));
        assert!(
            settling.as_mut().now_or_never().is_none(),
            "it is still there"
        );
        publisher.publish(snapshot(3, &[]));
        assert_eq!(settling.now_or_never().unwrap().version, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_kept_is_not_waited_for() {
        let server = draining();
        let mut kept = Server::clone(&server.desired);
        kept.removal = None;
        let kept = Arc::new(ServerView {
            keeps_sessions: false,
            desired: Arc::new(kept),
            ..ServerView::clone(&server)
        });
        let (publisher, snapshots) = Publisher::new(snapshot(1, &[&server]), 1);
        let begun = snapshots.current();
        publisher.publish(snapshot(2, &[&kept]));
        let settled = settled(&snapshots, &begun, &server).now_or_never();
        assert_eq!(settled.unwrap().version, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_drains_once_each_worker_has_seen_it() {
        let server = draining();
        server.live.shards.of(0).in_flight.rise();
        let (publisher, snapshots) = Publisher::new(snapshot(1, &[]), 1);
        let mut worker = snapshots.reader(0);
        publisher.publish(snapshot(2, &[&server]));
        let begun = snapshots.current();
        let mut settling = Box::pin(settled(&snapshots, &begun, &server));
        assert!(
            settling.as_mut().now_or_never().is_none(),
            "what runs may have ended and begun again before the worker saw it"
        );
        worker.acknowledge();
        assert!(settling.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let server = draining();
        let (_publisher, snapshots) = Publisher::new(snapshot(1, &[&server]), 1);
        let (begun, start) = (snapshots.current(), Instant::now());
        settled(&snapshots, &begun, &server).await;
        assert_eq!(start.elapsed(), SETTLING_TIMEOUT);
    }
}
