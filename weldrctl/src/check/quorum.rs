//! Who leads, how many nodes may be lost, and whether there is a second cluster.

use weldr_proto::v1::{GetClusterResponse, NodeRole, Voters};

use super::{Finding, Observed, Severity, responding};
use crate::output::voters;

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let cluster = &observed.cluster;
    let mut findings = Vec::new();
    findings.extend(no_quorum(cluster));
    findings.extend(leaders(cluster));
    findings.extend(cluster.voters.as_ref().and_then(tolerance));
    findings.extend(
        observed
            .other_clusters
            .iter()
            .map(|(endpoint, other)| other_endpoint(endpoint, other)),
    );
    findings
}

fn no_quorum(cluster: &GetClusterResponse) -> Option<Finding> {
    if cluster.quorum {
        return None;
    }
    let is_majority = |voters: &&Voters| voters.responding >= voters.majority;
    let text = match &cluster.voters {
        Some(voters) if is_majority(&voters) => format!(
            "there is no quorum, although {} of {} voters respond: if that lasts longer than a few seconds, look in the logs of \
             the nodes for why no leader is elected",
            voters.responding, voters.total
        ),
        Some(voters) => format!(
            "there is no quorum, so nothing can be changed, because {}: start them, or see `A lost majority` in the \
             documentation if their data is lost",
            voters::sentence(voters)
        ),
        None => {
            "there is no quorum, so nothing can be changed: start the nodes that do not respond"
                .to_owned()
        }
    };
    Some(Finding::new(Severity::NoQuorum, "no_quorum", text))
}

/// Two leaders are of different terms, and the older one is about to learn of the newer.
fn leaders(cluster: &GetClusterResponse) -> Option<Finding> {
    let leaders = responding(cluster).filter(|node| node.role() == NodeRole::Leader);
    let leaders: Vec<_> = leaders
        .map(|node| format!("{} (term {})", node.name, node.term))
        .collect();
    (leaders.len() > 1).then(|| {
        let leaders = leaders.join(" and ");
        Finding::problem(
            "several_leaders",
            format!(
                "{leaders} say that they lead: if that lasts longer than a few seconds, look for a network in which these nodes do \
                 not reach each other"
            ),
        )
    })
}

fn tolerance(voters: &Voters) -> Option<Finding> {
    let total = voters.total;
    let text = match total {
        1 => "only one node votes, and if it is lost, nothing serves: start two more with --join".to_owned(),
        2 => "2 nodes vote, and without either of them there is no quorum: start a third one with --join, which may be a --witness".to_owned(),
        _ if total.is_multiple_of(2) => format!(
            "{total} nodes vote, which tolerate the loss of no more than {} do: add or remove one",
            total - 1
        ),
        // That a node does not respond is told by itself.
        _ if voters.silent.is_empty() || voters::may_be_lost(voters) > 0 => return None,
        _ if voters.responding < voters.majority => return None,
        _ => format!(
            "no more voters may be lost, because {} of {total} do not respond: start them, or remove those that are lost for good",
            voters.silent.len()
        ),
    };
    Some(Finding::warning("tolerance", text))
}

fn other_endpoint(endpoint: &str, other: &str) -> Finding {
    Finding::problem(
        "other_cluster",
        format!(
            "the node at {endpoint} belongs to another cluster, {other}: correct the endpoints, or remove the data of that node and \
             start it with --join"
        ),
    )
}
