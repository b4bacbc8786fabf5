//! A request on its way to a server: which servers are tried, on which connections, until one responds or none is left.
//!
//! The protocols of both sides write the request and read the response: see [`Attempt`](super::attempt::Attempt).

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time;

use crate::{
    proxy_protocol::Ends,
    snapshot::{ConnectionSlot, routes::PoolRef},
};

use super::{
    attempt::Attempt,
    context::WorkerContext,
    deadline::{Deadline, Reached},
    error::ProxyError,
    full_servers::FullServers,
    retry::{AttemptProgress, Next, Retries},
    select::Tried,
    tally::{AttemptTally, RequestTally},
    transport::{Transport, is_out_of_descriptors},
    upstream::{Connection, ConnectionTag, Upstream},
};

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'l> {
    pub(super) pool: &'l PoolRef,
    /// What decides which server of the pool gets it, if the pool balances by a hash.
    pub(super) key: Option<u64>,
}

/// Tries servers of a pool until one has responded, or none is left that may be tried.
pub(super) async fn forward(
    context: &Rc<WorkerContext>,
    attempt: &mut impl Attempt,
    Destination { pool, key }: Destination<'_>,
    tally: &mut RequestTally<'_>,
) -> Result<(), ProxyError> {
    let mut tried = Tried::new(key, attempt.session());
    let mut full = FullServers::default();
    let begun = attempt.deadline().running();
    context.retries.borrow_mut().earn();
    let mut upstream = context.choose(pool, &tried)?;
    let mut retries = Retries::new(upstream.policy().retries, attempt.replay());
    loop {
        let on = (&upstream, &mut full);
        let outcome = try_server(context, attempt, on, &mut retries, tally).await;
        let Err(error) = outcome else {
            return Ok(());
        };
        if attempt.has_responded() {
            return Err(error);
        }
        tried.insert(upstream.id);
        if matches!(error, ProxyError::ServerFull { .. }) {
            full.add(&upstream);
        } else {
            tally.attempt_failed();
            tried.leave_session();
        }
        let progress = error.verdict().progress;
        let next = retries.after_failure(progress, &mut context.retries.borrow_mut());
        let gives_up = match next {
            Next::GiveUp => true,
            Next::UntriedServer => is_selection_over(&upstream, attempt, begun),
            Next::AnyServer => false,
        };
        if gives_up {
            report_full(context, &error, &upstream);
            return Err(error);
        }
        let chosen = context.choose(pool, &tried).ok();
        let chosen = chosen.filter(|chosen| next == Next::AnyServer || !tried.contains(chosen.id));
        upstream = if let Some(chosen) = chosen {
            tally.retried();
            chosen
        } else {
            let found = if full.is_empty() {
                None
            } else {
                Box::pin(full.wait(context, pool, attempt, &tried)).await?
            };
            // The last failure tells the client more than the failed choice does.
            let Some(found) = found else {
                report_full(context, &error, &upstream);
                return Err(error);
            };
            found
        };
        attempt.begin_again();
    }
}

/// Logs that a request failed because servers are full. That a request passed over such a server is no failure.
fn report_full(context: &WorkerContext, error: &ProxyError, upstream: &Upstream) {
    if let ProxyError::ServerFull { .. } = error {
        let live = upstream.live();
        context
            .failures
            .report(error, Some(&live.pool.name), Some(upstream.id));
    }
}

/// Whether the server selection timeout of a request that began at `begun` is over.
fn is_selection_over(upstream: &Upstream, attempt: &impl Attempt, begun: Duration) -> bool {
    let passed = attempt.deadline().running().saturating_sub(begun);
    passed >= upstream.policy().server_selection
}

