//! The servers that had no room for a request's connection, and its wait until one of them has.
//!
//! A server that is full is passed over for as long as another may be tried. Only then the request waits, outside of any
//! attempt: when there is room, the server is chosen again by the newest snapshot. While requests wait, connections to
//! these servers are not left unused: other workers close those that are, and give up one after its request when the
//! waiting worker has none.

use std::{rc::Rc, time::Duration};

use tokio::time;

use crate::snapshot::routes::PoolRef;

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
    /// last for no longer than connecting may. `None` when that is over, or no server is left.
    pub(super) async fn wait(
        &mut self,
        context: &WorkerContext,
        pool: &PoolRef,
        deadline: &Deadline,
        tried: &Tried,
    ) -> Option<Rc<Upstream>> {
        let since = *self.waits_since.get_or_insert(deadline.running());
        let waited = deadline.running().saturating_sub(since);
        let patience = self.servers.first()?.policy().connect;
        let left = patience.checked_sub(waited)?;
        let waiting = Waiting::begin(&self.servers);
        // A removal of the server that was tried last does not end the wait for the others.
        deadline.wait_for(waiting.0.first()?.id);
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
                    let chosen = waiting.0.iter().find(|server| context.may_choose(server))?;
                    deadline.wait_for(chosen.id);
                    deadline.arm(left);
                }
            }
        }
    }
}

/// Counts the wait at each of the servers.
struct Waiting<'a>(&'a [Rc<Upstream>]);

impl<'a> Waiting<'a> {
    fn begin(servers: &'a [Rc<Upstream>]) -> Self {
        for server in servers {
            server.waits();
        }
        Self(servers)
    }

    /// Looks for a server until there is one, or none can be any more.
    async fn look(
        &self,
        context: &WorkerContext,
        pool: &PoolRef,
        tried: &Tried,
        asked: &mut bool,
    ) -> Option<Rc<Upstream>> {
        let live = &self.0.first()?.live().pool;
        loop {
            let chosen = context.choose(pool, tried).ok()?;
            if !tried.contains(chosen.id) {
                return Some(chosen);
            }
            let mut roomy = self.0.iter().filter(|server| server.has_room());
            if let Some(found) = roomy.find(|server| context.may_choose(server)) {
                return Some(Rc::clone(found));
            }
            if std::mem::replace(asked, true) {
                self.0.iter().for_each(|server| server.demand());
            }
            context.ask_others_for_full();
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
        for server in self.0 {
            server.waits_no_more();
        }
    }
}
