//! A pool as the data path sees it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rpds::RedBlackTreeMapSync;

use crate::{
    clock::dates,
    model::{
        Balancing, Health, HealthCheck, HealthState, PoolName, PoolSettings, Reason, Revision,
        Server,
    },
    stickiness::StickyPool,
    tls::ClientTls,
};

use super::{Candidates, LivePool, LiveServer};

/// A server: what is wanted of it, what is seen of it, and what lives on.
#[derive(Debug, Clone)]
pub struct ServerView {
    /// What operators want.
    pub desired: Arc<Server>,
    /// Its state as it is told: see [`Health::of`].
    pub health: Health,
    /// The check that is made: the pool's with the server's overrides.
    pub check: HealthCheck,
    /// Whether requests of sessions that it has may go to it, also when others may not.
    pub keeps_sessions: bool,
    /// What it accumulates.
    pub live: Arc<LiveServer>,
}

impl ServerView {
    /// Whether it may be chosen for a request, healthy or not: operators want that, and it is not this node itself.
    fn may_take_requests(&self) -> bool {
        self.desired.wants_requests() && self.health.reason != Reason::OwnAddress
    }

    /// How long running requests may still go on, as this node measures it; `None` when the server is not being removed.
    /// See [`LiveServer::drain_left`].
    pub fn drain_left(&self) -> Option<Duration> {
        self.desired
            .removal
            .map(|removal| self.live.drain_left(removal))
    }

    /// The date since which it is in its state, by the clock of this machine as it is set now.
    pub fn since(&self) -> SystemTime {
        match self.health.state {
            HealthState::Initial | HealthState::Healthy | HealthState::Unhealthy => {
                dates::shown(self.health.since)
            }
            // The date of a command: another node may have made it, before this process was there.
            HealthState::Draining | HealthState::Unused => self.health.since,
        }
    }
}

/// How a pool speaks to its servers.
#[derive(Debug, Clone, Default)]
pub enum PoolSecurity {
    /// In plain HTTP.
    #[default]
    Plain,
    /// Inside TLS.
    Tls(Arc<ClientTls>),
    /// Inside TLS, which this node cannot speak to it: no connection is opened. The text says why.
    Unusable(Arc<str>),
}

/// By identity: of two that are not the same value, one may have another certificate.
impl PartialEq for PoolSecurity {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (Self::Tls(one), Self::Tls(other)) => Arc::ptr_eq(one, other),
            (Self::Unusable(one), Self::Unusable(other)) => one == other,
            (Self::Plain | Self::Tls(_) | Self::Unusable(_), _) => false,
        }
    }
}

impl Eq for PoolSecurity {}

/// A pool at one moment.
///
/// Versions share what they have in common: a change of one server among ten thousand costs a path in each
/// of its trees, and so does giving the version before up.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// What it keeps while it lives.
    pub live: Arc<LivePool>,
    /// Its policy.
    pub settings: PoolSettings,
    /// The revision of the last change of the policy.
    pub settings_revision: Revision,
    /// How it speaks to its servers.
    pub security: PoolSecurity,
    /// Counts the changes of the policy and of how it speaks, so that a worker sees at once that there was none.
    pub changes: u64,
    /// What makes its requests stick to servers; `None`: they do not.
    pub sticky: Option<Arc<StickyPool>>,
    /// Whether something of a request decides which server gets it, so that most requests need not be looked at.
    pub looks_at_requests: bool,
    /// All its servers.
    pub servers: Servers,
    /// Those that are healthy and wanted.
    healthy: Candidates,
    /// Those that are wanted, healthy or not.
    ready: Candidates,
    /// Those whose removal has begun: few, and looked for often.
    leaving: Servers,
}

/// The servers of a pool, ordered by address.
#[derive(Debug, Clone)]
pub struct Servers(RedBlackTreeMapSync<SocketAddr, Arc<ServerView>>);

impl Servers {
    fn none() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }

    fn set(&mut self, address: SocketAddr, server: Option<Arc<ServerView>>) {
        match server {
            Some(server) => self.0.insert_mut(address, server),
            None => _ = self.0.remove_mut(&address),
        }
    }

    /// The servers, ordered by address.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServerView>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why no server can take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The pool has no server.
    #[error("the pool has no server")]
    Empty,
    /// There is no such pool: it was removed while a rule names it.
    #[error("the pool of the rule does not exist")]
    NoPool,
    /// Every server drains, is in maintenance, has weight 0 or is at an address of this node.
    #[error(
        "no server of the pool is ready: all drain, are in maintenance, have weight 0 or are this node itself"
    )]
    NoneReady,
    /// None is healthy, and the pool does not fail open.
    #[error("no server of the pool is healthy")]
    NoneHealthy,
}

