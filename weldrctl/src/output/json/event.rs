//! `watch`: what happened.

use serde::Serialize;

use super::{Server, Settings};

/// One line of `watch`.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) time: String,
    pub(crate) revision: u64,
    /// `present` (a server that was there when the watch began), `added`, `updated`, `health`, `removed`,
    /// or `settings`.
    pub(crate) event: String,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Option<Settings>,
}
