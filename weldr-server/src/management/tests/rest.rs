//! REST as the README and scripts use it.

use serde_json::json;

use super::{
    http::{ask, send},
    node::TestNode,
};

const CURL: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

#[tokio::test]
async fn a_server_is_added_shown_and_removed() {
    let node = TestNode::start().await;
    let tour = r#"{"ip":"127.0.0.1", "port":"12345"}"#;

    let added = send(node.address, "POST", "/servers", CURL, tour).await;
    assert_eq!(added.status, 201);
    assert_eq!(added.header("location"), "/servers/127.0.0.1/12345");
    assert_eq!(added.header("content-type"), "application/json");
    assert_eq!(added.header("weldr-revision"), "1");
    let server = added.json();
    for (key, value) in [
        ("id", json!(1)),
        ("pool", json!("default")),
        ("ip", json!("127.0.0.1")),
        ("port", json!("12345")),
        ("address", json!("127.0.0.1:12345")),
        ("weight", json!(1)),
        ("admin_state", json!("ready")),
        ("state", json!("initial")),
        ("reason", json!("check_pending")),
        ("in_flight", json!(0)),
        ("revision", json!(1)),
    ] {
        assert_eq!(server[key], value, "{key}");
    }
    assert_eq!(server["check"]["type"], "tcp");
    assert!(server["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(server["check_override"], json!(null));

    let again = send(node.address, "POST", "/servers", &[], tour).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, server.clone()));
    let path = "/servers/127.0.0.1/12345";
    assert_eq!(ask(node.address, "GET", path).await.json(), server);
    assert_eq!(
        ask(node.address, "GET", "/servers").await.json(),
        json!([server])
    );

    let removed = ask(node.address, "DELETE", path).await;
    assert_eq!(removed.status, 200);
    assert_eq!(removed.json()["removed"], true);
    assert_eq!(removed.json()["server"]["address"], "127.0.0.1:12345");
    assert_eq!(ask(node.address, "GET", "/servers").await.json(), json!([]));
    for method in ["GET", "DELETE"] {
        let missing = ask(node.address, method, path).await;
        assert_eq!(missing.refused(), (404, "not_found".into(), vec![]));
        assert_ne!(missing.header("weldr-revision"), "");
    }
}

#[tokio::test]
async fn a_server_is_there_with_other_settings() {
    let node = TestNode::start().await;
    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    assert_eq!(
        send(node.address, "POST", "/servers", &[], body)
            .await
            .status,
        201
    );
    let heavier = r#"{"ip":"127.0.0.1","port":80,"weight":7}"#;
    let refused = send(node.address, "POST", "/servers", &[], heavier).await;
    assert_eq!(refused.refused(), (409, "already_exists".into(), vec![]));
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("weight 1 (asked for: 7)"), "{message}");
}

#[tokio::test]
async fn every_setting_of_a_server_can_be_given_and_changed() {
    let node = TestNode::start().await;
    let body = json!({
        "ip": "127.0.0.1", "port": 80, "weight": 3, "admin_state": "drain", "pool": "default",
        "check": {"type": "http", "path": "/health", "expected_status": "200-299,401",
                  "host": "example.org", "interval_seconds": 0.5, "timeout_seconds": 1,
                  "healthy_threshold": 1, "unhealthy_threshold": 5, "port": 9000,
                  "method": "OPTIONS", "body": "ready", "grace_seconds": 60, "begins_healthy": true},
    });
    let server = send(node.address, "POST", "/servers", &[], body.to_string())
        .await
        .json();
    assert_eq!(server["weight"], 3);
    assert_eq!(server["admin_state"], "drain");
    assert_eq!(server["state"], "draining");
    assert_eq!(server["reason"], "drained_by_operator");
    assert_eq!(server["check"], body["check"]);
    assert_eq!(server["check_override"], body["check"]);

    let target = "/servers/127.0.0.1/80";
    let patch = r#"{"weight":0,"admin_state":"ready","check":{}}"#;
    let server = send(node.address, "PATCH", target, &[], patch).await.json();
    assert_eq!(server["weight"], 0);
    assert_eq!(server["state"], "unused");
    assert_eq!(server["check"]["type"], "tcp");
    assert_eq!(
        server["check_override"],
        json!(null),
        "an empty check inherits all"
    );

    let patch = r#"{"check":{"path":"/up","expected_status":204}}"#;
    let server = send(node.address, "PATCH", target, &[], patch).await.json();
    let given = json!({
        "type": "http", "path": "/up", "expected_status": "204", "host": "",
        "interval_seconds": null, "timeout_seconds": null,
        "healthy_threshold": null, "unhealthy_threshold": null, "port": null,
        "method": "GET", "body": "", "grace_seconds": null, "begins_healthy": null,
    });
    assert_eq!(server["check_override"], given);
    assert_eq!(server["check"], server["effective_check"]);
    assert_eq!(server["weight"], 0, "what is not named stays");

    let patch = json!({"check": given}).to_string();
    let again = send(node.address, "PATCH", target, &[], patch).await.json();
    assert_eq!(
        again["check_override"], given,
        "a check can be sent as it was received"
    );

    let stale = r#"{"weight":5,"expected_revision":1}"#;
    let refused = send(node.address, "PATCH", target, &[], stale).await;
    assert_eq!(refused.refused(), (409, "aborted".into(), vec![]));
}

