//! Views of pools and servers for tests.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::model::{
    AdminState, Health, HealthCheck, HealthState, PoolName, PoolSettings, Reason, Removal,
    Revision, Server, ServerId, ServerSpec, Timestamp, Weight,
};

use super::{LivePool, LiveServer, PoolView, ServerView};

/// The default pool without a server.
pub(crate) fn default_pool() -> PoolView {
    pool_named("default")
}

/// A pool without a server, for two workers.
pub(crate) fn pool_named(name: &str) -> PoolView {
    let live = LivePool::new(name.parse::<PoolName>().unwrap(), 2);
    PoolView::new(live, PoolSettings::default(), Revision(1), vec![])
}

/// Adds `server` or replaces the one at its address.
pub(crate) fn change_server(pool: &mut PoolView, server: Arc<ServerView>) {
    pool.put(server);
    pool.settle();
}

/// Adds a server that takes requests, or puts it in the place of the one at its address.
pub(crate) fn add_healthy(pool: &mut PoolView, id: u64, port: u16) -> Arc<ServerView> {
    let spec = ServerSpec::default();
    let server = view(&pool.live, id, port, HealthState::Healthy, spec);
    change_server(pool, Arc::clone(&server));
    server
}

/// A server whose checks made it `state`, which operators want as `admin` and `weight` say.
pub(crate) fn weighted(
    port: u16,
    state: HealthState,
    admin: AdminState,
    weight: u32,
) -> Arc<ServerView> {
    let spec = ServerSpec {
        weight: Weight::new(weight).unwrap(),
        admin,
        ..ServerSpec::default()
    };
    let pool = LivePool::new(PoolName::default(), 1);
    view(&pool, port.into(), port, state, spec)
}

fn view(
    pool: &Arc<LivePool>,
    id: u64,
    port: u16,
    state: HealthState,
    spec: ServerSpec,
) -> Arc<ServerView> {
    let (id, address) = (ServerId(id), SocketAddr::from(([127, 0, 0, 1], port)));
    let desired = Arc::new(Server {
        id,
        address,
        spec,
        removal: None,
        added_at: Timestamp(0),
        intent_since: Timestamp(0),
        revision: Revision(1),
    });
    let observed = Health {
        state,
        reason: Reason::CheckPending,
        description: String::new(),
        since: SystemTime::UNIX_EPOCH,
    };
    Arc::new(ServerView {
        health: Health::of(&desired, &observed),
        keeps_sessions: Health::keeps_sessions(&desired, &observed),
        check: HealthCheck::default(),
        live: LiveServer::new(Arc::clone(pool), id, address).0,
        desired,
    })
}

/// The server, whose removal has begun.
pub(crate) fn leaving(server: &ServerView) -> Arc<ServerView> {
    let mut desired = Server::clone(&server.desired);
    desired.removal = Some(Removal {
        drain_deadline: Duration::from_secs(1),
        deadline: Timestamp(1),
    });
    let health = Health::of(&desired, &server.health);
    let desired = Arc::new(desired);
    Arc::new(ServerView {
        desired,
        health,
        ..server.clone()
    })
}
