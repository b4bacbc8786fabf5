//! `cluster status`, `cluster remove`, `cluster transfer`.

use weldr_proto::v1::{GetClusterRequest, RemoveNodeRequest, TransferLeadershipRequest};

use super::Session;
use crate::{
    args::ClusterCommand,
    error::{CtlError, Exit},
    output::{cluster, json},
};

pub(super) async fn run(session: &Session, command: ClusterCommand) -> Result<Exit, CtlError> {
    match command {
        ClusterCommand::Status => status(session).await,
        ClusterCommand::Remove(args) => {
            let request = RemoveNodeRequest { name: args.name };
            session.client.remove_node(request).await?;
            status(session).await
        }
        ClusterCommand::Transfer(args) => {
            let request = TransferLeadershipRequest { name: args.name };
            session.client.transfer_leadership(request).await?;
            status(session).await
        }
    }
}

async fn status(session: &Session) -> Result<Exit, CtlError> {
    let answer = session.client.get_cluster(GetClusterRequest {}).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Cluster::from(&answer))?;
    } else {
        output.text(&cluster::status(&answer, output.paint()))?;
    }
    Ok(if answer.quorum {
        Exit::Done
    } else {
        Exit::Refused
    })
}
