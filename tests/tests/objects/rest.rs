//! The same over REST.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use weldr_tests::node::TestNode;

async fn ask(node: &TestNode, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let response = node.rest(method, path, &body).await;
    let text = response.text();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (response.status, body)
}

async fn get(node: &TestNode, path: &str) -> Value {
    let (status, body) = ask(node, "GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_shown_changed_and_removed() {
    let node = TestNode::start_checking().await;
    let pool = json!({"name": "api", "check": {"path": "/health"}, "policy": {"retries": 1}});
    let (status, made) = ask(&node, "POST", "/pools", &pool).await;
    assert_eq!((status, &made["name"]), (201, &json!("api")), "{made}");
    assert_eq!(made["policy"]["retries"], 1);
    assert_eq!(ask(&node, "POST", "/pools", &pool).await.0, 200);
    let server = json!({"ip": "10.0.0.7", "port": 8080});
    assert_eq!(
        ask(&node, "POST", "/pools/api/servers", &server).await.0,
        201
    );
    assert_eq!(get(&node, "/pools/api/servers").await[0]["pool"], "api");
    assert_eq!(
        get(&node, "/servers").await,
        json!([]),
        "the old path means default"
    );
    let change = json!({"policy": {"connect_timeout_seconds": 0.5}, "unset": ["retries"]});
    let (_, changed) = ask(&node, "PATCH", "/pools/api", &change).await;
    assert_eq!(
        changed["policy"]["connect_timeout_seconds"], 0.5,
        "{changed}"
    );
    assert!(changed["policy"]["retries"].is_null());

    let listener = json!({"name": "web", "address": "127.0.0.1:1"});
    let (status, made) = ask(&node, "POST", "/listeners", &listener).await;
    assert_eq!(
        (status, &made["address"]),
        (201, &json!("127.0.0.1:1")),
        "{made}"
    );
    let route =
        json!({"default_route": {"forward": [{"pool": "api"}]}, "policy": {"max_headers": 50}});
    let (status, changed) = ask(&node, "PATCH", "/listeners/web", &route).await;
    assert_eq!(
        (status, &changed["policy"]["max_headers"]),
        (200, &json!(50)),
        "{changed}"
    );
    assert_eq!(get(&node, "/listeners").await.as_array().unwrap().len(), 2);

    let rule = json!({"conditions": {"paths": ["/v1/*"]}, "route": {"respond": {"status": 404}}});
    let (status, made) = ask(&node, "POST", "/listeners/web/rules", &rule).await;
    assert_eq!((status, &made["priority"]), (201, &json!(10)), "{made}");
    let path = "/listeners/web/rules/10";
    let (status, moved) = ask(&node, "PATCH", path, &json!({"to_priority": 5})).await;
    assert_eq!((status, &moved["priority"]), (200, &json!(5)), "{moved}");
    let path = "/listeners/web/rules/5";
    let methods = json!({"conditions": {"methods": ["GET"]}});
    let (status, changed) = ask(&node, "PATCH", path, &methods).await;
    assert_eq!(
        (status, &changed["route"]["respond"]["status"]),
        (200, &json!(404)),
        "{changed}"
    );
    assert_eq!(
        get(&node, "/listeners/web/rules").await[0]["conditions"]["methods"][0],
        "GET"
    );

    let (status, refused) = ask(&node, "DELETE", "/pools/api", &Value::Null).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("failed_precondition"))
    );
    for path in [path, "/listeners/web", "/pools/api"] {
        let (status, removed) = ask(&node, "DELETE", path, &Value::Null).await;
        assert_eq!(
            (status, &removed["removed"]),
            (200, &json!(true)),
            "{path}: {removed}"
        );
    }
    let (status, missing) = ask(&node, "GET", "/listeners/web", &Value::Null).await;
    assert_eq!(
        (status, &missing["error"]["code"]),
        (404, &json!("not_found"))
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_and_put() {
    let node = TestNode::start_checking().await;
    let wanted = json!({"pools": [{"name": "api"}]});
    let (status, planned) = ask(&node, "PUT", "/configuration?dry_run", &wanted).await;
    assert_eq!(
        (status, &planned["changes"][0]["object"]),
        (200, &json!("pool api")),
        "{planned}"
    );
    let (status, done) = ask(&node, "PUT", "/configuration", &wanted).await;
    assert_eq!((status, &done["revision"]), (200, &json!(1)), "{done}");
    let there = get(&node, "/configuration").await;
    let (status, same) = ask(&node, "PUT", "/configuration?prune=true", &there).await;
    assert_eq!((status, &same["changes"]), (200, &json!([])), "{same}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_explained() {
    let node = TestNode::start_checking().await;
    let rule = json!({"conditions": {"paths": ["/a/*"]}, "route": {"respond": {}}});
    ask(&node, "POST", "/listeners/default/rules", &rule).await;
    let asked = json!({"url": "http://x/a/b", "headers": [{"name": "X", "value": "y"}]});
    let (status, told) = ask(&node, "POST", "/route", &asked).await;
    assert_eq!((status, &told["priority"]), (200, &json!(10)), "{told}");
    for (url, source) in [("x", ""), ("ftp://x/", ""), ("http://x/", "y")] {
        let asked = json!({"url": url, "source": source});
        let (status, refused) = ask(&node, "POST", "/route", &asked).await;
        assert_eq!(status, 400, "{refused}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_the_same_time_have_revisions_of_their_own() {
    const WRITES: usize = 16;
    let node = TestNode::start_checking().await;
    let writes = (0..WRITES).map(|number| {
        let path = format!("/{number}");
        let rule = json!({"conditions": {"paths": [path]}, "route": {"respond": {}}});
        let body = rule.to_string();
        let node = &node;
        async move {
            let added = node.rest("POST", "/listeners/default/rules", &body).await;
            assert_eq!(added.status, 201);
            added.fields.get("weldr-revision").unwrap()
        }
    });
    let revisions: BTreeSet<String> = join_all(writes).await.into_iter().collect();
    assert_eq!(revisions.len(), WRITES, "{revisions:?}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_refused_is_named() {
    let node = TestNode::start_checking().await;
    for (method, path, body, field) in [
        ("POST", "/pools", json!({}), "name"),
        ("POST", "/pools", json!({"name": "a b"}), "name"),
        ("POST", "/pools", json!({"name": "a", "chek": {}}), "chek"),
        (
            "POST",
            "/pools",
            json!({"name": "a", "policy": {"retries": 11}}),
            "policy.retries",
        ),
        (
            "PATCH",
            "/pools/default",
            json!({"policy": {"connect_timeout_seconds": 0}}),
            "policy.connect_timeout_seconds",
        ),
        (
            "PATCH",
            "/pools/default",
            json!({"policy": {"x": 0}}),
            "policy.x",
        ),
        (
            "POST",
            "/listeners",
            json!({"name": "a", "address": "x"}),
            "address",
        ),
        (
            "POST",
            "/listeners",
            json!({"name": "a", "address": "1.1.1.1:1", "policy": {"desync_mode": "x"}}),
            "policy.desync_mode",
        ),
        (
            "POST",
            "/listeners/default/rules",
            json!({"route": {}}),
            "route.action",
        ),
        (
            "POST",
            "/listeners/default/rules",
            json!({"conditions": {"hosts": [7]}}),
            "conditions.hosts[0]",
        ),
        (
            "POST",
            "/listeners/default/rules",
            json!({"conditions": {"sources": ["x"]}, "route": {"respond": {}}}),
            "conditions.sources",
        ),
        (
            "PUT",
            "/configuration",
            json!({"pools": [{"name": "a", "servers": [{"address": "x"}]}]}),
            "pools.a.servers.x.address",
        ),
    ] {
        let (status, refused) = ask(&node, method, path, &body).await;
        assert_eq!(status, 400, "{path} {body}: {refused}");
        let violation = &refused["error"]["violations"][0];
        assert_eq!(violation["field"], field, "{path} {body}: {refused}");
        let accepted = violation["accepted"].as_str().unwrap();
        assert!(!accepted.is_empty(), "{refused}");
    }
    node.shutdown().await;
}
