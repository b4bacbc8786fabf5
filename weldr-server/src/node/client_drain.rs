//! How the virtual addresses leave this node without a request being lost, before it hands its leadership over.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time};
use weldr_proto::raft::v1::VirtualAddress;

use crate::{
    cluster::StepDownHook,
    proxy::HandOver,
    stats::{ClientShard, Sharded, Totals},
    vip::{AddressStatus, Standing},
};

/// For how long answers tell clients to close, and others still come: until those that ask nothing are parked, so that
/// closing them loses no request.
const CLOSING: Duration = Duration::from_millis(300);
/// How long those who came last have for their request, before connections without one are closed.
const SHUT: Duration = Duration::from_millis(40);
/// How long what still runs may take then.
const LAST: Duration = Duration::from_millis(160);
/// Between two looks whether a connection is left.
const LOOK: Duration = Duration::from_millis(2);

/// Sends clients away from the virtual addresses, and sees them leave.
#[derive(Debug)]
pub(super) struct ClientDrain {
    pub(super) hand_over: watch::Sender<HandOver>,
    pub(super) clients: Arc<Sharded<ClientShard>>,
    pub(super) addresses: watch::Receiver<Vec<AddressStatus>>,
    /// How long dropping the addresses may take.
    pub(super) release: Duration,
}

impl ClientDrain {
    /// Clients cannot be answered from an address that has left, so they end before: first those that ask, then those
    /// that are idle. Nobody is let in between, which costs a new client the time until it repeats its SYN.
    async fn send_clients_away(&self) {
        if !self.addresses.borrow().iter().any(is_here) {
            return;
        }
        self.hand_over.send_replace(HandOver::Closing);
        time::sleep(CLOSING).await;
        self.hand_over.send_replace(HandOver::Shut);
        time::sleep(SHUT).await;
        self.hand_over.send_replace(HandOver::Closed);
        let gone = async {
            while Totals::sum(&self.clients).detail.connections > 0 {
                time::sleep(LOOK).await;
            }
        };
        if time::timeout(LAST, gone).await.is_err() {
            let open = Totals::sum(&self.clients).detail.connections;
            tracing::warn!(
                open,
                "connections that still run are cut: the virtual addresses leave"
            );
        }
    }

    async fn have_left(&self) -> Result<(), String> {
        let mut addresses = self.addresses.clone();
        let left = addresses.wait_for(|addresses| !addresses.iter().any(is_here));
        match time::timeout(self.release, left).await {
            // An error is a thread of the addresses that has ended, and dropped them.
            Ok(_) => Ok(()),
            Err(_) => Err("the virtual addresses are not dropped".to_owned()),
        }
    }
}

/// Whether the address is on this node; also one that may be.
pub(super) fn is_here(status: &AddressStatus) -> bool {
    !matches!(status.standing, Standing::Absent(_))
}

impl StepDownHook for ClientDrain {
    fn prepare(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.send_clients_away())
    }

    fn released(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.have_left())
    }

    fn max_duration(&self) -> Duration {
        CLOSING + SHUT + LAST + self.release
    }

    fn addresses(&self) -> Vec<VirtualAddress> {
        let addresses = self.addresses.borrow();
        let told = |status: &AddressStatus| VirtualAddress {
            address: status.address.to_string(),
            interface: status.interface.clone(),
            held: status.standing == Standing::Holding,
            standing: status.standing.to_string(),
            since: status.since.0,
            failing: matches!(status.standing, Standing::Failing(_)),
        };
        addresses.iter().map(told).collect()
    }

    fn resume(&self) {
        self.hand_over.send_replace(HandOver::None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{model::Timestamp, vip::Absence};

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
