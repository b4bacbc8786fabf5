//! Signals.

use tokio::net::TcpStream;
use weldr_tests::{
    daemon::{Daemon, TestServer},
    load::Load,
    process::{Program, Signal},
    raw::{self, Client},
    wait,
};

use super::busy::Busy;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_no_request() {
    let server = TestServer::start().await;
    for signal in [Signal::TERM, Signal::INT] {
        let weldr = Daemon::start().await;
        weldr.add(server.address()).await;
        let kept = Load::start(weldr.proxy(), 8, "/");
        let unkept = Load::start_unkept(weldr.proxy(), 8, "/");
        kept.passes(200).await;
        unkept.passes(200).await;
        weldr.process().signal(signal);
        let finished = weldr.finished().await;
        assert_eq!(finished.code(), Some(0), "{finished:#?}");
        for load in [kept, unkept] {
            let tally = load.stop().await;
            tally.assert_none_lost();
            assert!(tally.turned_away > 0, "{tally:?}");
        }
    }
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_while_nothing_new_is_accepted() {
    let mut busy = Busy::start(Program::weldr()).await;
    let mut idle = Client::connect(busy.weldr.proxy()).await;
    busy.weldr.process().signal(Signal::TERM);
    idle.closed().await;
    wait::until(
        "new connections to be refused",
        async || match TcpStream::connect(busy.weldr.proxy()).await {
            Err(_) => Ok(()),
            Ok(_) => Err("accepted"),
        },
    )
    .await;
    busy.open(1);
    let response = busy.gets_its_response().await;
    assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
    let finished = busy.weldr.finished().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_after_the_shutdown_timeout() {
    let weldr = Program::weldr().args(["--shutdown-timeout", "200ms"]);
    let mut busy = Busy::start(weldr).await;
    let finished = busy.weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    busy.client.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let weldr = Program::weldr().args(["--shutdown-timeout", "1h"]);
        let mut busy = Busy::start(weldr).await;
        busy.weldr.process().signal(first);
        busy.weldr.process().logs("stopping").await;
        busy.weldr.process().signal(second);
        let finished = busy.weldr.finished().await;
        assert_eq!(finished.code(), Some(1), "{finished:#?}");
        busy.client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_it_stop() {
    let mut busy = Busy::start(Program::weldr()).await;
    busy.weldr.process().signal(Signal::TERM);
    busy.weldr.process().logs("stopping").await;
    let readyz = raw::get(busy.weldr.management(), "/readyz").await;
    assert_eq!(readyz.status, 503, "{readyz}");
    let listed = busy.weldr.ctl(&["list"]).await;
    assert!(listed.contains(&busy.server().to_string()), "{listed}");
    busy.open(1);
    busy.gets_its_response().await;
    assert_eq!(busy.weldr.finished().await.code(), Some(0));
}
