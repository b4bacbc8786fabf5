//! What a server accumulates while it lives.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use crate::{
    model::{Reason, ServerId},
    stats::{Outcomes, ServerShard, ServerTotals, Sharded},
};

/// Failures that wait for the prober; more at once say nothing new and are dropped.
const MOST_WAITING_FAILURES: usize = 8;

/// The part of a server that outlives snapshots: its counts, its connections and the way to its prober.
#[derive(Debug)]
pub struct LiveServer {
    /// This life of the server.
    pub id: ServerId,
    /// Where its traffic goes.
    pub address: SocketAddr,
    /// What each worker counts of it.
    pub shards: Sharded<ServerShard>,
    connections: AtomicUsize,
    failures: mpsc::Sender<Reason>,
}

impl LiveServer {
    /// A server with nothing counted, and the receiver of the connect failures that requests meet.
    pub fn new(
        id: ServerId,
        address: SocketAddr,
        workers: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Reason>) {
        let (failures, receiver) = mpsc::channel(MOST_WAITING_FAILURES);
        let server = Self {
            id,
            address,
            shards: Sharded::new(workers),
            connections: AtomicUsize::new(0),
            failures,
        };
        (Arc::new(server), receiver)
    }

    /// Tells the prober that a request could not connect. Never waits.
    pub fn report_connect_failure(&self, reason: Reason) {
        // A full queue holds failures enough, a closed one belongs to a server that is gone.
        let _ = self.failures.try_send(reason);
    }

    /// Room for one more connection, when fewer than `limit` are open over all workers.
    pub fn connection_slot(self: &Arc<Self>, limit: usize) -> Option<ConnectionSlot> {
        let below_limit = |open: usize| (open < limit).then_some(open + 1);
        self.connections
            .fetch_update(Relaxed, Relaxed, below_limit)
            .ok()?;
        Some(ConnectionSlot(Arc::clone(self)))
    }

    /// Its counts over all workers.
    pub fn totals(&self) -> ServerTotals {
        ServerTotals::sum(&self.shards)
    }

    /// How its attempts ended, over all workers.
    pub fn outcomes(&self) -> Outcomes {
        self.shards
            .all()
            .fold(Outcomes::default(), |sum, shard| Outcomes {
                success: sum.success + shard.success.get(),
                failed: sum.failed + shard.failed.get(),
            })
    }

    /// Requests that run on it, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.shards.all().map(|shard| shard.in_flight.get()).sum()
    }
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct ConnectionSlot(Arc<LiveServer>);

impl ConnectionSlot {
    /// Whose connection it is.
    pub fn server(&self) -> &LiveServer {
        &self.0
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back() {
        let (server, _failures) = LiveServer::new(ServerId(1), ([127, 0, 0, 1], 80).into(), 1);
        let first = server.connection_slot(2);
        let _second = server.connection_slot(2);
        assert!(server.connection_slot(2).is_none());
        drop(first);
        assert!(server.connection_slot(2).is_some());
    }
}
