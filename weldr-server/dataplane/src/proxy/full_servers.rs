//! The servers that had no room for a request's connection, and its wait until one of them has.
//!
//! A server that is full is passed over for as long as another may be tried. Only then the request waits, outside of any
//! attempt: when there is room, the server is chosen again by the newest snapshot. While requests wait, connections to
//! these servers are not left unused: other workers close those that are, and give up one after its request when the
//! waiting worker has none.

use std::{rc::Rc, time::Duration};

use tokio::time;

use crate::snapshot::{QueuePlace, routes::PoolRef};

use super::{
    context::WorkerContext,
    deadline::{Deadline, Reached},
    select::Tried,
    server_limit::ASK_AGAIN,
    upstream::Upstream,
};

/// The full servers that one request has met.
#[derive(Default)]
pub(super) struct FullServers {
    servers: Vec<Rc<Upstream>>,
    /// Its place among the requests that wait because each server runs as many as it may.
    queue_place: Option<QueuePlace>,
    /// When the request began to wait, as the deadline's worker counts.
    waits_since: Option<Duration>,
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

    /// Waits until one of the servers has room, or one that was not `tried` may be chosen. All waits of a request together
    /// last for no longer than connecting may, or than the queue timeout where the pool limits the requests of a server.
    /// `None` when that is over, no server is left, or too many requests wait.
    pub(super) async fn wait(
        &mut self,
        context: &WorkerContext,
        pool: &PoolRef,
        deadline: &Deadline,
        tried: &Tried,
    ) -> Option<Rc<Upstream>> {
        let since = *self.waits_since.get_or_insert(deadline.running());
        let waited = deadline.running().saturating_sub(since);
        let policy = self.servers.first()?.policy();
        let patience = if policy.limit.requests > 0 {
            if self.queue_place.is_none() {
                let pool = &self.servers.first()?.live().pool;
                self.queue_place = Some(pool.queue(policy.limit.queue)?);
            }
            policy.limit.queue_timeout
        } else {
            policy.connect
        };
        let left = patience.checked_sub(waited)?;
        let waiting = Waiting::begin(&self.servers, policy.limit.requests == 0);
        // A removal of the server that was tried last does not end the wait for the others.
        deadline.wait_for(waiting.servers.first()?.id);
        deadline.arm(left);
        let mut asked = false;
        loop {
            match deadline
                .within(waiting.look(context, pool, tried, &mut asked))
                .await
            {
                Ok(found) => return found,
                Err(Reached::Expired) => return None,
                Err(Reached::Cut) => {
                    let chosen = waiting
                        .servers
                        .iter()
                        .find(|server| context.may_choose(server))?;
                    deadline.wait_for(chosen.id);
                    deadline.arm(left);
                }
            }
        }
    }
}

/// Counts the wait at each of the servers.
struct Waiting<'a> {
    servers: &'a [Rc<Upstream>],
    /// Whether connections are what is waited for, so that other workers give theirs up.
    for_connections: bool,
}

impl<'a> Waiting<'a> {
    fn begin(servers: &'a [Rc<Upstream>], for_connections: bool) -> Self {
        if for_connections {
            for server in servers {
                server.waits();
            }
        }
        Self {
            servers,
            for_connections,
        }
    }

    /// Looks for a server until there is one, or none can be any more.
    async fn look(
        &self,
        context: &WorkerContext,
        pool: &PoolRef,
        tried: &Tried,
        asked: &mut bool,
    ) -> Option<Rc<Upstream>> {
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
            if let Some(found) = roomy.find(|server| context.may_choose(server)) {
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
        if self.for_connections {
            for server in self.servers {
                server.waits_no_more();
            }
        }
    }
}
