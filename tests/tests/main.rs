//! The integration tests of Weldr, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its runner shows what it prints"
)]

mod binary;
mod cluster;
mod guide;
mod http;
mod metrics;
mod objects;
mod proxy;
mod routing;
mod tls;
mod vip;
