//! What this node tells other nodes of the servers.

use std::sync::Arc;

use weldr_proto::raft::v1::ServerReport;

use crate::{
    cluster::Reporter,
    model::Timestamp,
    snapshot::{ServerView, Snapshots},
};

/// Gives this node's view of the servers to other nodes.
pub(super) fn reporter(snapshots: Snapshots) -> Reporter {
    Reporter(Arc::new(move || {
        let snapshot = snapshots.current();
        let servers = snapshot.pools.iter().flat_map(|pool| pool.servers.iter());
        let report = |view: &Arc<ServerView>| ServerReport {
            pool: view.live.pool.name.to_string(),
            address: view.desired.address.to_string(),
            id: view.desired.id.0,
            state: view.health.state.as_str().to_owned(),
            reason: view.health.reason.as_str().to_owned(),
            description: view.health.description.clone(),
            since: Timestamp::from(view.since()).0,
            in_flight: view.live.in_flight(),
        };
        servers.map(report).collect()
    }))
}
