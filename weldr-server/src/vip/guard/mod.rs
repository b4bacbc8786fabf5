//! A guard process that removes the addresses when the node's process cannot.
//!
//! The node tells it about every renewal of the lease through a pipe. If the lease ends and the node has not reported
//! the addresses as removed, the node's process is stopped; if the pipe is closed, the process has ended. In both cases
//! the guard removes the addresses at once. The kernel would do so up to a second later, and nothing else would call a
//! hook.
//!
//! When the process is dead and the addresses are removed, the guard tells the node's last words: with them the other
//! nodes need not wait for the end of a lease that nobody uses any more. That the pipe is closed is not enough for that,
//! because the node may have closed it: the kernel has to say that the process is gone.
//!
//! The node pings its guard, and starts another one in place of one that has ended or does not answer.
//!
//! * `messages`: what the node tells the guard.
//! * `process`: the guard itself.
//! * `supervisor`: starts it, keeps it informed, and starts it again.

mod messages;
mod process;
mod supervisor;

pub use process::guard;
pub(super) use supervisor::{Guard, News, supervise};
