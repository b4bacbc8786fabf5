//! `cluster check`.

use std::time::Duration;

use weldr_proto::v1::{GetClusterRequest, ListHealthRequest};

use super::Session;
use crate::{
    check::{self, Observed},
    error::{CtlError, Exit},
    output::{figures, findings},
};

/// The pause after which a node that lacks changes is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(700);

pub(super) async fn run(session: &Session) -> Result<Exit, CtlError> {
    let observed = observe(session).await?;
    let findings = check::check(&observed);
    let output = &session.output;
    if output.is_json() {
        output.document(&findings::Report::new(&observed.cluster, &findings))?;
    } else {
        output.text(&findings::text(
            &observed.cluster,
            &findings,
            output.paint(),
        ))?;
    }
    Ok(check::exit(&findings))
}

async fn observe(session: &Session) -> Result<Observed, CtlError> {
    let client = &session.client;
    let first = client.get_cluster(GetClusterRequest {}).await?;
    let (cluster, earlier) = if first.nodes.iter().any(|node| node.lag > 0) {
        tokio::time::sleep(SECOND_LOOK).await;
        let second = client.get_cluster(GetClusterRequest {}).await?;
        (second, Some(first))
    } else {
        (first, None)
    };
    let request = ListHealthRequest {
        pool: session.pool.clone(),
    };
    let health = client.list_health(request).await?;
    let others = client.clusters_of_others().await.into_iter();
    let other_clusters = others
        .filter(|(_, other)| *other != cluster.cluster)
        .collect();
    Ok(Observed {
        cluster,
        earlier,
        health: Some(health),
        other_clusters,
        now: figures::now(),
    })
}
