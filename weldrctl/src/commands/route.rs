//! `route explain`.

use weldr_proto::v1::{ExplainRouteRequest, ExplainRouteResponse, HeaderField};

use super::Session;
use crate::{
    args::{ExplainArgs, RouteCommand},
    error::{CtlError, Exit},
};

pub(super) async fn run(session: &Session, command: RouteCommand) -> Result<Exit, CtlError> {
    let RouteCommand::Explain(ExplainArgs {
        url,
        listener,
        method,
        header,
        source,
    }) = command;
    let headers = header
        .into_iter()
        .map(|(name, value)| HeaderField { name, value });
    let request = ExplainRouteRequest {
        listener: listener.unwrap_or_default(),
        url,
        method,
        headers: headers.collect(),
        source: source.unwrap_or_default(),
    };
    let response = session.client.explain_route(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&response)?;
    } else {
        output.text(&words(&response))?;
    }
    Ok(Exit::Done)
}

/// Why each earlier rule does not match, and what becomes of the request then. A text of a peer must not reach the terminal with
/// control characters.
fn words(response: &ExplainRouteResponse) -> String {
    let mut lines = vec![format!(
        "listener {} of node {}, revision {}",
        response.listener, response.node, response.revision
    )];
    for mismatch in &response.mismatches {
        lines.push(format!(
            "  rule {} does not match: {}",
            mismatch.priority, mismatch.reason
        ));
    }
    let decides = match response.priority {
        Some(priority) => format!("rule {priority}"),
        None => "the default action".to_owned(),
    };
    if response.refused.is_empty() {
        lines.push(format!("{decides}: {}", response.action));
    } else {
        lines.push(format!("{}: {}", response.action, response.refused));
    }
    for pool in &response.pools {
        let servers = if pool.servers.is_empty() {
            pool.unavailable.clone()
        } else {
            format!("one of {}", pool.servers.join(", "))
        };
        lines.push(format!("  pool {}: {servers}", pool.pool));
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.replace(char::is_control, " "));
        text.push('\n');
    }
    text
}
