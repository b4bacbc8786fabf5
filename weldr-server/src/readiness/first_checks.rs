//! Whether the servers of a node that has just started were checked. Pure; the time is given.

use std::time::{Duration, Instant};

use crate::{
    model::{HealthState, Reason},
    snapshot::{Pools, ServerView},
};

/// How many checks run at once: see `health::prober`.
const AT_ONCE: usize = 1024;
/// What the checks may take beyond their timeouts.
const MARGIN: Duration = Duration::from_secs(2);

/// What is known of the first checks. Once they are in, servers that come later are not waited for: the node serves by the
/// others meanwhile, or had none before.
#[derive(Debug)]
pub(super) enum FirstChecks {
    /// Nobody has looked.
    Unknown,
    /// They are waited for until this moment.
    Awaited(Instant),
    /// They are in, or took longer than they may.
    Done,
}

impl FirstChecks {
    /// How many servers of all pools are still waited for.
    pub(super) fn pending(&mut self, pools: &Pools, now: Instant) -> usize {
        let until = match self {
            Self::Done => return 0,
            Self::Awaited(until) => *until,
            Self::Unknown => now + longest(pools),
        };
        let waits = pools.iter().filter(|pool| !pool.settings.fail_open);
        let pending = waits.flat_map(|pool| pool.servers.iter());
        let pending = pending.filter(|view| is_pending(view)).count();
        if pending == 0 || now >= until {
            *self = Self::Done;
            return 0;
        }
        *self = Self::Awaited(until);
        pending
    }

    /// Whether nothing is waited for any more.
    pub(super) fn are_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Whether the server is to receive requests, and no check of it has ended.
fn is_pending(view: &ServerView) -> bool {
    view.health.state == HealthState::Initial && view.health.reason == Reason::CheckPending
}

/// How long the first checks may take when all of them run into their timeouts. Those of all pools wait for one another.
fn longest(pools: &Pools) -> Duration {
    let servers = pools.iter().flat_map(|pool| pool.servers.iter());
    let timeouts = servers.map(|view| view.check.timeout);
    let count: usize = pools.iter().map(|pool| pool.servers.len()).sum();
    let batches = u32::try_from(count.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    MARGIN.saturating_add(timeouts.max().unwrap_or_default().saturating_mul(batches))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        model::{
            AdminState, Health, HealthCheck, PoolSettings, Revision, Server, ServerId, ServerSpec,
            Timestamp,
        },
        snapshot::{LivePool, LiveServer, PoolView},
    };

    fn view(port: u16, admin: AdminState, checked: bool) -> Arc<ServerView> {
        let (id, address) = (ServerId(port.into()), ([127, 0, 0, 1], port).into());
        let spec = ServerSpec {
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
        let mut observed = Health::initial(SystemTime::UNIX_EPOCH);
        if checked {
            // The first check failed, and one failure does not decide.
            observed.reason = Reason::ConnectionRefused;
        }
        Arc::new(ServerView {
            keeps_sessions: false,
            health: Health::of(&desired, &observed),
            check: HealthCheck::default(),
            live: LiveServer::new(live_pool("default"), id, address).0,
            desired,
        })
    }

    fn live_pool(name: &str) -> Arc<LivePool> {
        LivePool::new(name.parse().unwrap(), 1)
    }

    /// The default pool alone.
    fn pool(fail_open: bool, servers: Vec<Arc<ServerView>>) -> Pools {
        Pools::new(pool_named("default", fail_open, servers))
    }

    fn pool_named(name: &str, fail_open: bool, servers: Vec<Arc<ServerView>>) -> PoolView {
        let settings = PoolSettings {
            fail_open,
            ..PoolSettings::default()
        };
        PoolView::new(live_pool(name), settings, Revision(1), servers)
    }

    use AdminState::{Drain, Maintenance, Ready};

    #[test]
    fn servers_that_are_to_serve_are_waited_for_until_their_first_check_ends() {
        let now = Instant::now();
        let mut checks = FirstChecks::Unknown;
        let servers = |checked| {
            vec![
                view(1, Ready, checked),
                view(2, Drain, false),
                view(3, Maintenance, false),
                view(4, Ready, true),
            ]
        };
        assert_eq!(checks.pending(&pool(false, servers(false)), now), 1);
        assert!(!checks.are_done());
        assert_eq!(checks.pending(&pool(false, servers(true)), now), 0);
        assert!(checks.are_done());
        let later = pool(false, vec![view(5, Ready, false)]);
        assert_eq!(checks.pending(&later, now), 0, "it was added later");
    }

    #[test]
    fn the_servers_of_every_pool_are_waited_for() {
        let now = Instant::now();
        let mut checks = FirstChecks::Unknown;
        let mut pools = pool(true, vec![view(1, Ready, false)]);
        pools.put(pool_named("web", false, vec![view(1, Ready, false)]));
        pools.put(pool_named("api", false, vec![view(1, Ready, false)]));
        assert_eq!(
            checks.pending(&pools, now),
            2,
            "the default pool fails open"
        );
        pools.put(pool_named("web", false, vec![view(1, Ready, true)]));
        assert_eq!(checks.pending(&pools, now), 1);
        pools.take(&"api".parse().unwrap());
        assert_eq!(checks.pending(&pools, now), 0);
    }

    #[test]
    fn the_checks_of_all_pools_share_what_runs_at_once() {
        let many = |from: usize| {
            let ports = (from..from + AT_ONCE).map(|port| u16::try_from(port).unwrap());
            ports.map(|port| view(port, Ready, false)).collect()
        };
        let mut pools = pool(false, many(1));
        pools.put(pool_named("web", false, many(1)));
        let timeout = HealthCheck::default().timeout;
        assert_eq!(longest(&pools), 2 * timeout + MARGIN);
    }

    #[test]
    fn a_pool_that_is_empty_or_fails_open_waits_for_nothing() {
        for pool in [pool(false, vec![]), pool(true, vec![view(1, Ready, false)])] {
            let mut checks = FirstChecks::Unknown;
            assert_eq!(checks.pending(&pool, Instant::now()), 0);
            assert!(checks.are_done());
        }
    }

    #[test]
    fn a_check_is_waited_for_no_longer_than_its_timeout_allows() {
        let now = Instant::now();
        let pool = pool(false, vec![view(1, Ready, false)]);
        let timeout = HealthCheck::default().timeout;
        let mut checks = FirstChecks::Unknown;
        assert_eq!(checks.pending(&pool, now), 1);
        assert_eq!(checks.pending(&pool, now + timeout), 1);
        assert_eq!(checks.pending(&pool, now + timeout + MARGIN), 0);
        assert!(checks.are_done());
    }
}