#[tokio::test]
async fn ipv6_is_said_in_any_way() {
    let node = TestNode::start().await;
    for ip in ["::1", "[::1]"] {
        let body = json!({"ip": ip, "port": "80"}).to_string();
        let response = send(node.address, "POST", "/servers", &[], body).await;
        assert!(response.status.is_success());
        assert_eq!(response.header("location"), "/servers/::1/80");
        assert_eq!(response.json()["address"], "[::1]:80");
    }
    for path in [
        "::1/80",
        "[::1]/80",
        "%3A%3A1/80",
        "%5B::1%5D/80",
        "0:0::1/80",
        "::1/80/",
    ] {
        let response = ask(node.address, "GET", &format!("/servers/{path}")).await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.json()["ip"], "::1");
    }
    assert_eq!(
        ask(node.address, "DELETE", "/servers/::1/80").await.status,
        200
    );
    let mapped = r#"{"ip":"::ffff:127.0.0.1","port":81}"#;
    let response = send(node.address, "POST", "/servers", &[], mapped).await;
    assert_eq!(response.json()["address"], "127.0.0.1:81");
}

#[tokio::test]
async fn the_pool_is_shown_and_changed() {
    let node = TestNode::start().await;
    let pool = ask(node.address, "GET", "/pool").await.json();
    let check = json!({
        "type": "tcp", "path": null, "expected_status": null, "host": null,
        "interval_seconds": 5, "timeout_seconds": 2,
        "healthy_threshold": 2, "unhealthy_threshold": 3, "port": 0,
        "method": null, "body": null, "grace_seconds": 0, "begins_healthy": false,
    });
    let policy = json!({
        "connect_timeout_seconds": null, "server_selection_timeout_seconds": null,
        "response_header_timeout_seconds": null, "stream_idle_timeout_seconds": null,
        "server_idle_timeout_seconds": null, "tunnel_idle_timeout_seconds": null,
        "retries": null, "max_server_connections": null, "max_server_idle_connections": null,
        "send_proxy_protocol": null,
    });
    let outlier =
        json!({"failures": 0, "time_seconds": 30, "longest_seconds": 300, "share_percent": 10});
    let limit = json!({"requests": 0, "queue": 1000, "queue_timeout_seconds": 10});
    let tls = json!({
        "server_name": null, "verify_ca": null, "client_certificate": null, "insecure": false,
    });
    let stickiness = json!({"cookie": "", "application_cookie": "", "duration_seconds": 86400});
    let expected = json!({
        "name": "default",
        "stickiness": stickiness,
        "protocol": "http1",
        "tls": tls,
        "slow_start_seconds": 0,
        "outlier": outlier,
        "limit": limit,
        "hash_key": "client",
        "policy": policy,
        "check": check,
        "balancing": "round_robin",
        "fail_open": true,
        "drain_deadline_seconds": 30,
        "deregister_after_seconds": 0,
        "strict_responses": false,
        "settings": {
            "protocol": "http1",
            "stickiness": stickiness,
            "tls": tls,
            "slow_start_seconds": 0,
            "outlier": outlier,
            "limit": limit,
            "hash_key": "client",
            "policy": policy,
            "check": check,
            "balancing": "round_robin",
            "fail_open": true,
            "drain_deadline_seconds": 30,
            "deregister_after_seconds": 0,
            "strict_responses": false,
        },
        "revision": 0,
        "settings_revision": 0,
        "counts": {"initial": 0, "healthy": 0, "unhealthy": 0, "draining": 0, "unused": 0},
    });
    assert_eq!(pool, expected);
}

