//! The task on paused time, with probes that end as they are told.
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use HealthState::{Healthy, Initial, Unhealthy};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    model::{PoolName, Reason},
    snapshot::LivePool,
};

const SERVER: ServerId = ServerId(7);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const SPACING: Duration = Duration::from_millis(100);
/// Timers have a resolution of a millisecond.
const TICK: Duration = Duration::from_millis(1);

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    fields: 128,
};

fn every(interval: Duration) -> Check {
    Check {
        health: HealthCheck {
            interval,
            ..HealthCheck::default()
        },
        strict_responses: false,
        outlier: OutlierEjection::default(),
        security: PoolSecurity::Plain,
        proxy_protocol: SendProxyProtocol::Off,
    }
}

/// A server of a pool of `servers` servers.
fn live(servers: usize) -> Arc<LiveServer> {
    let pool = LivePool::new(PoolName::default(), 1);
    pool.set_chosen_from(servers);
    LiveServer::new(pool, SERVER, ([127, 0, 0, 1], 80).into()).0
}

fn slots(count: usize) -> &'static Semaphore {
    Box::leak(Box::new(Semaphore::new(count)))
}

/// A prober on paused time whose probes end at once with `result`.
struct Lab {
    prober: Prober,
    server: Arc<LiveServer>,
    result: Arc<Mutex<Result<(), Failure>>>,
    /// When each probe began.
    begun: mpsc::UnboundedReceiver<Instant>,
    failures: mpsc::Sender<RequestFailure>,
    observations: mpsc::Receiver<Observation>,
}

fn outcome(passes: bool) -> Result<(), Failure> {
    let failure = || Failure::timeout(Duration::from_secs(2));
    passes.then_some(()).ok_or_else(failure)
}

impl Lab {
    fn new(check: Option<Check>, passes: bool) -> Self {
        Self::with_queue(1, check, passes)
    }

    /// With room for `capacity` observations.
    fn with_queue(capacity: usize, check: Option<Check>, passes: bool) -> Self {
        let result = Arc::new(Mutex::new(outcome(passes)));
        let (seen, begun) = mpsc::unbounded_channel();
        let (failures, failures_met) = mpsc::channel(8);
        let (observe, observations) = mpsc::channel(capacity);
        let next = Arc::clone(&result);
        let probe = move |_check| {
            let _ = seen.send(Instant::now());
            let result = next.lock().unwrap().clone();
            async move { result }
        };
        let server = live(2);
        let prober = Prober::start_with(
            probe,
            slots(1),
            Arc::clone(&server),
            check,
            failures_met,
            observe,
        );
        Self {
            prober,
            server,
            result,
            begun,
            failures,
            observations,
        }
    }

    fn set_passes(&self, passes: bool) {
        *self.result.lock().unwrap() = outcome(passes);
    }

    /// The next health that is told.
    async fn told(&mut self) -> Health {
        let told = timeout(10 * HOUR, self.observations.recv()).await;
        let observation = told.unwrap().unwrap();
        assert_eq!(observation.server, SERVER);
        observation.health
    }

    /// The next health that is told, which is to be in `state`.
    async fn told_state(&mut self, state: HealthState) -> Health {
        let health = self.told().await;
        assert_eq!(health.state, state, "{health:?}");
        health
    }

    /// The next health in `state`, whatever is told before.
    async fn until_state(&mut self, state: HealthState) -> Health {
        loop {
            let health = self.told().await;
            if health.state == state {
                return health;
            }
        }
    }

    /// When the next probe began.
    async fn begun(&mut self) -> Instant {
        let begun = timeout(10 * HOUR, self.begun.recv()).await;
        begun.unwrap().unwrap()
    }

    /// Forgets the probes so far, once the task has nothing left to do now.
    async fn settle(&mut self) {
        sleep(TICK).await;
        while self.begun.try_recv().is_ok() {}
    }

