//! The data path. In reading order: a `worker` owns its `listener`s; each accepted socket becomes a
//! `connection`; each of its requests goes through `service`, which `select`s a server, prepares the
//! `headers`, sends the request over an `upstream` connection, `retry`s where that is safe, and
//! streams the `body` of the answer. What fails becomes an `error`, and each error a `response`.
//!
//! Everything here runs on one worker's thread: no lock is taken, no other thread is waited for, and what
//! is not shared lives in `Rc` and `Cell`. Nothing here may block, and nothing here knows of the management
//! API or of how the desired state is kept.

mod body;
mod connection;
mod deadline;
mod error;
mod headers;
mod length_scan;
mod listener;
mod response;
mod retry;
mod select;
mod service;
mod tally;
mod upstream;
mod worker;

pub use listener::{BindError, Listeners};
pub use worker::{Parts, Workers};
