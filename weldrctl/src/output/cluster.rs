//! The nodes of a cluster, and the history.

use std::fmt::Write as _;

use weldr_proto::v1::{
    Disk, DiskState, GetClusterResponse, GuardState, HistoryEvent, LinkState, Node, NodeHealth,
    ReadinessStatus, ServerHealth, UnreadyCode, UnreadyReason, VirtualAddress,
};

use super::{
    figures,
    style::{Paint, Tint},
    table::{self, Cell, Column},
    voters, words,
};

const COLUMNS: [Column; 11] = [
    table::words("NODE"),
    table::words("ADDRESS"),
    table::words("ROLE"),
    table::words("SINCE"),
    table::figures("CONTACT"),
    table::figures("TERM"),
    table::figures("APPLIED"),
    table::figures("LAG"),
    table::figures("REVISION"),
    table::words("DISK"),
    table::words("ADDRESS HELD"),
];

/// All nodes, and whether there is a quorum.
pub(crate) fn status(cluster: &GetClusterResponse, paint: Paint) -> String {
    let rows = cluster.nodes.iter().map(row).collect();
    let mut text = table::render(&COLUMNS, rows, paint);
    for node in cluster.nodes.iter().filter(|node| !node.stopped.is_empty()) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{} applies nothing: {}", node.name, node.stopped);
    }
    for node in &cluster.nodes {
        for reason in reasons(node) {
            let since = figures::since(reason.since, figures::now());
            let description = &reason.description;
            _ = writeln!(
                text,
                "{} is not ready: {description} (for {since})",
                node.name
            );
        }
    }
    for node in &cluster.nodes {
        if !node.other_cluster.is_empty() {
            _ = writeln!(text, "{} sees {}", node.name, node.other_cluster);
        }
        for address in node.virtual_addresses.iter().filter(|told| told.failing) {
            _ = writeln!(
                text,
                "{}, {}: {}",
                node.name, address.address, address.standing
            );
        }
        for trouble in troubles(node) {
            _ = writeln!(text, "{}: {trouble}", node.name);
        }
    }
    if let Some(voters) = &cluster.voters {
        _ = writeln!(text, "{}", voters::sentence(voters));
    }
    text.push_str(&quorum(cluster, paint));
    text
}

/// What is wrong with a node and is told nowhere else, in words.
fn troubles(node: &Node) -> Vec<String> {
    let mut troubles = Vec::new();
    let disk = node.disk.as_ref();
    let reasons = node.readiness.iter().flat_map(|told| &told.reasons);
    let is_told = |code| reasons.clone().any(|reason| reason.code() == code);
    let disk_is_told = is_told(UnreadyCode::DiskFailed) || is_told(UnreadyCode::DiskStalled);
    if let Some(disk) = disk.filter(|disk| !disk.cause.is_empty() && !disk_is_told) {
        troubles.push(format!(
            "the disk has {}: {}",
            words::disk_state(disk.state),
            disk.cause
        ));
    }
    // All addresses of a node have one guard and one interface.
    if let Some(address) = node.virtual_addresses.first() {
        match address.guard() {
            GuardState::Failed => {
                troubles.push("the guard of the virtual addresses cannot be started".to_owned());
            }
            GuardState::Restarted => troubles.push(format!(
                "the guard of the virtual addresses was started again in the last hour (restarts in all: {})",
                address.guard_restarts
            )),
            GuardState::Running | GuardState::Unspecified => {}
        }
        if address.link() == LinkState::Down && !is_told(UnreadyCode::NoLink) {
            troubles.push(format!("the interface {} has no link", address.interface));
        }
    }
    for address in &node.virtual_addresses {
        if !address.conflict.is_empty() {
            troubles.push(format!(
                "another machine, {}, has the virtual address {} too",
                address.conflict, address.address
            ));
        }
    }
    if let Some(backups) = node
        .backups
        .as_ref()
        .filter(|told| !told.failure.is_empty())
    {
        troubles.push(format!("no scheduled backups: {}", backups.failure));
    }
    troubles
}

/// Whether an operator has to do something about the disk, the guard, the link or the backups of a node.
fn needs_attention(node: &Node) -> bool {
    let bad_disk = |disk: &Disk| matches!(disk.state(), DiskState::Failed | DiskState::Stalled);
    let bad_address = |told: &VirtualAddress| {
        told.guard() == GuardState::Failed
            || told.link() == LinkState::Down
            || !told.conflict.is_empty()
    };
    node.disk.as_ref().is_some_and(bad_disk)
        || node.virtual_addresses.iter().any(bad_address)
        || node
            .backups
            .as_ref()
            .is_some_and(|told| !told.failure.is_empty())
}

