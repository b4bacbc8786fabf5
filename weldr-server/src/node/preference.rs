//! Hands the leadership, and with it the virtual addresses, back to the node that is preferred as their holder.
//!
//! A node counts as settled when it has been ready without a break for its delay, and tells the others so. The leader hands over
//! when a settled node has a higher priority than it has itself. It also has to have led for as long as its own delay: the
//! addresses stay that long where `weldrctl cluster transfer` has sent them.

use std::{cmp::Reverse, time::Duration};

use tokio::{sync::watch, time};

use crate::{
    cluster::{Handle, HolderClaim, NodeStatus},
    config::HolderPreference,
    liveness::Tick,
    readiness::Readiness,
};

/// The interval of the looks at this node and, while it leads, at the others.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks pass after a hand-over that was refused before the next.
const PAUSE: u32 = 10;
/// How many records a node may lack when the addresses are given to it.
const MOST_LAG: u64 = 100;

/// For how many looks something has lasted. It counts the looks, not the time, so that time in which the process did not run
/// does not count.
#[derive(Debug, Default)]
struct Lasting(u32);

impl Lasting {
    fn look(&mut self, lasts: bool) {
        self.0 = if lasts { self.0.saturating_add(1) } else { 0 };
    }

    fn is_for(&self, delay: Duration) -> bool {
        LOOK * self.0 >= delay
    }
}

/// Follows the preference until it is dropped, or until nobody tells the readiness any more.
pub(super) async fn follow(
    preference: HolderPreference,
    mut readiness: watch::Receiver<Readiness>,
    cluster: Handle,
    tick: Tick,
) {
    let priority = u32::try_from(preference.priority).unwrap_or(u32::MAX);
    let (mut ready, mut leads) = (Lasting::default(), Lasting::default());
    let mut pause = 0_u32;
    loop {
        tick.tick();
        ready.look(readiness.borrow_and_update().is_ready());
        leads.look(cluster.leads());
        cluster.claim_addresses(HolderClaim {
            priority,
            settled: ready.is_for(preference.preempt_delay),
        });
        pause = pause.saturating_sub(1);
        if pause == 0
            && leads.is_for(preference.preempt_delay)
            && !hand_back(&cluster, priority).await
        {
            pause = PAUSE;
        }
        if !look_again(&mut readiness).await {
            return;
        }
    }
}

/// Waits for the next look, or until the node is not ready, which must not be missed; whether there will be one.
async fn look_again(readiness: &mut watch::Receiver<Readiness>) -> bool {
    if !readiness.borrow().is_ready() {
        time::sleep(LOOK).await;
        return readiness.has_changed().is_ok();
    }
    let unready = readiness.wait_for(|now| !now.is_ready());
    match time::timeout(LOOK, unready).await {
        Ok(seen) => seen.is_ok(),
        Err(_) => true,
    }
}

/// Hands over to a node that is preferred, if there is one; `false` if it was refused.
async fn hand_back(cluster: &Handle, priority: u32) -> bool {
    let Ok(status) = cluster.status().await else {
        return true;
    };
    let claimants = status.nodes.iter().filter_map(Claimant::of);
    let Some(next) = preferred(claimants, cluster.name(), priority) else {
        return true;
    };
    let (name, its_priority) = (next.name, next.priority);
    match cluster.transfer(name.to_owned()).await {
        Ok(()) => {
            tracing::info!(
                node = name,
                priority = its_priority,
                "the leadership is handed over to a node that is preferred as the holder of the virtual addresses"
            );
            true
        }
        Err(error) => {
            tracing::warn!(
                node = name,
                priority = its_priority,
                %error,
                "the leadership is not handed over to a node that is preferred; trying again"
            );
            false
        }
    }
}

/// A node that the addresses may be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claimant<'n> {
    name: &'n str,
    priority: u32,
    /// Whether it can serve, and has been ready for its delay.
    fit: bool,
}

impl<'n> Claimant<'n> {
    fn of(node: &'n NodeStatus) -> Option<Self> {
        let report = node.report.as_ref()?;
        let HolderClaim { priority, settled } = report.holder_claim;
        let can_serve = !report.witness && report.stopped.is_none() && report.lag <= MOST_LAG;
        Some(Self {
            name: &node.name,
            priority,
            fit: node.votes && settled && can_serve,
        })
    }
}

/// Who should have the addresses instead of the node `own`, which has them with `priority`: the one with the highest priority, if
/// that is higher. Of several, the one that is first by name.
fn preferred<'n>(
    claimants: impl Iterator<Item = Claimant<'n>>,
    own: &str,
    priority: u32,
) -> Option<Claimant<'n>> {
    let can_take = |claimant: &Claimant<'_>| {
        claimant.fit && claimant.name != own && claimant.priority > priority
    };
    claimants
        .filter(can_take)
        .min_by_key(|claimant| (Reverse(claimant.priority), claimant.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Status;

    fn name_of<'n>(claimants: &[(&'n str, u32, bool)], priority: u32) -> Option<&'n str> {
        let claimants = claimants.iter().map(|&(name, priority, fit)| Claimant {
            name,
            priority,
            fit,
        });
        preferred(claimants, "a", priority).map(|claimant| claimant.name)
    }

    #[test]
    fn the_highest_priority_takes_the_addresses_when_it_is_settled() {
        let claimants = [("a", 9, true), ("b", 5, true), ("c", 7, true)];
        assert_eq!(name_of(&claimants, 3), Some("c"));
        assert_eq!(
            name_of(&claimants, 7),
            None,
            "an equal priority moves nothing"
        );
        let claimants = [("a", 9, true), ("b", 5, true), ("c", 7, false)];
        assert_eq!(name_of(&claimants, 3), Some("b"));
        assert_eq!(name_of(&claimants, 5), None);
        let claimants = [("c", 7, true), ("b", 7, true)];
        assert_eq!(name_of(&claimants, 3), Some("b"), "the first by name");
    }

    #[test]
    fn without_a_preference_nothing_moves() {
        assert_eq!(name_of(&[("a", 0, true), ("b", 0, true)], 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_counts_from_anew_after_each_break() {
        let readiness = watch::Sender::new(Readiness::of(Status::Ready));
        let mut looks = readiness.subscribe();
        let mut ready = Lasting::default();
        let delay = Duration::from_secs(3);
        for expected in [false, false, true] {
            ready.look(looks.borrow_and_update().is_ready());
            assert_eq!(ready.is_for(delay), expected);
            assert!(look_again(&mut looks).await);
        }
        readiness.send_replace(Readiness::of(Status::Unready));
        assert!(look_again(&mut looks).await);
        ready.look(looks.borrow_and_update().is_ready());
        assert!(!ready.is_for(delay));
        drop(readiness);
        assert!(!look_again(&mut looks).await);
    }
}
