//! `add`, `remove`, `set`, `drain`, `ready` and `maintenance`: what came of the write to each server.

use serde::Serialize;

use super::Server;

/// The results of a write, one for each address in the order of the command line.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) results: Vec<WriteResult>,
}

/// What came of a write to one server.
#[derive(Debug, Serialize)]
pub(crate) struct WriteResult {
    pub(crate) address: String,
    /// `added`, `unchanged`, `updated`, `draining` (of a removal that goes on), `removed`, or `failed`.
    pub(crate) outcome: &'static str,
    /// `null` when the write failed.
    pub(crate) revision: Option<u64>,
    pub(crate) server: Option<Server>,
    /// Why the write failed; or, after a write, why what `--wait` waits for did not happen.
    pub(crate) error: Option<String>,
}
