//! The desired state: proposed to, made durable, applied and watched behind one [`Handle`].
//!
//! What is behind the handle may change, from one node's own log to a replicated one; what callers may
//! rely on does not: a proposal that is answered is on disk, proposals are applied in one order, and the
//! watch shows each state only after it is on disk.
//!
//! In reading order: `handle` (what callers see), `log` (the thread that applies proposals), `batch` (what
//! a few proposals do to the state, pure), `store` (the database, one transaction a batch), `rows` (what
//! is in it), `data_dir` (its directory, and how it is created whole or not at all).

mod batch;
mod data_dir;
mod error;
mod handle;
mod log;
mod rows;
mod store;

pub use error::{Damage, OpenError, StoreError};
pub use handle::{Handle, ProposeError};
pub use log::{Log, Opened, StoreOptions, open};

#[cfg(test)]
mod tests;
