//! The idle client connections of a worker, ordered by how long they have been idle.
//!
//! When the limit of client connections is reached, the connection that has been idle for longest is closed in favour of a
//! new one. A connection enters this queue only when it waits for a request and nothing has come: connections that are in
//! use never touch it. Each operation takes constant time.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use slab::Slab;

use super::deadline::{Deadlines, ExpiryKey};

/// The time that a connection has to be in the queue before it may be closed in favour of a new one. A request that the
/// client has just sent would be lost with the connection, so there must be time for it to arrive.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// The queue of idle client connections of one worker.
pub(super) struct IdleClients(RefCell<Queue>);

#[derive(Default)]
struct Queue {
    nodes: Slab<Node>,
    oldest: Option<usize>,
    newest: Option<usize>,
    /// The number of connections in the queue, which other workers see.
    length: Arc<AtomicUsize>,
}

struct Node {
    since: Instant,
    expiry: ExpiryKey,
    /// Neighbours in the queue.
    older: Option<usize>,
    newer: Option<usize>,
    /// Whether the node is in the queue; it leaves it when its connection is told to close.
    is_queued: bool,
}

impl IdleClients {
    /// An empty queue, which stores its length in `length`.
    pub(super) fn new(length: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Queue {
            length,
            ..Queue::default()
        })))
    }

    /// Adds a connection that waits for a request from `now` on. Reaching the deadline of `expiry` closes it.
    pub(super) fn enter(self: &Rc<Self>, expiry: ExpiryKey, now: Instant) -> IdleEntry {
        IdleEntry {
            key: self.0.borrow_mut().push(expiry, now),
            queue: Rc::clone(self),
        }
    }

    /// Tells the connection that has been idle for longest to close, if it has been idle for long enough at `now`. Returns
    /// whether there was one.
    pub(super) fn close_oldest(&self, deadlines: &Deadlines, now: Instant) -> bool {
        let Some(expiry) = self.0.borrow_mut().take_oldest(now) else {
            return false;
        };
        deadlines.expire(expiry);
        true
    }
}

impl Queue {
    fn push(&mut self, expiry: ExpiryKey, now: Instant) -> usize {
        let key = self.nodes.insert(Node {
            since: now,
            expiry,
            older: self.newest,
            newer: None,
            is_queued: true,
        });
        match self.newest.replace(key) {
            Some(older) => self.nodes[older].newer = Some(key),
            None => self.oldest = Some(key),
        }
        self.length.store(self.length.load(Relaxed) + 1, Relaxed);
        key
    }

    fn take_oldest(&mut self, now: Instant) -> Option<ExpiryKey> {
        let key = self.oldest?;
        let node = &self.nodes[key];
        if now.saturating_duration_since(node.since) < MIN_IDLE {
            return None;
        }
        let expiry = node.expiry;
        self.unlink(key);
        Some(expiry)
    }

    fn unlink(&mut self, key: usize) {
        let node = &mut self.nodes[key];
        node.is_queued = false;
        let (older, newer) = (node.older.take(), node.newer.take());
        match older {
            Some(older) => self.nodes[older].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.nodes[newer].older = older,
            None => self.newest = older,
        }
        self.length.store(self.length.load(Relaxed) - 1, Relaxed);
    }

    fn remove(&mut self, key: usize) {
        if self.nodes[key].is_queued {
            self.unlink(key);
        }
        self.nodes.remove(key);
    }
}

/// A place in the queue, removed when dropped.
pub(super) struct IdleEntry {
    queue: Rc<IdleClients>,
    key: usize,
}

impl Drop for IdleEntry {
    fn drop(&mut self) {
        self.queue.0.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::proxy::deadline::{Deadline, Reached};

    struct Queued {
        deadline: Deadline,
        entry: Option<IdleEntry>,
    }

    impl Queued {
        fn is_told_to_close(&self) -> bool {
            let polled = self.deadline.poll(&Context::from_waker(Waker::noop()));
            polled == Poll::Ready(Reached::Expired)
        }
    }

    fn queue_of(count: usize, now: Instant) -> (Rc<Deadlines>, Rc<IdleClients>, Vec<Queued>) {
        let (deadlines, clients) = (Deadlines::new(), IdleClients::new(Arc::default()));
        let enter = |_| {
            let deadline = deadlines.register();
            let entry = Some(clients.enter(deadline.expiry_key(), now));
            Queued { deadline, entry }
        };
        let queued = (0..count).map(enter).collect();
        (deadlines, clients, queued)
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_is_closed_first() {
        let start = Instant::now();
        let (deadlines, clients, queued) = queue_of(3, start);
        for closed in 1..=3 {
            assert!(clients.close_oldest(&deadlines, start + MIN_IDLE));
            let told: Vec<bool> = queued.iter().map(Queued::is_told_to_close).collect();
            let expected: Vec<bool> = (0..3).map(|index| index < closed).collect();
            assert_eq!(told, expected);
        }
        assert!(!clients.close_oldest(&deadlines, start + MIN_IDLE));
        assert_eq!(clients.0.borrow().length.load(Relaxed), 0);
    }

    #[test]
    fn a_connection_is_not_closed_before_a_request_had_time_to_arrive() {
        let start = Instant::now();
        let (deadlines, clients, queued) = queue_of(1, start);
        let almost = start + MIN_IDLE.saturating_sub(Duration::from_millis(1));
        assert!(!clients.close_oldest(&deadlines, almost));
        assert!(!queued[0].is_told_to_close());
    }

    #[test]
    fn a_connection_that_left_the_queue_is_skipped() {
        let start = Instant::now();
        for left in 0..3 {
            let (deadlines, clients, mut queued) = queue_of(3, start);
            queued[left].entry = None;
            assert_eq!(clients.0.borrow().length.load(Relaxed), 2);
            while clients.close_oldest(&deadlines, start + MIN_IDLE) {}
            let told: Vec<bool> = queued.iter().map(Queued::is_told_to_close).collect();
            let expected: Vec<bool> = (0..3).map(|index| index != left).collect();
            assert_eq!(told, expected);
            queued.clear();
            assert!(clients.0.borrow().nodes.is_empty());
        }
    }
}
