//! The settings of the consensus engine: timeouts and limits.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::model::Failover;

/// The lease of a node without others in relation to that of others: it needs no fast heartbeats, and is elected without
/// waiting.
const PACE_ALONE: u64 = 10;

/// The times of a [`Failover`] profile.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Timing {
    /// Time between two heartbeats of a leader, in milliseconds.
    heartbeat: u64,
    /// For how long a node that heard from a leader refuses its vote to other nodes.
    pub(in crate::cluster) lease: Duration,
    /// The time between the elections of two nodes, in which the first can become the leader.
    pub(in crate::cluster) stagger: Duration,
    /// The pause before a node asks for votes again.
    pub(in crate::cluster) retry: Duration,
}

impl From<Failover> for Timing {
    fn from(failover: Failover) -> Self {
        let (heartbeat, lease, stagger, retry) = match failover {
            Failover::Fast => (40, 240, 40, 10),
            Failover::Normal => (80, 540, 50, 10),
            Failover::Wan => (250, 1800, 300, 50),
        };
        Self {
            heartbeat,
            lease: Duration::from_millis(lease),
            stagger: Duration::from_millis(stagger),
            retry: Duration::from_millis(retry),
        }
    }
}

impl Timing {
    /// The reserve of a leader before the end of a lease of this length, for the drift between clocks. The lease begins when
    /// the leader sends, and a follower's promise when it receives, which is later.
    pub(in crate::cluster) fn margin(lease: Duration) -> Duration {
        lease / 16
    }
}

/// Time limit for sending a whole snapshot, in milliseconds.
const SNAPSHOT_TIMEOUT: u64 = 60_000;
/// A snapshot is made after this many log entries, and `ENTRIES_KEPT` entries are kept after it for nodes that were
/// away for a short time. This bounds the log in memory and on disk.
const ENTRIES_A_SNAPSHOT: u64 = 2000;
const ENTRIES_KEPT: u64 = 500;
/// The capacity of the engine's queue of calls. A caller waits while it is full.
const WAITING_CALLS: u64 = 1024;
/// How many proposals the engine writes together.
const CALLS_TOGETHER: u64 = 256;
/// The capacity of the engine's queue of notifications from the disk, the timers and the other nodes.
const WAITING_NOTICES: u64 = 4096;

/// The engine's settings, for a node without others (`is_alone`) or with others.
pub(in crate::cluster) fn settings(
    timing: Timing,
    is_alone: bool,
) -> Result<Config, openraft::ConfigError> {
    let pace = if is_alone { PACE_ALONE } else { 1 };
    let lease = u64::try_from(timing.lease.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "weldr".to_owned(),
        heartbeat_interval: timing.heartbeat * pace,
        // The engine's lease is the longest election timeout. Its own elections come after those of `leadership::candidacy`.
        election_timeout_min: lease / 2 * pace,
        election_timeout_max: lease * pace,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_A_SNAPSHOT),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: 256,
        // The engine allocates its queues at the start. Its own defaults take 45 MB, too much for a pool that changes a
        // few times a second.
        api_channel_size: Some(WAITING_CALLS),
        api_batch_capacity: CALLS_TOGETHER,
        notification_channel_size: Some(WAITING_NOTICES),
        enable_pre_vote: Some(true),
        // A leader that restarts begins a new term: in the old term it may have sent entries that never reached its own
        // disk.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
