//! Connections of misbehaving clients, and the shutdown of connections.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use weldr_proto::v1;

use super::{http::ask, node::TestNode, soon};
use crate::management::bind;

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
