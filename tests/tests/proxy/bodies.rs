//! The bodies of requests arrive whole, whatever their framing.

use http_body_util::BodyExt as _;
use weldr_tests::{http1::Framing, origin::Origin, raw::Client, serve};

use super::both;

const MIB: usize = 1 << 20;

/// Responds with the length and a checksum of the body.
fn weighing() -> Origin {
    Origin::serve(|request| async move {
        match request.into_body().collect().await {
            Ok(body) => serve::response(200, weigh(&body.to_bytes())),
            Err(error) => serve::response(400, error.to_string()),
        }
    })
}

/// A length and a checksum that depends on the place of each byte.
fn weigh(body: &[u8]) -> String {
    let checksum = body
        .iter()
        .fold(0_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
    format!("{} bytes, checksum {checksum:08x}", body.len())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap())
        .collect()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(chunk) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// Sends each request on one connection, so that a body that is cut short or too long breaks the next.
async fn arrives(requests: Vec<(Vec<u8>, Vec<u8>)>) {
    let origin = weighing();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for (request, body) in &requests {
            let response = client.exchange("POST", request).await;
            assert_eq!((response.status, response.text()), (200, weigh(body)));
        }
        assert_eq!(client.get("/").await.text(), weigh(b""));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_length() {
    let bodies = [0, 1, 5, 16 * 1024, 100_000].map(pattern);
    arrives(
        bodies
            .into_iter()
            .map(|body| (with_length(&body), body))
            .collect(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_in_chunks_of_any_size() {
    let cases = [(0, 1), (1, 1), (300, 1), (5000, 1000), (100_000, 65_536)];
    let requests = cases.map(|(length, chunk)| {
        let body = pattern(length);
        (chunked(&body, chunk), body)
    });
    arrives(requests.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_mebibytes() {
    let body = pattern(10 * MIB);
    arrives(vec![
        (with_length(&body), body.clone()),
        (chunked(&body, 100_000), body),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_their_framing() {
    for (request, framing) in [
        (with_length(b"hello"), Framing::Length(5)),
        (chunked(b"hello", 2), Framing::Chunked),
        (with_length(b""), Framing::Length(0)),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            Framing::None,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Framing::None),
    ] {
        let origin = weighing();
        both(&origin, async |target| {
            Client::connect(target)
                .await
                .exchange("POST", &request)
                .await;
        })
        .await;
        let framings: Vec<_> = origin
            .requests()
            .await
            .iter()
            .map(|seen| seen.framing)
            .collect();
        // A length of 0 and no length say the same.
        let same = |seen: &Framing| match seen {
            Framing::Length(0) => Framing::None,
            other => *other,
        };
        assert_eq!(same(&framings[0]), same(&framing), "bare");
        assert_eq!(same(&framings[1]), same(&framing), "through weldr");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_get_arrive_too() {
    let origin = weighing();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(
            client.exchange("GET", request).await.text(),
            weigh(b"hello")
        );
    })
    .await;
}
