//! How the file descriptors of the process are divided.

use crate::{
    budget::{Budget, Demand},
    config::Config,
    health,
    model::DesiredState,
    shutdown,
};

/// Divides the file descriptors that the process may have.
pub(super) fn divide_descriptors(config: &Config) -> Budget {
    let budget = Budget::divide(shutdown::descriptor_limit(), demand(config));
    health::limit_checks(budget.checks);
    budget
}

fn demand(config: &Config) -> Demand {
    Demand {
        max_connections: config.limits.connections,
        workers: config.running_workers(),
        listen_addresses: config.listen.len()
            + config.listen_https.len()
            + config.listener_addresses.len(),
        // The default one is among them.
        most_listeners: DesiredState::MOST_LISTENERS - 1,
        has_cluster: config.cluster.is_some(),
    }
}

/// Warns if fewer client connections than `max_connections` can be accepted.
pub(super) fn warn_of_descriptors(config: &Config, budget: &Budget) {
    let demand = demand(config);
    if budget.limits_clients(demand) {
        tracing::warn!(
            max_connections = demand.max_connections,
            open_files = shutdown::descriptor_limit(),
            client_connections = budget.clients,
            server_connections = budget.servers,
            "the limit of open files is too low for max_connections: fewer client connections are accepted; raise the \
             limit (ulimit -n, LimitNOFILE) or lower --max-connections"
        );
    }
}