impl PoolView {
    /// A pool of `servers`.
    pub fn new(
        live: Arc<LivePool>,
        settings: PoolSettings,
        settings_revision: Revision,
        servers: Vec<Arc<ServerView>>,
    ) -> Self {
        let mut pool = Self {
            sticky: None,
            looks_at_requests: false,
            live,
            settings_revision,
            security: PoolSecurity::default(),
            changes: 0,
            servers: Servers::none(),
            leaving: Servers::none(),
            healthy: Candidates::new(settings.balancing),
            ready: Candidates::new(settings.balancing),
            settings,
        };
        pool.look_at_requests();
        for server in servers {
            pool.put(server);
        }
        pool.settle();
        pool
    }

    /// Its name.
    pub fn name(&self) -> &PoolName {
        &self.live.name
    }

    /// Gives the pool another policy.
    pub fn set_settings(&mut self, settings: PoolSettings, revision: Revision) {
        if settings.balancing != self.settings.balancing {
            self.healthy.set_balancing(settings.balancing);
            self.ready.set_balancing(settings.balancing);
        }
        self.settings = settings;
        self.settings_revision = revision;
        self.look_at_requests();
        self.changes += 1;
    }

    /// Follows what the policy says about requests.
    fn look_at_requests(&mut self) {
        let sticky = StickyPool::new(self.name(), &self.settings.stickiness);
        if sticky.as_ref() != self.sticky.as_deref() {
            self.sticky = sticky.map(Arc::new);
        }
        let by_hash = self.settings.balancing == Balancing::ConsistentHash;
        self.looks_at_requests = by_hash || self.sticky.is_some();
    }

    /// Has the pool speak to its servers in another way. Returns whether it did not before.
    pub fn set_security(&mut self, security: PoolSecurity) -> bool {
        let is_other = security != self.security;
        if is_other {
            self.security = security;
            self.changes += 1;
        }
        is_other
    }

    /// Adds a server, or replaces the one at its address.
    pub fn put(&mut self, server: Arc<ServerView>) {
        let address = server.desired.address;
        let is_healthy = server.health.state == HealthState::Healthy;
        self.healthy.set(address, is_healthy.then_some(&server));
        let may_take_requests = server.may_take_requests();
        self.ready
            .set(address, may_take_requests.then_some(&server));
        let leaves = server.desired.removal.is_some();
        self.leaving
            .set(address, leaves.then(|| Arc::clone(&server)));
        self.servers.set(address, Some(server));
    }

    /// Takes the server at `address` out.
    pub fn take(&mut self, address: SocketAddr) {
        self.healthy.set(address, None);
        self.ready.set(address, None);
        self.leaving.set(address, None);
        self.servers.set(address, None);
    }

    /// To be called after changes and before it is published: what is made once for many changes.
    pub fn settle(&mut self) {
        self.healthy.settle();
        self.ready.settle();
        self.live.set_chosen_from(self.healthy.len());
    }

    /// The servers that new requests may go to; at least one.
    pub fn candidates(&self) -> Result<&Candidates, Unavailable> {
        if !self.healthy.is_empty() {
            Ok(&self.healthy)
        } else if self.servers.is_empty() {
            Err(Unavailable::Empty)
        } else if self.ready.is_empty() {
            Err(Unavailable::NoneReady)
        } else if self.settings.fail_open {
            Ok(&self.ready)
        } else {
            Err(Unavailable::NoneHealthy)
        }
    }

    /// The server at `address`, if a session that it has stays there: not if it is unhealthy, in maintenance, or had its time to
    /// let sessions run out. If none is healthy and the pool fails open, a session stays where any request may go.
    pub fn keeping_sessions(&self, address: SocketAddr) -> Option<&Arc<ServerView>> {
        let server = self.server(address)?;
        let fails_open = || self.healthy.is_empty() && self.settings.fail_open;
        let stays = server.keeps_sessions || (fails_open() && server.may_take_requests());
        stays.then_some(server)
    }

