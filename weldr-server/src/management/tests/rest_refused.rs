//! The requests that REST refuses, and its errors.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    http::{ask, send},
    node::{TestNode, options},
    soon,
};
use crate::management::ServeOptions;

/// Sends `body` and expects that it is refused for `field`.
async fn refused_for(node: &TestNode, body: String, fields: &[&str]) {
    let refused = send(node.address, "POST", "/servers", &[], body.clone()).await;
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    assert_eq!(
        refused.refused(),
        (400, "invalid_argument".into(), fields),
        "{body}"
    );
}

#[tokio::test]
async fn a_bad_body_is_told_by_its_keys() {
    let node = TestNode::start().await;
    for (body, fields) in [
        ("{}", &["ip", "port"][..]),
        ("[]", &["body"]),
        ("null", &["body"]),
        (
            r#"{"ip":"x","port":0,"weight":"1"}"#,
            &["ip", "port", "weight"],
        ),
    ] {
        refused_for(&node, body.to_owned(), fields).await;
    }
    for (key, value) in [
        ("ip", json!("localhost")),
        ("ip", json!("0.0.0.0")),
        ("ip", json!(1)),
        ("port", json!(0)),
        ("port", json!("65536")),
        ("port", json!(-1)),
        ("port", json!(80.5)),
        ("port", json!(true)),
        ("weight", json!(257)),
        ("weight", json!(-1)),
        ("weight", json!("1")),
        ("weight", json!(null)),
        ("admin_state", json!("Ready")),
        ("admin_state", json!("unspecified")),
        ("wieght", json!(1)),
        ("deadline", json!(1)),
        ("pool", json!("a b")),
        ("check", json!("tcp")),
    ] {
        let mut body = json!({"ip": "127.0.0.1", "port": 80});
        body[key] = value;
        refused_for(&node, body.to_string(), &[key]).await;
    }
    assert_eq!(ask(node.address, "GET", "/servers").await.json(), json!([]));
}

#[tokio::test]
async fn a_bad_check_is_told_by_its_keys() {
    let node = TestNode::start().await;
    for (check, field) in [
        (json!({"type": "icmp"}), "check.type"),
        (json!({"type": "tcp", "path": "/"}), "check.type"),
        (json!({"interval": 1}), "check.interval"),
        (json!({"path": "x"}), "check.path"),
        (json!({"expected_status": "2xx"}), "check.expected_status"),
        (json!({"interval_seconds": 0}), "check.interval_seconds"),
        (json!({"interval_seconds": -1}), "check.interval_seconds"),
        (json!({"interval_seconds": 1e300}), "check.interval_seconds"),
        (json!({"timeout_seconds": "1"}), "check.timeout_seconds"),
        (json!({"healthy_threshold": 0}), "check.healthy_threshold"),
        (json!({"port": 65536}), "check.port"),
    ] {
        let body = json!({"ip": "127.0.0.1", "port": 80, "check": check});
        refused_for(&node, body.to_string(), &[field]).await;
    }
}

#[tokio::test]
async fn a_typo_is_told_with_what_is_accepted() {
    let node = TestNode::start().await;
    let body = r#"{"ip":"127.0.0.1","port":80,"wait":1}"#;
    let refused = send(node.address, "POST", "/servers", &[], body).await;
    let accepted = &refused.json()["error"]["violations"][0]["accepted"];
    assert_eq!(
        accepted,
        "one of the keys ip, port, weight, admin_state, check, pool, expected_revision"
    );
}

#[tokio::test]
async fn bad_json_is_told_by_line_and_column() {
    let node = TestNode::start().await;
    for (body, place) in [
        ("", "line 1 column 0"),
        ("ip=1", "line 1 column 1"),
        ("{\n\"ip\":}", "line 2 column 6"),
    ] {
        let refused = send(node.address, "POST", "/servers", &[], body).await;
        assert_eq!(refused.refused(), (400, "invalid_argument".into(), vec![]));
        let message = refused.json()["error"]["message"].to_string();
        assert!(message.contains(place), "{message}");
    }
    let binary = send(
        node.address,
        "POST",
        "/servers",
        &[],
        &b"{\"ip\":\"\xff\"}"[..],
    )
    .await;
    assert_eq!(binary.status, 400);
}

