//! Changes of the pool while requests run.

use weldr_proto::v1::{AddServerRequest, HealthState, RemoveServerRequest};
use weldr_tests::{
    daemon::{Daemon, TestServer},
    load::Load,
    process::Program,
    raw, wait,
};

use super::busy::Busy;

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_come_and_go_cost_no_request() {
    const CHANGES: usize = 100;
    let others = [TestServer::start().await, TestServer::start().await];
    let comes_and_goes = TestServer::start().await;
    let weldr = Daemon::start().await;
    for server in &others {
        weldr.add(server.address()).await;
    }
    let load = Load::start(weldr.proxy(), 8, "/");
    load.passes(100).await;
    let mut client = weldr.client();
    let address = comes_and_goes.address().to_string();
    for _ in 0..CHANGES {
        let add = AddServerRequest {
            address: address.clone(),
            ..Default::default()
        };
        client.add_server(add).await.unwrap();
        load.passes(5).await;
        let remove = RemoveServerRequest {
            address: address.clone(),
            ..Default::default()
        };
        client.remove_server(remove).await.unwrap();
        weldr.is_rid_of(comes_and_goes.address()).await;
    }
    load.stop().await.assert_none_failed();
    let stats = weldr.stats().await;
    assert_eq!(stats.client.unwrap().failed, 0);
    assert_eq!(stats.server.unwrap().failed, 0);
    assert_eq!(stats.client_detail.unwrap().retries, 0);
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_drained_and_readied_under_load_costs_no_request() {
    let (drained, other) = (TestServer::start().await, TestServer::start().await);
    let name = drained.address().to_string();
    let weldr = Daemon::start().await;
    weldr.add(drained.address()).await;
    weldr.add(other.address()).await;
    let load = Load::start(weldr.proxy(), 8, "/");
    for command in ["drain", "maintenance"] {
        load.passes(50).await;
        weldr.ctl(&[command, &name]).await;
        let quiet = async || {
            let stats = weldr.stats().await;
            let mut servers = stats.servers.into_iter();
            let server = servers.find(|server| server.address == name).unwrap();
            (server.in_flight, server.outcomes.unwrap().success)
        };
        wait::until("its requests to end", async || match quiet().await {
            (0, _) => Ok(()),
            (running, _) => Err(running),
        })
        .await;
        let before = quiet().await;
        load.passes(100).await;
        assert_eq!(quiet().await, before, "{command}: no new request");
        weldr.ctl(&["ready", &name]).await;
        weldr.reaches(drained.address(), HealthState::Healthy).await;
        wait::until("requests again", async || match quiet().await.1 {
            more if more > before.1 => Ok(()),
            same => Err(same),
        })
        .await;
    }
    load.stop().await.assert_none_failed();
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_lets_what_runs_finish_and_shows_it() {
    let mut busy = Busy::start(Program::weldr()).await;
    let name = busy.server().to_string();
    let remove = busy.weldr.weldrctl(&["remove", &name, "--wait"]).start();
    let draining = busy
        .weldr
        .reaches(busy.server(), HealthState::Draining)
        .await;
    assert_eq!(draining.in_flight, 1);
    assert!(draining.removal_deadline.is_some());
    let listed = busy.weldr.ctl(&["list"]).await;
    assert!(listed.contains("draining"), "{listed}");

    let other = raw::get(busy.weldr.proxy(), "/").await;
    assert_eq!(other.status, 503, "no new request reaches it: {other}");
    busy.open(1);
    busy.gets_its_response().await;
    let removed = remove.finished().await.expect_success();
    assert!(removed.contains("removed"), "{removed}");
    assert!(busy.weldr.server(busy.server()).await.is_none());
    assert_eq!(busy.weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_cuts_what_runs_now_or_when_its_deadline_is_over() {
    for how in [&["--now"][..], &["--deadline", "200ms", "--wait"]] {
        let mut busy = Busy::start(Program::weldr()).await;
        let name = busy.server().to_string();
        busy.weldr.ctl(&[&["remove", &name], how].concat()).await;
        assert!(busy.weldr.server(busy.server()).await.is_none());
        busy.is_cut().await;
        assert_eq!(busy.weldr.terminate().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_server_stays_and_has_no_deadline() {
    let mut busy = Busy::start(Program::weldr()).await;
    let name = busy.server().to_string();
    busy.weldr.ctl(&["drain", &name]).await;
    let drained = busy
        .weldr
        .reaches(busy.server(), HealthState::Draining)
        .await;
    assert_eq!((drained.in_flight, drained.removal_deadline), (1, None));
    busy.open(2);
    busy.gets_its_response().await;
    busy.runs(0).await;
    busy.weldr.ctl(&["ready", &name]).await;
    busy.weldr
        .reaches(busy.server(), HealthState::Healthy)
        .await;
    assert_eq!(busy.client.get("/").await.status, 200);
    assert_eq!(busy.weldr.terminate().await.code(), Some(0));
}
