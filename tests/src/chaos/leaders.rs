//! Who has been seen to lead, by the statuses of all nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time;
use weldr_proto::v1::{GetClusterRequest, NodeRole};

use super::clients::Record;
use crate::cluster::members_of;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long a node may take to serve one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of those that said that they lead, by term.
pub(super) type Leaders = BTreeMap<u64, BTreeSet<String>>;

/// Looks at each node until the run is over.
pub(super) async fn watch(nodes: Vec<SocketAddr>, record: Arc<Record>) -> Leaders {
    let looks = nodes.into_iter().map(|node| look(node, &record));
    let mut all = Leaders::new();
    for seen in join_all(looks).await {
        for (term, names) in seen {
            all.entry(term).or_default().extend(names);
        }
    }
    all
}

async fn look(node: SocketAddr, record: &Record) -> Leaders {
    let mut client = members_of(node, PATIENCE);
    let mut leaders = Leaders::new();
    while !record.is_over() {
        if let Ok(status) = client.get_cluster(GetClusterRequest {}).await {
            let nodes = status.into_inner().nodes;
            for node in nodes.into_iter().filter(|n| n.role() == NodeRole::Leader) {
                leaders.entry(node.term).or_default().insert(node.name);
            }
        }
        time::sleep(LOOK).await;
    }
    leaders
}
