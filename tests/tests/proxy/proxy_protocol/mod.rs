//! The PROXY protocol: who the client is, from a proxy before Weldr and for the servers behind it.

use weldr::config::Config;
use weldr_tests::{node::TestNode, origin::Origin, serve};

mod accepted;
mod clients;
mod other_proxies;
mod refused;
mod sent;
mod tls;

/// Begins a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A header of version 1.
const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A header of version 2 with this command, family and body.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, body].concat()
}

/// The addresses of [`LINE`] in version 2.
const ADDRESSES: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb];

/// An origin whose body is the client that it is told.
fn telling() -> Origin {
    Origin::serve(|request| async move {
        let named = request.headers().get("x-forwarded-for");
        let named = named.map_or("nobody", |value| value.to_str().unwrap());
        serve::response(200, named.to_owned())
    })
}

/// A node before `origin`, on which connections from this machine must begin with a header.
async fn requiring(origin: &Origin, change: impl FnOnce(&mut Config)) -> TestNode {
    let node = TestNode::start_with(|config| {
        config.http.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
        change(config);
    })
    .await;
    node.add(origin.address()).await;
    node
}
