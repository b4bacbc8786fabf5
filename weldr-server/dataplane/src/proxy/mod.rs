//! The data path. In reading order: a `worker` is a thread; `context` is what all its tasks share; its `listener`s accept
//! connections, which `accept` brings to their first request by a TLS `handshake` where they need one, within what `admission` (`idle_clients` yield to new ones) and `client_addresses` allow. `binder` opens and
//! closes listeners at run time, and a `served_listener` is one as a worker serves it, with its `client_policy`. A `client`
//! connection is served by `http1`: requests are read and changed by `headers`, and `forward` tries servers for them:
//! `select` chooses one, `upstream` has a connection to it within the `server_limit`, `full_servers` waits for room in the
//! `arrival_order`, and `retry` says what may be sent again, as the `attempt_policy` of the pool allows. An `attempt` is what
//! the protocols have in common for that. Before that, `http1::server` finds the
//! route by the rules of the listener.
//! Bodies are a `flow` from one `transport` to the other through lent buffers, or, where they are long, through lent pipes;
//! heads are written in batches (`batching`). A request ends in an `outcome`; a failure is an `error`, and becomes a
//! `local_reply`.
//! `tally` counts, and `access_log` writes a line.
//!
//! Everything here runs on one worker's thread: no lock is taken, no other thread is waited for, and what is not shared
//! lives in `Rc` and `Cell`. The one exception is `client_addresses`, which takes a lock for each new connection if a limit is
//! configured. Nothing here may block, and nothing here knows the management API or how the desired state
//! is kept.

mod accept;
mod accept_log;
mod access_log;
mod admission;
mod arrival_order;
mod attempt;
mod attempt_policy;
mod batching;
mod binder;
mod client;
mod client_addresses;
mod client_policy;
mod clock;
mod context;
mod deadline;
mod drain;
mod error;
mod failure_log;
mod flow;
mod forward;
mod full_servers;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod headers;
mod http1;
mod idle_clients;
mod listener;
mod local_reply;
mod message;
mod outcome;
mod retry;
mod select;
mod served_listener;
mod server_limit;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod trailers;
mod transport;
mod upstream;
mod worker;

pub use access_log::AccessLogError;
pub use binder::Binder;
pub use context::WorkerParts;
pub use drain::HandOver;
pub use listener::{BindError, Listeners};
pub use worker::{Workers, WorkersError};
