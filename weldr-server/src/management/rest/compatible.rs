//! What REST shows remains readable for the scripts that read it.

#[path = "../../../../proto/samples/mod.rs"]
mod samples;

use weldr_proto::json::{Cluster, History, Pool, Server, ServerStats, Totals};

use samples::assert_compatible;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../../proto/samples/rest-", $name, ".json"))
    };
}

#[test]
fn what_scripts_read_is_there() {
    let server = Server::in_rest(&samples::full_server());
    assert_compatible(recorded!("full-server"), &server);
    let server = Server::in_rest(&samples::plain_server());
    assert_compatible(recorded!("plain-server"), &server);
    assert_compatible(recorded!("pool"), &Pool::from(&samples::pool()));
    let stats = samples::stats();
    let servers: Vec<_> = stats.servers.iter().map(ServerStats::from).collect();
    assert_compatible(recorded!("server-stats"), &servers);
    assert_compatible(recorded!("cluster"), &Cluster::from(&samples::cluster()));
    let reported = Cluster::from(&samples::cluster_for_operators());
    assert_compatible(
        include_str!("../../../../proto/samples/cluster-for-operators.json"),
        &reported,
    );
    assert_compatible(recorded!("history"), &History::from(&samples::history()));
}

#[test]
fn the_totals_are_exactly_the_text_that_scripts_compare() {
    assert_eq!(
        serde_json::to_string(&Totals::from(&samples::stats())).unwrap(),
        r#"{"client":{"success":10,"failed":2},"server":{"success":9,"failed":1}}"#
    );
}

#[test]
fn the_statistics_of_a_server_begin_with_the_keys_that_scripts_know() {
    let stats = &samples::stats().servers[0];
    let json = serde_json::to_string(&ServerStats::from(stats)).unwrap();
    assert!(
        json.starts_with(r#"{"id":3,"ip":"::1","port":"80","success":8,"failed":1,"#),
        "{json}"
    );
}