    /// The servers whose removal has begun.
    pub fn leaving(&self) -> &Servers {
        &self.leaving
    }

    /// The server at `address`.
    pub fn server(&self, address: SocketAddr) -> Option<&Arc<ServerView>> {
        self.servers.0.get(&address)
    }

    /// How many servers are in `state`.
    pub fn count(&self, state: HealthState) -> usize {
        self.servers
            .iter()
            .filter(|server| server.health.state == state)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::test_views::{leaving, weighted as view},
        *,
    };
    use crate::{
        balancer::{Schedule, round_robin},
        model::{AdminState, ServerId},
    };

    fn live() -> Arc<LivePool> {
        LivePool::new(PoolName::default(), 1)
    }

    fn pool(fail_open: bool, servers: Vec<Arc<ServerView>>) -> PoolView {
        let settings = PoolSettings {
            fail_open,
            ..PoolSettings::default()
        };
        PoolView::new(live(), settings, Revision(1), servers)
    }

    fn ports(pool: &PoolView) -> Vec<u16> {
        let candidates = pool.candidates().unwrap();
        let ports = candidates
            .iter()
            .map(|candidate| candidate.server.desired.address.port());
        let mut ports: Vec<_> = ports.collect();
        ports.sort_unstable();
        ports
    }

    use AdminState::{Drain, Maintenance, Ready};
    use HealthState::{Healthy, Initial, Unhealthy};

    #[test]
    fn only_healthy_servers_that_are_ready_take_requests() {
        let servers = vec![
            view(1, Healthy, Ready, 1),
            view(2, Healthy, Drain, 1),
            view(3, Unhealthy, Ready, 1),
            view(4, Healthy, Maintenance, 1),
            view(5, Initial, Ready, 1),
            view(6, Healthy, Ready, 0),
            view(7, Healthy, Ready, 9),
        ];
        assert_eq!(ports(&pool(true, servers)), [1, 7]);
    }

    #[test]
    fn a_pool_without_a_healthy_server_fails_open_or_says_so() {
        let servers = vec![
            view(1, Unhealthy, Ready, 1),
            view(2, Initial, Ready, 1),
            view(3, Healthy, Drain, 1),
        ];
        let open = pool(true, servers.clone());
        assert_eq!(ports(&open), [1, 2]);
        assert_eq!(
            pool(false, servers).candidates().unwrap_err(),
            Unavailable::NoneHealthy
        );
    }

    #[test]
    fn a_pool_does_not_fail_open_to_this_node_itself() {
        let mut own = ServerView::clone(&view(1, Unhealthy, Ready, 1));
        own.health = Health::own_address(SystemTime::UNIX_EPOCH);
        let alone = pool(true, vec![Arc::new(own.clone())]);
        assert_eq!(alone.candidates().unwrap_err(), Unavailable::NoneReady);
        let beside = pool(true, vec![Arc::new(own), view(2, Unhealthy, Ready, 1)]);
        assert_eq!(ports(&beside), [2]);
    }

    #[test]
    fn sessions_stay_with_servers_that_drain_and_not_with_unhealthy_ones() {
        let servers = vec![
            view(1, Healthy, Ready, 1),
            view(2, Healthy, Drain, 1),
            view(3, Healthy, Ready, 0),
            leaving(&view(4, Healthy, Ready, 1)),
            view(5, Unhealthy, Ready, 1),
            view(6, Unhealthy, Drain, 1),
            view(7, Healthy, Maintenance, 1),
            view(8, Initial, Ready, 1),
        ];
        let keeping = |pool: &PoolView| -> Vec<u16> {
            let keeps = |port: &u16| {
                let server = pool.keeping_sessions(([127, 0, 0, 1], *port).into());
                server.is_some()
            };
            (0..10).filter(keeps).collect()
        };
        assert_eq!(keeping(&pool(true, servers)), [1, 2, 3, 4, 8]);
        // None is healthy.
        let servers = || vec![view(5, Unhealthy, Ready, 1), view(6, Unhealthy, Drain, 1)];
        assert_eq!(keeping(&pool(true, servers())), [5]);
        assert_eq!(keeping(&pool(false, servers())), [0_u16; 0]);
    }

