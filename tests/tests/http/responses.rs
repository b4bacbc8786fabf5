//! Responses that are not in correct form, and which of them pass.

use weldr_proto::v1::PoolSettings;
use weldr_tests::{conformance::report::proxy_error, node::TestNode, origin::Origin, raw::Client};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// With a defect that leaves only one meaning; the body of each is `hi`.
const ONE_MEANING: [&str; 7] = [
    "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 2\r\n\r\nhi",
];

/// A server that gives each request the same response.
fn responding(response: impl Into<String>) -> Origin {
    let response = response.into();
    Origin::script(move |mut conversation| {
        let response = response.clone();
        async move {
            while conversation.request().await.is_some() {
                conversation.write(&response).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_pool_refuses_what_another_mends() {
    for response in ONE_MEANING {
        let origin = responding(response);
        let node = TestNode::before(&[origin.address()]).await;
        let lenient = Client::connect(node.proxy())
            .await
            .exchange("GET", GET)
            .await;
        assert_eq!(
            (lenient.status, lenient.text().as_str()),
            (200, "hi"),
            "{response:?}"
        );
        node.update_pool(PoolSettings {
            strict_responses: Some(true),
            ..PoolSettings::default()
        })
        .await;
        let strict = Client::connect(node.proxy())
            .await
            .exchange("GET", GET)
            .await;
        let status = strict.fields.get("proxy-status").unwrap_or_default();
        assert_eq!(
            (strict.status, proxy_error(&status)),
            (502, Some("http_protocol_error")),
            "{response:?}: {strict}"
        );
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_pool_cuts_a_body_whose_chunks_another_mends() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n";
    let origin = responding(chunks);
    let node = TestNode::before(&[origin.address()]).await;
    let lenient = Client::connect(node.proxy())
        .await
        .exchange("GET", GET)
        .await;
    assert_eq!((lenient.status, lenient.text().as_str()), (200, "hi"));
    node.update_pool(PoolSettings {
        strict_responses: Some(true),
        ..PoolSettings::default()
    })
    .await;
    let strict = Client::connect(node.proxy())
        .await
        .exchange("GET", GET)
        .await;
    assert_eq!(strict.status, 502, "{strict}");
    node.shutdown().await;
}
