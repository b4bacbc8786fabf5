//! Responses arrive whole, whatever their framing.

use weldr_tests::{http1::Framing, origin::Origin, raw::Client};

use super::both;

/// An origin that responds to each request of a connection with the same bytes.
fn replying(response: impl Into<Vec<u8>>) -> Origin {
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

/// An origin that responds to one request and closes.
fn replying_once(response: &'static str) -> Origin {
    Origin::script(move |mut conversation| async move {
        if conversation.request().await.is_some() {
            conversation.write(response).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_length() {
    let origin = replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let response = client.get("/").await;
            assert_eq!(
                (response.framing, response.text().as_str()),
                (Framing::Length(5), "hello")
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_length_of_zero() {
    let origin = replying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.framing, Framing::Length(0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked() {
    let origin = replying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\na\r\n10;x=\"y\"\r\n0123456789abcdef\r\n0\r\n\r\n",
    );
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let response = client.get("/").await;
            assert_eq!(response.framing, Framing::Chunked);
            assert_eq!(response.text(), "a0123456789abcdef");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_and_empty() {
    let origin = replying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.body, b"");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_end_with_the_connection() {
    let origin = replying_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    both(&origin, async |target| {
        // How Weldr frames it is its own affair; that it is whole is not.
        assert_eq!(
            Client::connect(target).await.get("/").await.text(),
            "until the end"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_speaks_http_1_0() {
    let origin = replying_once("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold");
    both(&origin, async |target| {
        for _ in 0..2 {
            assert_eq!(Client::connect(target).await.get("/").await.text(), "old");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_mebibytes() {
    let line = "0123456789abcde\n";
    let body = line.repeat((10 << 20) / line.len());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let origin = replying(head + &body);
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..2 {
            let response = client.get("/large").await;
            assert!(
                response.text() == body,
                "{} bytes came, or others",
                response.body.len()
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_body_by_their_status() {
    for head in [
        "HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
    ] {
        let origin = replying(head);
        both(&origin, async |target| {
            let mut client = Client::connect(target).await;
            for _ in 0..3 {
                let response = client.get("/").await;
                assert!(matches!(response.status, 204 | 304), "{response}");
                assert_eq!(response.fields.get("etag").as_deref(), Some("\"a\""));
                assert!(!response.fields.has("transfer-encoding"), "{response}");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_head_keep_the_length_of_what_is_not_sent() {
    let origin = replying("HTTP/1.1 200 OK\r\nContent-Length: 94000\r\n\r\n");
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for _ in 0..3 {
            let response = client
                .exchange("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            assert_eq!(
                response.fields.get("content-length").as_deref(),
                Some("94000")
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_their_status() {
    for status in [
        200, 201, 206, 301, 400, 401, 404, 418, 429, 451, 500, 503, 599,
    ] {
        let origin = replying(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nx"));
        both(&origin, async |target| {
            let response = Client::connect(target).await.get("/").await;
            assert_eq!((response.status, response.text().as_str()), (status, "x"));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_were_cut_are_seen_as_cut() {
    use weldr_tests::http1::ReadError;
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ] {
        let origin = replying_once(response);
        both(&origin, async |target| {
            let mut client = Client::connect(target).await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let read = client.try_response("GET").await;
            assert!(matches!(read, Err(ReadError::Truncated(_))), "{read:?}");
        })
        .await;
    }
}
