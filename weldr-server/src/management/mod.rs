//! The operators' side: gRPC and REST on one port.
//!
//! ```text
//!  server   listener, connections, shutdown
//!    └ router   guard (who may ask at all), readiness, what is not there
//!        ├ grpc   one thin method a call ─┐
//!        └ rest   JSON to and from proto ─┴► operations ─► cluster.propose, snapshots, stats
//!                                              └ convert   proto ↔ model
//! ```
//!
//! The proto is the contract; REST says the same calls in JSON and has no logic of its own, so the two
//! cannot disagree. A write is answered from the snapshot that holds it: the caller's next request sees it.

mod convert;
mod error;
mod grpc;
mod guard;
mod lingering;
mod operations;
mod peer;
mod readiness;
mod rest;
mod router;
mod server;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

pub use readiness::Readiness;
pub use server::{BindError, Listener, Options, bind, serve};

use crate::{
    cluster,
    snapshot::Snapshots,
    stats::{ClientShard, Rates, Sharded},
};

/// What the management API reads and writes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where changes go.
    pub cluster: cluster::Handle,
    /// What every answer describes.
    pub snapshots: Snapshots,
    /// What the workers count of clients.
    pub clients: Arc<Sharded<ClientShard>>,
    /// Requests per second, of the process and of each server.
    pub rates: Arc<Rates>,
    /// When the process began to count.
    pub started_at: SystemTime,
}

/// The commands that add a server at the node whose management API listens on `address`, with REST or without, for
/// somebody who found none: a client of the proxy. So an address that says something about the network is not told, and
/// none where `weldrctl` looks at this `default_port` by itself.
pub fn how_to_add(address: SocketAddr, default_port: u16, rest: bool) -> String {
    let port = address.port();
    let ip = address.ip().to_canonical();
    let is_local = ip.is_loopback() || ip.is_unspecified();
    let endpoint = match (is_local, port) {
        (true, port) if port == default_port => String::new(),
        (true, port) => format!("--endpoint localhost:{port} "),
        (false, _) => "--endpoint HOST:PORT ".to_owned(),
    };
    let weldrctl = format!("  weldrctl {endpoint}add IP:PORT\n");
    if is_local && rest {
        let body = r#"{"ip":"IP", "port":"PORT"}"#;
        format!("{weldrctl}  curl localhost:{port}/servers -d '{body}'\n")
    } else {
        weldrctl
    }
}

#[cfg(test)]
mod tests;
