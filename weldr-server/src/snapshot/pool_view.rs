//! A pool as the data path sees it.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    balancer::Schedule,
    model::{
        Balancing, Health, HealthCheck, HealthState, PoolName, PoolSettings, Revision, Server,
    },
};

use super::LiveServer;

/// A server: what is wanted of it, what is seen of it, and what lives on.
#[derive(Debug, Clone)]
pub struct ServerView {
    /// What operators want.
    pub desired: Arc<Server>,
    /// Its state as it is told: see [`Health::of`].
    pub health: Health,
    /// The check that is made: the pool's with the server's overrides.
    pub check: HealthCheck,
    /// What it accumulates.
    pub live: Arc<LiveServer>,
}

/// A pool at one moment.
#[derive(Debug)]
pub struct PoolView {
    /// Its name.
    pub name: PoolName,
    /// Its policy.
    pub settings: PoolSettings,
    /// The revision of the last change of the policy.
    pub settings_revision: Revision,
    /// All servers, ordered by address.
    pub servers: Vec<Arc<ServerView>>,
    candidates: Result<Candidates, Unavailable>,
}

/// The servers that new requests may go to; at least one.
#[derive(Debug)]
pub struct Candidates {
    servers: Box<[Arc<ServerView>]>,
    /// The turns by weight, when the pool balances so.
    pub schedule: Option<Schedule>,
    /// True when none is healthy and the pool fails open.
    pub failed_open: bool,
}

impl Candidates {
    /// The servers; never empty.
    pub fn servers(&self) -> &[Arc<ServerView>] {
        &self.servers
    }
}

/// Why no server can take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The pool has no server.
    #[error("the pool has no server")]
    Empty,
    /// Every server drains, is in maintenance or has weight 0.
    #[error("no server of the pool is ready: all drain, are in maintenance or have weight 0")]
    NoneReady,
    /// None is healthy, and the pool does not fail open.
    #[error("no server of the pool is healthy")]
    NoneHealthy,
}

impl PoolView {
    /// A pool of `servers`, which are ordered by address.
    pub fn new(
        name: PoolName,
        settings: PoolSettings,
        settings_revision: Revision,
        servers: Vec<Arc<ServerView>>,
    ) -> Self {
        let candidates = candidates(&settings, &servers);
        Self {
            name,
            settings,
            settings_revision,
            servers,
            candidates,
        }
    }

    /// The servers that new requests may go to.
    pub fn candidates(&self) -> Result<&Candidates, Unavailable> {
        self.candidates.as_ref().map_err(|unavailable| *unavailable)
    }

    /// The server at `address`.
    pub fn server(&self, address: SocketAddr) -> Option<&Arc<ServerView>> {
        let by_address = |view: &Arc<ServerView>| view.desired.address.cmp(&address);
        self.servers
            .binary_search_by(by_address)
            .ok()
            .map(|index| &self.servers[index])
    }

    /// How many servers are in `state`.
    pub fn count(&self, state: HealthState) -> usize {
        self.servers
            .iter()
            .filter(|view| view.health.state == state)
            .count()
    }
}

fn candidates(
    settings: &PoolSettings,
    servers: &[Arc<ServerView>],
) -> Result<Candidates, Unavailable> {
    if servers.is_empty() {
        return Err(Unavailable::Empty);
    }
    let take = |wanted: &dyn Fn(&ServerView) -> bool| -> Box<[Arc<ServerView>]> {
        servers
            .iter()
            .filter(|view| wanted(view))
            .cloned()
            .collect()
    };
    let mut failed_open = false;
    let mut chosen = take(&|view| view.health.state == HealthState::Healthy);
    if chosen.is_empty() {
        chosen = take(&|view| view.desired.wants_requests());
        if chosen.is_empty() {
            return Err(Unavailable::NoneReady);
        }
        if !settings.fail_open {
            return Err(Unavailable::NoneHealthy);
        }
        failed_open = true;
    }
    let weights = || chosen.iter().map(|view| view.desired.spec.weight.get());
    let schedule = match settings.balancing {
        Balancing::WeightedRoundRobin => Some(Schedule::new(weights())),
        Balancing::RoundRobin | Balancing::LeastRequests => None,
    };
    Ok(Candidates {
        servers: chosen,
        schedule,
        failed_open,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{AdminState, Reason, ServerId, ServerSpec, Timestamp, Weight};

    fn view(port: u16, state: HealthState, admin: AdminState, weight: u32) -> Arc<ServerView> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let id = ServerId(u64::from(port));
        let spec = ServerSpec {
            weight: Weight::new(weight).unwrap(),
            admin,
            ..ServerSpec::default()
        };
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
            check: HealthCheck::default(),
            live: LiveServer::new(id, address, 1).0,
            desired,
        })
    }

    fn pool(fail_open: bool, servers: Vec<Arc<ServerView>>) -> PoolView {
        let settings = PoolSettings {
            fail_open,
            ..PoolSettings::default()
        };
        PoolView::new(PoolName::default(), settings, Revision(1), servers)
    }

    fn ports(pool: &PoolView) -> Vec<u16> {
        let servers = pool.candidates().unwrap().servers();
        servers
            .iter()
            .map(|view| view.desired.address.port())
            .collect()
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
        assert!(open.candidates().unwrap().failed_open);
        assert_eq!(
            pool(false, servers).candidates().unwrap_err(),
            Unavailable::NoneHealthy
        );
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
}
