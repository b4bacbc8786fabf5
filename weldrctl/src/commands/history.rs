//! `history` and `rollback`.

use weldr_proto::v1::{GetHistoryRequest, RollbackRequest};

use super::Session;
use crate::{
    args::{HistoryArgs, RollbackArgs},
    error::{CtlError, Exit},
    output::{cluster, json},
};

pub(super) async fn show(session: &Session, args: &HistoryArgs) -> Result<Exit, CtlError> {
    let request = GetHistoryRequest {
        limit: args.limit,
        stale: session.stale,
    };
    let response = session.client.get_history(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::History::from(&response))?;
    } else {
        output.text(&cluster::history(&response.events, output.paint()))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn roll_back(session: &Session, args: &RollbackArgs) -> Result<Exit, CtlError> {
    let to = args.to_revision;
    let request = RollbackRequest { to_revision: to };
    let response = session.client.rollback(request).await?;
    let revision = response.revision;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Made { revision })?;
    } else {
        output.text(&format!(
            "the servers and pool settings of revision {to} were restored, revision {revision}\n"
        ))?;
    }
    Ok(Exit::Done)
}
