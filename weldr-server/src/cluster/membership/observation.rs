//! Observes the other nodes: which of them respond, whether they say that this node was removed, and whether one of them is
//! of another cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use tokio::time;
use tonic::{Code, Status};
use tracing::{error, info, warn};
use weldr_proto::raft::v1::ReportResponse;

use crate::{
    cluster::{
        log::{
            convert::from_stored_membership,
            types::{Member, StoredMembership},
        },
        network::{authentication::says_removed, channel::Expected, dial::met_another_node},
        raft::core::Core,
    },
    liveness::Tick,
    model::SealingKeyId,
    secrets::MOST_KEYS,
};

use super::contacts::{ContactNews, Contacts};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// The time limit for a node that is asked for its cluster.
const IDENTIFY_TIMEOUT: Duration = Duration::from_millis(700);

/// Observes them until the node stops.
pub(in crate::cluster) async fn observe(core: Arc<Core>, tick: Tick) {
    let mut contacts = Contacts::default();
    let work = async {
        loop {
            tick.tick();
            look(&core, &mut contacts).await;
            time::sleep(ROUND).await;
        }
    };
    core.stop.run_until_cancelled(work).await;
}

async fn look(core: &Core, contacts: &mut Contacts) {
    let membership = core.membership();
    // A node that has just joined knows the others before it has the log.
    let known = core.peers.roster().current();
    let others: BTreeMap<u64, Member> = known
        .nodes()
        .filter(|(id, _)| **id != core.local_id())
        .map(|(id, member)| (*id, member.clone()))
        .collect();
    contacts.retain(|id| others.contains_key(&id));
    core.key_copies.retain(|id| others.contains_key(&id));
    let reports = others.iter().map(async |(id, member)| {
        let report = core.report_of(*id, member, false).await;
        if is_refused(&report) {
            // Its address may be that of a node of another cluster now.
            identify(core, &member.address).await;
        }
        let votes = core.peers.roster().votes(*id);
        if votes && says_that_this_node_was_removed(core, &report) {
            note_removal(core);
        }
        (*id, member, report)
    });
    let history = core.machine.member_history();
    let removed = history.removed_addresses();
    let in_use: BTreeSet<&str> = membership
        .nodes()
        .map(|(_, member)| member.address.as_str())
        .collect();
    let removed = removed
        .iter()
        .filter(|address| !in_use.contains(address.as_str()));
    let identified = removed.map(|address| identify(core, address));
    let (reports, _) = join(join_all(reports), join_all(identified)).await;
    for (id, member, report) in &reports {
        let news = contacts.note(*id, report.is_ok(), Instant::now());
        tell(member, news);
        // One that has only joined is not believed: it may be anybody with an invite.
        if let Ok(report) = report
            && core.peers.roster().votes(*id)
        {
            learn(core, &membership, report);
            learn_keys(core, *id, report);
        }
    }
    if history.is_removed(core.local_id()) {
        note_removal(core);
    }
}

/// Whether the node that was called takes this one for another, or itself for another.
fn is_refused(report: &Result<ReportResponse, Status>) -> bool {
    matches!(report, Err(status) if status.code() == Code::PermissionDenied || met_another_node(status))
}

/// Only a member can say so: nobody else has a channel on which this node expects one.
fn says_that_this_node_was_removed(core: &Core, report: &Result<ReportResponse, Status>) -> bool {
    matches!(report, Err(status) if says_removed(status, core.local_id()))
}

fn tell(member: &Member, news: Option<ContactNews>) {
    let Member { name, address, .. } = member;
    match news {
        Some(ContactNews::Silent(lasted)) => {
            let silent_for = lasted.as_secs();
            warn!(node = %name, %address, silent_for, "a node does not respond");
        }
        Some(ContactNews::Back(lasted)) => {
            let silent_for = lasted.as_secs();
            info!(node = %name, %address, silent_for, "a node responds again");
        }
        None => {}
    }
}

/// Learns from the report of another voter that this node was removed, or that there is another cluster.
fn learn(core: &Core, own: &StoredMembership, report: &ReportResponse) {
    if let Some(facts) = &report.other_cluster {
        // Not noted as a sighting of this node, or the two would keep telling it to each other.
        core.hear_of_cluster(facts.clone());
    }
    let membership = report.membership.clone().map(from_stored_membership);
    if let Some(Ok(membership)) = membership {
        core.peers.roster().learn(membership);
    }
    if lacks(core.local_id(), own, report) {
        note_removal(core);
    }
}

/// Notes which sealing keys a voter has, and fetches those that this node lacks, before it meets what they seal.
fn learn_keys(core: &Core, id: u64, report: &ReportResponse) {
    let keys = report.sealing_keys.iter().take(MOST_KEYS);
    let keys: BTreeSet<SealingKeyId> = keys.filter_map(|key| key.parse().ok()).collect();
    for key in &keys {
        core.secrets.need(*key);
    }
    core.key_copies.replace(id, keys);
}

/// Whether a later membership than this node's own lacks this node. The membership of a node that joins may be the later
/// one, and that of the others may lack it for a moment; so this node has to be in its own.
fn lacks(id: u64, own: &StoredMembership, report: &ReportResponse) -> bool {
    let Some(membership) = &report.membership else {
        return false;
    };
    let (Some(at), Some(members)) = (&membership.log_id, &membership.membership) else {
        return false;
    };
    let own_index = own.log_id().as_ref().map(|log_id| log_id.index);
    own.get_node(&id).is_some()
        && own_index.is_some_and(|own| at.index > own)
        && members.members.iter().all(|member| member.id != id)
}

fn note_removal(core: &Core) {
    if !core.removed.swap(true, Ordering::SeqCst) {
        error!(
            "this node was removed from the cluster: changes no longer reach it, and it is not ready. To join again, stop \
             it, remove its data directory, and start it with --join"
        );
    }
}

/// Asks the node at `address` which cluster it belongs to, and tells it about this one. Nodes believe it of each other only
/// with a proof of the secret.
async fn identify(core: &Core, address: &str) {
    let Ok(address) = address.parse() else {
        return;
    };
    let peers = &core.peers;
    let identified = async {
        let introduction = peers.introduce(0, address, Expected::Anyone).await;
        let mut introduction = introduction.ok()?;
        let response = introduction.client.identify(core.cluster_facts()).await;
        let response = response.ok()?;
        let cluster = response.get_ref().cluster.parse().ok();
        let is_proven = peers.is_proven(&introduction, cluster, response.metadata());
        is_proven.then(|| response.into_inner())
    };
    let identified = time::timeout(IDENTIFY_TIMEOUT, identified).await;
    if let Ok(Some(facts)) = identified {
        core.note_cluster(facts);
    }
}
