//! `list --all-nodes`.

use weldr_proto::v1::ListHealthRequest;

use super::Session;
use crate::{
    error::{CtlError, Exit},
    output::{cluster, json},
};

pub(super) async fn run(session: &Session) -> Result<Exit, CtlError> {
    let request = ListHealthRequest {
        pool: session.pool.clone(),
    };
    let response = session.client.list_health(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&json::HealthOnNodes::from(&response))?;
    } else {
        output.text(&cluster::all_nodes(&response.servers, output.paint()))?;
    }
    Ok(Exit::Done)
}
