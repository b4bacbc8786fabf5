//! `cluster status`, `remove`, `transfer`, `backup` and `restore`.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
};

use weldr_proto::v1::{
    BackupRequest, GetClusterRequest, RemoveNodeRequest, RestoreRequest, TransferLeadershipRequest,
};

use super::Session;
use crate::{
    args::ClusterCommand,
    error::{CtlError, Exit},
    output::{self, cluster, json},
};

pub(super) async fn run(session: &Session, command: ClusterCommand) -> Result<Exit, CtlError> {
    match command {
        ClusterCommand::Status => status(session).await,
        ClusterCommand::Check => super::check::run(session).await,
        ClusterCommand::Remove(args) => {
            let name = args.name.clone();
            let request = RemoveNodeRequest {
                name: args.name,
                force: args.force,
            };
            session.client.remove_node(request).await?;
            removed(session, &name).await
        }
        ClusterCommand::Invite(args) => super::invites::invite(session, args).await,
        ClusterCommand::Invites => super::invites::list(session).await,
        ClusterCommand::RevokeInvite(args) => super::invites::revoke(session, args.id).await,
        ClusterCommand::RotateKey(args) => super::invites::rotate_key(session, args.name).await,
        ClusterCommand::Transfer(args) => {
            let request = TransferLeadershipRequest { name: args.name };
            session.client.transfer_leadership(request).await?;
            status(session).await.map(done)
        }
        ClusterCommand::Backup(args) => backup(session, &args.file).await,
        ClusterCommand::Restore(args) => restore(session, &args.file).await,
    }
}

/// The file name that means standard input or output.
const DASH: &str = "-";

async fn backup(session: &Session, file: &Path) -> Result<Exit, CtlError> {
    let request = BackupRequest {
        stale: session.stale,
    };
    let response = session.client.backup(request).await?;
    if file == Path::new(DASH) {
        io::stdout().lock().write_all(&response.file)?;
        return Ok(Exit::Done);
    }
    fs::write(file, &response.file).map_err(|source| CtlError::Local {
        what: "write the backup",
        source,
    })?;
    output::complain(&format!(
        "revision {} is in {}",
        response.revision,
        file.display()
    ));
    Ok(Exit::Done)
}

async fn restore(session: &Session, file: &Path) -> Result<Exit, CtlError> {
    let read = if file == Path::new(DASH) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    let file = read.map_err(|source| CtlError::Local {
        what: "read the backup",
        source,
    })?;
    let response = session.client.restore(RestoreRequest { file }).await?;
    let revision = response.revision;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Made { revision })?;
    } else {
        output.text(&format!(
            "the servers and pool settings of the backup were restored, revision {revision}\n"
        ))?;
    }
    Ok(Exit::Done)
}

async fn status(session: &Session) -> Result<Exit, CtlError> {
    let response = session.client.get_cluster(GetClusterRequest {}).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Cluster::from(&response))?;
    } else {
        output.text(&cluster::status(&response, output.paint()))?;
    }
    let is_split = tell_other_clusters(session, &response.cluster).await;
    Ok(if !response.quorum {
        Exit::Refused
    } else if is_split || !cluster::is_well(&response) {
        Exit::Degraded
    } else {
        Exit::Done
    })
}

/// The status after node `name` was removed. That node itself knows nothing any more: the others do not respond to it.
async fn removed(session: &Session, name: &str) -> Result<Exit, CtlError> {
    let response = session.client.get_cluster(GetClusterRequest {}).await?;
    if response.answered_by != name {
        return status(session).await.map(done);
    }
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Cluster::from(&response))?;
    } else {
        output.text(&format!(
            "{name} was removed, which is the node that was asked: stop it, and ask another one for the status\n"
        ))?;
    }
    Ok(Exit::Done)
}

/// The exit code of a change that was made, whatever else is wrong with the cluster.
fn done(status: Exit) -> Exit {
    match status {
        Exit::Degraded => Exit::Done,
        other => other,
    }
}

/// Complains about endpoints whose nodes belong to another cluster. Returns whether there is one.
async fn tell_other_clusters(session: &Session, cluster: &str) -> bool {
    let others = session.client.clusters_of_others().await;
    let others: Vec<_> = others
        .into_iter()
        .filter(|(_, other)| other != cluster)
        .collect();
    for (endpoint, other) in &others {
        output::complain(&format!(
            "{endpoint} belongs to another cluster, {other}: changes go to whichever node responds first"
        ));
    }
    !others.is_empty()
}
