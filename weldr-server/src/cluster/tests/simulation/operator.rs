//! Operators who replace nodes: of one that has lost its data, or of one that is removed while it runs.

use std::{collections::BTreeSet, error::Error, time::Duration};

use openraft::{ChangeMembers, ServerState, async_runtime::watch::WatchReceiver as _};
use tokio::time;
use turmoil::Sim;

use super::{NODES, Shared, empty_disk, host, place};
use crate::cluster::{log::types::Member, raft::core::Raft};

/// How long an order may take before it is given again.
const PATIENCE: Duration = Duration::from_millis(500);

/// A node that another one takes the place of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replacement {
    old: u64,
    /// Whether the old one has lost its data; the new one is there then.
    lost: bool,
    /// Whether the old one is no member any more.
    removed: bool,
}

impl Replacement {
    fn new_id(self) -> u64 {
        self.old + NODES
    }
}

/// Begins to replace a node, unless one is being replaced. It has lost its data before it is removed, or it runs until then.
pub(super) fn begin(sim: &mut Sim, shared: &Shared, random: &mut fastrand::Rng, down: Option<u64>) {
    let place = random.u64(1..=NODES);
    let mut observed = shared.lock().unwrap();
    if observed.replacement.is_some() || down == Some(place) {
        return;
    }
    let (old, _) = observed.disks[&place];
    observed.replacement = Some(Replacement {
        old,
        lost: false,
        removed: false,
    });
    drop(observed);
    if random.bool() {
        lose_data(sim, shared);
    }
}

/// Lets a node that was removed lose its data, and start again.
pub(super) fn lose_data_of_removed(sim: &mut Sim, shared: &Shared) {
    let replacement = shared.lock().unwrap().replacement;
    if replacement.is_some_and(|replacement| replacement.removed && !replacement.lost) {
        lose_data(sim, shared);
    }
}

fn lose_data(sim: &mut Sim, shared: &Shared) {
    let mut observed = shared.lock().unwrap();
    let Some(replacement) = &mut observed.replacement else {
        return;
    };
    replacement.lost = true;
    let (old, new) = (replacement.old, replacement.new_id());
    observed.nodes.remove(&old);
    observed.disks.insert(place(old), (new, empty_disk(new)));
    drop(observed);
    sim.bounce(host(old));
}

/// Gives the orders: the old node is removed, and the new one is added.
pub(super) async fn work(shared: Shared) -> Result<(), Box<dyn Error>> {
    loop {
        time::sleep(Duration::from_millis(50)).await;
        let replacement = shared.lock().unwrap().replacement;
        let Some((replacement, leader)) = replacement.zip(leader(&shared)) else {
            continue;
        };
        let members = leader.metrics().borrow_watched().membership_config.clone();
        let (old, new) = (replacement.old, replacement.new_id());
        let is_member = |id: u64| members.nodes().any(|(member, _)| *member == id);
        let votes = |id: u64| members.voter_ids().any(|voter| voter == id);
        let ids = |id: u64| BTreeSet::from([id]);
        if votes(old) {
            order(&leader, ChangeMembers::RemoveVoters(ids(old))).await;
        } else if is_member(old) {
            order(&leader, ChangeMembers::RemoveNodes(ids(old))).await;
        } else if !replacement.removed {
            if let Some(replacement) = &mut shared.lock().unwrap().replacement {
                replacement.removed = true;
            }
        } else if !is_member(new) {
            let added = leader.add_learner(new, Member::default(), false);
            let _ = time::timeout(PATIENCE, added).await;
        } else if votes(new) {
            let mut observed = shared.lock().unwrap();
            observed.replacement = None;
            observed.replaced += 1;
        } else {
            order(&leader, ChangeMembers::AddVoterIds(ids(new))).await;
        }
    }
}

async fn order(leader: &Raft, change: ChangeMembers<u64, Member>) {
    // What became of it shows in the membership.
    let _ = time::timeout(PATIENCE, leader.change_membership(change, false)).await;
}

fn leader(shared: &Shared) -> Option<Raft> {
    let observed = shared.lock().unwrap();
    let rafts = observed.nodes.values().map(|(raft, _)| raft);
    let leads = |raft: &&Raft| raft.metrics().borrow_watched().state == ServerState::Leader;
    let term = |raft: &&Raft| raft.metrics().borrow_watched().current_term;
    rafts.filter(leads).max_by_key(term).cloned()
}
