//! How the file descriptors of the process are divided between its parts. Pure.
//!
//! A client connection needs a descriptor, and its request needs another one for the connection to the server. Neither
//! may take the descriptors of the management API, the cluster, health checks and files: an operator has to be able to
//! connect when the data path has all that it may have.

/// Descriptors of the process itself: standard streams, runtime, signals, storage, logs and the listeners that are not for clients. About 20
/// are open, and some files are opened for a moment.
const FIXED: usize = 24;
/// Descriptors of each worker besides its listeners: its runtime.
const PER_WORKER: usize = 4;
/// Each reserve is this fraction of all descriptors, within its bounds.
const RESERVE_FRACTION: usize = 16;
/// The fewest connections of clients, whatever the limit.
const MIN_CLIENTS: usize = 1;

/// What the process is configured to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The value of `max_connections`.
    pub max_connections: usize,
    /// The number of workers.
    pub workers: usize,
    /// The number of addresses on which each worker listens.
    pub listen_addresses: usize,
    /// How many listeners the cluster may have besides the default one.
    pub most_listeners: usize,
    /// Whether other nodes connect to this one.
    pub has_cluster: bool,
}

/// How many connections each part may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Connections of clients.
    pub clients: usize,
    /// Connections to all servers together, idle ones included; always more than `clients`.
    pub servers: usize,
    /// Connections to the management API.
    pub management: usize,
    /// Connections of other nodes; 0 without a cluster.
    pub cluster: usize,
    /// Health checks at the same time.
    pub checks: usize,
    /// Listeners that may be open besides the default one and those of `listen_addresses`; at least one.
    pub listeners: usize,
}

/// A listener has a socket, and holds the connection that it has accepted while that waits for a free place.
const PER_SOCKET: usize = 2;

impl Budget {
    /// Divides `limit` descriptors (`None`: any number).
    ///
    /// With very few descriptors, every part still gets what it needs to work at all, even if the sum exceeds `limit`.
    pub fn divide(limit: Option<u64>, demand: Demand) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.unwrap_or(usize::MAX);
        let share = limit / RESERVE_FRACTION;
        let management = share.clamp(6, 1024);
        let cluster = if demand.has_cluster {
            share.clamp(8, 256)
        } else {
            0
        };
        let checks = share.clamp(4, 1024);
        let sockets = demand.listen_addresses.saturating_mul(PER_SOCKET);
        let workers = demand.workers.saturating_mul(PER_WORKER + sockets);
        let per_listener = demand.workers.max(1).saturating_mul(PER_SOCKET);
        let listeners = (share / per_listener).min(demand.most_listeners).max(1);
        let added = listeners.saturating_mul(per_listener);
        let rest = [FIXED, workers, added, management, cluster, checks]
            .iter()
            .fold(limit, |rest, part| rest.saturating_sub(*part));
        let clients = demand
            .max_connections
            .min(rest.saturating_sub(1) / 2)
            .max(MIN_CLIENTS);
        Self {
            clients,
            servers: (rest - clients.min(rest)).max(clients + 1),
            management,
            cluster,
            checks,
            listeners,
        }
    }

    /// Whether fewer client connections are possible than the `max_connections` of `demand`.
    pub fn limits_clients(&self, demand: Demand) -> bool {
        self.clients < demand.max_connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        max_connections: 20_000,
        workers: 2,
        listen_addresses: 1,
        most_listeners: 255,
        has_cluster: false,
    };

    fn total(budget: Budget, demand: Demand) -> usize {
        let sockets = demand.listen_addresses + budget.listeners;
        let workers = demand.workers * (PER_WORKER + PER_SOCKET * sockets);
        FIXED
            + workers
            + budget.clients
            + budget.servers
            + budget.management
            + budget.cluster
            + budget.checks
    }

    #[test]
    fn the_configured_limit_holds_where_descriptors_suffice() {
        for limit in [None, Some(1 << 20), Some(65_536)] {
            let budget = Budget::divide(limit, DEMAND);
            assert_eq!(budget.clients, DEMAND.max_connections, "{limit:?}");
            assert!(budget.servers > budget.clients, "{limit:?}");
            assert!(!budget.limits_clients(DEMAND));
        }
    }

    #[test]
    fn few_descriptors_are_shared_between_clients_and_servers() {
        let budget = Budget::divide(Some(1024), DEMAND);
        assert!(budget.limits_clients(DEMAND));
        assert_eq!(budget.management, 64);
        assert!(budget.clients > 350, "{budget:?}");
        assert!(budget.servers > budget.clients, "{budget:?}");
    }

    #[test]
    fn no_more_is_given_out_than_there_is() {
        for limit in 64..5000_u64 {
            for has_cluster in [false, true] {
                for workers in [1, 2] {
                    let demand = Demand {
                        workers,
                        has_cluster,
                        ..DEMAND
                    };
                    let budget = Budget::divide(Some(limit), demand);
                    assert!(total(budget, demand) as u64 <= limit, "{limit}: {budget:?}");
                }
            }
        }
    }

    #[test]
    fn listeners_are_added_as_far_as_descriptors_suffice() {
        for (limit, workers, listeners) in [
            (None, 64, 255),
            (Some(65_536), 2, 255),
            (Some(65_536), 64, 32),
            (Some(1024), 2, 16),
            (Some(1024), 64, 1),
            (Some(0), 2, 1),
        ] {
            let demand = Demand { workers, ..DEMAND };
            let budget = Budget::divide(limit, demand);
            assert_eq!(budget.listeners, listeners, "{limit:?} {workers}");
        }
    }

    #[test]
    fn every_part_can_work_whatever_the_limit() {
        for limit in 0..64 {
            let budget = Budget::divide(Some(limit), DEMAND);
            assert!(budget.clients >= 1 && budget.servers >= 2, "{budget:?}");
            assert!(budget.management >= 6 && budget.checks >= 4, "{budget:?}");
        }
    }
}
