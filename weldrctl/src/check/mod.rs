//! `cluster check`: what an operator would look at, and what is wrong with it. Pure.
//!
//! - `quorum`: who leads, and how many nodes may be lost.
//! - `nodes`: each node, by its own report.
//! - `differences`: what should be the same at all nodes.
//! - `addresses`: the virtual addresses.
//! - `servers`: health that differs between nodes.

mod addresses;
mod differences;
mod nodes;
mod quorum;
mod servers;

use weldr_proto::v1::{GetClusterResponse, ListHealthResponse, Node};

use crate::error::Exit;

/// What was asked of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) cluster: GetClusterResponse,
    /// The same, asked a moment earlier.
    pub(crate) earlier: Option<GetClusterResponse>,
    /// The health of the servers at every node; `None` if there was no response.
    pub(crate) health: Option<ListHealthResponse>,
    /// Endpoints whose nodes belong to another cluster, and the id of that.
    pub(crate) other_clusters: Vec<(String, String)>,
    /// The present time.
    pub(crate) now: prost_types::Timestamp,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Nothing can be changed, and no node holds a virtual address for sure.
    NoQuorum,
    /// Something does not work.
    Problem,
    /// Everything works, but less may be lost than an operator would expect, or something is about to fail.
    Warning,
}

impl Severity {
    /// The word for programs and people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoQuorum => "no_quorum",
            Self::Problem => "problem",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// For programs; stable.
    pub(crate) code: &'static str,
    /// The node that it is about; empty if it is about all.
    pub(crate) node: String,
    /// What is wrong and what to do about it, in one sentence without its full stop.
    pub(crate) text: String,
}

impl Finding {
    fn new(severity: Severity, code: &'static str, text: String) -> Self {
        Self {
            severity,
            code,
            node: String::new(),
            text,
        }
    }

    fn problem(code: &'static str, text: String) -> Self {
        Self::new(Severity::Problem, code, text)
    }

    fn warning(code: &'static str, text: String) -> Self {
        Self::new(Severity::Warning, code, text)
    }

    fn at(self, node: &Node) -> Self {
        Self {
            node: node.name.clone(),
            ..self
        }
    }
}

/// All that is wrong, the gravest first.
pub(crate) fn check(observed: &Observed) -> Vec<Finding> {
    // The others do not respond to a node that was removed, so it knows nothing about them.
    if let Some(removed) = nodes::removed(observed) {
        return removed;
    }
    let mut findings = quorum::findings(observed);
    findings.extend(nodes::findings(observed));
    findings.extend(differences::findings(observed));
    findings.extend(addresses::findings(&observed.cluster));
    findings.extend(observed.health.iter().flat_map(servers::findings));
    // Stable: within a severity, in the order of the checks.
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The exit code: 0 if nothing is wrong, 1 without a quorum, 4 otherwise.
pub(crate) fn exit(findings: &[Finding]) -> Exit {
    match findings.first().map(|finding| finding.severity) {
        None => Exit::Done,
        Some(Severity::NoQuorum) => Exit::Refused,
        Some(Severity::Problem | Severity::Warning) => Exit::Degraded,
    }
}

/// The nodes that respond.
fn responding(cluster: &GetClusterResponse) -> impl Iterator<Item = &Node> {
    cluster.nodes.iter().filter(|node| node.reachable)
}

#[cfg(test)]
mod tests;
