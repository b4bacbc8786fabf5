//! `Expect: 100-continue` from end to end (RFC 9110, section 10.1.1).

use weldr_tests::{origin::Origin, raw::Client};

use crate::proxy::both;

const HEAD: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// An origin that responds with the body, after it has written `first` in response to the head.
fn echoing(first: &'static str) -> Origin {
    Origin::script(move |mut conversation| async move {
        while let Some(head) = conversation.head().await {
            if head.line[0] == "POST" {
                conversation.write(first).await;
                let Some(body) = conversation.bytes(5).await else {
                    return;
                };
                let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
                conversation
                    .write([response.as_bytes(), &body].concat())
                    .await;
            } else {
                let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                conversation.write(response).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invitation_is_the_servers_and_comes_once() {
    let origin = echoing("HTTP/1.1 100 Continue\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let interim = client.exchange("POST", HEAD).await;
            assert_eq!(interim.status, 100, "{interim}");
            client.send("hello").await;
            let response = client.response("POST").await;
            assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        }
        assert_eq!(client.get("/").await.text(), "hi");
    })
    .await;
    for request in origin
        .requests()
        .await
        .iter()
        .filter(|seen| seen.method == "POST")
    {
        assert!(request.fields.has("expect"), "{}", request.fields);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_heard_before_anything_invites() {
    for status in [
        "417 Expectation Failed",
        "401 Unauthorized",
        "413 Content Too Large",
    ] {
        let origin = Origin::script(move |mut conversation| async move {
            conversation.head().await;
            let fields = "Connection: close\r\nContent-Length: 2";
            conversation
                .write(format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\nno"))
                .await;
            conversation.stall().await;
        });
        both(&origin, async |target| {
            let mut client = Client::connect(target).await;
            let response = client.exchange("POST", HEAD).await;
            let seen = format!("{} {}", response.status, response.reason);
            assert_eq!((seen.as_str(), response.text().as_str()), (status, "no"));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_wait_is_served() {
    let origin = echoing("HTTP/1.1 100 Continue\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(format!("{HEAD}hello")).await;
        let mut response = client.response("POST").await;
        if response.status == 100 {
            response = client.response("POST").await;
        }
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        assert_eq!(client.get("/").await.text(), "hi");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_invites_gets_the_body_of_a_client_that_lost_patience() {
    let origin = echoing("");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(HEAD).await;
        client.send("hello").await;
        let response = client.response("POST").await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_and_hints_come_in_their_order() {
    let origin =
        echoing("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(HEAD).await;
        let hints = client.response("POST").await;
        assert_eq!(hints.status, 103, "{hints}");
        assert_eq!(hints.fields.get("link").as_deref(), Some("</a>"));
        assert_eq!(client.response("POST").await.status, 100);
        client.send("hello").await;
        assert_eq!(client.response("POST").await.text(), "hello");
    })
    .await;
}

/// The body that was never sent must not be awaited, nor be taken from the next request.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_body_that_follows_is_no_request() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.head().await;
        let fields = "Connection: close\r\nContent-Length: 2";
        conversation
            .write(format!("HTTP/1.1 417 No\r\n{fields}\r\n\r\nno"))
            .await;
        conversation.stall().await;
    });
    let node = weldr_tests::node::TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    let response = client.exchange("POST", head).await;
    assert_eq!(response.status, 417, "{response}");
    // Whether it still reads the body or has closed: it never takes the body for a request.
    let _may_have_closed = client.try_send(smuggled).await;
    client.finish_sending().await;
    client.closed().await;
    let seen = origin.received().concat();
    assert!(
        !seen.windows(9).any(|window| window == b"GET /smug"),
        "{}",
        seen.escape_ascii()
    );
    node.shutdown().await;
}
