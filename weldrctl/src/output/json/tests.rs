#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../../proto/samples/mod.rs"]
mod samples;

use serde_json::{Value, json};

use super::*;
use samples::assert_compatible;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../proto/samples/weldrctl-",
            $name,
            ".json"
        ))
    };
}

#[test]
fn what_scripts_read_is_there() {
    let stats = samples::stats();
    let server = Server::new(&samples::full_server(), Some(&stats.servers[0]));
    assert_compatible(recorded!("full-server"), &server);
    let server = Server::new(&samples::plain_server(), None);
    assert_compatible(recorded!("plain-server"), &server);
    assert_compatible(recorded!("pool"), &pool(&samples::pool(), 9));
    let totals = Stats::new(&stats, 9, None, false);
    assert_compatible(recorded!("stats-totals"), &totals);
    let detail = Stats::new(&stats, 9, Some(&stats), true);
    assert_compatible(recorded!("stats"), &detail);
    assert_compatible(recorded!("cluster"), &Cluster::from(&samples::cluster()));
    let reported = Cluster::from(&samples::cluster_for_operators());
    assert_compatible(
        include_str!("../../../../proto/samples/cluster-for-operators.json"),
        &reported,
    );
    assert_compatible(recorded!("history"), &History::from(&samples::history()));
    let health = HealthOnNodes::from(&samples::health_on_nodes());
    assert_compatible(recorded!("all-nodes"), &health);
}

#[test]
fn stats_have_rates_from_the_second_sample_on() {
    let sample = |seconds, success| v1::Stats {
        at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        client: Some(v1::Outcomes { success, failed: 1 }),
        servers: vec![v1::ServerStats {
            id: 3,
            latency: Some(v1::Latency::default()),
            ..v1::ServerStats::default()
        }],
        ..v1::Stats::default()
    };
    let first = json!(Stats::new(&sample(10, 5), 7, None, false));
    assert_eq!(first["client"], json!({"success": 5, "failed": 1}));
    assert_eq!(first["server"], json!({"success": 0, "failed": 0}));
    assert_eq!(first["rates"], Value::Null);
    assert_eq!(first["servers"], Value::Null);
    let second = json!(Stats::new(&sample(12, 25), 7, Some(&sample(10, 5)), true));
    assert_eq!(second["rates"]["client_requests_per_second"], json!(10.0));
    assert_eq!(second["servers"][0]["failed_per_second"], json!(0.0));
    assert_eq!(second["servers"][0]["latency"]["p99_seconds"], Value::Null);
}
