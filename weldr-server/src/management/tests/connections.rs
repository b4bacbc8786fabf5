//! Connections of misbehaving clients, and the shutdown of connections.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;
use weldr_proto::v1;

use super::{
    http::ask,
    node::{TestNode, options},
    soon,
};
use crate::management::{ServeOptions, bind};

#[tokio::test]
async fn an_address_in_use_is_named() {
    let node = TestNode::start().await;
    let error = bind(node.address).await.unwrap_err();
    assert_eq!(error.address, node.address);
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {} for management: another process listens on it; stop that process, or use another address with --management",
            node.address
        )
    );
}

#[tokio::test]
async fn connections_that_say_nothing_or_nonsense_disturb_nobody() {
    let node = TestNode::start().await;
    let mut open = Vec::new();
    for text in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "\0\0\0\0",
        "GET / HTTP/1.1\r\nhost: ",
    ] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(node.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            open.push(stream);
        }
    }
    assert_eq!(ask(node.address, "GET", "/healthz").await.status, 200);
}

#[tokio::test]
async fn when_the_node_stops_a_running_call_may_finish_and_idle_connections_end() {
    let node = TestNode::start().await;
    let mut idle = TcpStream::connect(node.address).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    idle.read_exact(&mut [0]).await.unwrap();
    let mut client = node.client();
    let request = v1::GetPoolRequest::default();
    client.get_pool(request).await.unwrap();

    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    let head = format!(
        "POST /servers HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut running = TcpStream::connect(node.address).await.unwrap();
    running.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    soon(running.read_exact(&mut go_on)).await.unwrap();
    assert!(
        go_on.starts_with(b"HTTP/1.1 100 "),
        "its body is waited for"
    );

    node.shutdown.cancel();
    soon(idle.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(!node.served.is_finished(), "a call still runs");
    running.write_all(body.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(running.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
    soon(node.served).await.unwrap();
    assert!(
        TcpStream::connect(node.address).await.is_err(),
        "nobody listens"
    );
}

fn few() -> ServeOptions {
    ServeOptions {
        max_connections: 18,
        ..options()
    }
}

/// A connection on which `request` was sent, and of which the head of a response was read if `answered`.
async fn open(node: &TestNode, request: &[u8], answered: bool) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    if answered {
        soon(stream.read_exact(&mut [0; 12])).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn connections_that_are_kept_open_lock_nobody_out() {
    let node = TestNode::with(few()).await;
    let mut client = node.client();
    let watch = v1::WatchServersRequest::default();
    let mut watched = client.watch_servers(watch).await.unwrap().into_inner();
    soon(watched.message()).await.unwrap().unwrap();
    let idle = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let dribbling = b"POST /servers HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    let mut kept = Vec::new();
    for _ in 0..3 * few().max_connections {
        kept.push(open(&node, idle, true).await);
        kept.push(open(&node, dribbling, false).await);
        kept.push(open(&node, b"", false).await);
        for path in ["/readyz", "/healthz", "/servers"] {
            let response = soon(ask(node.address, "GET", path)).await;
            assert_eq!(response.status, 200, "{path}");
        }
    }
    // A stream does not give way.
    let add = v1::AddServerRequest {
        address: "127.0.0.1:1".to_owned(),
        ..v1::AddServerRequest::default()
    };
    client.add_server(add).await.unwrap();
    soon(watched.message()).await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_are_limited_and_leave_room_for_calls() {
    let node = TestNode::with(few()).await;
    let mut streams = Vec::new();
    let refused = loop {
        let request = v1::WatchServersRequest::default();
        // Each on a connection of its own.
        match node.client().watch_servers(request).await {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
        assert!(streams.len() <= few().max_connections, "not limited");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused
            .message()
            .contains("4 of all clients or of this address"),
        "{refused}"
    );
    assert_eq!(streams.len(), 4);
    let response = soon(ask(node.address, "GET", "/readyz")).await;
    assert_eq!(response.status, 200);
    drop(streams);
    // The end of a stream is known when its connection has ended.
    let again = async {
        loop {
            let request = v1::WatchServersRequest::default();
            if node.client().watch_servers(request).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
}
