//! Drains the clients of the virtual addresses before this node hands its leadership over, so that no request is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time};
use weldr_proto::raft::v1::VirtualAddress;

use crate::{
    clock::dates,
    cluster::StepDownHook,
    model::Timestamp,
    proxy::HandOver,
    stats::{ClientShard, Sharded, Totals},
    vip::{AddressStatus, GuardStatus, Mac, Standing, shown_mac},
};

/// How long responses ask clients to close their connections while new connections are accepted. After this time,
/// connections without a request are parked, and closing them loses no request.
const CLOSING: Duration = Duration::from_millis(300);
/// How long the last accepted connections have to send a request, before connections without one are closed.
const SHUT: Duration = Duration::from_millis(40);
/// How long running requests may take after that.
const LAST: Duration = Duration::from_millis(160);
/// How long the workers have to reset the connections that are left. They need a millisecond, and longer on a busy machine: a client
/// whose connection is neither closed nor reset waits for its own timeout.
const RESET: Duration = Duration::from_millis(300);
/// The pause between two checks for open connections.
const LOOK: Duration = Duration::from_millis(2);

/// The step-down hook of the virtual addresses: drains their clients, and waits until the addresses are removed.
#[derive(Debug)]
pub(super) struct ClientDrain {
    pub(super) hand_over: watch::Sender<HandOver>,
    pub(super) clients: Arc<Sharded<ClientShard>>,
    pub(super) addresses: watch::Receiver<Vec<AddressStatus>>,
    /// The guard of the addresses, and whether their interface has a link: for the status of the cluster.
    pub(super) guard: watch::Receiver<Option<GuardStatus>>,
    pub(super) conflicts: watch::Receiver<Vec<Option<Mac>>>,
    pub(super) linked: Option<watch::Receiver<bool>>,
    /// How long the removal of the addresses may take.
    pub(super) release: Duration,
}

impl ClientDrain {
    /// Closes all connections, because no response can be sent from an address that this node no longer has: first
    /// connections with requests, after their responses, then idle ones. Between these steps no new connection is
    /// accepted, which delays a new client until it repeats its SYN.
    async fn send_clients_away(&self) {
        if !self.addresses.borrow().iter().any(is_here) {
            return;
        }
        self.hand_over.send_replace(HandOver::Closing);
        time::sleep(CLOSING).await;
        self.hand_over.send_replace(HandOver::Shut);
        time::sleep(SHUT).await;
        self.hand_over.send_replace(HandOver::Closed);
        if time::timeout(LAST, self.are_gone()).await.is_ok() {
            return;
        }
        let open = Totals::sum(&self.clients).detail.connections;
        tracing::warn!(
            open,
            "open connections are reset, because the virtual addresses move to another node"
        );
        // While the address is here, so that the clients hear of it.
        self.hand_over.send_replace(HandOver::Reset);
        let _ = time::timeout(RESET, self.are_gone()).await;
    }

    /// Returns when no client is connected.
    async fn are_gone(&self) {
        while Totals::sum(&self.clients).detail.connections > 0 {
            time::sleep(LOOK).await;
        }
    }

    async fn have_left(&self) -> Result<(), String> {
        let mut addresses = self.addresses.clone();
        let left = addresses.wait_for(|addresses| !addresses.iter().any(is_here));
        match time::timeout(self.release, left).await {
            // An error means that the thread of the addresses has ended, and has removed them.
            Ok(_) => Ok(()),
            Err(_) => Err("the virtual addresses are not dropped".to_owned()),
        }
    }
}

/// Whether this node has the address, or may have it.
pub(super) fn is_here(status: &AddressStatus) -> bool {
    !matches!(status.standing, Standing::Absent(_))
}

/// How long it is said of a guard that it was started again.
const RESTART_TOLD: Duration = Duration::from_hours(1);

fn guard_word(guard: GuardStatus) -> &'static str {
    let recently = |restarted: Instant| restarted.elapsed() < RESTART_TOLD;
    if !guard.runs {
        "failed"
    } else if guard.restarted.is_some_and(recently) {
        "restarted"
    } else {
        "running"
    }
}

fn link_word(linked: bool) -> &'static str {
    if linked { "up" } else { "down" }
}

