//! What `route explain` says of a request is what becomes of it.

use serde_json::{Value, json};
use weldr_proto::v1::{AdminState, Balancing, PoolSettings};
use weldr_tests::{
    node::TestNode,
    origin::{Origin, ReservedPort},
    raw::Client,
    serve,
};

async fn explained(node: &TestNode, request: &Value) -> Value {
    let response = node.rest("POST", "/route", &request.to_string()).await;
    let text = response.text();
    assert_eq!(response.status, 200, "{request}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_a_pool_that_balances_by_a_hash_is_named() {
    let origins = [(); 4].map(|()| {
        Origin::serve(|request| async move {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            serve::response(200, host)
        })
    });
    let addresses = origins.each_ref().map(Origin::address);
    let node = TestNode::before(&addresses).await;
    for (hash_key, field) in [("header:x-user", "X-User"), ("cookie:SID", "Cookie")] {
        node.update_pool(PoolSettings {
            balancing: Balancing::ConsistentHash.into(),
            hash_key: Some(hash_key.to_owned()),
            ..PoolSettings::default()
        })
        .await;
        for user in 0..8 {
            let value = match field {
                "Cookie" => format!("a=b; SID={user}"),
                _ => user.to_string(),
            };
            let before = origins
                .each_ref()
                .map(|origin| origin.received().concat().len());
            let mut client = Client::connect(node.proxy()).await;
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}: {value}\r\n\r\n");
            assert_eq!(client.exchange("GET", head).await.status, 200);
            let mut after = origins.iter().zip(before);
            let (served, _) = after
                .find(|(origin, before)| origin.received().concat().len() > *before)
                .unwrap();
            let request = json!({"url": "http://a/", "headers": [{"name": field, "value": value}]});
            let told = explained(&node, &request).await;
            let pool = &told["pools"][0];
            assert_eq!(pool["chosen"], served.address().to_string(), "{told}");
            assert_eq!(pool["hash_key"], hash_key);
            assert_eq!(pool["servers"].as_array().unwrap().len(), 4);
        }
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_a_trusted_proxy_names_is_the_client() {
    let node = TestNode::start_checking_with(|config| {
        config.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let rule = json!({"conditions": {"sources": ["203.0.113.0/24"]}, "route": {"respond": {}}});
    let rules = "/listeners/default/rules";
    assert_eq!(
        node.rest("POST", rules, &rule.to_string()).await.status,
        201
    );
    let asked = |source: &str| {
        json!({
            "url": "http://a/",
            "source": source,
            "headers": [{"name": "X-Forwarded-For", "value": "198.51.100.1, 203.0.113.7"}],
        })
    };
    let told = explained(&node, &asked("10.0.0.1")).await;
    assert_eq!(
        (&told["client"], &told["priority"]),
        (&json!("203.0.113.7"), &json!(10)),
        "{told}"
    );
    let told = explained(&node, &asked("11.0.0.1")).await;
    assert_eq!(
        (&told["client"], &told["priority"]),
        (&json!("11.0.0.1"), &Value::Null),
        "{told}"
    );
    // The listener says otherwise than the node.
    let policy = json!({"policy": {"trusted_proxies": ["11.0.0.0/8"]}});
    let changed = node
        .rest("PATCH", "/listeners/default", &policy.to_string())
        .await;
    assert_eq!(changed.status, 200);
    for (source, client) in [("10.0.0.1", "10.0.0.1"), ("11.0.0.1", "203.0.113.7")] {
        let told = explained(&node, &asked(source)).await;
        assert_eq!(told["client"], client, "{told}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_would_be_refused_is_said_to_be() {
    let node = TestNode::start_checking().await;
    let rule = json!({
        "conditions": {"hosts": ["api"], "paths": ["/admin"]},
        "route": {"respond": {}},
    });
    let rules = "/listeners/default/rules";
    assert_eq!(
        node.rest("POST", rules, &rule.to_string()).await.status,
        201
    );
    for url in [
        "http://%61pi/",
        "http://api/%2561dmin",
        "http://api/x\\admin",
    ] {
        let told = explained(&node, &json!({"url": url})).await;
        assert!(
            !told["refused"].as_str().unwrap().is_empty(),
            "{url}: {told}"
        );
        let target = url.strip_prefix("http://").unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap());
        let mut client = Client::connect(node.proxy()).await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client.exchange("GET", head).await.status, 400, "{url}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_is_the_one_at_the_port_of_the_url() {
    let node = TestNode::start_checking().await;
    let port = node.proxy().port();
    let free = ReservedPort::new().address().port();
    let listener = json!({"name": "web", "address": format!("127.0.0.1:{free}")});
    let made = node.rest("POST", "/listeners", &listener.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    // Nothing listens on port 1.
    for (port, listener) in [(free, "web"), (port, "default"), (1, "default")] {
        let told = explained(&node, &json!({"url": format!("http://a:{port}/")})).await;
        assert_eq!(told["listener"], listener, "{told}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_that_may_get_the_request_are_named() {
    let origins = [Origin::saying("a"), Origin::saying("b")];
    let unhealthy = ReservedPort::new();
    let node = TestNode::before(&origins.each_ref().map(Origin::address)).await;
    let [ready, drained] = origins.each_ref().map(Origin::address);
    node.update(drained, |update| {
        update.set_admin_state(AdminState::Drain);
    })
    .await;
    let (ip, port) = (unhealthy.address().ip(), unhealthy.address().port());
    // Checked itself, unlike the others, whose checks go to the beacon of the harness.
    let check = json!({"begins_healthy": false, "port": port});
    let added = json!({"ip": ip, "port": port, "check": check}).to_string();
    assert_eq!(node.rest("POST", "/servers", &added).await.status, 201);
    let told = explained(&node, &json!({"url": "http://a/"})).await;
    let servers = &told["pools"][0]["servers"];
    assert_eq!(servers, &json!([ready.to_string()]), "{told}");
    node.shutdown().await;
}
