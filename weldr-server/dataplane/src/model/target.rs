//! A state to be brought back: of an earlier revision, or of a backup.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{PoolName, PoolSettings, ServerSpec};

/// What servers and pools are to be again. Those that it does not name stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// The settings of each server; `None`: it was not there.
    pub servers: BTreeMap<(PoolName, SocketAddr), Option<ServerSpec>>,
    /// The settings of pools.
    pub settings: BTreeMap<PoolName, PoolSettings>,
}
