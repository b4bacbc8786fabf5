//! The servers that had no room for a request's connection, and its wait until one of them has.
//!
//! A server that is full is passed over for as long as another may be tried. Only then the request waits, outside of any
//! attempt: when there is room, the server is chosen again by the newest snapshot. While requests wait, connections to
//! these servers are not left unused: other workers close those that are, and give up one after its request when the
//! waiting worker has none.
//!
//! The requests of a worker that wait for servers of one pool get room in the order of their arrival, and one that arrives
//! later passes none of them. Room that a worker's own requests leave may go to a request of another worker that arrived
//! later: the workers agree on nothing.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time;

use crate::snapshot::{QueuePlace, routes::PoolRef};

use super::{
    arrival_order::Arrival, attempt::Attempt, attempt_policy::AttemptPolicy,
    context::WorkerContext, deadline::Reached, error::ProxyError, select::Tried,
    server_limit::ASK_AGAIN, upstream::Upstream,
};

/// The full servers that one request has met.
#[derive(Default)]
pub(super) struct FullServers {
    servers: Vec<Rc<Upstream>>,
    place: Option<Place>,
    /// When the request began to wait, as the deadline's worker counts.
    waits_since: Option<Duration>,
}

/// The place of a request among those that wait.
struct Place {
    /// Among those of this worker.
    arrival: Arrival,
    /// Among those of the node, where the pool limits how many may run and wait.
    _counted: Option<QueuePlace>,
}

/// How a wait for room ends.
enum WaitEnd {
    /// With a server, or because none is left.
    Looked(Option<Rc<Upstream>>),
    Reached(Reached),
    Client(ProxyError),
}

impl FullServers {
    /// Adds a server that had no room.
    pub(super) fn add(&mut self, upstream: &Rc<Upstream>) {
        if self.servers.iter().all(|known| known.id != upstream.id) {
            self.servers.push(Rc::clone(upstream));
        }
    }

    /// Whether no server was full.
    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Whether the request has waited and not got room yet.
    pub(super) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Gives the place up, because the request has room now: the next one may look for some.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }

    /// Waits until one of the servers has room, or one that was not `tried` may be chosen. All waits of a request together
    /// last for no longer than connecting may, or than the queue timeout where the pool limits the requests of a server.
    /// `None` when that is over, no server is left, or too many requests wait.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn wait(
        &mut self,
        context: &WorkerContext,
        pool: &PoolRef,
        attempt: &mut impl Attempt,
        tried: &Tried,
    ) -> Result<Option<Rc<Upstream>>, ProxyError> {
        let since = *self.waits_since.get_or_insert(attempt.deadline().running());
        let Some(first) = self.servers.first().cloned() else {
            return Ok(None);
        };
        let policy = first.policy();
        let Some(place) = self.take_place(context, &first, &policy) else {
            return Ok(None);
        };
        let waiting = Waiting::begin(&self.servers, &place.arrival, &policy);
        // A removal of the server that was tried last does not end the wait for the others.
        let mut waits_for = first.id;
        let mut asked = false;
        let mut ended = Ok(None);
        while let Some(left) = left_of(&policy, since, attempt) {
            attempt.deadline().wait_for(waits_for);
            attempt.deadline().arm(left);
            let look = waiting.look(context, pool, tried, &mut asked);
            match until_end(look, attempt).await {
                WaitEnd::Looked(found) => ended = Ok(found),
                WaitEnd::Client(gone) => ended = Err(gone),
                WaitEnd::Reached(Reached::Expired) => {}
                WaitEnd::Reached(Reached::Cut) => {
                    let mut servers = waiting.servers.iter();
                    if let Some(chosen) = servers.find(|server| context.may_choose(server, tried)) {
                        waits_for = chosen.id;
                        continue;
                    }
                }
            }
            break;
        }
        drop(waiting);
        self.place = Some(place);
        ended
    }

    /// The place of the request, behind those that wait already. `None` when too many do.
    fn take_place(
        &mut self,
        context: &WorkerContext,
        first: &Upstream,
        policy: &AttemptPolicy,
    ) -> Option<Place> {
        if let Some(place) = self.place.take() {
            return Some(place);
        }
        let pool = &first.live().pool;
        let limits_requests = policy.limit.requests > 0;
        let counted = limits_requests.then(|| pool.queue(policy.limit.queue));
        if let Some(None) = counted {
            return None;
        }
        Some(Place {
            arrival: context.waiting_for(&pool.name).arrive(),
            _counted: counted.flatten(),
        })
    }
}

/// How long a request that waits `since` then may go on; `None`: no longer.
fn left_of(policy: &AttemptPolicy, since: Duration, attempt: &impl Attempt) -> Option<Duration> {
    let patience = if policy.limit.requests > 0 {
        policy.limit.queue_timeout
    } else {
        policy.connect
    };
    let waited = attempt.deadline().running().saturating_sub(since);
    patience.checked_sub(waited)
}

/// Waits for the end of `look`, of the deadline, or of the client.
async fn until_end(
    look: impl Future<Output = Option<Rc<Upstream>>>,
    attempt: &mut impl Attempt,
) -> WaitEnd {
    let mut look = pin!(look);
    poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready(found) = look.as_mut().poll(cx) {
            return Poll::Ready(WaitEnd::Looked(found));
        }
        if let Poll::Ready(gone) = attempt.poll_client(cx) {
            return Poll::Ready(WaitEnd::Client(gone));
        }
        attempt.deadline().poll(cx).map(WaitEnd::Reached)
    })
    .await
}

/// Counts the wait at each of the servers.
struct Waiting<'a> {
    servers: &'a [Rc<Upstream>],
    arrival: &'a Arrival,
    /// Whether connections are what is waited for, so that other workers give theirs up.
    for_connections: bool,
}

impl<'a> Waiting<'a> {
    fn begin(servers: &'a [Rc<Upstream>], arrival: &'a Arrival, policy: &AttemptPolicy) -> Self {
        let for_connections = policy.limit.requests == 0;
        for server in servers {
            server.waits(for_connections);
        }
        Self {
            servers,
            arrival,
            for_connections,
        }
    }

    /// Looks for a server until there is one, or none can be any more. Only the first request looks: room that the others
    /// find is its room. When it leaves, the next one looks.
    async fn look(
        &self,
        context: &WorkerContext,
        pool: &PoolRef,
        tried: &Tried,
        asked: &mut bool,
    ) -> Option<Rc<Upstream>> {
        poll_fn(|cx| self.arrival.poll_first(cx)).await;
        let live = &self.servers.first()?.live().pool;
        loop {
            let chosen = context.choose(pool, tried).ok()?;
            if !tried.contains(chosen.id) {
                return Some(chosen);
            }
            let may_run = |server: &&Rc<Upstream>| server.has_request_slot();
            let mut roomy = self
                .servers
                .iter()
                .filter(may_run)
                .filter(|server| server.has_room());
            if let Some(found) = roomy.find(|server| context.may_choose(server, tried)) {
                return Some(Rc::clone(found));
            }
            if self.for_connections {
                if std::mem::replace(asked, true) {
                    self.servers.iter().for_each(|server| server.demand());
                }
                context.ask_others_for_full();
            }
            tokio::select! {
                () = live.room.notified() => {}
                () = context.released.notified() => {}
                () = time::sleep(ASK_AGAIN) => {}
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for server in self.servers {
            server.waits_no_more(self.for_connections);
        }
    }
}
