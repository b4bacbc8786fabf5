//! The names of what a listener accepts of TLS.

use serde::{Deserialize, Serialize};

/// Which versions and ciphers of TLS a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 and 1.3, with ciphers that have forward secrecy and authenticate what they encrypt.
    #[default]
    Intermediate,
}
