//! Sending in bursts.
//!
//! A task that has something to send lets the others that are ready read first; then all of them send, one after the
//! other. Who waits for what is sent is woken once and finds all of it, where otherwise it would be woken, find a little
//! and sleep again. And what one task needs to read, or to send, of our code and of the kernel's, is in the caches of
//! the core when the next one does the same.
//!
//! Nobody waits for anything but this thread: when all that is ready has had its turn, it is sent.

use std::{
    cell::Cell,
    task::{Context, Poll},
};

use super::buffer::Buffer;

/// Tasks in a row that found nobody to let go first, before it is believed that there is nobody: bursts beget bursts, and
/// to send out of turn breaks them up.
const ALONE: u32 = 8;
/// Tasks that then send at once, before the next one looks: where there is nobody, looking is a turn for nothing.
const PASSED_OVER: u32 = 16;

/// What the tasks of a worker know of each other.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    /// Steps that tasks have made: to something to send, and from standing back to sending it.
    steps: Cell<u32>,
    /// Tasks in a row that were alone.
    alone: Cell<u32>,
    /// Tasks that send at once.
    pass_over: Cell<u32>,
}

/// Where a task stands with what it has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    /// It has just got it.
    #[default]
    New,
    /// It lets others read. Its own step was the last of so many.
    StandsBack(u32),
    /// It sends.
    Sends,
}

impl Turn {
    /// Of a task that has just read into `buffer`. What fills it is a burst by itself, and who stands back with it keeps
    /// its memory from others.
    pub(super) fn with(buffer: &Buffer) -> Self {
        if buffer.is_full() {
            Self::Sends
        } else {
            Self::New
        }
    }

    /// Ready when it may send; once it may, it always may.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, bursts: &Bursts) -> Poll<()> {
        match *self {
            Self::Sends => return Poll::Ready(()),
            Self::New => {
                let steps = bursts.step();
                if bursts.next_stands_back() {
                    *self = Self::StandsBack(steps);
                    // Behind all that are ready now.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            Self::StandsBack(since) => bursts.learn(since),
        }
        *self = Self::Sends;
        Poll::Ready(())
    }
}

impl Bursts {
    fn step(&self) -> u32 {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        steps
    }

    /// Whether the task that is next lets others go first; counts those that do not.
    fn next_stands_back(&self) -> bool {
        let left = self.pass_over.get();
        self.pass_over.set(left.saturating_sub(1));
        left == 0
    }

    /// A task has let others go first since so many steps: was there anyone?
    fn learn(&self, since: u32) {
        let was_alone = self.step() == since.wrapping_add(1);
        let alone = if was_alone { self.alone.get() + 1 } else { 0 };
        if alone < ALONE {
            self.alone.set(alone);
        } else {
            self.pass_over.set(PASSED_OVER);
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

    /// As a worker has it: another kind takes its tasks in another order.
    fn runtime() -> LocalRuntime {
        Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap()
    }

    async fn task(name: usize, bursts: Rc<Bursts>, log: Log) {
        log.borrow_mut().push(format!("read {name}"));
        let mut turn = Turn::default();
        poll_fn(|cx| turn.poll(cx, &bursts)).await;
        log.borrow_mut().push(format!("send {name}"));
    }

    /// What so many tasks do that are ready at the same time.
    fn run(tasks: usize, bursts: &Rc<Bursts>) -> Vec<String> {
        let log = Log::default();
        runtime().block_on(async {
            let mut set = JoinSet::new();
            for name in 0..tasks {
                set.spawn_local(task(name, Rc::clone(bursts), Rc::clone(&log)));
            }
            set.join_all().await;
        });
        log.take()
    }

    #[test]
    fn all_read_before_one_sends() {
        let bursts = Rc::new(Bursts::default());
        let expected = ["read 0", "read 1", "read 2", "send 0", "send 1", "send 2"];
        assert_eq!(run(3, &bursts), expected);
        assert_eq!(run(3, &bursts), expected);
    }

    #[test]
    fn a_full_buffer_is_sent_at_once() {
        let bursts = Bursts::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut buffer = Buffer::holding(b"all of it");
        assert!(Turn::with(&buffer).poll(&mut cx, &bursts).is_ready());
        buffer.clear();
        assert!(Turn::with(&buffer).poll(&mut cx, &bursts).is_pending());
    }

    /// How often a task that is alone lets others go first, of so many times.
    fn stands_back(times: usize, bursts: &Bursts) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sends = |_: &usize| {
            let mut turn = Turn::default();
            let stood_back = turn.poll(&mut cx, bursts).is_pending();
            assert!(turn.poll(&mut cx, bursts).is_ready());
            assert!(turn.poll(&mut cx, bursts).is_ready(), "it may go on");
            stood_back
        };
        (0..times).filter(|time| sends(time)).count()
    }

    #[test]
    fn who_is_alone_seldom_looks_for_others() {
        let bursts = Rc::new(Bursts::default());
        let (alone, every) = (ALONE as usize, PASSED_OVER as usize + 1);
        assert_eq!(stands_back(alone, &bursts), alone);
        assert_eq!(stands_back(3 * every, &bursts), 3);
        // It finds them all the same, and does not forget.
        let finds_the_other = |_: &usize| run(2, &bursts)[1] == "read 1";
        assert!((0..every).any(|time| finds_the_other(&time)));
        assert!((0..every).all(|time| finds_the_other(&time)));
        assert_eq!(
            stands_back(alone, &bursts),
            alone,
            "once alone is by chance"
        );
    }
}
