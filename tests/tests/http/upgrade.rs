//! Upgraded connections (RFC 9110, section 7.8; RFC 6455): a tunnel that changes nothing.

use std::time::Duration;

use weldr_tests::{
    node::TestNode,
    origin::{Conversation, Origin},
    raw::Client,
    wait,
};

use crate::proxy::both;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts the upgrade on each connection, and goes on with `tunnel`.
fn upgrading<F, Fut>(first: &'static str, tunnel: F) -> Origin
where
    F: Fn(Conversation) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Origin::script(move |mut conversation| {
        let tunnel = tunnel.clone();
        async move {
            if conversation.head().await.is_some() {
                conversation.write(format!("{ACCEPT}{first}")).await;
                tunnel(conversation).await;
            }
        }
    })
}

async fn upgraded(client: &mut Client) {
    let response = client.head().await;
    assert_eq!(response.line[1], "101", "{}", response.fields);
    assert_eq!(response.fields.get("upgrade").as_deref(), Some("websocket"));
    let connection = response.fields.get("connection").unwrap_or_default();
    assert!(
        connection.eq_ignore_ascii_case("upgrade"),
        "{}",
        response.fields
    );
    let accept = response.fields.get("sec-websocket-accept");
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_in_turn() {
    let origin = upgrading("", |mut conversation| async move {
        while let Some(ping) = conversation.bytes(4).await {
            conversation.write(ping.to_ascii_uppercase()).await;
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        for _ in 0..50 {
            client.send("ping").await;
            assert_eq!(client.bytes(4).await.unwrap(), b"PING");
        }
    })
    .await;
    for bytes in origin.received() {
        let seen = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        for field in [
            "upgrade: websocket\r\n",
            "sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
            "sec-websocket-version: 13\r\n",
        ] {
            assert!(seen.contains(field), "{field} is not in {seen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_bytes_of_the_client_are_kept() {
    let origin = upgrading("", |mut conversation| async move {
        if let Some(early) = conversation.bytes(5).await {
            conversation.write(early).await;
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(format!("{UPGRADE}early")).await;
        upgraded(&mut client).await;
        assert_eq!(client.bytes(5).await.unwrap(), b"early");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_bytes_of_the_server_are_kept() {
    let origin = upgrading("early", |mut conversation| async move {
        conversation.until_end().await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        assert_eq!(client.bytes(5).await.unwrap(), b"early");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_done_still_hears_the_server() {
    let origin = upgrading("", |mut conversation| async move {
        let all = conversation.until_end().await;
        conversation.write(format!("{} bytes", all.len())).await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        client.send("hello").await;
        client.finish_sending().await;
        assert_eq!(client.until_end().await.unwrap(), b"5 bytes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_done_still_hears_the_client() {
    let origin = upgrading("bye", |mut conversation| async move {
        conversation.finish_writing().await;
        conversation.until_end().await;
    });
    both(&origin, async |target| {
        let before = origin.received().len();
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        assert_eq!(client.until_end().await.unwrap(), b"bye");
        client.send("still here").await;
        client.finish_sending().await;
        wait::until("what the client said last", async || {
            let seen = origin.received();
            let last = &seen[before];
            if last.ends_with(b"still here") {
                Ok(())
            } else {
                Err(last.escape_ascii().to_string())
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn much_passes_both_ways_at_once() {
    const MIB: usize = 1 << 20;
    let origin = upgrading("", |mut conversation| async move {
        conversation.write(vec![b's'; 4 * MIB]).await;
        let got = conversation.bytes(MIB).await.map_or(0, |bytes| bytes.len());
        conversation.write(format!("{got:08}")).await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        // Neither reads before it has written: each direction must move by itself.
        client.send(vec![b'c'; MIB]).await;
        let got = client.bytes(4 * MIB).await.unwrap();
        assert!(got.iter().all(|&byte| byte == b's'));
        assert_eq!(client.bytes(8).await.unwrap(), b"01048576");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_is_a_plain_response() {
    let origin = Origin::script(|mut conversation| async move {
        while conversation.request().await.is_some() {
            conversation
                .write("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
                .await;
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let response = client.exchange("GET", UPGRADE).await;
            assert_eq!((response.status, response.text().as_str()), (403, "no"));
        }
        assert_eq!(client.get("/").await.status, 403);
    })
    .await;
}

/// RFC 9110, section 7.8: a server may ignore an upgrade, and response by the old protocol.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_upgrade_responses_as_ever() {
    let origin = Origin::saying("hi");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let response = client.exchange("GET", UPGRADE).await;
            assert_eq!((response.status, response.text().as_str()), (200, "hi"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_tunnel() {
    let origin = upgrading("", Conversation::stall);
    both(&origin, async |target| {
        for reset in [false, true] {
            let abandoned = origin.abandoned();
            let mut client = Client::connect(target).await;
            client.send(UPGRADE).await;
            upgraded(&mut client).await;
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            wait::until("the end of the tunnel", async || match origin.abandoned() {
                now if now == abandoned + 1 => Ok(()),
                other => Err(other),
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_the_tunnel() {
    for reset in [false, true] {
        let origin = upgrading("", move |mut conversation| async move {
            conversation.bytes(2).await;
            if reset {
                conversation.reset();
            }
        });
        both(&origin, async |target| {
            let mut client = Client::connect(target).await;
            client.send(UPGRADE).await;
            upgraded(&mut client).await;
            client.send("go").await;
            client.closed().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_is_closed() {
    let origin = upgrading("", Conversation::stall);
    let node = TestNode::start_with(|config| {
        config.timeouts.tunnel_idle = Duration::from_millis(200);
    })
    .await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send(UPGRADE).await;
    upgraded(&mut client).await;
    client.closed().await;
    wait::until("the server's side to be closed", async || {
        match origin.open_connections() {
            0 => Ok(()),
            open => Err(open),
        }
    })
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_a_request_in_flight() {
    let origin = upgrading("", Conversation::stall);
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    client.send(UPGRADE).await;
    upgraded(&mut client).await;
    node.counts("the tunnel", |stats| stats.servers[0].in_flight == 1)
        .await;
    drop(client);
    node.counts("its end", |stats| stats.servers[0].in_flight == 0)
        .await;
    node.shutdown().await;
}

/// What was a tunnel is never a connection for requests again.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_ended_leaves_nothing_behind() {
    let origin = Origin::script(|mut conversation| async move {
        while let Some(request) = conversation.request().await {
            if request.target == "/chat" {
                conversation.write(format!("{ACCEPT}bye")).await;
                conversation.finish_writing().await;
                conversation.until_end().await;
                return;
            }
            conversation
                .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await;
        }
    });
    let node = TestNode::before(&[origin.address()]).await;
    for _ in 0..5 {
        let mut client = Client::connect(node.proxy()).await;
        client.send(UPGRADE).await;
        upgraded(&mut client).await;
        assert_eq!(client.bytes(3).await.unwrap(), b"bye");
        drop(client);
        let mut client = Client::connect(node.proxy()).await;
        assert_eq!(client.get("/").await.text(), "hi");
    }
    node.shutdown().await;
}
