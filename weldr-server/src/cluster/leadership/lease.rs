//! Until when a node is surely the leader.

use std::{
    future,
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::{
    Instant as _, ServerState, async_runtime::watch::WatchReceiver as _,
    type_config::alias::WatchReceiverOf,
};
use tokio::time;
use tracing::{debug, info};

use crate::cluster::{
    log::types::Types,
    raft::{
        core::{Core, Metrics},
        settings::LEADER_LEASE,
    },
};

/// What clocks may run apart in a lease, and what telling it may take.
const MARGIN: Duration = Duration::from_millis(100);

/// How often the lease is told while nothing changes, and at most.
const TICK: Duration = Duration::from_millis(50);
const LEAST: Duration = Duration::from_millis(5);

/// What the engine says of itself, whichever runs.
struct Changes(Option<WatchReceiverOf<Types, Metrics>>);

impl Changes {
    /// Returns when it says something new.
    async fn next(&mut self, core: &Core) {
        if self.0.is_none() {
            self.0 = core.raft().map(|raft| raft.metrics());
        }
        match &mut self.0 {
            None => future::pending().await,
            Some(metrics) => {
                if metrics.changed().await.is_err() {
                    // It has ended; the next one is asked then.
                    self.0 = None;
                }
            }
        }
    }
}

/// Tells the lease until the node stops, and logs who leads.
pub(in crate::cluster) async fn watch(core: Arc<Core>) {
    let mut led_by = None;
    let mut changes = Changes(None);
    loop {
        let until = core.raft().and_then(|raft| {
            let metrics = raft.metrics().borrow_watched().clone();
            core.note_role(metrics.state);
            log_leader(&core, &metrics, &mut led_by);
            // Again and again: an engine that is started again asks for votes.
            core.restrict_elections();
            if core.has_stopped() {
                // Who applies nothing must not lead.
                return None;
            }
            lease(&core, &metrics, Instant::now())
        });
        core.publish_lease(until);
        if core
            .stop
            .run_until_cancelled(step_down_when_stopped(&core))
            .await
            .is_none()
        {
            break;
        }
        let next = async {
            // Not more often than this, whatever the engine has to tell.
            time::sleep(LEAST).await;
            let _ = time::timeout(TICK, changes.next(&core)).await;
        };
        if core.stop.run_until_cancelled(next).await.is_none() {
            break;
        }
    }
    core.lease.send_replace(None);
}

/// Hands the leadership over when this node has it and applies nothing: it met the record only when it led.
async fn step_down_when_stopped(core: &Core) {
    let leads = core.has_stopped()
        && core.metrics().is_some_and(|metrics| {
            metrics.state == ServerState::Leader && !core.is_alone(&metrics)
        });
    if leads && let Err(error) = core.hand_over("").await {
        debug!(%error, "no other node leads instead of this one yet");
    }
}

/// Logs the leader when it is another one than before. A node that is alone has nothing to say.
fn log_leader(core: &Core, metrics: &Metrics, led_by: &mut Option<u64>) {
    if *led_by == metrics.current_leader || core.member.address.is_empty() {
        return;
    }
    *led_by = metrics.current_leader;
    let term = metrics.current_term;
    match metrics.current_leader {
        Some(leader) if leader == core.local_id() => info!(term, "this node leads"),
        Some(leader) => {
            let member = metrics.membership_config.get_node(&leader);
            let leader = member.map_or("", |member| member.name.as_str());
            info!(leader, term, "another node leads");
        }
        None => info!(term, "no node leads"),
    }
}

/// The end of the lease. No other node can become the leader before: each of the majority that has answered
/// refuses its vote for [`LEADER_LEASE`] from when it heard of the leader, which is after the leader has sent
/// it. But a node that has handed over has asked another to begin an election at once, so it is never sure again
/// in that term.
fn lease(core: &Core, metrics: &Metrics, now: Instant) -> Option<Instant> {
    if metrics.state != ServerState::Leader || core.has_handed_over(metrics.current_term) {
        return None;
    }
    let heard = if core.is_alone(metrics) {
        now
    } else {
        let acked = metrics.last_quorum_acked.as_ref()?;
        // Read after `now`: rather too early than too late.
        now.checked_sub(acked.elapsed())?
    };
    let until = heard + LEADER_LEASE.saturating_sub(MARGIN);
    (until > now).then_some(until)
}
