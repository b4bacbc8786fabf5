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
        "listener {} of node {}, revision {}, client {}",
        response.listener, response.node, response.revision, response.client
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
        } else if !pool.chosen.is_empty() {
            let others = pool.servers.iter().filter(|server| **server != pool.chosen);
            let others: Vec<&str> = others.map(String::as_str).collect();
            let otherwise = if others.is_empty() {
                String::new()
            } else {
                format!("; if it is full or fails, one of {}", others.join(", "))
            };
            format!("{}, by {}{otherwise}", pool.chosen, pool.hash_key)
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

#[cfg(test)]
mod tests {
    use weldr_proto::v1::ExplainedPool;

    use super::*;

    #[test]
    fn the_server_that_a_hash_chooses_is_named_first() {
        let text = |chosen: &str, servers: &[&str]| {
            let pool = ExplainedPool {
                pool: "web".to_owned(),
                servers: servers.iter().map(|server| (*server).to_owned()).collect(),
                chosen: chosen.to_owned(),
                hash_key: "header:x-user".to_owned(),
                ..ExplainedPool::default()
            };
            words(&ExplainRouteResponse {
                pools: vec![pool],
                ..ExplainRouteResponse::default()
            })
        };
        for (chosen, servers, line) in [
            ("", &["a", "b"] as &[&str], "pool web: one of a, b\n"),
            ("a", &["a"], "pool web: a, by header:x-user\n"),
            (
                "b",
                &["a", "b", "c"],
                "pool web: b, by header:x-user; if it is full or fails, one of a, c\n",
            ),
        ] {
            let told = text(chosen, servers);
            assert!(told.ends_with(line), "{told}");
        }
    }
}
