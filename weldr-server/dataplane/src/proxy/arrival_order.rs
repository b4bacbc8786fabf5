//! The order in which requests of one worker wait for the servers of one pool: that of their arrival. Pure.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The requests of one worker that wait for servers of one pool.
#[derive(Debug, Default)]
pub(super) struct ArrivalOrder(RefCell<Arrivals>);

#[derive(Debug, Default)]
struct Arrivals {
    next: u64,
    /// Ordered by their numbers.
    waiting: VecDeque<WaitingRequest>,
}

#[derive(Debug)]
struct WaitingRequest {
    number: u64,
    waker: Option<Waker>,
}

/// A request that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    order: Rc<ArrivalOrder>,
    number: u64,
}

impl ArrivalOrder {
    /// Adds a request behind all others.
    pub(super) fn arrive(self: &Rc<Self>) -> Arrival {
        let mut arrivals = self.0.borrow_mut();
        let number = arrivals.next;
        arrivals.next += 1;
        let waker = None;
        arrivals.waiting.push_back(WaitingRequest { number, waker });
        Arrival {
            order: Rc::clone(self),
            number,
        }
    }

    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().waiting.is_empty()
    }
}

impl Arrival {
    /// Ready while no request waits that arrived earlier.
    pub(super) fn poll_first(&self, cx: &Context<'_>) -> Poll<()> {
        let mut arrivals = self.order.0.borrow_mut();
        let Some(place @ 1..) = arrivals.place_of(self.number) else {
            return Poll::Ready(());
        };
        if let Some(waiting) = arrivals.waiting.get_mut(place) {
            waiting.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut arrivals = self.order.0.borrow_mut();
        let Some(place) = arrivals.place_of(self.number) else {
            return;
        };
        arrivals.waiting.remove(place);
        if place == 0 {
            let next = arrivals.waiting.front_mut();
            if let Some(waker) = next.and_then(|next| next.waker.take()) {
                waker.wake();
            }
        }
    }
}

impl Arrivals {
    fn place_of(&self, number: u64) -> Option<usize> {
        let by_number = self
            .waiting
            .binary_search_by_key(&number, |request| request.number);
        by_number.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn is_first(arrival: &Arrival) -> bool {
        arrival
            .poll_first(&Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn the_first_is_who_arrived_first_of_those_that_still_wait() {
        let order = Rc::<ArrivalOrder>::default();
        let [first, second, third, last] = [(); 4].map(|()| order.arrive());
        assert!(is_first(&first) && !is_first(&second) && !is_first(&third));
        drop(second);
        assert!(is_first(&first) && !is_first(&third));
        drop(first);
        assert!(is_first(&third) && !is_first(&last));
        drop((third, last));
        assert!(order.is_empty() && is_first(&order.arrive()));
    }

    #[test]
    fn the_next_is_woken_when_the_first_leaves() {
        let order = Rc::<ArrivalOrder>::default();
        let [first, second, third] = [(); 3].map(|()| order.arrive());
        let wakes = Arc::new(Wakes::default());
        let counted = Arc::clone(&wakes).into();
        let cx = Context::from_waker(&counted);
        assert!(second.poll_first(&cx).is_pending() && third.poll_first(&cx).is_pending());
        drop(third);
        assert_eq!(wakes.0.load(Relaxed), 0);
        drop(first);
        assert_eq!(wakes.0.load(Relaxed), 1);
    }
}
