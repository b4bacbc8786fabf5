//! What should be the same at all nodes.

use std::{cmp::Reverse, collections::BTreeMap};

use weldr_proto::v1::{GetClusterResponse, Node};

use super::{Finding, Observed, responding};
use crate::output::figures;

/// How far clocks may be apart, in seconds. A report takes up to 0.7 s, which makes a difference uncertain by half of that.
const CLOCKS: f64 = 1.0;

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let cluster = &observed.cluster;
    let mut findings = Vec::new();
    findings.extend(differs(cluster, |node| &node.version).map(|said| {
        let text = format!("the nodes run different versions ({said}): finish the upgrade, one node after the other");
        Finding::warning("versions", text)
    }));
    findings.extend(differs(cluster, |node| &node.failover).map(|said| {
        let text = format!("the nodes have different fail-over profiles ({said}): give all of them the same --failover");
        Finding::warning("failover", text)
    }));
    findings.extend(clocks(cluster));
    findings
}

/// The values and who has them, if there is more than one.
fn differs(cluster: &GetClusterResponse, value: impl Fn(&Node) -> &String) -> Option<String> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // A node that does not say is of an earlier version, which is told by its version.
    for node in responding(cluster).filter(|node| !value(node).is_empty()) {
        values.entry(value(node)).or_default().push(&node.name);
    }
    let said: Vec<_> = values
        .iter()
        .map(|(value, nodes)| format!("{value} at {}", nodes.join(", ")))
        .collect();
    (said.len() > 1).then(|| said.join("; "))
}

/// The nodes whose clocks are far from the one in the middle.
fn clocks(cluster: &GetClusterResponse) -> Vec<Finding> {
    let mut clocks: Vec<(f64, &Node)> = responding(cluster)
        .filter_map(|node| Some((figures::seconds(node.clock_offset?), node)))
        .collect();
    // Of two, the one that was asked is the one in the middle.
    let by_answer = |node: &Node| Reverse(node.name == cluster.answered_by);
    if clocks.len() == 2 {
        clocks.sort_by_key(|(_, node)| by_answer(node));
    } else {
        clocks.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    }
    let middle = clocks.len().saturating_sub(1) / 2;
    let Some(&(reference, fellow)) = clocks.get(middle) else {
        return Vec::new();
    };
    let far = clocks
        .iter()
        .map(|(offset, node)| (offset - reference, *node));
    far.filter(|(apart, _)| apart.abs() > CLOCKS)
        .map(|(apart, node)| {
            let direction = if apart > 0.0 { "ahead of" } else { "behind" };
            let text = format!(
                "the clock of {} is {:.1} s {direction} that of {}, so dates in their logs cannot be compared: let NTP set both",
                node.name,
                apart.abs(),
                fellow.name
            );
            Finding::warning("clock", text).at(node)
        })
        .collect()
}
