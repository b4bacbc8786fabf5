//! The nodes of a cluster, side by side.

use std::fmt::Write as _;

use weldr_proto::v1::{GetClusterResponse, Node};

use super::{
    figures,
    style::{Paint, Tint},
    table::{self, Cell, Column},
    words,
};

const COLUMNS: [Column; 8] = [
    table::words("NODE"),
    table::words("ADDRESS"),
    table::words("ROLE"),
    table::words("SINCE"),
    table::figures("TERM"),
    table::figures("APPLIED"),
    table::figures("LAG"),
    table::figures("REVISION"),
];

/// All nodes, and whether there is a quorum.
pub(crate) fn status(cluster: &GetClusterResponse, paint: Paint) -> String {
    let rows = cluster.nodes.iter().map(row).collect();
    let mut text = table::render(&COLUMNS, rows, paint);
    for node in cluster.nodes.iter().filter(|node| !node.stopped.is_empty()) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{} applies nothing: {}", node.name, node.stopped);
    }
    text.push_str(&verdict(cluster, paint));
    text
}

fn row(node: &Node) -> Vec<Cell> {
    if !node.reachable {
        let mut cells: Vec<Cell> = vec![node.name.as_str().into(), node.address.as_str().into()];
        cells.push(Cell::tinted("no answer", Some(Tint::Bad)));
        cells.extend((3..COLUMNS.len()).map(|_| Cell::from("-")));
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
        node.term.to_string().into(),
        node.applied.to_string().into(),
        node.lag.to_string().into(),
        node.revision.to_string().into(),
    ]
}

fn verdict(cluster: &GetClusterResponse, paint: Paint) -> String {
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