#[tokio::test]
async fn the_settings_that_a_patch_names_are_changed() {
    let node = TestNode::start().await;
    let patch = r#"{"check":{"interval_seconds":1},"balancing":"least_requests","fail_open":false,
        "drain_deadline_seconds":0.5,"deregister_after_seconds":60,"strict_responses":true,"slow_start_seconds":30,
        "outlier":{"failures":5},"limit":{"requests":100,"queue":0},"hash_key":"cookie:SID",
        "stickiness":{"cookie":"SRV","duration_seconds":60}}"#;
    let response = send(node.address, "PATCH", "/pool", &[], patch).await;
    assert_eq!(response.status, 200);
    let changed = response.json();
    assert_eq!(changed["check"]["interval_seconds"], 1);
    assert_eq!(
        changed["check"]["timeout_seconds"], 2,
        "what is not named stays"
    );
    assert_eq!(changed["balancing"], "least_requests");
    assert_eq!(changed["slow_start_seconds"], 30);
    assert_eq!(changed["outlier"]["failures"], 5);
    assert_eq!(changed["outlier"]["time_seconds"], 30);
    assert_eq!(changed["limit"]["requests"], 100);
    assert_eq!(changed["limit"]["queue"], 0);
    assert_eq!(changed["hash_key"], "cookie:SID");
    assert_eq!(changed["stickiness"]["cookie"], "SRV");
    assert_eq!(changed["stickiness"]["application_cookie"], "");
    assert_eq!(changed["stickiness"]["duration_seconds"], 60);
    assert_eq!(changed["fail_open"], false);
    assert_eq!(changed["drain_deadline_seconds"], 0.5);
    assert_eq!(changed["deregister_after_seconds"], 60);
    assert_eq!(changed["strict_responses"], true);
    assert_eq!(changed["revision"], 1);
    assert_eq!(
        ask(node.address, "GET", "/pool?pool=default").await.json(),
        changed
    );
}

#[tokio::test]
async fn the_counts_are_shown_as_scripts_know_them() {
    let node = TestNode::start().await;
    node.clients.of(0).success.add(3);
    node.clients.of(0).failed.add(1);
    node.clients.of(0).server_success.add(4);
    let stats = ask(node.address, "GET", "/stats").await;
    assert_eq!(
        stats.body,
        r#"{"client":{"success":3,"failed":1},"server":{"success":4,"failed":0}}"#
    );

    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    send(node.address, "POST", "/servers", &[], body).await;
    let live = node.live("127.0.0.1:80");
    live.shards.of(0).success.add(2);
    live.shards.of(0).statuses.record(204);
    let detail = ask(node.address, "GET", "/stats/detail").await;
    let text = String::from_utf8(detail.body.to_vec()).unwrap();
    let begin = r#"[{"id":1,"ip":"127.0.0.1","port":"80","success":2,"failed":0,"#;
    assert!(text.starts_with(begin), "{text}");
    assert_eq!(detail.json()[0]["statuses"]["success"], 1);
    assert_eq!(detail.json()[0]["latency"]["count"], 0);
}

#[tokio::test]
async fn the_root_lists_what_there_is() {
    let node = TestNode::start().await;
    let links = ask(node.address, "GET", "/").await.json();
    for link in links["links"].as_array().unwrap() {
        let path = link["href"].as_str().unwrap();
        let path = path
            .replace("{ip}", "127.0.0.1")
            .replace("{port}", "1")
            .replace("{name}", "a");
        let response = ask(node.address, "OPTIONS", &path).await;
        assert_eq!(response.status, 405);
        let mut allowed: Vec<&str> = response.header("allow").split(',').collect();
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        let mut listed: Vec<&str> = link["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| method.as_str().unwrap())
            .collect();
        listed.sort_unstable();
        assert_eq!(listed, allowed, "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let node = TestNode::start().await;
    for path in ["/", "/servers", "/stats", "/healthz"] {
        let get = ask(node.address, "GET", path).await;
        let head = ask(node.address, "HEAD", path).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string());
    }
}

#[tokio::test]
async fn the_history_tells_what_was_changed() {
    let node = TestNode::start().await;
    for port in [80, 81] {
        let body = json!({"ip": "127.0.0.1", "port": port}).to_string();
        let added = send(node.address, "POST", "/servers", &[], body).await;
        assert_eq!(added.status, 201);
    }
    let told = ask(node.address, "GET", "/history").await;
    assert_eq!(
        (told.status.as_u16(), told.header("weldr-revision")),
        (200, "2")
    );
    let history = told.json();
    assert_eq!(history["revision"], 2);
    let events = history["events"].as_array().unwrap();
    let whats: Vec<_> = events.iter().map(|event| &event["what"]).collect();
    assert_eq!(whats, ["add 127.0.0.1:81", "add 127.0.0.1:80"]);
    let newest = events[0].as_object().unwrap();
    let keys: Vec<_> = newest.keys().map(String::as_str).collect();
    // The same as in `weldrctl history --output json`.
    for key in ["revision", "time", "what", "from"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!(newest["revision"], 2);
    let from = newest["from"].as_str().unwrap();
    assert_eq!(from, "anonymous 127.0.0.1");
    assert!(newest["time"].as_str().unwrap().ends_with('Z'));

    let last = ask(node.address, "GET", "/history?limit=1&stale=true").await;
    assert_eq!(last.json()["events"], json!([events[0]]));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("stale=maybe", "stale"),
        ("since=1", "since"),
    ] {
        let refused = ask(node.address, "GET", &format!("/history?{query}")).await;
        let expected = (400, "invalid_argument".into(), vec![field.to_owned()]);
        assert_eq!(refused.refused(), expected, "{query}");
    }
}