    #[test]
    fn nothing_to_fail_open_to() {
        assert_eq!(
            pool(true, vec![]).candidates().unwrap_err(),
            Unavailable::Empty
        );
        let drained = vec![view(1, Healthy, Drain, 1), view(2, Unhealthy, Ready, 0)];
        assert_eq!(
            pool(true, drained).candidates().unwrap_err(),
            Unavailable::NoneReady
        );
    }

    #[test]
    fn a_server_is_found_by_its_address() {
        let pool = pool(
            true,
            vec![view(1, Healthy, Ready, 1), view(5, Healthy, Ready, 1)],
        );
        let at = |port| {
            pool.server(([127, 0, 0, 1], port).into())
                .map(|view| view.desired.id)
        };
        assert_eq!((at(5), at(2)), (Some(ServerId(5)), None));
    }

    proptest! {
        #[test]
        fn a_pool_that_changed_is_the_pool_made_anew(
            changes in prop::collection::vec((0_u16..8, 0_usize..5, 0_u32..3, any::<bool>()), 0..60),
        ) {
            let weighted = PoolSettings { balancing: Balancing::RoundRobin, ..PoolSettings::default() };
            let mut changed = PoolView::new(live(), weighted.clone(), Revision(1), vec![]);
            let mut wanted = BTreeMap::new();
            for (port, state, weight, stays) in changes {
                if stays {
                    let server = match [Healthy, Unhealthy, Initial, Healthy].get(state) {
                        Some(&state) => view(port, state, Ready, weight),
                        None => leaving(&view(port, Healthy, Ready, weight)),
                    };
                    changed.put(Arc::clone(&server));
                    wanted.insert(port, server);
                } else {
                    changed.take(([127, 0, 0, 1], port).into());
                    wanted.remove(&port);
                }
                changed.settle();
                let anew = PoolView::new(
                    live(),
                    weighted.clone(),
                    Revision(1),
                    wanted.values().cloned().collect(),
                );
                prop_assert!(changed.servers.iter().zip(anew.servers.iter()).all(|(a, b)| Arc::ptr_eq(a, b)));
                prop_assert_eq!(changed.servers.len(), anew.servers.len());
                let leave = wanted.values().filter(|server| server.desired.removal.is_some());
                let ids = |server: &Arc<ServerView>| server.desired.id;
                let told: Vec<ServerId> = changed.leaving().iter().map(ids).collect();
                prop_assert_eq!(told, leave.map(ids).collect::<Vec<_>>());
                match (changed.candidates(), anew.candidates()) {
                    (Ok(_), Ok(_)) => prop_assert_eq!(shares(&changed), shares(&anew)),
                    (changed, anew) => prop_assert_eq!(changed.err(), anew.err()),
                }
            }
        }
    }

    #[test]
    fn weights_count_in_both_algorithms_that_give_turns() {
        for balancing in [Balancing::RoundRobin, Balancing::WeightedRoundRobin] {
            let settings = PoolSettings {
                balancing,
                ..PoolSettings::default()
            };
            let equal = vec![view(1, Healthy, Ready, 7), view(2, Healthy, Ready, 7)];
            let equal = PoolView::new(live(), settings.clone(), Revision(1), equal);
            assert!(equal.candidates().unwrap().schedule().is_none());
            let servers = vec![view(1, Healthy, Ready, 1), view(2, Healthy, Ready, 3)];
            let mut weighted = PoolView::new(live(), settings, Revision(1), servers);
            let shares = shares(&weighted);
            assert_eq!(shares[&2], 3 * shares[&1], "{balancing:?}");
            // With equal weights again, each has a turn.
            weighted.put(view(2, Healthy, Ready, 1));
            weighted.settle();
            assert!(weighted.candidates().unwrap().schedule().is_none());
        }
    }

    /// How many turns each candidate has in one round.
    fn shares(pool: &PoolView) -> BTreeMap<u16, usize> {
        let candidates = pool.candidates().unwrap();
        let mut shares = BTreeMap::new();
        // Equal weights need no schedule.
        let count = candidates.len() as u64;
        let round = candidates.schedule().map_or(count, Schedule::round);
        for position in 0..round {
            let place = match candidates.schedule() {
                Some(schedule) => schedule.pick(position),
                None => round_robin(candidates.len(), position),
            };
            let candidate = candidates.get(place.unwrap()).unwrap();
            *shares
                .entry(candidate.server.desired.address.port())
                .or_default() += 1;
        }
        shares
    }
}
