//! The JSON that `--output json` prints. Stable: fields are added, never renamed nor removed.
//!
//! Field names are `snake_case`; durations are numbers of seconds (`*_seconds`), rates are per second
//! (`*_per_second`), times are RFC 3339 in UTC, states and reasons are words of the API in lowercase, and
//! `null` is what is not set. The types are our own, so that a change of the API is a change here on purpose.
//!
//! | command | prints |
//! |---|---|
//! | `list`, `get` | one [`Servers`] |
//! | `add`, `remove`, `set`, `drain`, `ready`, `maintenance` | one [`Results`], also when some are refused |
//! | `pool get`, `pool set` | one [`Pool`] |
//! | `stats` | one [`Stats`]; with `--watch` one a line |
//! | `watch` | one [`Event`] a line |
//! | `cluster status`, `cluster remove`, `cluster transfer` | one [`Cluster`] |
//! | `list --all-nodes` | one [`AllNodes`] |
//! | `history` | one [`History`] |
//! | `rollback`, `cluster restore` | one [`Made`] |
#![expect(
    clippy::struct_field_names,
    reason = "the names are those of the JSON, which say what they are without their type"
)]

mod cluster;
mod event;
mod pool;
mod server;
mod stats;
mod write;

pub(crate) use cluster::{AllNodes, Cluster, History, Made};
pub(crate) use event::Event;
pub(crate) use pool::{Pool, Settings};
pub(crate) use server::{Check, Health, Server, Servers};
pub(crate) use stats::{ServerStats, Stats};
pub(crate) use write::{Results, WriteResult};

fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}
