//! The leader lease: until when this node is certainly the leader.

use std::{
    future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use openraft::{
    Instant as _, ServerState, async_runtime::watch::WatchReceiver as _,
    type_config::alias::WatchReceiverOf,
};
use tokio::time;
use tracing::{debug, info};

use crate::{
    cluster::{
        log::types::Types,
        network::death_notice::{DeathNotice, LastWords},
        raft::{
            core::{Core, Metrics},
            settings::Timing,
        },
    },
    liveness::Tick,
};

/// The lease is published at least once in `TICK`, and at most once in `LEAST`.
const TICK: Duration = Duration::from_millis(50);
const LEAST: Duration = Duration::from_millis(5);

/// The engine's metrics; follows the engine when it is restarted.
struct Changes(Option<WatchReceiverOf<Types, Metrics>>);

impl Changes {
    /// Returns when the metrics have changed.
    async fn next(&mut self, core: &Core) {
        if self.0.is_none() {
            self.0 = core.raft().map(|raft| raft.metrics());
        }
        match &mut self.0 {
            None => future::pending().await,
            Some(metrics) => {
                if metrics.changed().await.is_err() {
                    // The engine ended. The next call subscribes to its successor.
                    self.0 = None;
                }
            }
        }
    }
}

/// Publishes the lease until the node stops, and logs changes of the leader.
pub(in crate::cluster) async fn watch(core: Arc<Core>, tick: Tick) {
    let mut led_by = None;
    let mut changes = Changes(None);
    loop {
        tick.tick();
        let until = core.raft().and_then(|raft| {
            let metrics = raft.metrics().borrow_watched().clone();
            core.note_role(metrics.state);
            log_leader(&core, &metrics, &mut led_by);
            // Repeated, because an engine that was restarted knows nothing of it.
            core.update_elections();
            if core.has_stopped() {
                // A node that applies nothing must not lead.
                return None;
            }
            core.publish_last_words(&metrics);
            core.publish_led_last(&metrics);
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
            // A lower bound of the interval, however often the metrics change.
            time::sleep(LEAST).await;
            let _ = time::timeout(TICK, changes.next(&core)).await;
        };
        if core.stop.run_until_cancelled(next).await.is_none() {
            break;
        }
    }
    core.lease.send_replace(None);
    core.last_words.send_replace(None);
    core.led_last.send_replace(false);
}

impl Core {
    /// Publishes what the guard of this node tells the others if this process dies.
    fn publish_last_words(&self, metrics: &Metrics) {
        let leads = metrics.state == ServerState::Leader && !self.is_alone(metrics);
        let words = if leads { self.words(metrics) } else { None };
        self.last_words.send_if_modified(|told| {
            let is_new = *told != words;
            *told = words;
            is_new
        });
    }

    fn publish_led_last(&self, metrics: &Metrics) {
        let led = metrics.state == ServerState::Leader
            && !self.has_handed_over(metrics.current_term)
            && !self.has_stopped();
        self.led_last.send_if_modified(|told| {
            // Read while the sender is locked: a hand-over that begins now withdraws what is published here.
            let led = led && !self.lease_withheld.load(Ordering::SeqCst);
            let is_new = *told != led;
            *told = led;
            is_new
        });
    }

    fn words(&self, metrics: &Metrics) -> Option<Arc<str>> {
        let term = metrics.current_term;
        let notice = DeathNotice {
            cluster: self.peers.cluster()?,
            node: self.local_id(),
            term,
            token: self.peers.exchange().token(term)?,
        };
        let others = self.others(metrics);
        let to = others.values().map(|member| member.address.parse());
        let words = LastWords {
            notice: notice.to_string(),
            to: to.filter_map(Result::ok).collect(),
        };
        serde_json::to_string(&words).ok().map(Arc::from)
    }
}

/// Hands the leadership over if this node is the leader and stopped applying the log. It may find the unknown record
/// only after it was elected.
async fn step_down_when_stopped(core: &Core) {
    let leads = core.has_stopped()
        && core.metrics().is_some_and(|metrics| {
            metrics.state == ServerState::Leader && core.has_other_voters(&metrics)
        });
    if leads && let Err(error) = core.hand_over("").await {
        debug!(%error, "the leadership is not handed over yet");
    }
}

/// Logs the leader if it has changed, and why the last one does not lead any more. A node without others logs nothing.
fn log_leader(core: &Core, metrics: &Metrics, led_by: &mut Option<u64>) {
    if *led_by == metrics.current_leader || core.member.address.is_empty() {
        return;
    }
    let before = led_by.take();
    *led_by = metrics.current_leader;
    let term = metrics.current_term;
    let reason = before.map(|before| end_of_leadership(core, metrics, before));
    match metrics.current_leader {
        Some(leader) if leader == core.local_id() => info!(term, reason, "this node leads"),
        Some(leader) => {
            let member = metrics.membership_config.get_node(&leader);
            let leader = member.map_or("", |member| member.name.as_str());
            info!(leader, term, reason, "another node leads");
        }
        None => info!(term, reason, "no node leads"),
    }
}

/// Why the node `before` does not lead any more, as far as this node knows.
fn end_of_leadership(core: &Core, metrics: &Metrics, before: u64) -> String {
    let member = metrics.membership_config.get_node(&before);
    let name = member.map_or("the last leader", |member| member.name.as_str());
    if before != core.local_id() {
        return match metrics.current_leader {
            Some(_) => format!("{name} has handed over, or its messages did not arrive in time"),
            None => {
                format!("no message of {name} has arrived in time, or another node asks for votes")
            }
        };
    }
    let handed_over = core.handed_over.load(Ordering::SeqCst);
    if handed_over > 0 && handed_over + 1 >= metrics.current_term {
        return "this node has handed over".to_owned();
    }
    "a majority has not confirmed this node in time, or follows a leader of a later term".to_owned()
}

/// The end of the lease; `None` if this node is not certainly the leader.
///
/// No other node can become the leader before that moment: every voter of the majority that answered refuses its vote
/// to others for the length of the lease after it received the message, which is later than when the leader sent it. A leader
/// that transferred the leadership has no lease for the rest of the term, because it asked another node to begin an
/// election at once.
fn lease(core: &Core, metrics: &Metrics, now: Instant) -> Option<Instant> {
    if metrics.state != ServerState::Leader || core.has_handed_over(metrics.current_term) {
        return None;
    }
    let heard = if core.is_alone(metrics) {
        now
    } else {
        let acked = metrics.last_quorum_acked.as_ref()?;
        // Read after `now`, so the lease can only be too short.
        now.checked_sub(acked.elapsed())?
    };
    let length = core.lease_length();
    let until = heard + length.saturating_sub(Timing::margin(length));
    (until > now).then_some(until)
}
