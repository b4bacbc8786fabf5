//! A `weldr` process that did not run for a while: stopped by a signal, or starved. Time in which it did not run counts
//! for no timeout and for no deadline of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::Notify, time};
use weldr_proto::v1::{HealthState, RemoveServerRequest};
use weldr_tests::{
    daemon::Daemon,
    origin::{Conversation, Origin},
    process::{Program, Signal},
    raw, wait,
};

use super::busy::Busy;

/// How long the process is stopped: longer than every timeout and deadline of these tests.
const STOPPED: Duration = Duration::from_secs(5);
/// Each timeout and deadline of these tests. Far more than a busy machine needs for what has to happen in it.
const TIMEOUT: &str = "4s";

/// Stops the process, does `meanwhile`, and lets it go on after [`STOPPED`].
async fn suspend(weldr: &Daemon, meanwhile: impl Future<Output = ()>) {
    weldr.process().suspend().await;
    meanwhile.await;
    // Time has to pass; there is no state that could be waited for.
    time::sleep(STOPPED).await;
    weldr.process().signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_the_drain_of_its_server_go_on() {
    let program = Program::weldr().args(["--response-header-timeout", TIMEOUT]);
    let mut busy = Busy::start(program).await;
    let other = Origin::saying("hi");
    busy.weldr.add(other.address()).await;
    let remove = RemoveServerRequest {
        address: busy.server().to_string(),
        deadline: Some(prost_types::Duration {
            seconds: 4,
            nanos: 0,
        }),
        ..Default::default()
    };
    let removed = busy.weldr.client().remove_server(remove).await.unwrap();
    assert!(!removed.into_inner().removed, "a request runs on it");
    suspend(&busy.weldr, async {}).await;
    // It is at work again, and has had time to end what it takes for overdue.
    let checks = other.connections();
    wait::until("checks that go on", async || {
        match other.connections() - checks {
            enough if enough >= 3 => Ok(()),
            few => Err(few),
        }
    })
    .await;
    busy.open(1);
    busy.gets_its_response().await;
    busy.weldr.is_rid_of(busy.server()).await;

    // The cluster of one goes on as well: the end of the removal was a change.
    assert_eq!(raw::get(busy.weldr.proxy(), "/").await.text(), "hi");
    assert_eq!(busy.weldr.terminate().await.code(), Some(0));
}

/// What a server does with checks.
#[derive(Default)]
struct Checks {
    /// Whether the next ones have to wait.
    hold: AtomicBool,
    /// How many wait.
    waiting: AtomicUsize,
    /// How many were completed.
    completed: AtomicUsize,
    /// Ends a wait: with a response, or with the end of the connection.
    gate: Notify,
    /// Whether those that waited are completed.
    responses: AtomicBool,
}

impl Checks {
    async fn response(&self, conversation: &mut Conversation) {
        if conversation.request().await.is_none() {
            return;
        }
        if self.hold.load(SeqCst) {
            self.waiting.fetch_add(1, SeqCst);
            self.gate.notified().await;
            self.waiting.fetch_sub(1, SeqCst);
            if !self.responses.load(SeqCst) {
                return;
            }
        }
        conversation
            .write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        self.completed.fetch_add(1, SeqCst);
    }

    async fn waits(&self) {
        wait::until("a check that waits", async || {
            match self.waiting.load(SeqCst) {
                1 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Ends the wait.
    fn open(&self, responses: bool) {
        self.hold.store(false, SeqCst);
        self.responses.store(responses, SeqCst);
        self.gate.notify_one();
    }

    /// Waits until two more checks were completed.
    async fn go_on(&self) {
        let before = self.completed.load(SeqCst);
        wait::until("checks that are completed", async || {
            match self.completed.load(SeqCst) {
                enough if enough >= before + 2 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

/// A server that responds to checks as told, and a `weldr` for which one failed check is enough.
async fn checked(checks: &Arc<Checks>) -> (Origin, Daemon) {
    let told = Arc::clone(checks);
    let origin = Origin::script(move |mut conversation| {
        let told = Arc::clone(&told);
        async move { told.response(&mut conversation).await }
    });
    let options = [
        ["--check-type", "http"],
        ["--check-interval", "100ms"],
        ["--check-timeout", TIMEOUT],
        ["--unhealthy-threshold", "1"],
    ];
    let weldr = Daemon::run(Program::weldr().args(options.as_flattened())).await;
    weldr.add(origin.address()).await;
    (origin, weldr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_whose_response_comes_after_the_stop_passes() {
    let checks = Arc::<Checks>::default();
    let (origin, weldr) = checked(&checks).await;
    let before = weldr.reaches(origin.address(), HealthState::Healthy).await;
    checks.hold.store(true, SeqCst);
    checks.waits().await;
    suspend(&weldr, async {}).await;
    // It is at work again before the response comes.
    raw::get(weldr.management(), "/healthz").await;
    checks.open(true);
    checks.go_on().await;
    stays_healthy(weldr, &origin, before.health.unwrap().since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_whose_server_gave_up_during_the_stop_counts_for_nothing() {
    let checks = Arc::<Checks>::default();
    let (origin, weldr) = checked(&checks).await;
    let before = weldr.reaches(origin.address(), HealthState::Healthy).await;
    checks.hold.store(true, SeqCst);
    checks.waits().await;
    suspend(&weldr, async {
        checks.open(false);
        wait::until("the connection to end", async || {
            match checks.waiting.load(SeqCst) {
                0 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    })
    .await;
    checks.go_on().await;
    stays_healthy(weldr, &origin, before.health.unwrap().since).await;
}

/// Expects that the server has never been anything but healthy.
async fn stays_healthy(weldr: Daemon, origin: &Origin, since: Option<prost_types::Timestamp>) {
    let server = weldr.server(origin.address()).await.unwrap();
    let health = server.health.unwrap();
    assert_eq!(
        (health.state(), health.since),
        (HealthState::Healthy, since)
    );
    let log = weldr.terminate().await.stderr;
    assert!(!log.contains("unhealthy"), "{log}");
}
