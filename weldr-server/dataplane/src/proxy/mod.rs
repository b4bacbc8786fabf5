//! The data path. In reading order: a `worker` owns its `listener`s; each accepted socket is `parked` until a byte comes,
//! and then a `connection`, which waits for heads; `service` takes each request, with what `http1` makes of its bytes and
//! `headers` of its fields; `select` picks a server, `upstream` has a connection to it, and `exchange` moves the request
//! and its answer, each a `flow` from `socket` to socket, through `buffer`s that the worker lends, and in `bursts`.
//! `retry` says what may be sent again, `upgrade` is what comes behind a 101. What fails becomes an `error`, and each
//! error a `response`; `tally` counts, and `access_log` tells.
//!
//! Everything here runs on one worker's thread: no lock is taken, no other thread is waited for, and what
//! is not shared lives in `Rc` and `Cell`. Nothing here may block, and nothing here knows of the management
//! API or of how the desired state is kept.

// Rooms that the health checks use as well; reached as `super::http1` and `super::buffer` from here.
use crate::{buffer, http1};

mod access_log;
mod bursts;
mod clock;
mod connection;
mod deadline;
mod error;
mod exchange;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod listener;
mod parked;
mod response;
mod retry;
mod select;
mod service;
mod socket;
mod tally;
mod text;
mod trailers;
mod upgrade;
mod upstream;
mod worker;

pub use access_log::OpenError as AccessLogError;
pub use listener::{BindError, Listeners};
pub use worker::{HandOver, Parts, StartError, Workers};
