//! Calls without a credential whose body does not end.

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use weldr_tests::{daemon::Daemon, process::Program, wait};

/// As many as a connection may have at once.
const CALLS: usize = 100;
/// What each announces and sends but for the last byte, in bytes.
const LENGTH: u32 = 1 << 20;

/// Each would have its message in memory for as long as its sender likes: 100 MiB a connection.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_calls_for_health_cost_little() {
    let weldr = Daemon::run(Program::weldr().args(["--management-auth", "on"])).await;
    let before = weldr.process().resident();
    let stream = TcpStream::connect(weldr.management()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let mut head = BytesMut::new();
        head.put_u8(0);
        head.put_u32(LENGTH);
        let zeros = Bytes::from_static(&[0; 16 * 1024]);
        let parts = (1..LENGTH / (16 * 1024)).map(move |_| zeros.clone());
        let parts = std::iter::once(head.freeze()).chain(parts);
        let parts = parts.map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = StreamBody::new(stream::iter(parts).chain(stream::pending()));
        let request = Request::post(format!(
            "http://{}/grpc.health.v1.Health/Check",
            weldr.management()
        ));
        let request = request.header("content-type", "application/grpc");
        let mut sender = sender.clone();
        let call = sender.send_request(request.body(body).unwrap());
        calls.push(tokio::spawn(call));
    }
    for call in calls {
        let refused = wait::bounded("the refusal of a call", call).await;
        let status = refused.unwrap().unwrap().headers()["grpc-status"].clone();
        assert_eq!(status, "11", "out of range");
    }
    let grown = weldr.process().resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    connection.abort();
}
