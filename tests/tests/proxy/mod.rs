//! What the proxy does to HTTP: mostly nothing.
//!
//! An expectation is checked against the bare origin first, and then through Weldr: the truth is what the
//! client would see if Weldr were not there.

use std::net::SocketAddr;

use weldr_tests::{node::TestNode, origin::Origin};

mod bodies;
mod connections;
mod failures;
mod fields;
mod gateway;
mod large;
mod methods;
mod overload;
mod proxy_protocol;
mod queue;
mod response_bodies;
mod stickiness;
mod streaming;
mod targets;

/// Checks `expect` against `origin`, and then against a node before it.
pub(crate) async fn both(origin: &Origin, expect: impl AsyncFn(SocketAddr)) {
    println!("against the bare origin");
    expect(origin.address()).await;
    println!("through weldr");
    let node = TestNode::before(&[origin.address()]).await;
    expect(node.proxy()).await;
    node.shutdown().await;
}
