//! What decides whether a node may hold its virtual addresses.

use std::{
    future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{ownership::Eligibility, status::Absence};
use crate::model::OnLostQuorum;

/// For how long addresses are kept without a lease if the process does not look again: that of a process that is stopped
/// is then over.
const KEPT: Duration = Duration::from_secs(3);

/// The sources of a node's eligibility.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Until when this node is certainly the leader; `None` if it is not. A dropped sender means `None`.
    pub lease: watch::Receiver<Option<Instant>>,
    /// Whether this node was the last leader as far as it knows, with or without a quorum. A dropped sender means that it
    /// was not.
    pub led_last: watch::Receiver<bool>,
    /// Whether the data path serves. A dropped sender means that it does not.
    pub serving: watch::Receiver<bool>,
    /// What the guard tells others when this process is dead and its addresses are removed. `None`, or a dropped sender:
    /// nothing.
    pub last_words: watch::Receiver<Option<Arc<str>>>,
}

/// [`Inputs`], what this room observes itself, and the stop of the node, as one value that changes.
#[derive(Debug)]
pub(super) struct Sources {
    lease: Source<Option<Instant>>,
    led_last: Source<bool>,
    on_lost_quorum: OnLostQuorum,
    /// Whether the node was entitled to the addresses at the last look.
    was_entitled: bool,
    /// Whether the node keeps the addresses without a lease.
    keeps: bool,
    serving: Source<bool>,
    linked: Source<bool>,
    guarded: Source<bool>,
    stop: CancellationToken,
}

/// What this room observes itself.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// Whether the interface has a link.
    pub(super) linked: watch::Receiver<bool>,
    /// Whether the guard runs, or is not needed.
    pub(super) guarded: watch::Receiver<bool>,
}

impl Sources {
    pub(super) fn new(
        inputs: Inputs,
        observed: Observed,
        on_lost_quorum: OnLostQuorum,
        stop: CancellationToken,
    ) -> Self {
        Self {
            lease: Source::new(inputs.lease),
            led_last: Source::new(inputs.led_last),
            on_lost_quorum,
            was_entitled: false,
            keeps: false,
            serving: Source::new(inputs.serving),
            linked: Source::new(observed.linked),
            guarded: Source::new(observed.guarded),
            stop,
        }
    }

    /// The current eligibility.
    pub(super) fn eligibility(&mut self) -> Eligibility {
        let eligibility = Eligibility {
            lease: self.lease.newest(),
            obstacle: self.obstacle(),
            stopping: self.stop.is_cancelled(),
        };
        let now = time::Instant::now().into_std();
        let led_last = self.led_last.newest();
        let end = eligibility.end(now);
        // Whoever had to give the addresses up for any other reason does not take them again without a lease.
        self.keeps = self.on_lost_quorum == OnLostQuorum::Keep
            && self.was_entitled
            && led_last
            && matches!(end, Err(Absence::LeaseOver | Absence::NotLeader));
        self.was_entitled = self.keeps || end.is_ok();
        Eligibility {
            lease: if self.keeps {
                Some(now + KEPT)
            } else {
                eligibility.lease
            },
            ..eligibility
        }
    }

    /// Whether the node keeps the addresses without a lease, as of the last look.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    fn obstacle(&mut self) -> Option<Absence> {
        // All are read, so that each change is seen once.
        let conditions = [
            (self.serving.newest(), Absence::NotServing),
            (self.linked.newest(), Absence::NoLink),
            (self.guarded.newest(), Absence::NoGuard),
        ];
        let missing = conditions.into_iter().find(|(holds, _)| !holds);
        missing.map(|(_, absence)| absence)
    }

    /// Waits until the eligibility may have changed.
    pub(super) async fn changed(&mut self) {
        let stopping = self.stop.is_cancelled();
        tokio::select! {
            () = self.stop.cancelled(), if !stopping => {}
            () = self.serving.changed() => {}
            () = self.lease.changed() => {}
            () = self.led_last.changed() => {}
            () = self.linked.changed() => {}
            () = self.guarded.changed() => {}
        }
    }

    /// Waits until the eligibility may have changed, at most until `wake`.
    pub(super) async fn changed_before(&mut self, wake: Option<Instant>) {
        match wake {
            Some(wake) => {
                let _ = time::timeout_at(wake.into(), self.changed()).await;
            }
            None => self.changed().await,
        }
    }
}

/// A watched value that becomes its default, which gives no eligibility, when its sender is dropped.
#[derive(Debug)]
struct Source<T> {
    watched: watch::Receiver<T>,
    is_open: bool,
}

impl<T: Copy + Default> Source<T> {
    fn new(watched: watch::Receiver<T>) -> Self {
        Self {
            watched,
            is_open: true,
        }
    }

    fn newest(&mut self) -> T {
        if self.watched.has_changed().is_err() {
            return T::default();
        }
        *self.watched.borrow_and_update()
    }

    async fn changed(&mut self) {
        if !self.is_open {
            return future::pending().await;
        }
        self.is_open = self.watched.changed().await.is_ok();
    }
}