#[tokio::test]
async fn bad_paths_and_queries_are_told() {
    let node = TestNode::start().await;
    for (method, target, fields) in [
        ("GET", "/servers/localhost/80", vec!["ip"]),
        ("GET", "/servers/127.0.0.1/http", vec!["port"]),
        ("DELETE", "/servers/x/0", vec!["ip", "port"]),
        ("GET", "/servers/%FF/80", vec!["path"]),
        ("GET", "/servers?pol=default", vec!["pol"]),
        ("POST", "/servers?weight=2", vec!["query"]),
        ("PATCH", "/servers/127.0.0.1/80?weight=2", vec!["query"]),
        ("PATCH", "/pool?fail_open=true", vec!["query"]),
        ("GET", "/stats?pool=a%20b", vec!["pool"]),
        (
            "DELETE",
            "/servers/127.0.0.1/80?deadline=1",
            vec!["deadline"],
        ),
        (
            "DELETE",
            "/servers/127.0.0.1/80?deadline_seconds=-1",
            vec!["deadline_seconds"],
        ),
        (
            "DELETE",
            "/servers/127.0.0.1/80?deadline_seconds=inf",
            vec!["deadline_seconds"],
        ),
        (
            "DELETE",
            "/servers/127.0.0.1/80?deadline_seconds=86401",
            vec!["deadline_seconds"],
        ),
        ("DELETE", "/servers/127.0.0.1/80?now=yes", vec!["now"]),
        (
            "DELETE",
            "/servers/127.0.0.1/80?now&deadline_seconds=1",
            vec!["now"],
        ),
    ] {
        let refused = ask(node.address, method, target).await;
        let fields = fields.into_iter().map(str::to_owned).collect();
        assert_eq!(
            refused.refused(),
            (400, "invalid_argument".into(), fields),
            "{target}"
        );
    }
    let typo = ask(node.address, "GET", "/servers?pol=default").await;
    assert_eq!(typo.json()["error"]["violations"][0]["value"], "default");
    let unknown = ask(node.address, "GET", "/servers?pool=blue").await;
    assert_eq!(unknown.refused(), (404, "not_found".into(), vec![]));
    let message = unknown.json()["error"]["message"].to_string();
    assert!(
        message.contains("blue") && message.contains("default"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let node = TestNode::start().await;
    for target in [
        "/nothing",
        "/servers/127.0.0.1",
        "/servers/127.0.0.1/80/x",
        "//servers",
    ] {
        let refused = ask(node.address, "GET", target).await;
        assert_eq!(
            refused.refused(),
            (404, "not_found".into(), vec![]),
            "{target}"
        );
    }
    for (method, target, allow) in [
        ("PUT", "/servers", "GET,HEAD,POST"),
        ("POST", "/servers/127.0.0.1/80", "GET,HEAD,PATCH,DELETE"),
        ("DELETE", "/", "GET,HEAD"),
        ("POST", "/readyz", "GET,HEAD"),
    ] {
        let refused = ask(node.address, method, target).await;
        assert_eq!(
            refused.refused(),
            (405, "method_not_allowed".into(), vec![]),
            "{target}"
        );
        assert_eq!(refused.header("allow"), allow);
    }
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_accepted() {
    let node = TestNode::start().await;
    for size in [64 * 1024 + 1, 1 << 20] {
        let refused = send(node.address, "POST", "/servers", &[], vec![b' '; size]).await;
        assert_eq!(refused.refused(), (413, "too_large".into(), vec![]));
        assert_eq!(refused.header("connection"), "close");
    }
    let mut fits = vec![b' '; 64 * 1024];
    fits[..28].copy_from_slice(br#"{"ip":"127.0.0.1","port":80}"#);
    assert_eq!(
        send(node.address, "POST", "/servers", &[], fits)
            .await
            .status,
        201
    );
}

/// Many clients write the whole request before they read. If the connection is closed meanwhile, they do not read the error.
#[tokio::test]
async fn a_client_that_sends_too_much_can_read_the_response() {
    let node = TestNode::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = "POST /servers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..8 {
        soon(stream.write_all(&vec![b' '; 1 << 17])).await.unwrap();
        // Time enough for a response that came too early to be followed by the end of the connection.
        ask(node.address, "GET", "/healthz").await;
    }
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn expect_100_continue_for_too_large_a_body_is_refused_before_the_body() {
    let node = TestNode::start().await;
    let head = "POST /servers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\
                Expect: 100-continue\r\n\r\n";
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_over_either_protocol() {
    let node = TestNode::start().await;
    let own = format!("http://{}", node.address);
    let same = send(node.address, "GET", "/servers", &[("origin", &own)], "").await;
    assert_eq!(same.status, 200);
    for (fields, status) in [
        ([("origin", "http://evil.example"), ("accept", "*/*")], 403),
        ([("origin", "null"), ("accept", "*/*")], 403),
        ([("host", "evil.example"), ("accept", "*/*")], 421),
    ] {
        for target in ["/servers", "/healthz", "/nothing"] {
            let refused = send(node.address, "GET", target, &fields, "").await;
            assert_eq!(
                refused.refused(),
                (status, "permission_denied".into(), vec![])
            );
        }
    }
    let fields = [
        ("origin", "http://evil.example"),
        ("content-type", "application/grpc"),
    ];
    let target = "/weldr.v1.Management/RemoveServer";
    let grpc = send(node.address, "POST", target, &fields, "").await;
    assert_eq!(
        (grpc.status.as_u16(), grpc.header("grpc-status")),
        (200, "7")
    );
}

#[tokio::test]
async fn without_rest_only_health_is_left() {
    let node = TestNode::with(ServeOptions {
        rest: false,
        max_connections: 64,
        ..options()
    })
    .await;
    for (target, status) in [
        ("/", 404),
        ("/servers", 404),
        ("/stats", 404),
        ("/healthz", 200),
        ("/readyz", 200),
    ] {
        assert_eq!(
            ask(node.address, "GET", target).await.status,
            status,
            "{target}"
        );
    }
    let request = weldr_proto::v1::ListServersRequest::default();
    soon(node.client().list_servers(request)).await.unwrap();
}
