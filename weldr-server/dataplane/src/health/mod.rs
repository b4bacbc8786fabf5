//! Whether servers are well: one task a server that checks it, and tells when its health changes.
//!
//! ```text
//! Prober ── sets ──► task: schedule says when ─► probe (bounded) ─► threshold ─► Observation
//!                                     connect failures of requests ──────┘
//! ```
//!
//! - `threshold` decides, `schedule` times; both are pure, and the time is given to them.
//! - `probe` makes one check, bounded in time and in bytes, and reads the response as the proxy does; `failure` says
//!   why it failed.
//! - `prober` is the shell around them: the task, the queue in, the queue out.
//!
//! What is seen here is what this node sees; it is never replicated.

mod failure;
mod probe;
mod prober;
mod schedule;
mod threshold;

pub use crate::http1::HeadLimits;
pub use prober::{Check, Observation, Prober, limit_checks};

use failure::Failure;
