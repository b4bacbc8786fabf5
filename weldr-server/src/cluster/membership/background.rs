//! Membership tasks that run as long as the node does.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use openraft::ChangeMembers;
use tokio::time;
use tracing::{info, warn};
use weldr_proto::raft::v1;

use crate::{
    cluster::{
        log::{convert, proposal::RECORD_VERSION, types::Member},
        raft::core::{Core, Metrics},
    },
    liveness::Tick,
};

use super::admission::{Voucher, change_members};

/// How many entries a learner may lack when it becomes a voter.
const CAUGHT_UP: u64 = 16;
/// The pause between two checks for learners that have caught up.
const LOOK: Duration = Duration::from_millis(100);
/// Makes learners that have caught up voters, while this node is the leader. Returns when the node stops.
pub(in crate::cluster) async fn promote(core: Arc<Core>, tick: Tick) {
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK))
        .await
        .is_some()
    {
        tick.tick();
        let Ok((raft, metrics)) = core.leading() else {
            continue;
        };
        let Some((id, member)) = caught_up(&metrics) else {
            continue;
        };
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        match change_members(&raft, change).await {
            Ok(()) => info!(node = %member.name, id = format!("{id:x}"), "node has become a voter"),
            Err(error) => warn!(node = %member.name, %error, "node cannot become a voter yet"),
        }
    }
}

fn caught_up(metrics: &Metrics) -> Option<(u64, Member)> {
    let members = metrics.membership_config.membership();
    if metrics.membership_config != metrics.committed_membership_config {
        return None;
    }
    let last = metrics.last_log_index.unwrap_or_default();
    let replication = metrics.replication.as_ref()?;
    let mut learners = members.learner_ids();
    let id = learners.find(|id| {
        let matching = replication.get(id).copied().flatten();
        matching.is_some_and(|matching| matching.index + CAUGHT_UP >= last)
    })?;
    let member = metrics.membership_config.get_node(&id)?;
    Some((id, member.clone()))
}

/// Updates this node's name and address at the leader if the members know others. Returns when that is done.
pub(in crate::cluster) async fn announce(core: Arc<Core>) {
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK * 5))
        .await
        .is_some()
    {
        let Some(metrics) = core.metrics() else {
            continue;
        };
        match metrics.membership_config.get_node(&core.local_id()) {
            Some(known) if *known == core.member => return,
            Some(_) => {
                let request = v1::JoinRequest {
                    member: Some(convert::member(core.local_id(), &core.member)),
                    record_version: RECORD_VERSION,
                    ..v1::JoinRequest::default()
                };
                let itself = Voucher::Member(core.local_id());
                if let Err(error) = core.admit(request, itself).await {
                    tracing::debug!(%error, "the members do not know the new address yet");
                }
            }
            None => {}
        }
    }
}
