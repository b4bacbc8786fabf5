//! Each node, by its own report.

use std::time::Duration;

use prost_types::Timestamp;
use weldr_proto::v1::{DiskState, Node, ReadinessStatus, UnreadyCode};

use super::{Finding, Observed};
use crate::output::figures;

/// How many entries a node may lack while it works through them.
const LAG: u64 = 1_000;
/// How long before its end a certificate is told.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);
/// Permissions to write for others than the owner.
const WRITABLE: u32 = 0o022;

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let of_node = |node: &Node| {
        let findings = if node.reachable {
            responding(observed, node)
        } else {
            vec![silent(node)]
        };
        let findings = findings.into_iter().map(|finding| finding.at(node));
        findings.collect::<Vec<_>>()
    };
    observed.cluster.nodes.iter().flat_map(of_node).collect()
}

/// What is wrong with the node that was asked, if it was removed from the cluster.
pub(super) fn removed(observed: &Observed) -> Option<Vec<Finding>> {
    let mut nodes = observed.cluster.nodes.iter();
    let asked = nodes.find(|node| node.name == observed.cluster.answered_by)?;
    let mut reasons = asked.readiness.iter().flat_map(|told| &told.reasons);
    if !reasons.any(|reason| reason.code() == UnreadyCode::Removed) {
        return None;
    }
    let findings = readiness(asked).into_iter();
    Some(findings.map(|finding| finding.at(asked)).collect())
}

fn silent(node: &Node) -> Finding {
    let Node { name, address, .. } = node;
    let last = node.last_contact.and_then(|last| last.try_into().ok());
    let last = last.map_or_else(String::new, |last| {
        format!(", last heard from {} ago", figures::age(last))
    });
    Finding::problem(
        "silent",
        format!(
            "{name} ({address}) does not respond{last}: see whether weldr runs there and the network works, or remove it with \
             `weldrctl cluster remove {name}` if it is lost for good"
        ),
    )
}

fn responding(observed: &Observed, node: &Node) -> Vec<Finding> {
    let mut findings = readiness(node);
    findings.extend(disk(node));
    findings.extend(stopped(node));
    findings.extend(other_cluster(node));
    findings.extend(lag(observed, node));
    findings.extend(backups(node));
    findings.extend(certificate(node, observed.now));
    findings.extend(data_directory(node));
    findings
}

fn readiness(node: &Node) -> Vec<Finding> {
    let name = &node.name;
    let Some(readiness) = &node.readiness else {
        return Vec::new();
    };
    // `stopped` tells more.
    let reasons = readiness.reasons.iter();
    let reasons = reasons.filter(|reason| reason.code() != UnreadyCode::Outdated);
    let mut findings: Vec<_> = reasons
        .map(|reason| {
            let what = &reason.description;
            Finding::problem(
                "not_ready",
                format!("{name} is not ready: {what}{}", advice(reason.code())),
            )
        })
        .collect();
    let is_ready = readiness.status() == ReadinessStatus::Ready;
    if !is_ready && readiness.reasons.is_empty() {
        let text = format!("{name} is not ready, and gives no reason: look in its log");
        findings.push(Finding::problem("not_ready", text));
    }
    findings
}

/// What to do, as the end of a sentence.
fn advice(code: UnreadyCode) -> &'static str {
    match code {
        UnreadyCode::DiskFailed => "; free space or repair the disk, and it goes on by itself",
        UnreadyCode::DiskStalled => {
            "; look at the disk and at what else uses it, and restart weldr if it does not go on"
        }
        UnreadyCode::DescriptorsExhausted => {
            "; raise the limit of open files (ulimit -n, LimitNOFILE) or lower --max-connections"
        }
        UnreadyCode::NoLink => "; look at the cable, the switch and `ip link`",
        UnreadyCode::Removed => {
            "; stop it, or remove its data directory and start it with --join to let it join again"
        }
        UnreadyCode::OtherCluster => {
            "; remove the data of the nodes of the lesser cluster, and start them with --join"
        }
        UnreadyCode::NoWorker
        | UnreadyCode::TaskEnded
        | UnreadyCode::TaskStalled
        | UnreadyCode::EngineStopped => "; look in its log, and restart it",
        UnreadyCode::Joining | UnreadyCode::FirstChecksPending | UnreadyCode::Stopping => {
            "; wait, and look in its log if that lasts"
        }
        UnreadyCode::Outdated | UnreadyCode::Unspecified => "",
    }
}

