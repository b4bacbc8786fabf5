//! Nothing is held back: each part of a body arrives before the next is sent.

use std::sync::Arc;

use tokio::sync::Semaphore;
use weldr_tests::{origin::Origin, raw::Client, wait};

use super::both;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_chunk_of_an_response_arrives_before_the_second_is_sent() {
    // The origin sends a chunk for each permit, and the test gives one when it has the chunk before.
    let permits = Arc::new(Semaphore::new(0));
    let of_origin = Arc::clone(&permits);
    let origin = Origin::script(move |mut conversation| {
        let permits = Arc::clone(&of_origin);
        async move {
            conversation.request().await;
            conversation
                .write(format!("HTTP/1.1 200 OK\r\n{CHUNKED}"))
                .await;
            for number in 1..=3 {
                permits.acquire().await.unwrap().forget();
                conversation.write(format!("2\r\n#{number}\r\n")).await;
            }
            permits.acquire().await.unwrap().forget();
            conversation.write("0\r\n\r\n").await;
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.head().await.line[1], "200");
        for expected in ["#1", "#2", "#3", ""] {
            permits.add_permits(1);
            assert_eq!(client.chunk().await.unwrap(), expected.as_bytes());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_chunk_of_a_request_arrives_before_the_second_is_sent() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.head().await;
        conversation
            .write(format!("HTTP/1.1 200 OK\r\n{CHUNKED}"))
            .await;
        // Each chunk is sent back at once.
        while let Some(chunk) = conversation.chunk().await {
            let size = chunk.len();
            let text = String::from_utf8(chunk).unwrap();
            conversation.write(format!("{size:x}\r\n{text}\r\n")).await;
            if size == 0 {
                break;
            }
        }
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{CHUNKED}"))
            .await;
        assert_eq!(client.head().await.line[1], "200");
        for word in ["one", "two", "three"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
            assert_eq!(client.chunk().await.unwrap(), word.as_bytes());
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.chunk().await.unwrap(), b"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_begins_during_the_upload_arrives_during_the_upload() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.head().await;
        conversation
            .write("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop")
            .await;
        conversation.stall().await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin";
        let response = client.exchange("POST", head).await;
        assert_eq!((response.status, response.text().as_str()), (413, "stop"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_response_reaches_a_client_that_goes_on_sending() {
    let origin = Origin::script(|mut conversation| async move {
        conversation.head().await;
        conversation
            .write("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop")
            .await;
        // Takes what comes, as a lingering close does: a reset could overtake the response.
        conversation.stall().await;
    });
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
            .await;
        // More than the buffers on the way hold: it blocks unless somebody takes it or closes.
        for _ in 0..10 {
            if client.try_send(vec![b'x'; 10_000]).await.is_err() {
                break;
            }
        }
        let response = client.response("POST").await;
        assert_eq!((response.status, response.text().as_str()), (413, "stop"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_server_instead_of_filling_the_memory() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    const BLOCK: usize = 64 << 10;
    const BLOCKS: usize = 2000;
    let written = Arc::new(AtomicUsize::new(0));
    let of_origin = Arc::clone(&written);
    let origin = Origin::script(move |mut conversation| {
        let written = Arc::clone(&of_origin);
        async move {
            conversation.request().await;
            let length = BLOCK * BLOCKS;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            conversation.write(head).await;
            for _ in 0..BLOCKS {
                conversation.write(vec![b'x'; BLOCK]).await;
                written.fetch_add(1, Relaxed);
            }
        }
    });
    both(&origin, async |target| {
        written.store(0, Relaxed);
        let mut client = Client::connect(target).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.head().await;
        // The client reads nothing: the server must come to a stand, far from the end.
        let mut last = usize::MAX;
        let mut still = 0;
        wait::until("the server to come to a stand", async || {
            let now = written.load(Relaxed);
            still = if now == last { still + 1 } else { 0 };
            last = now;
            if still < 40 { Err(now) } else { Ok(()) }
        })
        .await;
        assert!(
            last < BLOCKS,
            "all {BLOCKS} blocks were taken from the server"
        );
        assert_eq!(
            client.body("GET", &head).await.unwrap().len(),
            BLOCK * BLOCKS
        );
    })
    .await;
}
