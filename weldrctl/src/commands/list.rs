//! `list`.

use weldr_proto::v1::{GetPoolRequest, GetStatsRequest, ListServersRequest};

use super::Session;
use crate::{
    error::{CtlError, Exit},
    output::{self, json, pools, servers},
};

pub(super) async fn run(session: &Session) -> Result<Exit, CtlError> {
    let list = ListServersRequest {
        pool: session.pool.clone(),
        stale: session.stale,
    };
    let stats = GetStatsRequest {
        pool: session.pool.clone(),
    };
    let pool = GetPoolRequest {
        pool: session.pool.clone(),
        stale: session.stale,
    };
    let (list, stats, pool) = tokio::try_join!(
        session.client.list_servers(list),
        session.client.get_stats(stats),
        session.client.get_pool(pool)
    )?;
    let settings = pool.pool.and_then(|pool| pool.settings);
    if settings.is_some_and(|settings| pools::is_insecure(&settings)) {
        output::complain(&format!(
            "warning: certificates of the servers of pool {} are not verified (insecure)",
            session.pool
        ));
    }
    let stats = stats.stats.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Servers {
            pool: session.pool.clone(),
            revision: list.revision,
            servers: json::Server::with_stats(&list.servers, &stats),
        })?;
    } else if list.servers.is_empty() {
        output::complain(&format!(
            "no servers in pool {}; to add one: weldrctl add IP:PORT",
            session.pool
        ));
    } else {
        let wide = output.is_wide();
        output.text(&servers::list(&list.servers, &stats, wide, output.paint()))?;
    }
    Ok(Exit::Done)
}
