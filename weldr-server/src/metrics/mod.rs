//! What this node has counted, as text for Prometheus: written from the counters of the data path when it is asked for, with no
//! counter of its own.
//!
//! * `exposition`: the format. Pure.
//! * `traffic`: listeners, rules, pools, servers and handshakes.
//! * `consensus`: the cluster as this node sees it, and its certificates.
//! * `process`: the process, as the kernel sees it.

mod consensus;
mod exposition;
mod process;
mod traffic;

use std::{sync::Arc, time::SystemTime};

pub use exposition::Format;
use exposition::{Exposition, Kind};

use crate::{
    cluster::Handle,
    snapshot::Snapshots,
    stats::{ClientShard, Sharded},
};

/// Which series are written besides those of listeners and pools, whose number grows with what they are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detail {
    /// Those of each rule.
    pub rules: bool,
    /// Those of each server.
    pub servers: bool,
}

/// What is written, and from where.
#[derive(Debug)]
pub struct Sources<'s> {
    /// Pools and listeners.
    pub snapshots: &'s Snapshots,
    /// The counters of the clients' side.
    pub clients: &'s Arc<Sharded<ClientShard>>,
    /// The cluster.
    pub cluster: &'s Handle,
    /// When the process began to count.
    pub started_at: SystemTime,
}

/// All metrics of this node.
pub fn render(sources: &Sources<'_>, detail: Detail, format: Format) -> String {
    let mut exposition = Exposition::new(format);
    let mut build = exposition.family("weldr_build_info", Kind::Gauge, "The version of Weldr.");
    build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    traffic::write(sources, detail, &mut exposition);
    consensus::write(sources.cluster, &mut exposition);
    process::write(sources.started_at, &mut exposition);
    exposition.finish()
}
