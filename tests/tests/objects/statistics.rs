//! Statistics of listeners, rules and pools: what REST, gRPC and `weldrctl` say after known requests.

use serde_json::{Value, json};
use weldr_tests::{
    node::TestNode,
    origin::{Origin, ReservedPort},
    raw::Client,
    serve, wait,
};

async fn ask(node: &TestNode, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let response = node.rest(method, path, &body).await;
    let text = response.text();
    assert!(
        (200..300).contains(&response.status),
        "{method} {path}: {text}"
    );
    serde_json::from_str(&text).unwrap()
}

async fn get(node: &TestNode, path: &str) -> Value {
    ask(node, "GET", path, &Value::Null).await
}

/// Waits until the requests are counted: a request ends after its client has the response.
async fn settled(node: &TestNode, path: &str, is_settled: impl Fn(&Value) -> bool) -> Value {
    wait::until(path, async || {
        let stats = get(node, path).await;
        if is_settled(&stats) {
            Ok(stats)
        } else {
            Err(stats)
        }
    })
    .await
}

/// The sums of the counts of 2xx to 5xx.
fn classes(stats: &Value) -> [u64; 4] {
    ["success", "redirection", "client_error", "server_error"]
        .map(|class| stats["statuses"][class].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_object_counts_its_requests_through_its_changes() {
    let node = TestNode::start_checking().await;
    let origin = Origin::serve(|request| async move {
        let status = if request.uri().path() == "/gone" {
            404
        } else {
            200
        };
        serve::response(status, "hello".to_owned())
    });
    let (ip, port) = (origin.address().ip(), origin.address().port());
    for pool in ["api", "empty"] {
        ask(&node, "POST", "/pools", &json!({"name": pool})).await;
    }
    let server = json!({"ip": ip, "port": port});
    ask(&node, "POST", "/pools/api/servers", &server).await;
    let is_healthy = |servers: &Value| servers[0]["state"] == "healthy";
    settled(&node, "/pools/api/servers", is_healthy).await;
    let rules = "/listeners/default/rules";
    for (priority, path, route) in [
        (10, "/api/*", json!({"forward": [{"pool": "api"}]})),
        (20, "/gone", json!({"forward": [{"pool": "api"}]})),
        (30, "/old", json!({"redirect": {"location": "/new"}})),
        (40, "/ping", json!({"respond": {"body": "pong"}})),
        (50, "/empty", json!({"forward": [{"pool": "empty"}]})),
    ] {
        let rule = json!({"priority": priority, "conditions": {"paths": [path]}, "route": route});
        ask(&node, "POST", rules, &rule).await;
    }
    let mut client = Client::connect(node.proxy()).await;
    for (path, status) in [
        ("/api/a", 200),
        ("/api/b", 200),
        ("/gone", 404),
        ("/old", 302),
        ("/ping", 200),
        ("/empty", 503),
    ] {
        let with_body = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let without = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        // Only a request that is forwarded may have a body without ending the connection.
        let head = if status == 200 && path != "/ping" {
            with_body
        } else {
            without
        };
        assert_eq!(client.exchange("GET", head).await.status, status, "{path}");
    }
    let counted = |stats: &Value| stats["in_flight"] == 0 && classes(stats) == [3, 1, 1, 1];
    let listener = settled(&node, "/listeners/default/stats", counted).await;
    assert_eq!(listener["name"], "default");
    assert_eq!(listener["bytes_received"], 6, "{listener}");
    assert_eq!(listener["connections_total"], 1, "{listener}");
    assert_eq!(
        listener["failures"],
        json!({"destination_unavailable": 1}),
        "{listener}"
    );
    let replies = json!({"redirect": 1, "fixed_response": 1, "destination_unavailable": 1});
    assert_eq!(listener["local_replies"], replies, "{listener}");
    let rules_of = |listener: &Value| -> Vec<(u64, [u64; 4], u64, u64)> {
        let rules = listener["rules"].as_array().unwrap().iter();
        let figure = |rule: &Value, name: &str| rule[name].as_u64().unwrap();
        rules
            .map(|rule| {
                (
                    figure(rule, "priority"),
                    classes(rule),
                    figure(rule, "bytes_received"),
                    figure(rule, "bytes_sent"),
                )
            })
            .collect()
    };
    let ping = (40, [1, 0, 0, 0], 0, 4);
    let counted_by_rules = rules_of(&listener);
    assert_eq!(
        counted_by_rules[..4],
        [
            (10, [2, 0, 0, 0], 6, 10),
            (20, [0, 0, 1, 0], 0, 5),
            (30, [0, 1, 0, 0], 0, 0),
            ping,
        ]
    );
    assert_eq!(counted_by_rules[4].1, [0, 0, 0, 1]);

    let pool = get(&node, "/pools/api/stats").await;
    assert_eq!(classes(&pool), [2, 0, 1, 0], "{pool}");
    assert_eq!(
        pool["servers"]["outcomes"],
        json!({"success": 3, "failed": 0})
    );
    assert_eq!(pool["servers"]["latency"]["count"], 3);
    let buckets = pool["servers"]["latency_buckets"].as_array().unwrap();
    let in_buckets: u64 = buckets.iter().map(|b| b["count"].as_u64().unwrap()).sum();
    assert_eq!(in_buckets, 3, "{pool}");
    let empty = get(&node, "/pools/empty/stats").await;
    assert_eq!(classes(&empty), [0, 0, 0, 1], "{empty}");
    assert_eq!(empty["failures"], json!({"destination_unavailable": 1}));

    // A rule that moves and a pool that changes go on counting, and so does a pool whose server was removed.
    let moved = json!({"to_priority": 15});
    ask(&node, "PATCH", &format!("{rules}/40"), &moved).await;
    let change = json!({"balancing": "least_requests"});
    ask(&node, "PATCH", "/pools/api", &change).await;
    let gone = format!("/servers/{ip}/{port}?pool=api&deadline_seconds=0");
    ask(&node, "DELETE", &gone, &Value::Null).await;
    let none_left = |servers: &Value| servers.as_array().unwrap().is_empty();
    settled(&node, "/pools/api/servers", none_left).await;
    let after = get(&node, "/stats/objects").await;
    let listener = &after["listeners"][0];
    assert!(
        rules_of(listener).contains(&(15, ping.1, ping.2, ping.3)),
        "{listener}"
    );
    let pools = after["pools"].as_array().unwrap();
    let pool = pools.iter().find(|pool| pool["name"] == "api").unwrap();
    assert_eq!(classes(pool), [2, 0, 1, 0], "{pool}");
    assert_eq!(pool["servers"]["outcomes"]["success"], 3, "{pool}");
    assert_eq!(pool["servers"]["latency"]["count"], 3, "{pool}");
    let totals = node.rest("GET", "/pools/none/stats", "").await;
    assert_eq!(totals.status, 404);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_a_failure_count_for_the_listener_the_rule_and_the_pool() {
    let refusing = [ReservedPort::new(), ReservedPort::new()];
    let node = TestNode::start_with(|config| config.pool.check.unhealthy_threshold = 100).await;
    for address in refusing.iter().map(ReservedPort::address) {
        node.add(address).await;
    }
    let rule = json!({"route": {"forward": [{"pool": "default"}]}});
    ask(&node, "POST", "/listeners/default/rules", &rule).await;
    let mut client = Client::connect(node.proxy()).await;
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(client.exchange("GET", head).await.status, 502);
    let counted = |stats: &Value| {
        let pool = &stats["pools"][0];
        let ended = &pool["servers"]["in_flight"];
        ended == 0 && classes(pool) == [0, 0, 0, 1]
    };
    let stats = settled(&node, "/stats/objects", counted).await;
    let (listener, pool) = (&stats["listeners"][0], &stats["pools"][0]);
    for counts in [listener, &listener["rules"][0], pool] {
        assert_eq!(counts["retries"], 1, "{counts}");
    }
    let reason = json!({"connection_refused": 1});
    for counts in [
        &listener["failures"],
        &listener["local_replies"],
        &pool["failures"],
    ] {
        assert_eq!(counts, &reason, "{stats}");
    }
    let servers = &pool["servers"];
    assert_eq!(servers["outcomes"]["failed"], 2, "{servers}");
    assert_eq!(servers["connect_failures"], 2, "{servers}");
    let totals = node.stats().await;
    assert_eq!(totals.local_replies["connection_refused"], 1);
    node.shutdown().await;
}
