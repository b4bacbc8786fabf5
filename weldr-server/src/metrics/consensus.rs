//! The cluster as this node sees it, and its certificates.

use super::exposition::{Exposition, Kind::Gauge};
use crate::{
    cluster::Handle,
    model::{DesiredState, Timestamp},
};

pub(super) fn write(cluster: &Handle, to: &mut Exposition) {
    let state = cluster.current();
    to.family(
        "weldr_revision",
        Gauge,
        "The number of changes of the desired state that this node has applied.",
    )
    .sample(&[], state.revision.0);
    to.family(
        "weldr_cluster_leader",
        Gauge,
        "1 while this node is certainly the leader.",
    )
    .sample(&[], u8::from(cluster.leads()));
    if let Some(numbers) = cluster.numbers() {
        to.family("weldr_raft_term", Gauge, "The term that this node is in.")
            .sample(&[], numbers.term);
        let mut index = |name, help, value: u64| {
            to.family(name, Gauge, help).sample(&[], value);
        };
        index(
            "weldr_raft_last_log_index",
            "The last entry in the log of this node.",
            numbers.last_log,
        );
        index(
            "weldr_raft_applied_index",
            "The last entry that this node has applied.",
            numbers.applied,
        );
        index(
            "weldr_raft_snapshot_index",
            "The last entry in the newest snapshot of this node.",
            numbers.snapshot,
        );
        index(
            "weldr_cluster_members",
            "Members of the cluster, voters and others.",
            numbers.members,
        );
        index(
            "weldr_cluster_voters",
            "Members of the cluster that vote.",
            numbers.voters,
        );
        let mut lag = to.family(
            "weldr_raft_follower_lag_entries",
            Gauge,
            "Entries that a member does not have yet. Only at the leader.",
        );
        for (name, behind) in &numbers.lag {
            lag.sample(&[("node", name)], behind);
        }
    }
    certificates(&state, to);
}

fn certificates(state: &DesiredState, to: &mut Exposition) {
    let mut expiry = to.family(
        "weldr_certificate_expiry_timestamp_seconds",
        Gauge,
        "When a certificate expires.",
    );
    for (name, certificate) in &state.certificates {
        if certificate.spec.is_issued() {
            let Timestamp(millis) = certificate.spec.not_after;
            expiry.sample(&[("certificate", name.as_str())], millis / 1000);
        }
    }
    let mut failures = to.family(
        "weldr_certificate_acme_failures",
        Gauge,
        "Attempts in a row to obtain a certificate by ACME that have failed.",
    );
    for (name, progress) in &state.acme.progress {
        let failed = progress.failure.as_ref();
        failures.sample(
            &[("certificate", name.as_str())],
            failed.map_or(0, |failure| failure.failures),
        );
    }
}