    /// How many probes begin within `time`.
    async fn probes_within(&mut self, time: Duration) -> usize {
        self.settle().await;
        sleep(time).await;
        self.begun.len()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_check_is_made_at_once_and_one_pass_is_enough() {
    let added = Instant::now();
    let mut lab = Lab::new(Some(every(HOUR)), true);
    let health = lab.told_state(Healthy).await;
    assert_eq!(lab.begun().await, added);
    assert_eq!(health.reason, Reason::ChecksPassed);
    assert_eq!(Instant::now(), added);
}

#[tokio::test(start_paused = true)]
async fn checks_follow_each_other_by_the_interval_varied_by_a_tenth() {
    let interval = Duration::from_secs(10);
    let mut lab = Lab::new(Some(every(interval)), true);
    let (first, mut last) = (lab.begun().await, lab.begun().await);
    assert!((SPACING..=interval + TICK).contains(&(last - first)));
    let mut pauses = Vec::new();
    for _ in 0..100 {
        let begun = lab.begun().await;
        pauses.push(begun - last);
        last = begun;
    }
    let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*shortest >= interval.mul_f64(0.9), "{shortest:?}");
    assert!(*longest <= interval.mul_f64(1.1) + TICK, "{longest:?}");
    assert!(
        *longest > *shortest + interval / 10,
        "a hundred pauses spread: {shortest:?} to {longest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn servers_that_come_together_spread_out() {
    let mut seconds = Vec::new();
    for _ in 0..50 {
        let mut lab = Lab::new(Some(every(HOUR)), true);
        let first = lab.begun().await;
        seconds.push((lab.begun().await - first).as_secs());
    }
    seconds.sort_unstable();
    seconds.dedup();
    assert!(seconds.len() > 25, "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn an_undecided_server_is_checked_each_second() {
    let added = Instant::now();
    let mut lab = Lab::new(Some(every(HOUR)), false);
    for description in [
        "no response within 2s (1 of 3 failed checks)",
        "no response within 2s (2 of 3 failed checks)",
    ] {
        assert_eq!(lab.told_state(Initial).await.description, description);
    }
    let health = lab.told_state(Unhealthy).await;
    assert_eq!(health.reason, Reason::Timeout);
    assert!(added.elapsed() < Duration::from_secs(3));
    assert_eq!(lab.probes_within(HOUR / 2).await, 0, "it is decided now");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_check_blames_no_server() {
    let mut lab = Lab::new(Some(every(Duration::from_secs(1))), true);
    lab.told_state(Healthy).await;
    let out_of_files = Failure::from_io(&std::io::Error::from_raw_os_error(24));
    *lab.result.lock().unwrap() = Err(out_of_files);
    assert!(lab.probes_within(MINUTE).await > 30, "it goes on trying");
    assert!(
        lab.observations.is_empty(),
        "and says nothing of the server"
    );
    lab.set_passes(false);
    lab.until_state(Unhealthy).await;
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_flip_without_a_check() {
    let mut lab = Lab::new(Some(every(HOUR)), true);
    lab.told_state(Healthy).await;
    lab.begun().await;
    let met = Instant::now();
    for _ in 0..3 {
        lab.failures
            .send(RequestFailure::Connect(Reason::ConnectionRefused))
            .await
            .unwrap();
    }
    let health = lab.until_state(Unhealthy).await;
    assert_eq!(
        health.description,
        "connection refused (3 checks failed in a row)"
    );
    assert_eq!(Instant::now(), met);
    assert!(lab.begun.is_empty(), "no check was made for it");
    lab.until_state(Healthy).await;
    assert!(met.elapsed() < Duration::from_secs(2), "checked soon again");
}

/// A check that ejects after failures in a row, for a minute at first.
fn ejecting() -> Check {
    Check {
        outlier: OutlierEjection {
            failures: 5,
            time: MINUTE,
            ..OutlierEjection::default()
        },
        ..every(HOUR)
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_fail_in_a_row_eject_the_server_for_a_time_that_grows() {
    let mut lab = Lab::new(Some(ejecting()), true);
    lab.told_state(Healthy).await;
    for minutes in [1, 2] {
        lab.failures.send(RequestFailure::InARow(5)).await.unwrap();
        let begun = Instant::now();
        let health = lab.told_state(Unhealthy).await;
        assert_eq!(health.reason, Reason::Ejected);
        let text = format!("ejected for {minutes}m: 5 requests in a row failed");
        assert_eq!(health.description, text);
        // One more says nothing new.
        lab.failures.send(RequestFailure::InARow(5)).await.unwrap();
        let back = lab.told_state(Healthy).await;
        assert_eq!(back.reason, Reason::ChecksPassed);
        assert!(back.since >= health.since);
        let lasted = begun.elapsed();
        assert!(lasted >= MINUTE * minutes && lasted < MINUTE * minutes + SPACING);
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_fail_show_through_an_ejection() {
    let mut lab = Lab::new(Some(ejecting()), true);
    lab.told_state(Healthy).await;
    lab.failures.send(RequestFailure::InARow(5)).await.unwrap();
    assert_eq!(lab.told().await.reason, Reason::Ejected);
    for _ in 0..3 {
        let refused = RequestFailure::Connect(Reason::ConnectionRefused);
        lab.failures.send(refused).await.unwrap();
    }
    loop {
        let health = lab.told_state(Unhealthy).await;
        if health.reason == Reason::ConnectionRefused {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_server_of_a_pool_is_not_ejected() {
    let mut lab = Lab::new(Some(ejecting()), true);
    lab.told_state(Healthy).await;
    lab.server.pool.set_chosen_from(1);
    lab.failures.send(RequestFailure::InARow(5)).await.unwrap();
    lab.settle().await;
    assert!(lab.observations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_failure_of_a_request_is_corrected_soon() {
    let mut lab = Lab::new(Some(every(HOUR)), true);
    lab.told_state(Healthy).await;
    let met = Instant::now();
    lab.failures
        .send(RequestFailure::Connect(Reason::ConnectionRefused))
        .await
        .unwrap();
    let health = lab.told_state(Healthy).await;
    assert_eq!(
        health.description,
        "1 of 3 failed checks: connection refused"
    );
    assert_eq!(lab.told_state(Healthy).await.description, "checks pass");
    assert!(met.elapsed() <= SPACING + TICK);
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_cause_ten_checks_a_second_at_most() {
    let mut check = every(HOUR);
    check.health.unhealthy_threshold = 100;
    let mut lab = Lab::with_queue(1000, Some(check), true);
    // Two seconds, with a failure each 5 ms.
    for _ in 0..400 {
        lab.failures
            .try_send(RequestFailure::Connect(Reason::ConnectionRefused))
            .unwrap();
        sleep(5 * TICK).await;
    }
    let mut last = lab.begun().await;
    assert!(lab.begun.len() >= 15, "{} checks", lab.begun.len());
    while let Ok(begun) = lab.begun.try_recv() {
        assert!(begun - last >= SPACING);
        last = begun;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_say_nothing_new_of_a_server_that_is_down() {
    let mut lab = Lab::new(Some(every(HOUR)), false);
    let down = lab.until_state(Unhealthy).await;
    lab.settle().await;
    for _ in 0..20 {
        lab.failures
            .send(RequestFailure::Connect(Reason::Timeout))
            .await
            .unwrap();
    }
    let told = lab.told().await;
    assert_eq!(
        (told.state, told.reason, told.since),
        (Unhealthy, Reason::Timeout, down.since)
    );
    let again = timeout(MINUTE, lab.observations.recv()).await;
    assert!(again.is_err(), "{again:?}");
    assert!(lab.begun.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_paused_server_is_not_checked_and_begins_anew() {
    let mut lab = Lab::new(Some(every(SPACING)), true);
    lab.told_state(Healthy).await;
    lab.prober.set_check(None);
    lab.settle().await;
    for _ in 0..20 {
        lab.failures
            .send(RequestFailure::Connect(Reason::ConnectionRefused))
            .await
            .unwrap();
    }
    assert_eq!(lab.probes_within(HOUR).await, 0);
    assert!(lab.observations.is_empty());
    let resumed = Instant::now();
    lab.prober.set_check(Some(every(SPACING)));
    assert_eq!(lab.told_state(Initial).await.reason, Reason::CheckPending);
    lab.told_state(Healthy).await;
    assert_eq!(Instant::now(), resumed);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_at_once_begins_anew() {
    let mut lab = Lab::new(Some(every(HOUR)), true);
    lab.told_state(Healthy).await;
    lab.prober.set_check(None);
    lab.prober.set_check(Some(every(HOUR)));
    lab.told_state(Initial).await;
    lab.told_state(Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn resuming_waits_for_no_check_that_the_pause_gave_up() {
    let mut lab = Lab::new(Some(every(SPACING)), true);
    lab.told_state(Healthy).await;
    lab.prober.set_check(None);
    // The second check would have begun after just the spacing.
    sleep(SPACING + SPACING / 2).await;
    let resumed = Instant::now();
    lab.prober.set_check(Some(every(SPACING)));
    lab.told_state(Initial).await;
    lab.told_state(Healthy).await;
    assert_eq!(Instant::now(), resumed);
}

#[tokio::test(start_paused = true)]
async fn a_server_may_begin_paused() {
    let mut lab = Lab::new(None, true);
    assert_eq!(lab.probes_within(HOUR).await, 0);
    lab.prober.set_check(Some(every(HOUR)));
    lab.told_state(Initial).await;
    lab.told_state(Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn an_equal_check_changes_nothing_and_another_is_made_at_once() {
    let mut lab = Lab::new(Some(every(10 * HOUR)), true);
    lab.told_state(Healthy).await;
    // After the second check, whose moment is random, hours pass without one.
    lab.begun().await;
    lab.begun().await;
    lab.prober.set_check(Some(every(10 * HOUR)));
    assert_eq!(lab.probes_within(HOUR).await, 0);
    let changed = Instant::now();
    lab.prober.set_check(Some(every(11 * HOUR)));
    assert_eq!(lab.begun().await, changed);
    assert!(lab.observations.is_empty(), "it passes, so nothing is new");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_check_is_repeated_soon_and_the_second_in_a_row_counts() {
    let mut check = every(10 * HOUR);
    check.health.unhealthy_threshold = 1;
    let mut lab = Lab::new(Some(check), true);
    lab.told_state(Healthy).await;
    lab.begun().await;
    let interrupted = outcome(false).map_err(Failure::of_an_interrupted_check);
    *lab.result.lock().unwrap() = interrupted;
    let first = lab.begun().await;
    let second = lab.begun().await;
    assert!(second - first <= MINUTE, "{:?}", second - first);
    let told = lab.told_state(Unhealthy).await;
    assert!(told.description.contains("no response"), "{told:?}");
    assert_eq!(Instant::now(), second, "the first one counts for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_up_and_loses_nothing() {
    let mut lab = Lab::new(Some(every(SPACING)), false);
    // Nothing takes the observations: one waits in the queue, one in the task.
    sleep(HOUR).await;
    assert_eq!(lab.begun.len(), 2);
    lab.told_state(Initial).await;
    lab.told_state(Initial).await;
    lab.told_state(Unhealthy).await;
    lab.set_passes(true);
    lab.until_state(Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_queue_of_observations_is_closed() {
    let mut lab = Lab::new(Some(every(SPACING)), true);
    lab.told_state(Healthy).await;
    lab.observations.close();
    sleep(HOUR).await;
    assert!(lab.prober.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_when_no_failure_can_come() {
    let mut lab = Lab::new(Some(every(SPACING)), true);
    lab.told_state(Healthy).await;
    let (nobody, _) = mpsc::channel(1);
    lab.failures = nobody;
    assert!(lab.probes_within(MINUTE).await > 500);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_it() {
    let mut lab = Lab::new(Some(every(SPACING)), true);
    lab.told_state(Healthy).await;
    drop(lab.prober);
    let closed = timeout(HOUR, lab.observations.recv()).await;
    assert_eq!(closed.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_it_even_when_it_is_held_up() {
    let mut lab = Lab::new(Some(every(SPACING)), false);
    lab.probes_within(MINUTE).await;
    drop(lab.prober);
    sleep(TICK).await;
    assert!(
        lab.observations.try_recv().is_ok(),
        "what is in the queue stays"
    );
    let closed = timeout(HOUR, lab.observations.recv()).await;
    assert_eq!(closed.unwrap(), None, "what it held is not told");
}

#[tokio::test(start_paused = true)]
async fn few_checks_run_at_once() {
    const SERVERS: usize = 50;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (observe, mut observations) = mpsc::channel(SERVERS);
    let slots = slots(3);
    let pool = LivePool::new(PoolName::default(), 1);
    let probers: Vec<Prober> = (1..=SERVERS as u64)
        .map(|id| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let probe = move |_check| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                async move {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    sleep(SPACING).await;
                    running.fetch_sub(1, SeqCst);
                    Ok(())
                }
            };
            let address = ([127, 0, 0, 1], 80).into();
            let (server, failures) = LiveServer::new(Arc::clone(&pool), ServerId(id), address);
            Prober::start_with(
                probe,
                slots,
                server,
                Some(every(HOUR)),
                failures,
                observe.clone(),
            )
        })
        .collect();
    for _ in &probers {
        let observation = timeout(HOUR, observations.recv()).await.unwrap().unwrap();
        assert_eq!(observation.health.state, Healthy);
    }
    assert_eq!(most.load(SeqCst), 3);
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server goes down, stays so, and comes up.
async fn down_and_up() {
    let mut lab = Lab::new(Some(every(SPACING)), false);
    lab.until_state(Unhealthy).await;
    lab.probes_within(MINUTE).await;
    lab.set_passes(true);
    lab.until_state(Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn flips_are_logged_and_nothing_else() {
    // While there is one subscriber alone, a line that another test's thread meets first stays off.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    down_and_up().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [down, up] = lines[..] else {
        panic!("not two flips:\n{text}")
    };
    for part in [
        "WARN",
        "pool=default server=7 address=127.0.0.1:80 from=\"initial\" to=\"unhealthy\"",
        "reason=\"timeout\"",
        "description=\"no response within 2s (3 checks failed in a row)\"",
    ] {
        assert!(down.contains(part), "{part}: {down}");
    }
    assert!(up.contains("INFO"), "{up}");
    assert!(up.contains("from=\"unhealthy\" to=\"healthy\""), "{up}");
}

#[tokio::test]
async fn it_checks_real_servers() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let pool = LivePool::new(PoolName::default(), 1);
    let (server, failures_met) = LiveServer::new(pool, SERVER, listener.local_addr().unwrap());
    let (observe, mut observations) = mpsc::channel(1);
    let _prober = Prober::start(
        server,
        LIMITS,
        Some(every(HOUR)),
        failures_met,
        observe,
        &Tick::unwatched(),
    );
    let told = timeout(Duration::from_secs(20), observations.recv()).await;
    assert_eq!(told.unwrap().unwrap().health.state, Healthy);
}

/// What a server costs while it waits, apart from its channels.
#[test]
fn a_task_is_small() {
    let (_order, orders) = watch::channel(Order {
        check: None,
        resumed: 0,
    });
    let task = Task {
        server: live(1),
        threshold: Threshold::new(dates::now(), false),
        begun: Instant::now(),
        schedule: CheckSchedule::new(Instant::now()),
        orders,
        failures: None,
        observations: mpsc::channel(1).0,
        probe: |check: Arc<Check>| async move {
            let rules = ResponseRules {
                limits: LIMITS,
                strictness: check.strict_responses.into(),
            };
            probe(
                ([127, 0, 0, 1], 80).into(),
                &check.health,
                rules,
                (&PoolSecurity::Plain, SendProxyProtocol::Off),
            )
            .await
        },
        slots: &SLOTS,
        is_blind: false,
        ejections: None,
    };
    let size = size_of_val(&task.run());
    assert!(size <= 1024, "{size} bytes");
}
