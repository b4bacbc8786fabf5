//! `get`.

use weldr_proto::v1::{GetServerRequest, GetStatsRequest};

use super::Session;
use crate::{
    args::GetArgs,
    error::{CtlError, Exit},
    output::{self, card, figures, json},
    rates::by_id,
};

pub(super) async fn run(session: &Session, args: GetArgs) -> Result<Exit, CtlError> {
    let mut exit = Exit::Done;
    let mut servers = Vec::new();
    let mut revision = None;
    for address in args.addresses {
        let request = GetServerRequest {
            pool: session.pool.clone(),
            address: address.to_string(),
            stale: session.stale,
        };
        match session.client.get_server(request).await {
            Ok(response) => {
                let lowest = revision.unwrap_or(response.revision);
                revision = Some(lowest.min(response.revision));
                servers.extend(response.server);
            }
            Err(error) => {
                output::complain(&format!("{address}: {}", error.sentence()));
                exit = exit.max(error.exit());
            }
        }
    }
    let request = GetStatsRequest {
        pool: session.pool.clone(),
    };
    let stats = if servers.is_empty() {
        None
    } else {
        session.client.get_stats(request).await?.stats
    };
    let stats = stats.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Servers {
            pool: session.pool.clone(),
            revision: revision.unwrap_or_default(),
            servers: json::Server::with_stats(&servers, &stats),
        })?;
        return Ok(exit);
    }
    let now = stats.at.unwrap_or_else(figures::now);
    let counted = by_id(&stats.servers);
    let cards: Vec<String> = servers
        .iter()
        .map(|server| {
            card::server(
                server,
                counted.get(&server.id).copied(),
                now,
                output.paint(),
            )
        })
        .collect();
    output.text(&cards.join("\n"))?;
    Ok(exit)
}
