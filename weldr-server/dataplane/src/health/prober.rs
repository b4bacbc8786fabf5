//! The task that checks one server for as long as it is in the pool.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    Failure,
    ejection::{Ejections, may_eject},
    probe::probe,
    schedule::CheckSchedule,
    threshold::{Change, FlipThresholds, Threshold},
};
use crate::{
    clock::dates,
    http1::{HeadLimits, ResponseRules},
    liveness::Tick,
    model::{Health, HealthCheck, HealthState, OutlierEjection, SendProxyProtocol, ServerId},
    snapshot::{LiveServer, PoolSecurity, RequestFailure},
};

/// Checks that run at once, over all servers of this process: a thousand servers that are added together
/// are not a burst of packets, and thousands that do not respond leave slots to those that do.
static SLOTS: Semaphore = Semaphore::const_new(1024);

/// The task that checks one server; ends when this is dropped.
#[derive(Debug)]
pub struct Prober {
    order: watch::Sender<Order>,
    task: AbortHandle,
}

/// A change of a server's health: of its state, reason or description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The server.
    pub server: ServerId,
    /// Its health from now on.
    pub health: Health,
}

/// A check, and how strictly its responses are read: like the responses to requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is done, and when.
    pub health: HealthCheck,
    /// Whether a response with a defect that leaves only one meaning fails the check.
    pub strict_responses: bool,
    /// When failures of requests eject the server.
    pub outlier: OutlierEjection,
    /// How the server is spoken to.
    pub security: PoolSecurity,
    /// What names the client at the begin of a connection; a check has none, and says so.
    pub proxy_protocol: SendProxyProtocol,
}

/// The current instruction for the task.
#[derive(Debug, Clone)]
struct Order {
    check: Option<Arc<Check>>,
    /// Counts the resumptions: a pause that ended before the task saw it still begins anew.
    resumed: u64,
}

/// Limits the checks that run at once, for as long as the process runs, if it has few file descriptors. A higher limit
/// than the present one changes nothing.
pub fn limit_checks(most: usize) {
    SLOTS.forget_permits(SLOTS.available_permits().saturating_sub(most));
}

impl Prober {
    /// Begins to check `server`, at once and as [`Health::unchecked`], which is not reported.
    /// `None` pauses. A response whose head exceeds `limits` fails a check.
    ///
    /// Each request in `failures` that could not connect counts as a failed check, and many that failed in a row eject the
    /// server for a time. While the queue of `observations` is full, the checks of this server wait; nothing is dropped. When the queue is closed,
    /// the task ends. A panic of the task is reported as the end of the task to which `tick` belongs.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime.
    pub fn start(
        server: Arc<LiveServer>,
        limits: HeadLimits,
        check: Option<Check>,
        failures: mpsc::Receiver<RequestFailure>,
        observations: mpsc::Sender<Observation>,
        tick: &Tick,
    ) -> Self {
        let end = tick.end_by_panic();
        let address = server.address;
        let probe = move |check: Arc<Check>| {
            // Kept by the task for as long as it runs.
            let _end = &end;
            async move {
                let rules = ResponseRules {
                    limits,
                    strictness: check.strict_responses.into(),
                };
                let how = (&check.security, check.proxy_protocol);
                probe(address, &check.health, rules, how).await
            }
        };
        Self::start_with(probe, &SLOTS, server, check, failures, observations)
    }

