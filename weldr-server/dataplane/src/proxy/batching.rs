//! Write batching.
//!
//! A task that has a head to write lets the other ready tasks read first; then all of them write, one after the other.
//! The peer is woken once and finds many messages, where otherwise it would be woken, find one and sleep again. The code
//! and kernel data that reading needs stay in the core's caches for the next task that reads, and likewise for writing.
//!
//! A deferred write waits for nothing but this thread: it is written as soon as all ready tasks have had their turn.

use std::{
    cell::Cell,
    task::{Context, Poll},
};

use crate::buffer::Buffer;

/// Tasks in a row that found nothing to batch with, before the next ones write at once. Writing out of order breaks up
/// the batch, so batching stays on until then.
const ALONE: u32 = 8;
/// Tasks that then write at once before one defers its write again: with nothing to batch with, deferring costs a poll
/// of the task for nothing.
const WRITE_AT_ONCE: u32 = 16;

/// What the tasks of a worker know of each other's writes.
#[derive(Debug, Default)]
pub(super) struct WriteBatching {
    /// Steps that tasks have made: from reading to having a head to write, and from deferring to writing it.
    steps: Cell<u32>,
    /// Tasks in a row that found nothing to batch with.
    alone: Cell<u32>,
    /// Tasks that will write at once.
    at_once: Cell<u32>,
}

/// A write that may be deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum DeferredWrite {
    /// Not decided yet.
    #[default]
    New,
    /// Deferred, with the number of the step that deferred it.
    Deferred(u32),
    /// It may be written.
    Due,
}

impl DeferredWrite {
    /// The write of what was just read into `buffer`. A full buffer is a batch by itself, and deferring its write would
    /// keep its memory from others.
    pub(super) fn of(buffer: &Buffer) -> Self {
        if buffer.is_full() {
            Self::Due
        } else {
            Self::New
        }
    }

    /// Ready when the write may be made. Once ready, it stays ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, batching: &WriteBatching) -> Poll<()> {
        match *self {
            Self::Due => return Poll::Ready(()),
            Self::New => {
                let steps = batching.step();
                if batching.next_defers() {
                    *self = Self::Deferred(steps);
                    // The task goes to the end of the queue of ready tasks.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            Self::Deferred(since) => batching.learn(since),
        }
        *self = Self::Due;
        Poll::Ready(())
    }
}

impl WriteBatching {
    fn step(&self) -> u32 {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        steps
    }

    /// Whether the next task defers its write; counts those that do not.
    fn next_defers(&self) -> bool {
        let left = self.at_once.get();
        self.at_once.set(left.saturating_sub(1));
        left == 0
    }

    /// Learns from a write that was deferred at step `since` whether another task made a step in the meantime.
    fn learn(&self, since: u32) {
        let was_alone = self.step() == since.wrapping_add(1);
        let alone = if was_alone { self.alone.get() + 1 } else { 0 };
        if alone < ALONE {
            self.alone.set(alone);
        } else {
            self.at_once.set(WRITE_AT_ONCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Waker};

    use tokio::{
        runtime::{Builder, LocalOptions, LocalRuntime},
        task::JoinSet,
    };

    use super::*;

    type Log = Rc<RefCell<Vec<String>>>;

    /// The kind of runtime that a worker has; other kinds poll ready tasks in another order.
    fn runtime() -> LocalRuntime {
        Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap()
    }

    async fn task(name: usize, batching: Rc<WriteBatching>, log: Log) {
        log.borrow_mut().push(format!("read {name}"));
        let mut write = DeferredWrite::default();
        poll_fn(|cx| write.poll(cx, &batching)).await;
        log.borrow_mut().push(format!("send {name}"));
    }

    /// The steps of `tasks` tasks that are ready at the same time, in their order.
    fn run(tasks: usize, batching: &Rc<WriteBatching>) -> Vec<String> {
        let log = Log::default();
        runtime().block_on(async {
            let mut set = JoinSet::new();
            for name in 0..tasks {
                set.spawn_local(task(name, Rc::clone(batching), Rc::clone(&log)));
            }
            set.join_all().await;
        });
        log.take()
    }

    #[test]
    fn all_read_before_one_sends() {
        let batching = Rc::new(WriteBatching::default());
        let expected = ["read 0", "read 1", "read 2", "send 0", "send 1", "send 2"];
        assert_eq!(run(3, &batching), expected);
        assert_eq!(run(3, &batching), expected);
    }

    #[test]
    fn a_full_buffer_is_sent_at_once() {
        let batching = WriteBatching::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut buffer = Buffer::holding(b"all of it");
        assert!(
            DeferredWrite::of(&buffer)
                .poll(&mut cx, &batching)
                .is_ready()
        );
        buffer.clear();
        assert!(
            DeferredWrite::of(&buffer)
                .poll(&mut cx, &batching)
                .is_pending()
        );
    }

    /// How many of `times` writes a single ready task defers.
    fn deferred_writes(times: usize, batching: &WriteBatching) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sends = |_: &usize| {
            let mut write = DeferredWrite::default();
            let deferred = write.poll(&mut cx, batching).is_pending();
            assert!(write.poll(&mut cx, batching).is_ready());
            assert!(write.poll(&mut cx, batching).is_ready(), "it may go on");
            deferred
        };
        (0..times).filter(|time| sends(time)).count()
    }

    #[test]
    fn a_single_ready_task_seldom_defers() {
        let batching = Rc::new(WriteBatching::default());
        let (alone, every) = (ALONE as usize, WRITE_AT_ONCE as usize + 1);
        assert_eq!(deferred_writes(alone, &batching), alone);
        assert_eq!(deferred_writes(3 * every, &batching), 3);
        // With a second ready task, batching starts again, and stays on.
        let finds_the_other = |_: &usize| run(2, &batching)[1] == "read 1";
        assert!((0..every).any(|time| finds_the_other(&time)));
        assert!((0..every).all(|time| finds_the_other(&time)));
        assert_eq!(
            deferred_writes(alone, &batching),
            alone,
            "one write without another ready task changes nothing"
        );
    }
}