/// Whether every node responds and is ready, and no virtual address or second cluster needs attention.
pub(crate) fn is_well(cluster: &GetClusterResponse) -> bool {
    cluster.nodes.iter().all(|node| {
        let readiness = node.readiness.as_ref();
        // A node of an earlier version does not say.
        let is_ready = readiness.is_none_or(|told| told.status() == ReadinessStatus::Ready);
        let addresses = &node.virtual_addresses;
        node.reachable
            && is_ready
            && node.stopped.is_empty()
            && node.other_cluster.is_empty()
            && !addresses.iter().any(|told| told.failing)
            && !needs_attention(node)
    })
}

/// Why a node is not ready, without what is told in a line of its own.
fn reasons(node: &Node) -> impl Iterator<Item = &UnreadyReason> {
    let reasons = node.readiness.iter().flat_map(|told| &told.reasons);
    reasons.filter(|reason| reason.code() != UnreadyCode::Outdated)
}

fn row(node: &Node) -> Vec<Cell> {
    if !node.reachable {
        let mut cells: Vec<Cell> = vec![node.name.as_str().into(), node.address.as_str().into()];
        cells.push(Cell::tinted("no response", Some(Tint::Bad)));
        cells.extend(["-".into(), contact(node).into()]);
        cells.extend((cells.len()..COLUMNS.len()).map(|_| Cell::from("-")));
        return cells;
    }
    let since = node
        .since
        .map(|since| figures::age(figures::elapsed(since, figures::now())));
    vec![
        node.name.as_str().into(),
        if node.address.is_empty() {
            "-".into()
        } else {
            node.address.as_str().into()
        },
        words::node_role(node.role).into(),
        since.unwrap_or_else(|| "-".to_owned()).into(),
        contact(node).into(),
        node.term.to_string().into(),
        node.applied.to_string().into(),
        node.lag.to_string().into(),
        node.revision.to_string().into(),
        disk(node),
        held(node).into(),
    ]
}

/// How long ago the node that was asked has heard from this one.
fn contact(node: &Node) -> String {
    let last = node.last_contact.and_then(|last| last.try_into().ok());
    last.map_or_else(|| figures::NONE.to_owned(), figures::age)
}

fn disk(node: &Node) -> Cell {
    let Some(disk) = &node.disk else {
        return figures::NONE.into();
    };
    let tint = match disk.state() {
        DiskState::Failed | DiskState::Stalled => Some(Tint::Bad),
        DiskState::Ok | DiskState::Memory | DiskState::Unspecified => None,
    };
    Cell::tinted(words::disk_state(disk.state), tint)
}

/// The virtual addresses that a node holds.
fn held(node: &Node) -> String {
    let held = node.virtual_addresses.iter().filter(|told| told.held);
    let held: Vec<_> = held.map(|told| told.address.as_str()).collect();
    if held.is_empty() {
        return "-".to_owned();
    }
    held.join(" ")
}

fn quorum(cluster: &GetClusterResponse, paint: Paint) -> String {
    let id = &cluster.cluster;
    if cluster.quorum {
        return format!(
            "quorum, led by {}; cluster {id}, asked {}\n",
            cluster.leader, cluster.answered_by
        );
    }
    let none = paint.text("no quorum: nothing can be changed", Some(Tint::Bad));
    format!("{none}; cluster {id}, asked {}\n", cluster.answered_by)
}

/// The last changes.
pub(crate) fn history(events: &[HistoryEvent], paint: Paint) -> String {
    let columns = [
        table::figures("REVISION"),
        table::words("TIME"),
        table::words("WHAT"),
        table::words("FROM"),
    ];
    let row = |event: &HistoryEvent| {
        let at = event.at.map(figures::instant);
        vec![
            event.revision.to_string().into(),
            at.unwrap_or_else(|| "-".to_owned()).into(),
            event.what.as_str().into(),
            event.from.as_str().into(),
        ]
    };
    table::render(&columns, events.iter().map(row).collect(), paint)
}

/// What each node sees of each server.
pub(crate) fn all_nodes(servers: &[ServerHealth], paint: Paint) -> String {
    let columns = [
        table::words("ADDRESS"),
        table::words("NODE"),
        table::words("STATE"),
        table::words("REASON"),
        table::words("SINCE"),
        table::figures("IN FLIGHT"),
    ];
    let rows = servers.iter().flat_map(|server| {
        let address = server.address.as_str();
        server.nodes.iter().map(move |node| view(address, node))
    });
    table::render(&columns, rows.collect(), paint)
}

