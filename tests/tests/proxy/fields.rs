//! The fields of a head pass as they came.

use weldr_tests::{origin::Origin, raw::Client};

use super::both;

fn echo(response: &'static [u8]) -> Origin {
    Origin::script(move |mut conversation| async move {
        while conversation.request().await.is_some() {
            conversation.write(response).await;
        }
    })
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Sends `fields` bare and through Weldr, and gives both requests as they arrived.
async fn arrivals(fields: &[u8]) -> [weldr_tests::http1::Request; 2] {
    let origin = echo(OK);
    both(&origin, async |target| {
        let request = [
            b"GET / HTTP/1.1\r\nHost: example.com:81\r\n",
            fields,
            b"\r\n",
        ]
        .concat();
        let response = Client::connect(target).await.exchange("GET", request).await;
        assert_eq!(response.status, 200, "{response}");
    })
    .await;
    origin.requests().await.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_arrive() {
    let sent = b"Accept: */*\r\n\
                 Accept-Encoding: gzip, br\r\n\
                 Authorization: Basic YTpi\r\n\
                 Cookie: a=b; c=\"d e\"\r\n\
                 Content-Type: text/plain\r\n\
                 Cache-Control: no-cache\r\n\
                 If-None-Match: \"x\", W/\"y\"\r\n\
                 Origin: http://elsewhere.example\r\n\
                 Range: bytes=0-1\r\n\
                 Referer: http://a/?b#c\r\n\
                 User-Agent: a/1 (b; c)\r\n\
                 X-Empty:\r\n\
                 X-Request-Id: 1234\r\n";
    let [bare, through] = arrivals(sent).await;
    assert_eq!(bare.fields.0.len(), 14);
    for (name, value) in &bare.fields.0 {
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(value).into_owned();
        assert_eq!(through.fields.all(&name), [value], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_is_kept() {
    let [_, through] = arrivals(b"").await;
    assert_eq!(
        through.fields.get("host").as_deref(),
        Some("example.com:81")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn that_are_repeated_stay_apart_and_in_order() {
    let [_, through] = arrivals(b"X-A: 1\r\nX-B: 2\r\nX-A: 3, 4\r\nx-a: 1\r\n").await;
    assert_eq!(through.fields.all("x-a"), ["1", "3, 4", "1"]);

    let origin = echo(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\
          Set-Cookie: b=2, c\r\nVary: x\r\nSet-Cookie: a=1; Path=/\r\n\r\n",
    );
    both(&origin, async |target| {
        let response = Client::connect(target).await.get("/").await;
        let cookies = response.fields.all("set-cookie");
        assert_eq!(cookies, ["a=1; Path=/", "b=2, c", "a=1; Path=/"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_odd_but_legal_values_pass_byte_for_byte() {
    let value = b"\xe9t\xc3\xa9 \x80\xff \"quoted\\\"\" a\tb  c ;,=<>[]{}|^`~!#$%&'*+-.";
    let [bare, through] = arrivals(&[b"X-Odd: ", &value[..], b"\r\n"].concat()).await;
    for request in [bare, through] {
        let (_, seen) = request
            .fields
            .0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"x-odd"))
            .unwrap();
        assert_eq!(
            seen.escape_ascii().to_string(),
            value.escape_ascii().to_string()
        );
    }

    let origin = echo(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Odd: \xe9 \x80\xff a\tb\r\n\r\n");
    both(&origin, async |target| {
        let response = Client::connect(target).await.get("/").await;
        let (_, seen) = response
            .fields
            .0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"x-odd"))
            .unwrap();
        assert_eq!(seen, b"\xe9 \x80\xff a\tb");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn may_be_many() {
    let many = |count: usize| {
        (1..=count).fold(String::new(), |fields, n| {
            fields + &format!("X-{n}: {n}\r\n")
        })
    };
    let [bare, through] = arrivals(many(100).as_bytes()).await;
    for request in [bare, through] {
        for n in 1..=100 {
            assert_eq!(request.fields.get(&format!("x-{n}")), Some(n.to_string()));
        }
    }

    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", many(90));
    let origin = echo(response.leak().as_bytes());
    both(&origin, async |target| {
        let response = Client::connect(target).await.get("/").await;
        for n in 1..=90 {
            assert_eq!(response.fields.get(&format!("x-{n}")), Some(n.to_string()));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn may_be_long() {
    let value = "v".repeat(16_000);
    let [bare, through] = arrivals(format!("X-Long: {value}\r\n").as_bytes()).await;
    for request in [bare, through] {
        assert_eq!(
            request.fields.get("x-long").as_deref(),
            Some(value.as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_response_arrive() {
    let origin = echo(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
          Server: origin/1\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nETag: \"x\"\r\n\
          Cache-Control: max-age=60\r\nLocation: http://127.0.0.1/a?b\r\nX-Empty:\r\n\r\nab",
    );
    both(&origin, async |target| {
        let response = Client::connect(target).await.get("/").await;
        for (name, value) in [
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("server", "origin/1"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("etag", "\"x\""),
            ("cache-control", "max-age=60"),
            ("location", "http://127.0.0.1/a?b"),
            ("content-length", "2"),
            ("x-empty", ""),
        ] {
            assert_eq!(response.fields.all(name), [value], "{name}");
        }
    })
    .await;
}
