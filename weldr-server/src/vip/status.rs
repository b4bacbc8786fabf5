//! What is told of an address.

use std::fmt;

use crate::model::{Timestamp, VirtualAddress};

/// An address of this node, for who looks at the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressStatus {
    /// Which address.
    pub address: VirtualAddress,
    /// The network interface that it belongs to.
    pub interface: String,
    /// Whether it is here.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
}

/// Whether an address is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Holding,
    /// It is about to be.
    Taking,
    /// It is not, and should not be.
    Absent(Absence),
    /// It should be here and is not, or should not and may be; it is tried again.
    Failing(String),
}

/// Why an address is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Another node leads, or none does.
    NotLeader,
    /// This node led, and does not know whether it still does.
    LeaseOver,
    /// This node's data path does not serve.
    NotServing,
    /// This node stops.
    Stopping,
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
            Self::Stopping => "this node stops",
        })
    }
}
