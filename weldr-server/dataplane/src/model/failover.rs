//! How soon a node that is lost is replaced.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How soon another node leads when the leader is lost. The sooner, the shorter may be the pauses of machines and network
/// that are not taken for a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failover {
    /// Within 400 ms. For machines with idle cores and a network of their own.
    Fast,
    /// Within 700 ms.
    #[default]
    Normal,
    /// Within 3 s. For nodes that are far from each other.
    Wan,
}

impl Failover {
    /// The name, as in options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
            Self::Wan => "wan",
        }
    }
}
