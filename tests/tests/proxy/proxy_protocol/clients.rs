//! Where the client that a proxy has named counts as the client.

use std::fs;

use serde_json::Value;
use weldr::model::{ListenerPolicy, ListenerSpec};
use weldr_tests::{
    data_plane::{DataPlane, json_log, route},
    raw::Client,
    wait,
};

use super::{GET, LINE, requiring, telling};

fn policy() -> ListenerPolicy {
    ListenerPolicy {
        proxy_protocol_from: Some(vec!["127.0.0.0/8".parse().unwrap()]),
        ..ListenerPolicy::default()
    }
}

fn listener(policy: ListenerPolicy) -> ListenerSpec {
    ListenerSpec {
        policy,
        default_route: route("forward web"),
        ..ListenerSpec::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_and_the_access_log_see_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let file = log.clone();
    let mut node = DataPlane::start_with(|parts, _| parts.access_log = json_log(file));
    node.pool("web", &[telling().address()]);
    let rules = [("source=192.0.2.0/24", "respond 200 known")];
    node.listener_with("default", listener(policy()), &rules);
    node.publish();
    let mut connection = Client::connect(node.address()).await;
    connection.send([LINE, GET].concat()).await;
    assert_eq!(connection.response("GET").await.text(), "known");
    let line = wait::until("a line", async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().next().map(str::to_owned).ok_or(text)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["client"], "192.0.2.1:5000", "{line}");
    node.shutdown().await;
}

/// What a trusted proxy says of its client counts if it is the client that the header names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_is_in_the_client_that_is_named() {
    let web = telling();
    let mut node = DataPlane::start();
    node.pool("web", &[web.address()]);
    let claim = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    for (trusted, told) in [
        ("127.0.0.0/8", "192.0.2.1"),
        ("192.0.2.0/24", "203.0.113.7, 192.0.2.1"),
    ] {
        let policy = ListenerPolicy {
            trusted_proxies: Some(vec![trusted.parse().unwrap()]),
            ..policy()
        };
        node.listener_with("default", listener(policy), &[]);
        node.publish();
        let mut connection = Client::connect(node.address()).await;
        connection.send([LINE, claim].concat()).await;
        assert_eq!(connection.response("GET").await.text(), told);
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_connections_is_for_it() {
    let origin = telling();
    let node = requiring(&origin, |config| config.limits.connections_per_client = 1).await;
    let other = LINE.replace("192.0.2.1", "192.0.2.2");
    let mut first = Client::connect(node.proxy()).await;
    first.send([LINE, GET].concat()).await;
    assert_eq!(first.response("GET").await.status, 200);
    // From the same address, but for another client.
    let mut second = Client::connect(node.proxy()).await;
    second.send([other.as_str(), GET].concat()).await;
    assert_eq!(second.response("GET").await.status, 200);
    let mut third = Client::connect(node.proxy()).await;
    third.send([LINE, GET].concat()).await;
    third.closed().await;
    let refused = node
        .stats()
        .await
        .client_detail
        .unwrap()
        .connections_refused;
    assert_eq!(refused, 1);
    drop(first);
    wait::until("room for the client", async || {
        let mut again = Client::connect(node.proxy()).await;
        again.send([LINE, GET].concat()).await;
        again.try_response("GET").await
    })
    .await;
    node.shutdown().await;
}

/// Connections that are open stay as they are; new ones follow the setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_begins_to_require_it() {
    let web = telling();
    let mut node = DataPlane::start();
    node.pool("web", &[web.address()]);
    node.listener_with("default", listener(ListenerPolicy::default()), &[]);
    node.publish();
    let mut before = Client::connect(node.address()).await;
    assert_eq!(before.get("/").await.text(), "127.0.0.1");
    node.listener_with("default", listener(policy()), &[]);
    node.publish();
    assert_eq!(before.get("/").await.text(), "127.0.0.1");
    let mut after = Client::connect(node.address()).await;
    after.send([LINE, GET].concat()).await;
    assert_eq!(after.response("GET").await.text(), "192.0.2.1");
    node.shutdown().await;
}
