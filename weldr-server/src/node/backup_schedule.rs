//! Starts the scheduled backups of a node.

use tokio_util::sync::CancellationToken;
use weldr_proto::raft::v1;

use crate::{
    backups::{self, Archive, BackupOptions, BackupStatus},
    clock::dates,
    cluster::{Handle, NodeMembership},
    config::Config,
    liveness::Tasks,
    model::Timestamp,
};

/// Makes backups until the node stops, if a directory is configured.
pub(super) fn start(config: &Config, cluster: &Handle, tasks: &Tasks, stop: &CancellationToken) {
    let Some(directory) = config.backups.directory.clone() else {
        return;
    };
    let interval = config.backups.interval;
    let options = BackupOptions {
        directory,
        interval,
        keep: config.backups.keep,
    };
    let archive = Archive::new(&options, cluster.name());
    let current = cluster.clone();
    // A node that joins may not have the servers yet, and one that was removed has old ones.
    let source = move || (current.membership() == NodeMembership::Voter).then(|| current.current());
    let store = move |state| {
        let archive = archive.clone();
        async move { archive.store(state).await }
    };
    let told = cluster.clone();
    let tell = move |status: &BackupStatus| told.report_backups(report(status));
    cluster.report_backups(v1::Backups::default());
    let tick = tasks.register("scheduled backups");
    let follow = backups::follow(interval, source, store, tell, tick.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(tick.watch(follow)));
}

fn report(status: &BackupStatus) -> v1::Backups {
    let last = status.last;
    let at = |date| Timestamp::from(dates::shown(date)).0;
    v1::Backups {
        revision: last.map_or(0, |(revision, _)| revision.0),
        at: last.map_or(0, |(_, date)| at(date)),
        failure: status.failure.clone().unwrap_or_default(),
    }
}