impl StepDownHook for ClientDrain {
    fn prepare(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.send_clients_away())
    }

    fn released(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.have_left())
    }

    fn max_duration(&self) -> Duration {
        CLOSING + SHUT + LAST + RESET + self.release
    }

    fn addresses(&self) -> Vec<VirtualAddress> {
        let addresses = self.addresses.borrow();
        let guard = *self.guard.borrow();
        let link = self.linked.as_ref().map(|linked| *linked.borrow());
        let conflicts = self.conflicts.borrow();
        let told = |(at, status): (usize, &AddressStatus)| VirtualAddress {
            address: status.address.to_string(),
            interface: status.interface.clone(),
            held: status.standing == Standing::Holding,
            standing: status.standing.to_string(),
            since: Timestamp::from(dates::shown(status.since.into())).0,
            failing: matches!(status.standing, Standing::Failing(_)),
            guard: guard.map(guard_word).unwrap_or_default().to_owned(),
            guard_restarts: guard.map_or(0, |guard| guard.restarts),
            link: link.map(link_word).unwrap_or_default().to_owned(),
            conflict: conflicts
                .get(at)
                .copied()
                .flatten()
                .map_or_else(String::new, shown_mac),
        };
        addresses.iter().enumerate().map(told).collect()
    }

    fn resume(&self) {
        self.hand_over.send_replace(HandOver::None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::vip::Absence;

    const RELEASE: Duration = Duration::from_secs(11);
    const NOT_LEADER: Standing = Standing::Absent(Absence::NotLeader);

    struct Stage {
        drain: ClientDrain,
        told: watch::Receiver<HandOver>,
        statuses: watch::Sender<Vec<AddressStatus>>,
    }

    fn stage(standing: Standing) -> Stage {
        let status = AddressStatus {
            address: "10.0.0.100/24".parse().unwrap(),
            interface: "eth0".to_owned(),
            standing,
            since: Timestamp(0),
        };
        let statuses = watch::Sender::new(vec![status]);
        let hand_over = watch::Sender::new(HandOver::None);
        Stage {
            told: hand_over.subscribe(),
            drain: ClientDrain {
                hand_over,
                clients: Arc::new(Sharded::new(1)),
                addresses: statuses.subscribe(),
                guard: watch::Sender::new(None).subscribe(),
                conflicts: watch::Sender::new(Vec::new()).subscribe(),
                linked: None,
                release: RELEASE,
            },
            statuses,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_waited_for_no_longer_than_it_may_take() {
        let stage = stage(Standing::Holding);
        let begun = Instant::now();
        stage.drain.prepare().await;
        assert_eq!(begun.elapsed(), CLOSING + SHUT, "nobody was there");
        assert_eq!(*stage.told.borrow(), HandOver::Closed);

        stage.drain.clients.of(0).connections.rise();
        let begun = Instant::now();
        stage.drain.prepare().await;
        assert!(
            begun.elapsed() >= CLOSING + SHUT + LAST,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(*stage.told.borrow(), HandOver::Reset, "it was told last");
        stage.drain.resume();
        assert_eq!(*stage.told.borrow(), HandOver::None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_where_no_address_is() {
        let stage = stage(NOT_LEADER);
        let begun = Instant::now();
        stage.drain.prepare().await;
        assert!(!stage.told.has_changed().unwrap());
        assert_eq!(stage.drain.released().await, Ok(()));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn it_returns_when_the_addresses_have_left_and_says_when_they_do_not() {
        let stage = stage(Standing::Failing("it may be here".to_owned()));
        let begun = Instant::now();
        assert!(stage.drain.released().await.is_err());
        assert_eq!(begun.elapsed(), RELEASE);
        assert!(stage.drain.max_duration() > RELEASE);
        let later = async {
            time::sleep(Duration::from_millis(70)).await;
            stage
                .statuses
                .send_modify(|statuses| statuses[0].standing = NOT_LEADER);
        };
        let begun = Instant::now();
        let (left, ()) = tokio::join!(stage.drain.released(), later);
        assert_eq!(left, Ok(()));
        assert_eq!(begun.elapsed(), Duration::from_millis(70));
    }
}
