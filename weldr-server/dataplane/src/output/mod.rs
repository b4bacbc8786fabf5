//! Writing lines where writing may fail, for the log and for the access log.
//!
//! A disk fills and is cleaned up, a pipe is closed or not read. [`LineWriter`] says how many lines were lost and keeps
//! lines apart; [`Destination`] waits where it has to, so it belongs on a thread that nothing else waits for.

mod destination;
mod line_writer;

pub use destination::Destination;
pub use line_writer::{LineWriter, Unwritten};
