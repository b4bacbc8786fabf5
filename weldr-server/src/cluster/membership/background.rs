//! Membership tasks that run as long as the node does.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use openraft::{ChangeMembers, Instant as _};
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use crate::{
    cluster::{
        log::types::Member,
        raft::core::{Core, Metrics, Raft},
    },
    liveness::Tick,
};

use super::admission::change_members;

/// How many entries a learner may lack when it becomes a voter.
const CAUGHT_UP: u64 = 16;
/// The pause between two checks for learners that have caught up.
const LOOK: Duration = Duration::from_millis(100);
/// How long a learner may be silent.
const LEARNER_PATIENCE: Duration = Duration::from_mins(1);

/// Makes learners that have caught up voters, removes those that are silent, and ends invites whose time is over, while this
/// node is the leader. Returns when the node stops.
pub(in crate::cluster) async fn promote(core: Arc<Core>, tick: Tick) {
    let mut silence = Silence::default();
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK))
        .await
        .is_some()
    {
        tick.tick();
        core.expire_invites().await;
        let Ok((raft, metrics)) = core.leading() else {
            silence = Silence::default();
            continue;
        };
        remove_silent(&raft, &metrics, &mut silence).await;
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

/// Keeps what the members know about this node up to date: its name, its address and its keys.
pub(in crate::cluster) async fn announce(core: Arc<Core>) {
    while core
        .stop
        .run_until_cancelled(time::sleep(LOOK * 5))
        .await
        .is_some()
    {
        let membership = core.membership();
        let known = membership.get_node(&core.local_id());
        if known.is_some_and(|known| *known != core.itself())
            && let Err(error) = core.announce_itself().await
        {
            debug!(%error, "the members do not know this node's address and keys yet");
        }
    }
}

/// The learners that say nothing, and since when this node, which leads, hears nothing from each.
#[derive(Debug, Default)]
struct Silence(HashMap<u64, Instant>);

impl Silence {
    /// The learner that has been silent for too long at `now`. `heard`: each learner, and how long ago it was heard from.
    fn too_long(&mut self, heard: &[(u64, Option<Duration>)], now: Instant) -> Option<u64> {
        self.0
            .retain(|id, _| heard.iter().any(|(known, _)| known == id));
        for (id, ago) in heard {
            let since = self.0.entry(*id).or_insert(now);
            if let Some(heard) = ago.and_then(|ago| now.checked_sub(ago)) {
                *since = heard.max(*since);
            }
        }
        let mut silent = self.0.iter();
        let too_long = silent.find(|(_, since)| now.duration_since(**since) >= LEARNER_PATIENCE);
        too_long.map(|(id, _)| *id)
    }
}

/// Removes a learner that has been silent for too long: it takes the place of a node that works.
async fn remove_silent(raft: &Raft, metrics: &Metrics, silence: &mut Silence) {
    let heard = |id: u64| {
        let heard = metrics.heartbeat.as_ref().and_then(|all| *all.get(&id)?);
        (id, heard.map(|heard| heard.elapsed()))
    };
    let learners = metrics.membership_config.membership().learner_ids();
    let learners: Vec<_> = learners.map(heard).collect();
    let Some(id) = silence.too_long(&learners, Instant::now()) else {
        return;
    };
    let member = metrics.membership_config.get_node(&id).cloned();
    let name = member.unwrap_or_default().name;
    let removal = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
    match change_members(raft, removal).await {
        Ok(()) => {
            warn!(node = %name, id = format!("{id:x}"), "a node that has joined says nothing, and was removed");
        }
        Err(error) => debug!(node = %name, %error, "a silent node cannot be removed yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_that_says_nothing_is_not_kept() {
        let (mut silence, begun) = (Silence::default(), Instant::now());
        let second = Duration::from_secs(1);
        let never = [(1, None)];
        assert_eq!(silence.too_long(&never, begun), None);
        let just_before = begun + LEARNER_PATIENCE - second;
        assert_eq!(silence.too_long(&never, just_before), None);
        assert_eq!(silence.too_long(&never, begun + LEARNER_PATIENCE), Some(1));
        // Another one that answered once.
        let mut silence = Silence::default();
        assert_eq!(silence.too_long(&never, begun), None);
        let heard = [(1, Some(second))];
        assert_eq!(silence.too_long(&heard, begun + LEARNER_PATIENCE), None);
        let later = begun + LEARNER_PATIENCE * 2;
        assert_eq!(
            silence.too_long(&[(1, Some(LEARNER_PATIENCE))], later),
            Some(1)
        );
        assert_eq!(silence.too_long(&[], later), None, "it votes, or is gone");
        assert_eq!(silence.too_long(&never, later), None, "it begins anew");
    }
}
