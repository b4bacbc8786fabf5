//! How fast, and how much at a time: the settings of the consensus engine.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// How often a leader says that it is there, in milliseconds.
const HEARTBEAT: u64 = 100;
/// For how long a node that has heard of a leader refuses its vote to others.
pub(in crate::cluster) const LEADER_LEASE: Duration = Duration::from_millis(ELECTION_MAX);
/// After that, it waits for a time between these before it asks for votes itself, in milliseconds. Together: a
/// leader that is gone is followed by another after 0.9 to 1.2 s, and one that is busy for half a second is not.
const ELECTION_MIN: u64 = 300;
const ELECTION_MAX: u64 = 600;
/// How long a whole snapshot may be on its way, in milliseconds.
const SNAPSHOT_TIMEOUT: u64 = 60_000;
/// A snapshot is made after this many entries, and as many are kept for nodes that were away for a moment: what
/// bounds the log, in memory and on disk.
const ENTRIES_A_SNAPSHOT: u64 = 2000;
const ENTRIES_KEPT: u64 = 500;
/// Calls of the engine that may wait; who makes one more waits.
const WAITING_CALLS: u64 = 1024;
/// Changes that the engine writes together.
const CALLS_TOGETHER: u64 = 256;
/// What the disk, the clock and the other nodes have to tell the engine, and it has not heard.
const WAITING_NOTICES: u64 = 4096;

/// The engine's settings, for a node that is alone or one that has others.
pub(in crate::cluster) fn settings(is_alone: bool) -> Result<Config, openraft::ConfigError> {
    // Who is alone has nobody to say it to, and is elected without a wait.
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
        // The engine asks for the memory of its queues when it starts; with its own sizes, that is 45 MB for a pool that
        // changes a few times a second.
        api_channel_size: Some(WAITING_CALLS),
        api_batch_capacity: CALLS_TOGETHER,
        notification_channel_size: Some(WAITING_NOTICES),
        enable_pre_vote: Some(true),
        // A leader that was away begins a new term: it may have sent entries of the old one that never reached
        // its own disk.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
