//! Metrics, read by Prometheus and its tools.

use std::{fs, path::PathBuf};

use serde_json::Value;
use weldr_tests::{
    cluster::TestCluster,
    daemon::Daemon,
    http1::Response,
    origin::Origin,
    process::{Program, installed},
    prometheus::{Prometheus, promtool},
    raw,
    tls::Authority,
    wait,
};

/// A file of the folder `monitoring`.
fn monitoring(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("monitoring").join(name)
}

/// The metrics of a node.
async fn metrics(weldr: &Daemon, query: &str, accept: &str) -> Response {
    let request =
        format!("GET /metrics{query} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    let mut client = raw::Client::connect(weldr.management()).await;
    client.exchange("GET", request).await
}

/// The value of the sample that is written as `sample`.
fn value(text: &str, sample: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

/// A node with traffic of several kinds: two requests that are served, one that is answered by a rule, and one that nobody
/// serves.
async fn with_traffic(origin: &Origin) -> Daemon {
    let weldr = Daemon::start().await;
    let rule = "rule add --listener default --priority 10 --path /ping --respond 204";
    weldr.ctl(&rule.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(get(&weldr, "/").await, 503);
    weldr.add(origin.address()).await;
    for (path, status) in [("/", 200), ("/", 200), ("/ping", 204)] {
        assert_eq!(get(&weldr, path).await, status);
    }
    weldr
}

async fn get(weldr: &Daemon, path: &str) -> u16 {
    let mut client = raw::Client::connect(weldr.proxy()).await;
    client.get(path).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_is_what_is_counted() {
    let origin = Origin::saying("hello");
    let weldr = with_traffic(&origin).await;
    let text = wait::until("the counts", async || {
        let response = metrics(&weldr, "?rules&servers", "*/*").await;
        assert_eq!(response.status, 200);
        assert_eq!(
            response.fields.get("content-type").as_deref(),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        let text = String::from_utf8(response.body).unwrap();
        let served = value(&text, "weldr_pool_response_seconds_count{pool=\"default\"}");
        (served == Some(2)).then(|| text.clone()).ok_or(text)
    })
    .await;
    let address = origin.address();
    for (sample, expected) in [
        (
            "weldr_listener_requests_total{listener=\"default\",code=\"2xx\"}",
            3,
        ),
        (
            "weldr_listener_requests_total{listener=\"default\",code=\"5xx\"}",
            1,
        ),
        (
            "weldr_listener_failures_total{listener=\"default\",reason=\"destination_unavailable\"}",
            1,
        ),
        (
            "weldr_rule_requests_total{listener=\"default\",rule=\"1\",code=\"2xx\"}",
            1,
        ),
        (
            "weldr_pool_requests_total{pool=\"default\",code=\"2xx\"}",
            2,
        ),
        ("weldr_pool_servers{pool=\"default\",state=\"healthy\"}", 1),
        (
            "weldr_pool_response_seconds_bucket{pool=\"default\",le=\"+Inf\"}",
            2,
        ),
        ("weldr_listener_requests_in_flight{listener=\"default\"}", 0),
        ("weldr_cluster_leader", 1),
        ("weldr_cluster_voters", 1),
        (
            &format!(
                "weldr_server_responses_total{{pool=\"default\",server=\"{address}\",code=\"2xx\"}}"
            ),
            2,
        ),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in {text}");
    }
    // Few series by default.
    let few = metrics(&weldr, "", "*/*").await;
    let few = String::from_utf8(few.body).unwrap();
    assert!(
        !few.contains("weldr_server_") && !few.contains("weldr_rule_"),
        "{few}"
    );
}

/// A pool that is changed, and a server that is removed, take no count back.
#[tokio::test(flavor = "multi_thread")]
async fn no_count_goes_back_when_the_pool_changes() {
    let origin = Origin::saying("hello");
    let weldr = with_traffic(&origin).await;
    let address = origin.address().to_string();
    weldr
        .ctl(&["pool", "set", "--balancing", "least_requests"])
        .await;
    weldr.ctl(&["remove", &address]).await;
    weldr.is_rid_of(origin.address()).await;
    let text = metrics(&weldr, "", "*/*").await;
    let text = String::from_utf8(text.body).unwrap();
    for sample in [
        "weldr_pool_requests_total{pool=\"default\",code=\"2xx\"}",
        "weldr_pool_response_seconds_count{pool=\"default\"}",
    ] {
        assert_eq!(value(&text, sample), Some(2), "{sample} in {text}");
    }
}

/// `promtool` accepts the metrics, and Python's parser those in `OpenMetrics`.
#[tokio::test(flavor = "multi_thread")]
async fn the_tools_of_others_accept_the_metrics() {
    let origin = Origin::saying("hello");
    let weldr = with_traffic(&origin).await;
    let text = metrics(&weldr, "?rules&servers", "*/*").await.body;
    if let Some(promtool) = promtool() {
        let mut process = promtool.args(["check", "metrics"]).with_input().start();
        process.tell(&String::from_utf8(text).unwrap()).await;
        let finished = process.end_of_input().finished().await;
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        assert_eq!(finished.stderr, "");
    }
    let open = metrics(&weldr, "?rules&servers", "application/openmetrics-text").await;
    assert_eq!(
        open.fields.get("content-type").as_deref(),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let Some(python) = installed("python3") else {
        println!("skipped: python3 is not installed");
        return;
    };
    let program = Program::at("python3", &python);
    fs::write(program.directory().join("metrics"), open.body).unwrap();
    let script = "import sys\n\
        try: from prometheus_client.openmetrics import parser\n\
        except ImportError: sys.exit(77)\n\
        print(len(list(parser.text_string_to_metric_families(open('metrics').read()))))";
    let finished = program.args(["-c", script]).run().await;
    if finished.code() == Some(77) {
        println!("skipped: prometheus_client of python3 is not installed");
        return;
    }
    let families: usize = finished.expect_success().trim().parse().unwrap();
    assert!(families > 30, "{families}");
}

/// What an unknown key of the query is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_known_is_refused() {
    let weldr = Daemon::start().await;
    let refused = metrics(&weldr, "?server", "*/*").await;
    assert_eq!(refused.status, 400);
    let said = String::from_utf8(refused.body).unwrap();
    assert!(said.contains("server") && said.contains("rules"), "{said}");
}

/// The expressions of the dashboard, as Grafana would send them.
fn panels() -> Vec<(String, String)> {
    let dashboard = fs::read_to_string(monitoring("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "30s");
            let expression = expression.replace("$instance", ".*");
            let title = panel["title"].as_str().unwrap().to_owned();
            expressions.push((title, expression));
        }
    }
    expressions
}

/// A real Prometheus reads three nodes. Each panel of the dashboard has data, and each alert is an expression that it accepts.
#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_has_data() {
    let cluster = TestCluster::start(3).await;
    let nodes: Vec<_> = (0..3).map(|node| cluster.management(node)).collect();
    let Some(prometheus) = Prometheus::reading(&nodes).await else {
        return;
    };
    let origin = Origin::saying("hello");
    let port = origin.address().port();
    let weldrctl = cluster.weldrctl(0);
    Authority::new()
        .issue(&["shop.example.com"])
        .write_to(weldrctl.directory());
    let add = "certificate add shop --cert cert.pem --key key.pem";
    weldrctl.args(add.split(' ')).run().await.expect_success();
    cluster.add(0, port).await.unwrap();
    for (title, expression) in panels() {
        wait::until(&title, async || {
            // Traffic while it looks, and a request that fails.
            for node in 0..3 {
                for request in [
                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                    "GET / HTTP/1.1\r\n\r\n",
                ] {
                    let mut client = raw::Client::connect(cluster.proxy(node)).await;
                    client.exchange("GET", request).await;
                }
            }
            match prometheus.query(&expression).await {
                Ok(series) if series.is_empty() => Err("no data".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => panic!("{title}: {expression}: {error}"),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_are_rules_of_prometheus() {
    let Some(promtool) = promtool() else {
        return;
    };
    let rules = monitoring("alerts.yml");
    let checked = promtool.args(["check", "rules"]).arg(rules).run().await;
    checked.expect_success();
}