    /// [`Self::start`] with another probe and other slots.
    fn start_with<P, F>(
        probe: P,
        slots: &'static Semaphore,
        server: Arc<LiveServer>,
        check: Option<Check>,
        failures: mpsc::Receiver<RequestFailure>,
        observations: mpsc::Sender<Observation>,
    ) -> Self
    where
        P: Fn(Arc<Check>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let begins_healthy = check
            .as_ref()
            .is_some_and(|check| check.health.begins_healthy);
        let (order, orders) = watch::channel(Order {
            check: check.map(Arc::new),
            resumed: 0,
        });
        let task = Task {
            server,
            threshold: Threshold::new(dates::now(), begins_healthy),
            begun: Instant::now(),
            schedule: CheckSchedule::new(Instant::now()),
            orders,
            failures: Some(failures),
            observations,
            probe,
            slots,
            is_blind: false,
            ejections: None,
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { order, task }
    }

    /// Changes the check, or pauses with `None`.
    ///
    /// A changed check is made at once, or as soon as the spacing to the previous check allows; results that were
    /// counted so far still count. Resuming starts again from [`Health::unchecked`], which is reported. An equal
    /// check changes nothing.
    pub fn set_check(&self, check: Option<Check>) {
        self.order.send_if_modified(|order| {
            if order.check.as_deref() == check.as_ref() {
                return false;
            }
            order.resumed += u64::from(order.check.is_none());
            order.check = check.map(Arc::new);
            true
        });
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The prober was dropped, or the queue of observations was closed.
struct Gone;

/// A check that waits for its time, then for a slot, then runs.
type NextCheck = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

struct Task<P> {
    server: Arc<LiveServer>,
    threshold: Threshold,
    /// When the checks began, or were resumed.
    begun: Instant,
    schedule: CheckSchedule,
    orders: watch::Receiver<Order>,
    /// `None` when no more failures can arrive.
    failures: Option<mpsc::Receiver<RequestFailure>>,
    observations: mpsc::Sender<Observation>,
    probe: P,
    slots: &'static Semaphore,
    /// Whether the last check could not be made.
    is_blind: bool,
    /// The ejections of the server; `None` before the first.
    ejections: Option<Box<Ejections>>,
}

impl<P, F> Task<P>
where
    P: Fn(Arc<Check>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    async fn run(mut self) {
        let mut resumed = 0;
        loop {
            let order = self.orders.borrow_and_update().clone();
            let result = match order.check {
                None => self.pause().await,
                Some(check) => {
                    let anew = std::mem::replace(&mut resumed, order.resumed) != order.resumed;
                    self.watch_over(&check, anew).await
                }
            };
            if result.is_err() {
                return;
            }
        }
    }

    /// Checks nothing until the instruction changes.
    async fn pause(&mut self) -> Result<(), Gone> {
        self.schedule.stop(Instant::now());
        self.ejections = None;
        loop {
            tokio::select! {
                biased;
                order = self.orders.changed() => return order.map_err(|_closed| Gone),
                _ignored = next_failure(&mut self.failures) => {}
            }
        }
    }

    /// Makes `check` again and again until the instruction changes.
    async fn watch_over(&mut self, check: &Arc<Check>, anew: bool) -> Result<(), Gone> {
        if anew {
            self.threshold = Threshold::new(dates::now(), check.health.begins_healthy);
            self.begun = Instant::now();
            self.tell().await?;
        }
        let at = self.schedule.start(Instant::now());
        let mut next_check = self.next_check(at, check);
        loop {
            let ejection_ends = self.ejection_ends();
            tokio::select! {
                biased;
                order = self.orders.changed() => return order.map_err(|_closed| Gone),
                result = &mut next_check => {
                    let mut pending = false;
                    match result {
                        Err(failure) if self.is_blind_by(&failure) => {
                            self.blind(&failure);
                            pending = failure.may_be_of_an_interruption();
                        }
                        result => {
                            self.is_blind = false;
                            self.record(result, &check.health).await?;
                        }
                    }
                    pending |= self.threshold.is_pending();
                    let (now, interval) = (Instant::now(), check.health.interval);
                    let at = self.schedule.ended(now, interval, pending, fastrand::f64());
                    next_check = self.next_check(at, check);
                }
                failure = next_failure(&mut self.failures) => match failure {
                    RequestFailure::InARow(count) => self.eject(count, &check.outlier).await?,
                    RequestFailure::Connect(reason) => {
                        let was_up = self.threshold.health().state != HealthState::Unhealthy;
                        self.record(Err(Failure::met_by_request(reason)), &check.health).await?;
                        // One more failure of a server that is down says nothing new.
                        if was_up && let Some(at) = self.schedule.hasten(Instant::now()) {
                            next_check = self.next_check(at, check);
                        }
                    }
                },
                () = end_of(ejection_ends) => self.end_ejection().await?,
            }
            if self.observations.is_closed() {
                return Err(Gone);
            }
        }
    }

    fn next_check(&self, at: Instant, check: &Arc<Check>) -> NextCheck {
        let (probe, check, slots) = (self.probe.clone(), Arc::clone(check), self.slots);
        Box::pin(async move {
            sleep_until(at).await;
            // Never closed, so this is always a slot.
            let _slot = slots.acquire().await;
            // In a box of its own: most of the time it is not there.
            Box::pin(probe(check)).await
        })
    }

    async fn record(
        &mut self,
        result: Result<(), Failure>,
        check: &HealthCheck,
    ) -> Result<(), Gone> {
        let limits = FlipThresholds::new(check, self.begun.elapsed());
        let change = self.threshold.record(result, limits, dates::now());
        match change {
            Change::None => return Ok(()),
            Change::Told => {}
            Change::Flipped(from) => self.log_flip(from),
        }
        self.tell().await
    }

    /// Whether a check failed for a reason of this node. A second interrupted check in a row counts: on a machine that is
    /// always overloaded, a server that does not respond would stay healthy.
    fn is_blind_by(&self, failure: &Failure) -> bool {
        failure.is_ours && !(self.is_blind && failure.may_be_of_an_interruption())
    }

    /// A check that could not be made counts neither way: a node that is out of descriptors would call
    /// every server unhealthy, and stop serving just when it has the most to do.
    fn blind(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.is_blind, true) {
            let (server, why) = (&self.server, &failure.detail);
            warn!(
                pool = %server.pool.name,
                server = %server.id,
                address = %server.address,
                %why,
                "server cannot be checked"
            );
        }
    }

    /// Ejects the server because `count` requests in a row failed, unless its checks fail or too many others are ejected.
    async fn eject(&mut self, count: u32, settings: &OutlierEjection) -> Result<(), Gone> {
        let is_ejected = self.ejection_ends().is_some();
        if is_ejected || self.threshold.health().state != HealthState::Healthy {
            return Ok(());
        }
        let may = |ejected, passing| may_eject(settings, ejected, passing);
        let Some(place) = self.server.pool.eject(may) else {
            return Ok(());
        };
        let ejections = self.ejections.get_or_insert_default();
        ejections.begin(settings, place, count, Instant::now(), dates::now());
        warn!(
            pool = %self.server.pool.name,
            server = %self.server.id,
            address = %self.server.address,
            description = self.health().description,
            "server ejected"
        );
        self.tell().await
    }

    async fn end_ejection(&mut self) -> Result<(), Gone> {
        let ejections = self.ejections.get_or_insert_default();
        ejections.end(dates::now());
        info!(
            pool = %self.server.pool.name,
            server = %self.server.id,
            address = %self.server.address,
            "server returns from its ejection"
        );
        self.tell().await
    }

    fn ejection_ends(&self) -> Option<Instant> {
        self.ejections.as_ref()?.until()
    }

    /// The health that is reported.
    fn health(&self) -> Health {
        let observed = self.threshold.health();
        match &self.ejections {
            Some(ejections) => ejections.shown(observed),
            None => observed.clone(),
        }
    }

    async fn tell(&self) -> Result<(), Gone> {
        let observation = Observation {
            server: self.server.id,
            health: self.health(),
        };
        let told = self.observations.send(observation).await;
        told.map_err(|_closed| Gone)
    }

    fn log_flip(&self, from: HealthState) {
        let health = self.threshold.health();
        macro_rules! flip {
            ($level:ident) => {
                $level!(
                    pool = %self.server.pool.name,
                    server = %self.server.id,
                    address = %self.server.address,
                    from = from.as_str(),
                    to = health.state.as_str(),
                    reason = health.reason.as_str(),
                    description = health.description,
                    "server changed health"
                )
            };
        }
        if health.state == HealthState::Unhealthy {
            flip!(warn);
        } else {
            flip!(info);
        }
    }
}

/// Returns at the end of an ejection. Never ready without one.
async fn end_of(ejection: Option<Instant>) {
    match ejection {
        // In a box: most of the time there is none.
        Some(end) => Box::pin(sleep_until(end)).await,
        None => pending().await,
    }
}

/// The next failure of requests. Never ready when no more can arrive.
async fn next_failure(failures: &mut Option<mpsc::Receiver<RequestFailure>>) -> RequestFailure {
    if let Some(receiver) = failures {
        if let Some(failure) = receiver.recv().await {
            return failure;
        }
        *failures = None;
    }
    pending().await
}

#[cfg(test)]
mod tests;
