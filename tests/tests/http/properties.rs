//! What holds for any bytes: no client gets more requests to the server than it sent, and nothing of another's.

use std::cell::Cell;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};
use weldr_tests::{
    fuzz::requests::{Echo, Stream, stay_apart},
    node::TestNode,
};

/// The parts of which requests are made, whole and broken.
const PARTS: &[&str] = &[
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "PUT /d HTTP/1.1\r\nHost: a\r\n",
    "HEAD /e HTTP/1.1\r\nHost: a\r\n",
    "GET /f HTTP/1.0\r\nHost: a\r\n",
    "POST http://a/g HTTP/1.1\r\nHost: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 36\r\n",
    "Content-Length: 0\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close, Transfer-Encoding\r\n",
    "X: y\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\0",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "24\r\n",
    "hello",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        20 => select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_streams_become_no_more_requests_than_they_hold_and_stay_apart() {
    let echo = Echo::new();
    let node = TestNode::start_with(|config| config.workers = 1).await;
    node.add(echo.address()).await;
    let (proxy, runtime) = (node.proxy(), Handle::current());
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let number = Cell::new(0);
    let several = prop::collection::vec(stream(), 1..6);
    let holds = block_in_place(|| {
        runner.run(&several, |streams| {
            let streams: Vec<_> = streams
                .iter()
                .map(|bytes| {
                    number.set(number.get() + 1);
                    Stream::new(bytes, number.get())
                })
                .collect();
            let apart = runtime.block_on(stay_apart(proxy, &echo, &streams));
            apart.map(drop).map_err(TestCaseError::fail)
        })
    });
    holds.unwrap_or_else(|why| panic!("{why}"));
    node.shutdown().await;
}
