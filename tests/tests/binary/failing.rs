//! Servers that die, and pools that have none left.

use weldr_proto::v1::{HealthReason, HealthState};
use weldr_tests::{
    daemon::{Daemon, TestServer},
    load::Load,
    origin::{Origin, ReservedPort},
    raw, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_under_load_costs_no_request() {
    let (killed, other) = (TestServer::start().await, TestServer::start().await);
    let address = killed.address();
    let weldr = Daemon::start().await;
    weldr.add(address).await;
    weldr.add(other.address()).await;
    let load = Load::start(weldr.proxy(), 8, "/");
    load.passes(200).await;
    killed.kill().await;
    let server = weldr.reaches(address, HealthState::Unhealthy).await;
    load.passes(200).await;
    load.stop().await.assert_none_failed();

    let health = server.health.unwrap();
    assert_eq!(health.reason(), HealthReason::ConnectionRefused);
    assert!(
        health.description.contains("2 checks failed in a row"),
        "{}",
        health.description
    );
    let stats = weldr.stats().await;
    assert_eq!(stats.client.unwrap().failed, 0);
    assert_eq!(weldr.terminate().await.code(), Some(0));
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_unhealthy_leaves_for_good_when_the_pool_says_so() {
    let down = ReservedPort::new();
    let up = Origin::saying("hi");
    let weldr = Daemon::start().await;
    weldr.add(up.address()).await;
    weldr.add_unchecked(down.address()).await;
    weldr.reaches(down.address(), HealthState::Unhealthy).await;
    assert!(
        weldr.server(down.address()).await.is_some(),
        "off by default"
    );
    weldr
        .ctl(&["pool", "set", "--deregister-after", "1s"])
        .await;
    weldr.is_rid_of(down.address()).await;
    let kept = weldr.server(up.address()).await;
    assert!(kept.is_some(), "a healthy server stays");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_healthy_server_the_pool_fails_open_or_responses_503() {
    // Its checks fail, its requests do not.
    let sick = Origin::serve(|request| async move {
        let status = if request.uri().path() == "/health" {
            500
        } else {
            200
        };
        weldr_tests::serve::response(status, "sick but here")
    });
    let address = sick.address().to_string();
    let weldr = Daemon::start().await;
    weldr
        .ctl(&["add", &address, "--check-path", "/health"])
        .await;
    let server = weldr.reaches(sick.address(), HealthState::Unhealthy).await;
    let health = server.health.unwrap();
    assert_eq!(health.reason(), HealthReason::ResponseCodeMismatch);
    assert!(health.description.contains("500"), "{}", health.description);

    assert_eq!(raw::get(weldr.proxy(), "/").await.text(), "sick but here");
    weldr.ctl(&["pool", "set", "--fail-open", "false"]).await;
    let refused = raw::get(weldr.proxy(), "/").await;
    assert_eq!(refused.status, 503, "{refused}");
    weldr.ctl(&["pool", "set", "--fail-open", "true"]).await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 200);
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_receives_requests_again() {
    let mut origin = Origin::saying("back");
    let weldr = Daemon::start().await;
    weldr.ctl(&["pool", "set", "--fail-open", "false"]).await;
    weldr.add(origin.address()).await;
    origin.stop().await;
    weldr
        .reaches(origin.address(), HealthState::Unhealthy)
        .await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    origin.start();
    weldr.reaches(origin.address(), HealthState::Healthy).await;
    wait::until("a response", async || {
        match raw::get(weldr.proxy(), "/").await {
            response if response.text() == "back" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(weldr.terminate().await.code(), Some(0));
}
