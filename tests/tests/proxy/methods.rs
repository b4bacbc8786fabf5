//! Each method arrives as it was sent.

use weldr_tests::{origin::Origin, raw::Client, serve};

use super::both;
use weldr_tests::node::TestNode;

fn naming_the_method() -> Origin {
    Origin::serve(|request| async move {
        let mut response = serve::response(200, request.method().to_string());
        let method = request.method().as_str().parse().unwrap();
        response.headers_mut().insert("x-method", method);
        response
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_arrives() {
    let origin = naming_the_method();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "M-SEARCH",
        ] {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            let response = client.exchange(method, request).await;
            assert_eq!((response.status, response.text().as_str()), (200, method));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_to_head_has_the_fields_and_no_body() {
    let origin = naming_the_method();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let response = client
            .exchange("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(response.fields.get("x-method").as_deref(), Some("HEAD"));
        assert_eq!(response.fields.get("content-length").as_deref(), Some("4"));
        // A body would be read as the next response.
        assert_eq!(client.get("/").await.text(), "GET");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_case_sensitive() {
    let origin = naming_the_method();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let response = client
            .exchange("get", "get / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(response.text(), "get");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_not_a_method_of_a_gateway() {
    let origin = naming_the_method();
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    let request = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    let response = client.exchange("POST", request).await;
    assert_eq!(response.status, 501, "{response}");
    client.closed().await;
    assert_eq!(origin.connections(), 0);
    node.shutdown().await;
}
