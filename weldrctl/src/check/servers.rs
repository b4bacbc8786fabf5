//! Servers that are healthy at one node and unhealthy at another.

use weldr_proto::v1::{HealthState, ListHealthResponse, ServerHealth};

use super::Finding;

pub(super) fn findings(health: &ListHealthResponse) -> Vec<Finding> {
    health.servers.iter().filter_map(differs).collect()
}

fn differs(server: &ServerHealth) -> Option<Finding> {
    let nodes_with = |state| {
        let nodes = server.nodes.iter().filter(move |node| {
            let health = node.health.as_ref();
            health.is_some_and(|health| health.state() == state)
        });
        nodes.collect::<Vec<_>>()
    };
    let unhealthy = nodes_with(HealthState::Unhealthy);
    let healthy = nodes_with(HealthState::Healthy);
    let first = unhealthy.first()?;
    if healthy.is_empty() {
        return None;
    }
    let names = |nodes: &[&weldr_proto::v1::NodeHealth]| {
        let names: Vec<_> = nodes.iter().map(|node| node.node.as_str()).collect();
        names.join(", ")
    };
    let why = first.health.as_ref().map(|health| &health.description);
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let text = format!(
        "the server {} is healthy at {} and unhealthy at {}{why}: look at the network between the latter and the server",
        server.address,
        names(&healthy),
        names(&unhealthy)
    );
    Some(Finding::warning("server_health", text))
}
