//! What REST refuses: each error names the field, its value, and what is accepted.

use serde_json::{Value, json};
use tonic::Code;
use weldr_proto::v1::{ExplainRouteRequest, HeaderField};
use weldr_tests::node::TestNode;

use super::routing_at;

/// The field, the value and what is accepted, of the first violation.
async fn violation(
    node: &TestNode,
    method: &str,
    path: &str,
    body: &str,
) -> (String, String, String) {
    let response = node.rest(method, path, body).await;
    let text = response.text();
    assert_eq!(response.status, 400, "{method} {path} {body}: {text}");
    let refused: Value = serde_json::from_str(&text).unwrap();
    let violation = &refused["error"]["violations"][0];
    let part = |name: &str| violation[name].as_str().unwrap_or_default().to_owned();
    (part("field"), part("value"), part("accepted"))
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_value_of_another_type_is_named_with_what_is_accepted() {
    let node = TestNode::start_checking().await;
    let rules = "/listeners/default/rules";
    for (method, path, body, field, value, accepted) in [
        (
            "POST",
            rules,
            json!({"priority": "x"}),
            "priority",
            "x",
            "a whole number",
        ),
        ("POST", rules, json!([]), "body", "[]", "an object"),
        (
            "POST",
            rules,
            json!({"conditions": []}),
            "conditions",
            "[]",
            "an object",
        ),
        (
            "POST",
            rules,
            json!({"route": "x"}),
            "route",
            "x",
            "an object",
        ),
        (
            "POST",
            rules,
            json!({"conditions": {"paths": "/a"}}),
            "conditions.paths",
            "/a",
            "an array",
        ),
        (
            "PATCH",
            "/pools/default",
            json!({"policy": {"retries": "x"}}),
            "policy.retries",
            "x",
            "a whole number",
        ),
        (
            "PATCH",
            "/pools/default",
            json!({"unset": "retries"}),
            "unset",
            "retries",
            "an array",
        ),
        (
            "PATCH",
            "/pools/default",
            json!({"unset": [5]}),
            "unset[0]",
            "5",
            "a string",
        ),
        (
            "POST",
            "/pools",
            json!({"name": 5}),
            "name",
            "5",
            "as a string",
        ),
        (
            "POST",
            "/pools",
            json!({"name": "a", "fail_open": "yes"}),
            "fail_open",
            "yes",
            "true or false",
        ),
        (
            "POST",
            "/listeners",
            json!({"name": "a", "address": "1.1.1.1:1", "policy": {"desync_mode": "x"}}),
            "policy.desync_mode",
            "x",
            "strict or monitor",
        ),
        (
            "PUT",
            "/configuration",
            json!({"pools": {}}),
            "pools",
            "{}",
            "an array",
        ),
    ] {
        let body = body.to_string();
        let found = violation(&node, method, path, &body).await;
        assert_eq!(
            (&*found.0, &*found.1),
            (field, value),
            "{path} {body}: {found:?}"
        );
        assert!(found.2.contains(accepted), "{path} {body}: {found:?}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_key_that_is_there_twice_or_contradicts_the_path_is_refused() {
    let node = TestNode::start_checking().await;
    let rules = "/listeners/default/rules";
    for (method, path, body, field, value) in [
        (
            "POST",
            "/servers",
            r#"{"ip":"127.0.0.1","port":1,"port":2}"#,
            "port",
            "2",
        ),
        (
            "POST",
            rules,
            r#"{"conditions":{"hosts":["a"],"hosts":["b"]},"route":{"respond":{}}}"#,
            "conditions.hosts",
            r#"["b"]"#,
        ),
        (
            "PUT",
            "/configuration",
            r#"{"pools":[],"pools":[]}"#,
            "pools",
            "[]",
        ),
        (
            "POST",
            "/pools/default/servers",
            r#"{"ip":"127.0.0.1","port":1,"pool":"other"}"#,
            "pool",
            "other",
        ),
        (
            "POST",
            "/pools/default/servers",
            r#"{"ip":"127.0.0.1","port":1,"pool":5}"#,
            "pool",
            "5",
        ),
        (
            "PATCH",
            "/pools/default",
            r#"{"pool":"other"}"#,
            "pool",
            "other",
        ),
        (
            "PATCH",
            "/listeners/default",
            r#"{"name":"other"}"#,
            "name",
            "other",
        ),
        (
            "POST",
            rules,
            r#"{"listener":"other","route":{"respond":{}}}"#,
            "listener",
            "other",
        ),
        ("GET", "/servers?pool=a&pool=b", "", "pool", "b"),
    ] {
        let found = violation(&node, method, path, body).await;
        assert_eq!(
            (&*found.0, &*found.1),
            (field, value),
            "{path} {body}: {found:?}"
        );
    }
    let rule = r#"{"priority":5,"route":{"respond":{}}}"#;
    assert_eq!(node.rest("POST", rules, rule).await.status, 201);
    let path = "/listeners/default/rules/5";
    for (body, field) in [
        (r#"{"priority":6,"route":{"respond":{}}}"#, "priority"),
        (r#"{"listener":"other","to_priority":6}"#, "listener"),
    ] {
        assert_eq!(violation(&node, "PATCH", path, body).await.0, field);
    }
    // The same as in the path is no contradiction.
    for (method, path, body) in [
        (
            "PATCH",
            path,
            r#"{"listener":"default","priority":5,"to_priority":7}"#,
        ),
        (
            "POST",
            "/pools/default/servers",
            r#"{"ip":"127.0.0.1","port":1,"pool":"default"}"#,
        ),
        ("PATCH", "/listeners/default", r#"{"name":"default"}"#),
    ] {
        let status = node.rest(method, path, body).await.status;
        assert!(status < 300, "{path} {body}: {status}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_too_long_or_no_request_is_said() {
    let node = TestNode::start_checking().await;
    let long = format!("/{}", "x".repeat(1024));
    for (method, path, body, field, value, accepted) in [
        (
            "PUT",
            "/configuration",
            json!({"listeners": [{"name": "default", "rules": [{"route": {"respond": {}}}]}]}),
            "listeners.default.rules[0].priority",
            "",
            "every rule of a configuration needs",
        ),
        (
            "PUT",
            "/configuration",
            json!({"listeners": [{"name": "default", "rules": [{"priority": 0, "route": {"respond": {}}}]}]}),
            "listeners.default.rules.0.priority",
            "0",
            "from 1 to 1000000",
        ),
        (
            "POST",
            "/listeners/default/rules",
            json!({"conditions": {"paths": [long]}, "route": {"respond": {}}}),
            "conditions.paths",
            "/xxx",
            "at most 1024 bytes; this has 1025",
        ),
        (
            "POST",
            "/route",
            json!({"url": "http://a/", "method": "G T"}),
            "method",
            "G T",
            "such as GET",
        ),
        (
            "POST",
            "/route",
            json!({"url": "http://a/b#c"}),
            "url",
            "http://a/b#c",
            "without `#`",
        ),
        (
            "POST",
            "/route",
            json!({"url": "http://a/", "headers": [{"name": "a b", "value": "c"}]}),
            "headers.name",
            "a b",
            "such as X-Beta",
        ),
        (
            "POST",
            "/route",
            json!({"url": "http://a/", "headers": [{"name": "A", "value": "b\r\nC: d"}]}),
            "headers.value",
            "b\r\nC: d",
            "without control characters",
        ),
    ] {
        let body = body.to_string();
        let found = violation(&node, method, path, &body).await;
        assert_eq!(found.0, field, "{path} {body}: {found:?}");
        assert!(found.1.starts_with(value), "{path} {body}: {found:?}");
        assert!(found.2.contains(accepted), "{path} {body}: {found:?}");
    }
    node.shutdown().await;
}

/// More than REST accepts in a body.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_explain_is_bounded() {
    let node = TestNode::start_checking().await;
    let explain = async |length: usize| {
        let field = HeaderField {
            name: "A".to_owned(),
            value: "x".repeat(length),
        };
        let request = ExplainRouteRequest {
            url: "http://a/".to_owned(),
            headers: vec![field],
            ..ExplainRouteRequest::default()
        };
        routing_at(node.management()).explain_route(request).await
    };
    assert!(explain(65_535).await.is_ok());
    let refused = explain(65_536).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let told = "headers: \"65537 bytes\" is not accepted: fields of at most 65536 bytes together";
    assert_eq!(refused.message(), told);
    node.shutdown().await;
}
