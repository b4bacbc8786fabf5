//! The desired state: proposed to, made durable, applied and watched behind one [`Handle`].
//!
//! What is behind the handle may change, from one node's own log to a replicated one; what callers may
//! rely on does not: a proposal that is answered is on disk, proposals are applied in one order, and the
//! watch shows each state only after it is on disk.

mod handle;

pub use handle::{Handle, ProposeError};