fn disk(node: &Node) -> Option<Finding> {
    let disk = node.disk.as_ref()?;
    let reasons = node.readiness.iter().flat_map(|told| &told.reasons);
    let is_told = |code| reasons.clone().any(|reason| reason.code() == code);
    let (name, cause) = (&node.name, &disk.cause);
    match disk.state() {
        DiskState::Failed if !is_told(UnreadyCode::DiskFailed) => Some(Finding::problem(
            "disk_failed",
            format!(
                "the data directory of {name} cannot be written: {cause}{}",
                advice(UnreadyCode::DiskFailed)
            ),
        )),
        DiskState::Stalled if !is_told(UnreadyCode::DiskStalled) => Some(Finding::problem(
            "disk_stalled",
            format!(
                "a write to the data directory of {name} does not end: {cause}{}",
                advice(UnreadyCode::DiskStalled)
            ),
        )),
        _ => None,
    }
}

fn stopped(node: &Node) -> Option<Finding> {
    let Node { name, stopped, .. } = node;
    (!stopped.is_empty()).then(|| {
        let text = format!(
            "{name} applies no changes: {stopped}; upgrade it to the version of the others"
        );
        Finding::problem("stopped", text)
    })
}

fn other_cluster(node: &Node) -> Option<Finding> {
    let Node {
        name,
        other_cluster,
        ..
    } = node;
    (!other_cluster.is_empty()).then(|| {
        let text = format!(
            "{name} sees {other_cluster}; remove the data of the nodes of that one, and start them with --join"
        );
        Finding::problem("other_cluster", text)
    })
}

/// A node that lacks many entries, or has not applied any of those that it lacked a moment before.
fn lag(observed: &Observed, node: &Node) -> Option<Finding> {
    let earlier = observed.earlier.iter().flat_map(|earlier| &earlier.nodes);
    let stands = earlier
        .filter(|before| before.id == node.id && before.reachable && before.lag > 0)
        .any(|before| before.applied == node.applied);
    let is_late = node.lag > LAG || (node.lag > 0 && stands);
    (is_late && node.stopped.is_empty()).then(|| {
        let text = format!(
            "{} lacks {} changes of the leader: look at its disk and its load, and at the network to it",
            node.name, node.lag
        );
        Finding::problem("lag", text)
    })
}

fn backups(node: &Node) -> Option<Finding> {
    let failure = &node.backups.as_ref()?.failure;
    (!failure.is_empty()).then(|| {
        let text = format!(
            "{} makes no scheduled backups: {failure}; it tries again every minute",
            node.name
        );
        Finding::warning("backups", text)
    })
}

fn certificate(node: &Node, now: Timestamp) -> Option<Finding> {
    let (name, expires) = (&node.name, node.certificate_expires?);
    let date = figures::instant(expires);
    if expires.seconds <= now.seconds {
        let text = format!(
            "the certificate of {name} has expired on {date}: replace it, and restart the node"
        );
        return Some(Finding::problem("certificate", text));
    }
    let left = figures::elapsed(now, expires);
    (left < EXPIRES_SOON).then(|| {
        let text = format!(
            "the certificate of {name} expires in {}, on {date}: replace it, and restart the node",
            figures::age(left)
        );
        Finding::warning("certificate", text)
    })
}

fn data_directory(node: &Node) -> Option<Finding> {
    let mode = node.data_dir_mode;
    (mode & WRITABLE != 0).then(|| {
        let text = format!(
            "the data directory of {} can be written by other users (mode {mode:04o}): take that away with chmod go-w",
            node.name
        );
        Finding::warning("data_directory", text)
    })
}