fn view(address: &str, node: &NodeHealth) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![address.into(), node.node.as_str().into()];
    let Some(health) = &node.health else {
        cells.push(Cell::tinted("no response", Some(Tint::Bad)));
        cells.extend((3..6).map(|_| Cell::from("-")));
        return cells;
    };
    cells.push(Cell::tinted(
        words::state(health.state),
        Tint::of_state(health.state),
    ));
    cells.push(words::because(health).into());
    cells.push(figures::since(health.since, figures::now()).into());
    cells.push(node.in_flight.to_string().into());
    cells
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::{Backups, Readiness, Voters};

    use super::*;
    use crate::output::json;

    fn unready(code: UnreadyCode, description: &str) -> GetClusterResponse {
        let reason = UnreadyReason {
            code: code.into(),
            description: description.to_owned(),
            since: None,
        };
        let node = Node {
            name: "a".to_owned(),
            reachable: true,
            readiness: Some(Readiness {
                status: ReadinessStatus::Unready.into(),
                reasons: vec![reason],
            }),
            ..Node::default()
        };
        GetClusterResponse {
            nodes: vec![node],
            ..GetClusterResponse::default()
        }
    }

    #[test]
    fn a_node_that_is_not_ready_is_told_with_the_reason() {
        let stalled = unready(UnreadyCode::TaskStalled, "worker 3 makes no progress");
        let text = status(&stalled, Paint::for_terminal(false));
        assert!(
            text.contains("a is not ready: worker 3 makes no progress"),
            "{text}"
        );
        let json = serde_json::to_value(json::Cluster::from(&stalled)).unwrap();
        let expected = serde_json::json!({
            "status": "unready",
            "reasons": [{
                "code": "task_stalled",
                "description": "worker 3 makes no progress",
                "since": null,
            }],
        });
        assert_eq!(json["nodes"][0]["readiness"], expected);
    }

    fn disk_that(state: DiskState, cause: &str) -> Disk {
        Disk {
            state: state.into(),
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn contact_disk_guard_and_what_is_missing_for_a_quorum_are_told() {
        let lasted = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let asked = Node {
            name: "a".to_owned(),
            reachable: true,
            disk: Some(disk_that(DiskState::Failed, "no space left")),
            virtual_addresses: vec![VirtualAddress {
                interface: "eth0".to_owned(),
                guard: GuardState::Restarted.into(),
                guard_restarts: 3,
                link: LinkState::Down.into(),
                ..VirtualAddress::default()
            }],
            ..Node::default()
        };
        let silent = Node {
            name: "b".to_owned(),
            last_contact: lasted(90),
            ..Node::default()
        };
        let voters = Voters {
            total: 2,
            responding: 1,
            majority: 2,
            silent: vec!["b".to_owned()],
        };
        let cluster = GetClusterResponse {
            nodes: vec![asked, silent],
            voters: Some(voters),
            ..GetClusterResponse::default()
        };
        let text = status(&cluster, Paint::PLAIN);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].contains(" failed "), "{text}");
        assert!(
            rows[2].contains("no response") && rows[2].contains(" 1m "),
            "{text}"
        );
        for line in [
            "a: the disk has failed: no space left",
            "a: the guard of the virtual addresses was started again in the last hour (restarts in all: 3)",
            "a: the interface eth0 has no link",
            "1 of 2 voters responds: a majority of 2 needs b",
        ] {
            assert!(rows.contains(&line), "{line}: {text}");
        }
    }

    #[test]
    fn only_a_cluster_without_anything_wrong_is_well() {
        type Harm = fn(&mut Node);
        let mut all = unready(UnreadyCode::TaskStalled, "worker 3 makes no progress");
        assert!(!is_well(&all));
        all.nodes[0].readiness = None;
        all.nodes[0].virtual_addresses = vec![VirtualAddress {
            guard: GuardState::Restarted.into(),
            ..VirtualAddress::default()
        }];
        all.nodes[0].disk = Some(disk_that(DiskState::Memory, ""));
        assert!(is_well(&all));
        let harms: [Harm; 7] = [
            |node| node.reachable = false,
            |node| node.stopped = "record 7".to_owned(),
            |node| node.other_cluster = "another cluster".to_owned(),
            |node| node.disk = Some(disk_that(DiskState::Stalled, "for 9 s")),
            |node| node.virtual_addresses[0].guard = GuardState::Failed.into(),
            |node| node.virtual_addresses[0].link = LinkState::Down.into(),
            |node| {
                node.backups = Some(Backups {
                    failure: "no space".to_owned(),
                    ..Backups::default()
                });
            },
        ];
        for harm in harms {
            let mut harmed = all.clone();
            harm(&mut harmed.nodes[0]);
            assert!(!is_well(&harmed), "{harmed:?}");
        }
    }

    #[test]
    fn a_node_that_does_not_say_is_not_told() {
        let mut silent = unready(UnreadyCode::TaskStalled, "worker 3 makes no progress");
        silent.nodes[0].readiness = None;
        assert!(!status(&silent, Paint::for_terminal(false)).contains("is not ready"));
        let json = serde_json::to_value(json::Cluster::from(&silent)).unwrap();
        assert_eq!(json["nodes"][0]["readiness"], serde_json::Value::Null);
    }
}
