//! The settings of the consensus engine: timeouts and limits.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// Time between two heartbeats of a leader, in milliseconds.
const HEARTBEAT: u64 = 100;
/// For how long a node that heard from a leader refuses its vote to other nodes.
pub(in crate::cluster) const LEADER_LEASE: Duration = Duration::from_millis(ELECTION_MAX);
/// After [`LEADER_LEASE`], a node waits for a random time in this range before it asks for votes, in milliseconds.
/// Together: another node leads 0.9 to 1.2 s after a leader failed, and a leader that is unresponsive for half a second
/// stays the leader.
const ELECTION_MIN: u64 = 300;
const ELECTION_MAX: u64 = 600;
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
pub(in crate::cluster) fn settings(is_alone: bool) -> Result<Config, openraft::ConfigError> {
    // A node without others needs no fast heartbeats, and is elected without waiting.
    let pace = if is_alone { 10 } else { 1 };
    Config {
        cluster_name: "weldr".to_owned(),
        heartbeat_interval: HEARTBEAT * pace,
        election_timeout_min: ELECTION_MIN * pace,
        election_timeout_max: ELECTION_MAX * pace,
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
