//! The published state of an address.

use std::{fmt, time::Instant};

use crate::model::{Timestamp, VirtualAddress};

/// A virtual address of this node, for the status of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressStatus {
    /// Which address.
    pub address: VirtualAddress,
    /// The network interface of the address.
    pub interface: String,
    /// Whether this node has the address.
    pub standing: Standing,
    /// Since when, by [`crate::clock::dates`].
    pub since: Timestamp,
}

/// Whether this node has the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The node has it.
    Holding,
    /// The node is adding it.
    Taking,
    /// The node does not have it, and should not.
    Absent(Absence),
    /// The last action on it failed, and is tried again. The node may or may not have it.
    Failing(String),
}

/// Why this node does not hold the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Another node leads, or no node does.
    NotLeader,
    /// This node was the leader, and does not know whether it still is.
    LeaseOver,
    /// This node's data path does not serve.
    NotServing,
    /// The interface of the address has no link.
    NoLink,
    /// The guard does not run, and cannot be started.
    NoGuard,
    /// This node stops.
    Stopping,
}

/// The guard process of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardStatus {
    /// Whether it runs. If not, it cannot be started, and this is tried again.
    pub runs: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// When it was last started again.
    pub restarted: Option<Instant>,
}

impl GuardStatus {
    /// A guard that was just started.
    pub(super) const STARTED: Self = Self {
        runs: true,
        restarts: 0,
        restarted: None,
    };
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holding => f.write_str("holding"),
            Self::Taking => f.write_str("taking"),
            Self::Absent(absence) => absence.fmt(f),
            Self::Failing(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this node does not lead",
            Self::LeaseOver => "this node's lease was not renewed",
            Self::NotServing => "this node's data path does not serve",
            Self::NoLink => "the interface has no link",
            Self::NoGuard => "the guard of the addresses cannot be started",
            Self::Stopping => "this node stops",
        })
    }
}
