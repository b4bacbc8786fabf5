//! What a route changes in messages on their way.

use serde_json::{Value::Null, json};
use weldr::model::{FieldChanges, ListenerSpec, MessageChanges, PathPrefixChange, Route};
use weldr_tests::{
    data_plane::{DataPlane, json_log, route},
    origin::Origin,
    serve, wait,
};

use super::{ask, origin, told};

fn changing(action: &str) -> ListenerSpec {
    let set = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let changes = MessageChanges {
        path_prefix: Some(PathPrefixChange {
            prefix: "/api".into(),
            replacement: "/v2".into(),
        }),
        host: Some("inner.example:81".into()),
        request: FieldChanges {
            remove: vec!["cookie".into()],
            set: set("X-Team", "red"),
        },
        response: FieldChanges {
            remove: vec!["server".into()],
            set: set("Strict-Transport-Security", "max-age=1"),
        },
    };
    let spec = ListenerSpec {
        default_route: Route {
            changes,
            ..route(action)
        },
        ..ListenerSpec::default()
    };
    spec.validate().unwrap();
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_changes_the_request_and_the_response() {
    let origin = Origin::serve(|_| async {
        let mut response = serve::response(200, "hi");
        let fields = response.headers_mut();
        fields.insert("server", "secret/1.0".parse().unwrap());
        fields.insert("x-kept", "1".parse().unwrap());
        response
    });
    let mut node = DataPlane::start();
    node.pool("web", &[origin.address()]);
    node.listener_with("default", changing("forward web"), &[]);
    node.publish();
    let request =
        "GET /api/a?b HTTP/1.1\nHost: outer.example\nCookie: a=1\nX-Team: blue\nX-Kept: 2";
    let response = ask(node.address(), request).await;
    assert_eq!(response.text(), "hi");
    let fields = &response.fields;
    assert!(!fields.has("server"));
    assert_eq!(fields.get("x-kept").as_deref(), Some("1"));
    assert_eq!(
        fields.get("strict-transport-security").as_deref(),
        Some("max-age=1")
    );
    let received = origin.only_request().await;
    assert_eq!(received.target, "/v2/a?b");
    let fields = &received.fields;
    assert_eq!(fields.all("host"), ["inner.example:81"]);
    assert_eq!(fields.all("x-team"), ["red"]);
    assert_eq!(fields.all("x-kept"), ["2"]);
    assert!(!fields.has("cookie"));
    // Who it was for and which way it came stays true.
    assert_eq!(fields.all("x-forwarded-host"), ["outer.example"]);
    assert!(fields.has("via"));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_of_a_route_are_changed_too() {
    let mut node = DataPlane::start();
    for (action, expected) in [
        ("respond 200 pong", "200 pong"),
        ("redirect 302 /a", "302 /a"),
    ] {
        node.listener_with("default", changing(action), &[]);
        node.publish();
        let response = ask(node.address(), "GET / HTTP/1.1\nHost: a").await;
        assert_eq!(told(&response), expected);
        let hsts = response.fields.get("strict-transport-security");
        assert_eq!(hsts.as_deref(), Some("max-age=1"));
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_names_listener_rule_and_pool() {
    let (web, folder) = (origin("web"), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let log = json_log(file.clone());
    let mut node = DataPlane::start_with(|parts, _| parts.access_log = log);
    node.pool("web", &[web.address()]);
    node.listener(
        "default",
        None,
        &[("path=/web", "forward web"), ("path=/ping", "respond 200")],
    );
    node.publish();
    for path in ["/web", "/ping", "/none"] {
        ask(node.address(), &format!("GET {path} HTTP/1.1\nHost: a")).await;
    }
    let lines = wait::until("three lines of the access log", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if lines.len() == 3 {
            Ok(lines)
        } else {
            Err(text)
        }
    })
    .await;
    let named = |path: &str| {
        let line = lines.iter().find(|line| line["target"] == path).unwrap();
        (
            line["listener"].clone(),
            line["rule"].clone(),
            line["pool"].clone(),
        )
    };
    assert_eq!(named("/web"), (json!("default"), json!(10), json!("web")));
    assert_eq!(named("/ping"), (json!("default"), json!(20), Null));
    assert_eq!(named("/none"), (json!("default"), Null, json!("default")));
    node.shutdown().await;
}
