//! What a listener and a pool set of their policies.

use std::time::Duration;

use weldr::model::{ListenerPolicy, ListenerSpec, PoolPolicy, PoolSettings};
use weldr_tests::{
    data_plane::{DataPlane, route},
    origin::Origin,
    raw::Client,
};

use super::{ask, origin, told};

fn listener(policy: ListenerPolicy) -> ListenerSpec {
    policy.validate().unwrap();
    ListenerSpec {
        policy,
        default_route: route("forward web"),
        ..ListenerSpec::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_listener_hold_from_the_next_request_on() {
    let web = origin("web");
    let mut node = DataPlane::start();
    node.pool("web", &[web.address()]);
    node.listener_with("default", listener(ListenerPolicy::default()), &[]);
    node.publish();
    let mut client = Client::connect(node.address()).await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.exchange("POST", post).await.status, 200);
    let policy = ListenerPolicy {
        max_body_bytes: Some(2),
        ..ListenerPolicy::default()
    };
    node.listener_with("default", listener(policy), &[]);
    node.publish();
    assert_eq!(client.exchange("POST", post).await.status, 413);
    let policy = ListenerPolicy {
        max_headers: Some(2),
        ..ListenerPolicy::default()
    };
    node.listener_with("default", listener(policy), &[]);
    node.publish();
    let head = "POST / HTTP/1.1\nHost: a\nX-A: 1\nContent-Length: 0";
    assert_eq!(ask(node.address(), head).await.status, 431);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_has_its_own_trusted_proxies() {
    let web = origin("web");
    let mut node = DataPlane::start();
    node.pool("web", &[web.address()]);
    let rules = [("source=203.0.113.0/24", "respond 200 known")];
    node.listener_with("default", listener(ListenerPolicy::default()), &rules);
    node.publish();
    let request = "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 203.0.113.7";
    assert_eq!(told(&ask(node.address(), request).await), "200 web /");
    let policy = ListenerPolicy {
        trusted_proxies: Some(vec!["127.0.0.0/8".parse().unwrap()]),
        ..ListenerPolicy::default()
    };
    node.listener_with("default", listener(policy), &rules);
    node.publish();
    assert_eq!(told(&ask(node.address(), request).await), "200 known");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_has_its_own_timeouts_and_retries() {
    let (slow, _passes) = Origin::gated();
    let mut node = DataPlane::start();
    node.listener_with("default", listener(ListenerPolicy::default()), &[]);
    let settings = PoolSettings {
        policy: PoolPolicy {
            response_header_timeout: Some(Duration::from_millis(50)),
            ..PoolPolicy::default()
        },
        ..PoolSettings::default()
    };
    node.pool_with("web", settings, &[slow.address()]);
    node.publish();
    let response = ask(node.address(), "GET /gated HTTP/1.1\nHost: a").await;
    assert_eq!(response.status, 504);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_of_a_listener_wait() {
    let web = origin("web");
    let mut node = DataPlane::start();
    node.pool("web", &[web.address()]);
    let policy = ListenerPolicy {
        max_connections: Some(1),
        ..ListenerPolicy::default()
    };
    node.listener_with("default", listener(policy), &[]);
    node.publish();
    let mut first = Client::connect(node.address()).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::connect(node.address()).await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(node.live("default").connections(), 1);
    drop(first);
    assert_eq!(second.response("GET").await.status, 200);
    node.shutdown().await;
}
