//! Bodies of REST that are almost right, or nothing at all: each gets a response, and no error of the server.

use super::{http::send, node::TestNode};

/// How many requests are sent.
const REQUESTS: usize = 1500;

const SEEDS: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/servers",
        r#"{"ip":"127.0.0.1","port":80,"weight":2,"check":{"path":"/"}}"#,
    ),
    (
        "POST",
        "/servers",
        r#"{"ip":"::1","port":"81","admin_state":"drain","pool":"default"}"#,
    ),
    (
        "PATCH",
        "/servers/127.0.0.1/80",
        r#"{"weight":0,"check":null,"expected_revision":1}"#,
    ),
    (
        "PATCH",
        "/pool",
        r#"{"check":{"type":"http","interval_seconds":1.5,"expected_status":"200-299"}}"#,
    ),
    (
        "PATCH",
        "/pool",
        r#"{"balancing":"round_robin","fail_open":true,"drain_deadline_seconds":1e9}"#,
    ),
    (
        "POST",
        "/tokens",
        r#"{"name":"a","role":"operator","pools":["b"],"expires":"2199-01-01T00:00:00Z"}"#,
    ),
    (
        "POST",
        "/tokens",
        r#"{"name":"c","role":"viewer","subject":"d.example"}"#,
    ),
];

/// What is put into a body.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "0.1",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "\"a\":",
    "{\"a\":{\"a\":",
    "[[[[[[[[",
    "\n",
    "\0",
    "NaN",
    "9999-99-99T99:99:99Z",
    "+275760-09-13T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "::ffff:127.0.0.1",
    "127.1",
    "65536",
    "../",
];

fn mutated(body: &str, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    for _ in 0..rng.usize(0..6) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..5) {
            0 => bytes.truncate(at),
            1 => {
                let piece = PIECES[rng.usize(..PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
            2 => {
                let end = (at + rng.usize(..12)).min(bytes.len());
                let piece = PIECES[rng.usize(..PIECES.len())];
                bytes.splice(at..end, piece.bytes());
            }
            3 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ => {
                let copy = bytes.clone();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn whatever_a_body_is_it_gets_a_response() {
    let node = TestNode::start().await;
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut accepted = 0;
    for _ in 0..REQUESTS {
        let (method, target, body) = SEEDS[rng.usize(..SEEDS.len())];
        let body = mutated(body, &mut rng);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let response = send(node.address, method, target, &[], body).await;
        let status = response.status.as_u16();
        assert!(
            matches!(status, 200 | 201 | 400 | 404 | 409 | 413),
            "seed {seed}: {method} {target} {shown}: {status}"
        );
        let json = response.json();
        if status >= 400 {
            assert!(json["error"]["message"].is_string(), "seed {seed}: {json}");
        } else {
            accepted += 1;
        }
    }
    assert!(
        accepted > 0 && accepted < REQUESTS,
        "{accepted}, seed {seed}"
    );
    let listed = super::http::ask(node.address, "GET", "/tokens").await;
    assert_eq!(listed.status, 200);
}
