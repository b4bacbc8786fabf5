//! Signals.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::Semaphore};
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    origin::Origin,
    process::{Program, Signal},
    raw::Client,
    serve, wait,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that answers each request when the gate is opened for it.
fn gated() -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let origin = Origin::serve(move |_| {
        let opened = Arc::clone(&opened);
        async move {
            opened.acquire().await.unwrap().forget();
            serve::answer(200, "at last")
        }
    });
    (origin, gate)
}

/// A `weldr` with a request of `client` that runs on `origin`.
async fn busy(program: Program, origin: &Origin) -> (Daemon, Client) {
    let weldr = Daemon::run(program.args(QUICK_CHECKS)).await;
    weldr.add(origin.address()).await;
    let mut client = Client::connect(weldr.proxy()).await;
    client.send(GET).await;
    wait::until("the request to reach the server", async || {
        let server = weldr.server(origin.address()).await.unwrap();
        if server.in_flight == 1 {
            Ok(())
        } else {
            Err(server.in_flight)
        }
    })
    .await;
    (weldr, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_while_nothing_new_is_accepted() {
    let (origin, gate) = gated();
    let (weldr, mut client) = busy(Program::weldr(), &origin).await;
    let mut idle = Client::connect(weldr.proxy()).await;
    weldr.process().signal(Signal::TERM);
    idle.closed().await;
    wait::until(
        "new connections to be refused",
        async || match TcpStream::connect(weldr.proxy()).await {
            Err(_) => Ok(()),
            Ok(_) => Err("accepted"),
        },
    )
    .await;
    gate.add_permits(1);
    let answer = client.response("GET").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "at last"));
    assert_eq!(answer.fields.get("connection").as_deref(), Some("close"));
    let finished = weldr.finished().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_after_the_shutdown_timeout() {
    let (origin, _gate) = gated();
    let program = Program::weldr().args(["--shutdown-timeout", "200ms"]);
    let (weldr, mut client) = busy(program, &origin).await;
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    client.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (origin, _gate) = gated();
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let program = Program::weldr().args(["--shutdown-timeout", "1h"]);
        let (weldr, mut client) = busy(program, &origin).await;
        weldr.process().signal(first);
        weldr.process().logs("stopping").await;
        weldr.process().signal(second);
        let finished = weldr.finished().await;
        assert_eq!(finished.code(), Some(1), "{finished:#?}");
        client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_it_stop() {
    let (origin, gate) = gated();
    let (weldr, mut client) = busy(Program::weldr(), &origin).await;
    weldr.process().signal(Signal::TERM);
    weldr.process().logs("stopping").await;
    let readyz = weldr_tests::raw::get(weldr.management(), "/readyz").await;
    assert_eq!(readyz.status, 503, "{readyz}");
    let listed = weldr.ctl(&["list"]).await;
    assert!(listed.contains(&origin.address().to_string()), "{listed}");
    gate.add_permits(1);
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(weldr.finished().await.code(), Some(0));
}