/// Tries one server. A reused connection that the server closed in the meantime is not an attempt of its own: a new
/// one is opened. A request that has not waited does not overtake those of this worker that wait for the server.
async fn try_server(
    context: &Rc<WorkerContext>,
    request: &mut impl Attempt,
    (upstream, full): (&Rc<Upstream>, &mut FullServers),
    retries: &mut Retries,
    tally: &mut RequestTally<'_>,
) -> Result<(), ProxyError> {
    // The first attempt begins with the request, so the clock need not be read twice.
    let begun = if tally.is_first_attempt() {
        tally.begun()
    } else {
        Instant::now()
    };
    tally.attempted(upstream, begun);
    let mut attempt = AttemptTally::begin(context, upstream, begun);
    let overtakes = upstream.has_waiting() && !full.has_place();
    if overtakes || !attempt.takes_slot() {
        attempt.passed_over();
        let server = upstream.address;
        return Err(ProxyError::ServerFull { server });
    }
    request.deadline().wait_for(upstream.id);
    let ends = upstream
        .names_clients()
        .then(|| Rc::new(request.ends(tally.claimed_client())));
    // After one connection was found closed by a request on it, no other unused one is taken: they may be closed too.
    let mut raced = false;
    loop {
        let replay = (!raced).then(|| retries.replay());
        let unused = replay.and_then(|replay| upstream.checkout(replay, ends.as_deref()));
        let outcome = if let Some(unused) = unused {
            full.leave();
            Ok(unused)
        } else {
            let on = (&**upstream, &mut *full, ends.as_ref());
            new_connection(context, request.deadline(), on, tally).await
        };
        let reused = matches!(&outcome, Ok(connection) if connection.reused);
        let outcome = match outcome {
            Ok(connection) => request.exchange(connection, &mut attempt, tally).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else {
            return Ok(());
        };
        if let (true, ProxyError::Closed { progress, .. }) = (reused, &error) {
            upstream.closed_under_a_request();
            let mut budget = context.retries.borrow_mut();
            if retries.after_reuse_race(*progress, &mut budget) {
                let resent = *progress == AttemptProgress::Sent;
                if resent {
                    tally.retried();
                }
                raced = true;
                request.begin_again();
                continue;
            }
        }
        if let ProxyError::ServerFull { .. } = error {
            attempt.passed_over();
            return Err(error);
        }
        // A request that the client breaks off says nothing about the server's health.
        if !error.is_clients_fault() {
            attempt.failed(error.is_servers_fault());
        }
        let live = upstream.live();
        context
            .failures
            .report(&error, Some(&live.pool.name), Some(upstream.id));
        if let Some(reason) = error.connect_failure() {
            upstream.could_not_connect(reason);
        }
        return Err(error);
    }
}

/// A new connection for a request. With the room for it, the request gives up its place among those that wait.
async fn new_connection(
    context: &WorkerContext,
    deadline: &Deadline,
    (upstream, full, ends): (&Upstream, &mut FullServers, Option<&Rc<Ends>>),
    tally: &mut RequestTally<'_>,
) -> Result<Connection, ProxyError> {
    let server = upstream.address;
    let slot = upstream.slot().ok_or(ProxyError::ServerFull { server })?;
    full.leave();
    let since = Instant::now();
    let tag = upstream.tag(ends.cloned());
    let connected = connect(context, deadline, upstream, (slot, tag)).await;
    tally.connected(since.elapsed());
    connected
}

async fn connect(
    context: &WorkerContext,
    deadline: &Deadline,
    upstream: &Upstream,
    (slot, tag): (ConnectionSlot, ConnectionTag),
) -> Result<Connection, ProxyError> {
    let server = upstream.address;
    let limit = upstream.policy().connect;
    deadline.arm(limit);
    let permit = if let Some(permit) = context.server_limit.try_acquire() {
        permit
    } else {
        let waiting = Box::pin(context.wait_for_server_permit());
        let waited = deadline.within(waiting).await;
        let full = ProxyError::ServersFull { server };
        match waited {
            Ok(Some(permit)) => permit,
            Ok(None) | Err(Reached::Expired) => return Err(full),
            Err(Reached::Cut) => return Err(removed(server)),
        }
    };
    let ends = tag.ends.as_deref();
    match deadline.within(open(context, upstream, limit, ends)).await {
        Ok(Ok(transport)) => Ok(upstream.opened(transport, slot, permit, tag)),
        Ok(Err(source)) => Err(ProxyError::Connect { server, source }),
        Err(Reached::Expired) => Err(ProxyError::ConnectTimeout { server }),
        Err(Reached::Cut) => Err(removed(server)),
    }
}

/// Opens a connection to `upstream`, secured as its pool wants it. `ends`: the connection of the client, which is named first.
/// While the process has no descriptor left, idle connections are closed, and the attempt is repeated for most of `limit`, the
/// time that connecting may take.
async fn open(
    context: &WorkerContext,
    upstream: &Upstream,
    limit: Duration,
    ends: Option<&Ends>,
) -> io::Result<Transport> {
    /// The time that an idle connection needs to be closed, also by another worker.
    const RELIEF: Duration = Duration::from_millis(50);
    let mut last_attempt = None;
    loop {
        match Transport::connect(upstream.address).await {
            Err(error) if is_out_of_descriptors(&error) => {
                let now = Instant::now();
                let patience = limit.mul_f32(0.75);
                if now > *last_attempt.get_or_insert(now + patience) {
                    return Err(error);
                }
                context.free_for_server();
                Box::pin(time::sleep(RELIEF)).await;
            }
            Ok(mut transport) => {
                if let Some(ends) = ends {
                    Box::pin(upstream.name_client(&mut transport, ends)).await?;
                }
                return upstream.secure(transport).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The error of a server that was removed before the request was sent to it: another server can take the request.
fn removed(server: SocketAddr) -> ProxyError {
    let source = io::Error::new(io::ErrorKind::ConnectionAborted, "the server was removed");
    ProxyError::Connect { server, source }
}
