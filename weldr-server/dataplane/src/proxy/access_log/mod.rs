//! One line for each request, written without holding up the worker that served it.
//!
//! A worker writes lines into memory and hands a batch over when it is large, or a moment old; a thread of its own
//! writes the batches to its `sink`, a file, a pipe or a `syslog` collector. When that is too slow or fails, lines are lost and counted, the count is logged, and
//! no request waits.

mod batches;
mod combined;
mod escape;
mod line;
mod sink;
mod style;
mod syslog;
#[cfg(test)]
mod tests;
mod writer;
mod writer_progress;

pub(super) use batches::{AccessLog, FLUSH};
pub(super) use line::{LogEntry, Times};
pub use sink::AccessLogError;
pub(super) use writer::{AccessLogEnd, AccessLogWriter};
