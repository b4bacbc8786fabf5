//! The whole API over real sockets, on a store in memory and with a reconciler that is just good enough.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod connections;
mod http;
mod node;
mod readiness;
mod removal;
mod rest;
mod rest_refused;
mod service;
mod streams;

use std::time::Duration;

use tokio::time;

/// What `future` gives; a test that hangs fails instead.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it takes too long")
}
