//! The virtual addresses: each is held once, and what protects it works.

use std::collections::BTreeMap;

use weldr_proto::v1::{GetClusterResponse, GuardState, LinkState, Node, NodeRole, VirtualAddress};

use super::{Finding, responding};

pub(super) fn findings(cluster: &GetClusterResponse) -> Vec<Finding> {
    let mut by_address: BTreeMap<&str, Vec<(&Node, &VirtualAddress)>> = BTreeMap::new();
    for node in responding(cluster) {
        for told in &node.virtual_addresses {
            by_address
                .entry(&told.address)
                .or_default()
                .push((node, told));
        }
    }
    let mut findings = Vec::new();
    for (address, at) in &by_address {
        findings.extend(holders(cluster, address, at));
        findings.extend(unconfigured(cluster, address, at));
    }
    for node in responding(cluster) {
        let parts = [failing(node), conflict(node), guard(node), link(node)]
            .into_iter()
            .flatten();
        findings.extend(parts.map(|finding| finding.at(node)));
    }
    findings
}

fn holders(
    cluster: &GetClusterResponse,
    address: &str,
    at: &[(&Node, &VirtualAddress)],
) -> Option<Finding> {
    let held = at.iter().filter(|(_, told)| told.held);
    let holders: Vec<_> = held.map(|(node, _)| node.name.as_str()).collect();
    match holders.as_slice() {
        [_] => None,
        [] => {
            let leader = at.iter().find(|(node, _)| node.name == cluster.leader);
            let why = match leader {
                Some((node, told)) => format!("the leader {} says: {}", node.name, told.standing),
                None if cluster.quorum => format!(
                    "the leader {} is not configured with it: give it the same --vip as the others",
                    cluster.leader
                ),
                None => "there is no leader with a quorum".to_owned(),
            };
            let text = format!("no node holds the virtual address {address}: {why}");
            Some(Finding::problem("address_not_held", text))
        }
        several => {
            let text = format!(
                "{} hold the virtual address {address}: if that lasts longer than a second, look for a network in which these nodes \
                 do not reach each other, and stop weldr at those that do not lead",
                several.join(" and ")
            );
            Some(Finding::problem("address_held_twice", text))
        }
    }
}

/// Nodes that may lead and would not hold the address.
fn unconfigured(
    cluster: &GetClusterResponse,
    address: &str,
    at: &[(&Node, &VirtualAddress)],
) -> Option<Finding> {
    let may_lead = |node: &&Node| matches!(node.role(), NodeRole::Leader | NodeRole::Follower);
    let has_it = |node: &&Node| at.iter().any(|(other, _)| other.name == node.name);
    let without = responding(cluster)
        .filter(may_lead)
        .filter(|node| !has_it(node));
    let without: Vec<_> = without.map(|node| node.name.as_str()).collect();
    (!without.is_empty()).then(|| {
        let text = format!(
            "{} may lead without holding the virtual address {address}: give all nodes the same --vip",
            without.join(" and ")
        );
        Finding::warning("address_not_configured", text)
    })
}

fn failing(node: &Node) -> Option<Finding> {
    let told = node.virtual_addresses.iter().find(|told| told.failing)?;
    let text = format!(
        "{} fails with the virtual address {}: {}; it tries again",
        node.name, told.address, told.standing
    );
    Some(Finding::problem("address_failing", text))
}

fn conflict(node: &Node) -> Option<Finding> {
    let other = |told: &&VirtualAddress| !told.conflict.is_empty();
    let told = node.virtual_addresses.iter().find(other)?;
    let text = format!(
        "another machine, {}, has the virtual address {} that {} holds: look it up in the tables of the switch, and take the \
         address from it",
        told.conflict, told.address, node.name
    );
    Some(Finding::problem("address_conflict", text))
}

fn guard(node: &Node) -> Option<Finding> {
    let told = node.virtual_addresses.first()?;
    let name = &node.name;
    match told.guard() {
        GuardState::Failed => Some(Finding::problem(
            "guard",
            format!(
                "the guard of the virtual addresses at {name} cannot be started, so it holds none: look in its log for the cause"
            ),
        )),
        GuardState::Restarted => Some(Finding::warning(
            "guard",
            format!(
                "the guard of the virtual addresses at {name} was started again in the last hour (restarts in all: {}): look \
                 in its log and that of the kernel for what ended it",
                told.guard_restarts
            ),
        )),
        GuardState::Running | GuardState::Unspecified => None,
    }
}

/// The readiness tells it as well, a moment later.
fn link(node: &Node) -> Option<Finding> {
    let down = |told: &&VirtualAddress| told.link() == LinkState::Down;
    let told = node.virtual_addresses.iter().find(down)?;
    let is_ready = node
        .readiness
        .as_ref()
        .is_none_or(|told| told.reasons.is_empty());
    is_ready.then(|| {
        let text = format!(
            "the interface {} of {} has no link: look at the cable, the switch and `ip link`",
            told.interface, node.name
        );
        Finding::problem("no_link", text)
    })
}
