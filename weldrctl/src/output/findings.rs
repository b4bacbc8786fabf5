//! The result of `cluster check`.

use std::fmt::Write as _;

use serde::Serialize;
use weldr_proto::v1::GetClusterResponse;

use super::{
    style::{Paint, Tint},
    voters,
};
use crate::check::{Finding, Severity};

/// A line for each finding, and what they are about.
pub(crate) fn text(cluster: &GetClusterResponse, findings: &[Finding], paint: Paint) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, tint) = match finding.severity {
            Severity::NoQuorum | Severity::Problem => ("problem", Tint::Bad),
            Severity::Warning => ("warning", Tint::Leaving),
        };
        let word = paint.text(word, Some(tint));
        // What a node says must not reach the terminal as a control sequence, or break the line.
        let said = finding
            .text
            .replace(|letter: char| letter.is_control(), " ");
        // Writing to a string cannot fail.
        _ = writeln!(text, "{word}: {said}");
    }
    if findings.is_empty() {
        let well = paint.text("all is well", Some(Tint::Good));
        _ = write!(text, "{well}: led by {}", cluster.leader);
        if let Some(voters) = &cluster.voters {
            _ = write!(text, "; {}", voters::sentence(voters));
        }
        text.push('\n');
    }
    _ = writeln!(
        text,
        "cluster {}, asked {}",
        cluster.cluster, cluster.answered_by
    );
    text
}

/// The JSON of `cluster check`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    cluster: String,
    answered_by: String,
    quorum: bool,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    /// `no_quorum`, `problem` or `warning`.
    severity: &'static str,
    code: &'static str,
    /// `null` if it is not about one node.
    node: Option<String>,
    text: String,
}

impl Report {
    pub(crate) fn new(cluster: &GetClusterResponse, findings: &[Finding]) -> Self {
        let found = |finding: &Finding| Found {
            severity: finding.severity.as_str(),
            code: finding.code,
            node: Some(finding.node.clone()).filter(|node| !node.is_empty()),
            text: finding.text.clone(),
        };
        Self {
            cluster: cluster.cluster.clone(),
            answered_by: cluster.answered_by.clone(),
            quorum: cluster.quorum,
            findings: findings.iter().map(found).collect(),
        }
    }
}
