//! Large bodies, which pass through the kernel: the same bytes, the same counts, the same ends.

use std::{sync::Arc, time::Duration};

use weldr_tests::{
    daemon::Daemon,
    http1::ReadError,
    node::TestNode,
    origin::{Conversation, Origin},
    process::Program,
    raw::Client,
    wait,
};

use super::both;

const MIB: usize = 1 << 20;
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Bytes of which each depends on its place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap())
        .collect()
}

/// Responds to each request with `head` and then `body`, in parts of many sizes.
fn responding_with(head: String, body: Vec<u8>) -> Origin {
    Origin::script(move |mut conversation| {
        let (head, body) = (head.clone(), body.clone());
        async move {
            while conversation.request().await.is_some() {
                conversation.write(&head).await;
                write_in_parts(&mut conversation, &body).await;
            }
        }
    })
}

async fn write_in_parts(conversation: &mut Conversation, body: &[u8]) {
    let sizes = [1, 400_000, 3_000, 70_000, 20_000];
    let mut left = body;
    for size in sizes.into_iter().cycle() {
        if left.is_empty() {
            return;
        }
        let (part, rest) = left.split_at(left.len().min(size));
        conversation.write(part).await;
        left = rest;
    }
}

fn with_length(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

/// The counters of the node's only server: what it was sent, and what came from it.
async fn counted(node: &TestNode, sent: usize, received: usize) {
    let expected = (sent as u64, received as u64);
    node.counts("the bytes of the bodies", |stats| {
        let server = &stats.servers[0];
        (server.bytes_sent, server.bytes_received) == expected
            && stats
                .client_detail
                .as_ref()
                .is_some_and(|clients| (clients.bytes_received, clients.bytes_sent) == expected)
    })
    .await;
}

/// Three responses on one connection have this body, from the origin itself and through the proxy.
async fn assert_three_arrive(origin: &Origin, body: &[u8]) {
    both(origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            assert!(client.get("/").await.body == body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_arrive_unchanged_one_after_another() {
    let body = pattern(5 * MIB + 123);
    let origin = responding_with(with_length(body.len()), body.clone());
    assert_three_arrive(&origin, &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_is_counted() {
    let body = pattern(3 * MIB);
    let origin = Origin::script({
        let body = body.clone();
        move |mut conversation| {
            let body = body.clone();
            async move {
                conversation.request().await;
                conversation.write(with_length(body.len())).await;
                write_in_parts(&mut conversation, &body).await;
            }
        }
    });
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    let upload = pattern(2 * MIB);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        upload.len()
    );
    client.send([head.as_bytes(), &upload].concat()).await;
    assert!(client.response("POST").await.body == body);
    assert!(origin.only_request().await.body == upload);
    counted(&node, upload.len(), body.len()).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_chunk_arrives_unchanged() {
    let body = pattern(2 * MIB);
    let wire = [
        format!("{:x}\r\n", body.len()).as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let origin = responding_with(head.to_owned(), wire);
    assert_three_arrive(&origin, &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_ends_with_its_connection_arrives_unchanged() {
    let body = pattern(4 * MIB);
    let origin = Origin::script({
        let body = body.clone();
        move |mut conversation| {
            let body = body.clone();
            async move {
                conversation.request().await;
                conversation.write("HTTP/1.1 200 OK\r\n\r\n").await;
                write_in_parts(&mut conversation, &body).await;
            }
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        assert!(client.get("/").await.body == body);
    })
    .await;
}

/// What a client got of a response of 8 MiB that is cut short after 2 MiB.
async fn cut_short(client: &mut Client) {
    client.send(GET).await;
    let head = client.head().await;
    match client.body("GET", &head).await {
        Err(ReadError::Truncated(part)) => assert!(part.len() <= 2 * MIB),
        Err(ReadError::Io(_)) => {}
        other => panic!("the response looks whole: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_short_is_seen_to_be() {
    for reset in [false, true] {
        let origin = Origin::script(move |mut conversation| async move {
            conversation.request().await;
            conversation.write(with_length(8 * MIB)).await;
            conversation.write(pattern(2 * MIB)).await;
            if reset {
                conversation.reset();
            }
        });
        both(&origin, async |target| {
            cut_short(&mut Client::connect(target).await).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_stands_still_is_cut() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
        conversation.write(with_length(8 * MIB)).await;
        conversation.write(pattern(2 * MIB)).await;
        conversation.stall().await;
    });
    let node = TestNode::start_with(|config| {
        config.timeouts.stream_idle = Duration::from_millis(500);
    })
    .await;
    node.add(origin.address()).await;
    cut_short(&mut Client::connect(node.proxy()).await).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_too_slow_is_refused() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.request().await;
    });
    let node = TestNode::start_with(|config| {
        config.timeouts.client_body = Duration::from_millis(300);
        // What came earns next to nothing.
        config.http.body_min_rate = 1 << 40;
    })
    .await;
    node.add(origin.address()).await;
    let mut client = Client::connect(node.proxy()).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n";
    client.send([head.as_bytes(), &pattern(MIB)].concat()).await;
    assert_eq!(client.response("POST").await.status, 408);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_passes_much_and_then_an_end() {
    const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    const SWITCH: &str = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let origin = Origin::script(|mut conversation| async move {
        if conversation.head().await.is_some() {
            conversation.write(SWITCH).await;
            // The end of the client's side comes first, and all of what it sent is sent back.
            let all = conversation.until_end().await;
            write_in_parts(&mut conversation, &all).await;
        }
    });
    let body = pattern(4 * MIB);
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send(UPGRADE).await;
        assert_eq!(client.head().await.line[1], "101");
        client.send(&body).await;
        client.finish_sending().await;
        assert!(client.until_end().await.unwrap() == body);
    })
    .await;
}

/// More responses that nobody reads than a worker has pipes.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_when_every_pipe_is_held_and_all_descriptors_come_back() {
    const STALLED: usize = 80;
    let body = Arc::new(pattern(16 * MIB));
    let origin = Origin::script({
        let body = Arc::clone(&body);
        move |mut conversation| {
            let body = Arc::clone(&body);
            async move {
                while conversation.head().await.is_some() {
                    conversation.write(with_length(body.len())).await;
                    conversation.write(body.as_slice()).await;
                }
            }
        }
    });
    let weldr = Daemon::run(Program::weldr().args(["--workers", "1", "--check-interval", "1h"]));
    let weldr = weldr.await;
    weldr.add(origin.address()).await;
    let before = weldr.process().open_files();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut client = Client::connect(weldr.proxy()).await;
        client.send(GET).await;
        client.head().await;
        stalled.push(client);
    }
    // A client and a server each, and 64 pipes of two ends.
    wait::until("all pipes to be held", async || {
        match weldr.process().open_files() - before {
            open if open >= 2 * STALLED + 2 * 64 => Ok(()),
            open => Err(open),
        }
    })
    .await;
    assert!(Client::connect(weldr.proxy()).await.get("/").await.body == *body);
    drop(stalled);
    wait::until("all descriptors to come back", async || {
        // The connections that are left are idle ones to the server.
        match weldr.process().open_files() {
            open if open <= before + 2 => Ok(()),
            open => Err(format!("{open} are open, and {before} were before")),
        }
    })
    .await;
    weldr.terminate().await;
}
