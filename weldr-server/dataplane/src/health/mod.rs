//! Health checks: one task for each server checks it and reports changes of its health.
//!
//! ```text
//! Prober ── sets ──► task: schedule says when ─► probe (bounded) ─► threshold ─► Observation
//!                                     connect failures of requests ──────┘
//! ```
//!
//! - `threshold` decides the health and `schedule` the time of the next check; both are pure, and the caller gives the time.
//! - `probe` makes one check, bounded in time and in bytes, and reads the response as the proxy does; `failure` is
//!   the reason of a failed check.
//! - `prober` connects them: the task of a server, the queue of connect failures and the queue of observations.
//!
//! The health is what this node observes; it is never replicated.

mod ejection;
mod failure;
mod probe;
mod prober;
mod response;
mod schedule;
mod threshold;

pub use crate::http1::HeadLimits;
pub use prober::{Check, Observation, Prober, limit_checks};

use failure::Failure;
