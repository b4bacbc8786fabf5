//! The Unix socket.

use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use weldr_proto::v1::{WhoAmIRequest, access_client::AccessClient};

use super::{http::ask, node::TestNode, soon};

/// The status and the body of a REST request by the socket.
async fn rest(node: &TestNode, target: &str) -> (u16, Value) {
    let request = http::Request::get(target).header("host", "weldr");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let stream = UnixStream::connect(&node.socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = soon(sender.send_request(request))
        .await
        .unwrap()
        .into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap();
    (parts.status.as_u16(), body)
}

#[tokio::test]
async fn the_user_of_the_node_is_an_administrator_by_the_socket() {
    let node = TestNode::with_authentication().await;
    assert_eq!(ask(node.address, "GET", "/servers").await.status, 401);
    let (status, servers) = rest(&node, "/servers").await;
    assert_eq!((status, servers), (200, Value::Array(vec![])));
    let (_, me) = rest(&node, "/whoami").await;
    let caller = me["caller"].as_str().unwrap();
    assert!(caller.starts_with("unix:"), "{caller}");
    assert_eq!(me["role"], "admin");

    let endpoint = format!("unix:{}", node.socket.display());
    let channel = Endpoint::from_shared(endpoint).unwrap().connect_lazy();
    let me = soon(AccessClient::new(channel).who_am_i(WhoAmIRequest {})).await;
    assert_eq!(me.unwrap().into_inner().caller, caller);
}

#[tokio::test]
async fn the_socket_is_removed_when_the_node_stops() {
    let node = TestNode::start().await;
    assert!(node.socket.exists());
    node.shutdown.cancel();
    soon(node.served).await.unwrap();
    assert!(!node.socket.exists());
}
