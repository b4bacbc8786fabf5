//! The management API: gRPC and REST on one port.
//!
//! ```text
//!  server   listener, shutdown; connections: which are open, and which give way
//!    └ router   access (who may call; guard: which requests are accepted), readiness, unknown paths
//!        ├ grpc   a method per call      ─┐
//!        └ rest   JSON to and from proto ─┴► operations ─► cluster.propose, snapshots, stats
//!                                              └ convert   proto ↔ model
//! ```
//!
//! The proto defines the API. REST has the same calls in JSON and no logic of its own, so the two
//! cannot differ. The response to a write is made from the snapshot that contains it, so the next request that this node
//! proxies sees the change.

mod access;
mod connections;
mod convert;
mod error;
mod grpc;
mod guard;
mod lingering;
mod listener;
mod operations;
mod readiness;
mod rest;
mod router;
mod server;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use ipnet::IpNet;

pub use listener::{
    Listener, LocalBindError, LocalListener, ManagementBindError, bind, bind_local,
};
pub use server::{Listeners, ServeOptions, serve};
pub use tls::{Tls, TlsError, TlsFiles};

use crate::{
    cluster,
    liveness::Tick,
    model::{AllowedServers, Invalid, ListenerName, OwnAddresses},
    snapshot::Snapshots,
    stats::{ClientShard, Rates, Sharded},
};

/// The parts of the node that the management API reads and writes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManagementContext {
    /// The cluster, to which changes are proposed.
    pub cluster: cluster::Handle,
    /// The snapshots from which responses are made.
    pub snapshots: Snapshots,
    /// The statistics of clients, counted by the workers.
    pub clients: Arc<Sharded<ClientShard>>,
    /// Requests per second, of the node and of each server.
    pub rates: Arc<Rates>,
    /// The time at which the statistics began, by [`crate::clock::dates`].
    pub started_at: SystemTime,
    /// Where this node itself listens: no server may be there.
    pub own: OwnAddresses,
    /// Where servers may be, as far as this node is concerned.
    pub allowed: AllowedServers,
    /// The proxies that listeners of this node trust which do not say.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Shows that the API goes on.
    pub tick: Tick,
}

impl ManagementContext {
    /// Accepts a server to be added at `address`, as far as this node is concerned. Other nodes may be configured
    /// differently, so this is no part of what applies the change.
    fn accepts(&self, address: SocketAddr) -> Result<SocketAddr, Invalid> {
        let own = self.own.with_listeners_of(&self.cluster.current());
        own.check(address)?;
        self.allowed.check(address)
    }

    /// Accepts `address` for a listener, as far as this node is concerned. Other nodes say when they open it.
    fn accepts_listener(&self, name: &ListenerName, address: SocketAddr) -> Result<(), Invalid> {
        let state = self.cluster.current();
        let present = state.listeners.get(name);
        if present.is_some_and(|present| present.spec.address == Some(address)) {
            return Ok(());
        }
        self.own.check_listener(name, address, Some(&state))
    }
}

/// The commands that add a server through the management API at `address`, with REST or without it, to be shown to a
/// client of the proxy when the pool is empty. Addresses that reveal something about the network are not shown, and no
/// endpoint is shown if the port is `default_port`, which `weldrctl` uses by itself.
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
