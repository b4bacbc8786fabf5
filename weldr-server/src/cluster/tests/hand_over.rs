//! Hand-overs in clusters of three nodes in one process.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::Notify, task, time};
use weldr_proto::raft::v1::VirtualAddress;

use super::*;
use crate::cluster::{
    ChangeError, Handle, Log, NetworkOptions, StepDownHook, open::open_store,
    storage::store::OpenedStore,
};

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(20);

/// Three voters. The first one is the leader.
pub(super) struct Three {
    pub(super) nodes: Vec<Handle>,
    logs: Vec<Log>,
    _files: TempDir,
}

impl Three {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// [`Self::start`] with the third on a disk of its own; the others keep nothing.
    pub(super) async fn start_with(mut last_store: Option<OpenedStore>) -> Self {
        let files = tempdir().unwrap();
        let secret = files.path().join("secret");
        std::fs::write(&secret, "open sesame, open sesame").unwrap();
        let mut three = Self {
            nodes: Vec::new(),
            logs: Vec::new(),
            _files: files,
        };
        let mut join = Vec::new();
        for name in ["a", "b", "c"] {
            let network = NetworkOptions {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                advertise: None,
                join: join.clone(),
                join_token: None,
                found: Some(Duration::ZERO),
                max_connections: 256,
                accept_previous: false,
                secret_file: Some(secret.clone()),
                tls: None,
            };
            let options = StoreOptions {
                name: name.to_owned(),
                network: Some(network),
                ..StoreOptions::default()
            };
            let store = last_store.take_if(|_| name == "c");
            let opened = task::spawn_blocking(|| open_store(options, store))
                .await
                .unwrap()
                .unwrap();
            if join.is_empty() {
                let status = opened.handle.status().await.unwrap();
                join.push(status.nodes[0].address.parse().unwrap());
            }
            three.nodes.push(opened.handle);
            three.logs.push(opened.log);
        }
        three.is_led_by("a").await;
        let whole = async {
            while !three.nodes.iter().all(knows_three_voters) {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(LIMIT, whole).await.expect("three voters");
        three
    }

    pub(super) async fn is_led_by(&self, name: &str) {
        let led = async {
            loop {
                let status = self.nodes[0].status().await.unwrap();
                let votes = status
                    .nodes
                    .iter()
                    .all(|node| node.votes && node.report.is_some());
                if status.leader.as_deref() == Some(name) && votes {
                    return;
                }
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(LIMIT, led).await.expect("another leader");
    }

    pub(super) async fn stop(self) {
        for log in self.logs {
            log.stop().await;
        }
    }
}

/// Whether the membership with three voters is committed.
fn knows_three_voters(node: &Handle) -> bool {
    let config = node.core().metrics().unwrap().committed_membership_config;
    let sets = config.membership().get_joint_config();
    matches!(&sets[..], [voters] if voters.len() == 3)
}

fn refusal(refused: Result<(), ChangeError>) -> String {
    match refused {
        Err(ChangeError::Refused(said)) => said,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_not_asked_to_lead() {
    let three = Three::start().await;
    let [a, b, c] = &three.nodes[..] else {
        panic!("three")
    };
    b.leave();
    let said = refusal(a.transfer("b".to_owned()).await);
    let sentence = "b cannot lead, because it stops, or has no data path; a goes on leading";
    assert_eq!(said, sentence);
    c.leave();
    let said = refusal(a.step_down().await);
    assert!(
        said.ends_with("cannot lead, because it stops, or has no data path; a goes on leading"),
        "{said}"
    );
    three.is_led_by("a").await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_stays_is_asked_to_lead() {
    let three = Three::start().await;
    three.nodes[1].leave();
    three.nodes[0].leave();
    three.nodes[0].step_down().await.unwrap();
    three.is_led_by("c").await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_asks_for_no_votes() {
    let mut three = Three::start().await;
    three.nodes[1].leave();
    three.logs.remove(0).stop().await;
    let mut lease = three.nodes[2].leadership();
    let leads = time::timeout(LIMIT, lease.wait_for(Option::is_some));
    leads.await.expect("the one that stays").unwrap();
    three.stop().await;
}

/// A hook that takes some time to release.
#[derive(Debug, Default)]
struct Slow {
    begun: Notify,
    goes: Notify,
}

impl StepDownHook for Slow {
    fn prepare(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.begun.notify_one();
            self.goes.notified().await;
        })
    }

    fn released(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn max_duration(&self) -> Duration {
        LIMIT
    }

    fn addresses(&self) -> Vec<VirtualAddress> {
        Vec::new()
    }

    fn resume(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_hand_over_that_is_under_way() {
    let three = Three::start().await;
    let slow = Arc::new(Slow::default());
    let a = three.nodes[0].clone();
    a.set_step_down_hook(Arc::<Slow>::clone(&slow));
    let in_flight = tokio::spawn({
        let a = a.clone();
        async move { a.transfer("b".to_owned()).await }
    });
    time::timeout(LIMIT, slow.begun.notified()).await.unwrap();
    let said = refusal(a.transfer("c".to_owned()).await);
    assert_eq!(said, "another hand-over is under way");
    let stepped_down = a.step_down();
    tokio::pin!(stepped_down);
    let early = time::timeout(Duration::from_millis(50), &mut stepped_down).await;
    assert!(early.is_err(), "{early:?}");
    slow.goes.notify_one();
    time::timeout(LIMIT, stepped_down).await.unwrap().unwrap();
    in_flight.await.unwrap().unwrap();
    three.is_led_by("b").await;
    three.stop().await;
}
