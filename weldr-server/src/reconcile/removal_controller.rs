//! The removal controller, which runs at the leader. It ends a removal when no node has a request left on the server,
//! and removes a server that a majority of the reporting nodes has seen unhealthy for too long.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{DrainReport, Handle, ProposeError},
    liveness::Tick,
    model::{Command, ServerId, Timestamp},
    snapshot::{Pools, ServerView, Snapshot, Snapshots},
};

use super::local_votes::LocalVotes;

/// The pause between two rounds of reports while a server is draining.
const LOOK: Duration = Duration::from_millis(20);
/// How often the drains of servers are measured.
const MEASURE: Duration = Duration::from_millis(100);
/// The pause while no server is draining, and after a command failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one command may take, including the reports from other nodes before it.
pub(super) const LONGEST_STEP: Duration = Duration::from_secs(15);

/// The task of the removal controller. It does nothing while this node is not the leader.
#[derive(Debug)]
pub(super) struct RemovalController {
    pub(super) tick: Tick,
    pub(super) cluster: Handle,
    pub(super) snapshots: Snapshots,
    pub(super) local_votes: LocalVotes,
}

/// What to do with a server.
#[derive(Debug)]
struct Decision {
    server: Arc<ServerView>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The removal ends. `cut`: it ends by its deadline, and requests may still be running.
    Gone { cut: bool },
    /// The server was unhealthy for too long and is removed.
    Deregister,
}

impl RemovalController {
    pub(super) async fn run(self, stop: CancellationToken) {
        let work = async { tokio::join!(self.measure_drains(), self.decide_while_leading()) };
        let _ = stop.run_until_cancelled(work).await;
    }

    /// Measures how long requests may still run on the servers that are being removed. Every node does, so that a new
    /// leader knows it. Returns when the reconciler has ended.
    async fn measure_drains(&self) {
        let drains = |snapshot: &Snapshot| !snapshot.pools.none_drains();
        while let Some(snapshot) = self.snapshots.wait_until(drains).await {
            for server in leaving(&snapshot.pools) {
                let _ = server.drain_left();
            }
            time::sleep(MEASURE).await;
        }
    }

    async fn decide_while_leading(&self) {
        let mut said = HashSet::new();
        loop {
            self.pause().await;
            self.tick.tick();
            if !self.cluster.leads() {
                continue;
            }
            let others = self.cluster.drain_reports_of_others().await;
            let snapshot = self.snapshots.current();
            let own = self.local_votes.report();
            let is_over =
                |server: &ServerView| server.drain_left().is_some_and(|left| left.is_zero());
            let decisions = decide(&snapshot.pools, &own, &others, is_over);
            said.retain(|id| decisions.iter().any(|decision| decision.id() == *id));
            for decision in decisions {
                if said.insert(decision.id()) {
                    decision.log();
                }
                self.carry_out(decision).await;
                self.tick.tick();
            }
        }
    }

    /// Waits until there may be something to decide.
    async fn pause(&self) {
        let snapshot = self.snapshots.current();
        let pause = if snapshot.pools.none_drains() {
            PAUSE
        } else {
            LOOK
        };
        // A new vote of this node ends the wait.
        let _ = time::timeout(pause, self.local_votes.changed()).await;
    }

    async fn carry_out(&self, decision: Decision) {
        match self.cluster.propose(decision.command()).await {
            Ok(_) | Err(ProposeError::Rejected(_) | ProposeError::ShuttingDown) => {}
            Err(
                error @ (ProposeError::NotDurable(_)
                | ProposeError::NoQuorum { .. }
                | ProposeError::Outdated(_)
                | ProposeError::Unknown { .. }),
            ) => {
                let error = &error as &(dyn std::error::Error + Sync);
                tracing::error!(%error, "a server cannot be removed; trying again");
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// The servers of all pools whose removal has begun.
fn leaving(pools: &Pools) -> impl Iterator<Item = &Arc<ServerView>> {
    pools.draining().flat_map(|pool| pool.leaving().iter())
}

/// The decisions that follow from the drain reports. `None` in `others` is a node that does not answer. `is_over` tells
/// whether running requests on a server that is being removed have had their time.
fn decide(
    pools: &Pools,
    own: &DrainReport,
    others: &[Option<DrainReport>],
    is_over: impl Fn(&ServerView) -> bool,
) -> Vec<Decision> {
    let all = || std::iter::once(own).chain(others.iter().flatten());
    let observers = || all().filter(|report| !report.abstains);
    let observing = observers().count();
    let end_of = |server: &Arc<ServerView>| {
        let id = server.desired.id.0;
        let finished = |report: &DrainReport| report.finished.contains(&id);
        // A node that does not answer may have requests running. They have until the deadline.
        let everywhere = finished(own)
            && others
                .iter()
                .all(|other| other.as_ref().is_some_and(finished));
        (everywhere || is_over(server)).then_some(End::Gone { cut: !everywhere })
    };
    let deregister = |server: &Arc<ServerView>| {
        let id = server.desired.id.0;
        let overdue = |report: &&DrainReport| report.overdue.contains(&id);
        let is_overdue = 2 * observers().filter(overdue).count() > observing;
        (is_overdue && server.desired.removal.is_none()).then_some(End::Deregister)
    };
    let ends = leaving(pools).map(|server| (server, end_of(server)));
    // This runs every few milliseconds while a server drains, and the pools may be large. So they are searched
    // only if a report names an overdue server.
    let has_overdue = observers().any(|report| !report.overdue.is_empty());
    let all = has_overdue
        .then(|| pools.iter().flat_map(|pool| pool.servers.iter()))
        .into_iter()
        .flatten();
    ends.chain(all.map(|server| (server, deregister(server))))
        .filter_map(|(server, end)| {
            let server = Arc::clone(server);
            Some(Decision { server, end: end? })
        })
        .collect()
}

impl Decision {
    fn id(&self) -> ServerId {
        self.server.desired.id
    }

    fn command(&self) -> Command {
        let desired = &self.server.desired;
        let pool = self.server.live.pool.name.clone();
        match self.end {
            End::Gone { .. } => Command::EndRemoval {
                pool,
                address: desired.address,
                id: desired.id,
            },
            End::Deregister => Command::BeginRemoval {
                pool,
                address: desired.address,
                id: Some(desired.id),
                deadline: None,
                expected: None,
                at: Timestamp::now(),
            },
        }
    }

    fn log(&self) {
        let desired = &self.server.desired;
        match self.end {
            End::Gone { cut } => {
                let in_flight = self.server.live.in_flight();
                tracing::info!(server = %desired.address, id = %desired.id, cut, in_flight, "server removed from the pool");
            }
            End::Deregister => tracing::warn!(
                server = %desired.address,
                id = %desired.id,
                reason = self.server.health.reason.as_str(),
                description = %self.server.health.description,
                "server is removed: it was unhealthy for longer than deregister_after"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        model::{
            Health, HealthCheck, PoolName, PoolSettings, Removal, Revision, Server, ServerSpec,
        },
        snapshot::{LivePool, LiveServer, PoolView},
    };

    /// A server that is not checked.
    fn server(pool: &Arc<LivePool>, id: u64, port: u16, drains: bool) -> Arc<ServerView> {
        let (address, id) = (([127, 0, 0, 1], port).into(), ServerId(id));
        let removal = drains.then_some(Removal {
            drain_deadline: Duration::from_secs(1),
            deadline: Timestamp(0),
        });
        Arc::new(ServerView {
            keeps_sessions: false,
            desired: Arc::new(Server {
                id,
                address,
                spec: ServerSpec::default(),
                removal,
                added_at: Timestamp(0),
                intent_since: Timestamp(0),
                revision: Revision(id.0),
            }),
            health: Health::initial(SystemTime::UNIX_EPOCH),
            check: HealthCheck::default(),
            live: LiveServer::new(Arc::clone(pool), id, address).0,
        })
    }

    fn pool(name: &str, servers: impl FnOnce(&Arc<LivePool>) -> Vec<Arc<ServerView>>) -> PoolView {
        let live = LivePool::new(name.parse().unwrap(), 1);
        let servers = servers(&live);
        PoolView::new(live, PoolSettings::default(), Revision(2), servers)
    }

    fn finished(ids: &[u64]) -> DrainReport {
        DrainReport {
            finished: ids.iter().copied().collect(),
            ..DrainReport::default()
        }
    }

    fn overdue(ids: &[u64]) -> DrainReport {
        DrainReport {
            overdue: ids.iter().copied().collect(),
            ..DrainReport::default()
        }
    }

    fn decided(own: &DrainReport, others: &[Option<DrainReport>]) -> Vec<(u64, End)> {
        decided_when(own, others, false)
    }

    fn decided_when(
        own: &DrainReport,
        others: &[Option<DrainReport>],
        is_over: bool,
    ) -> Vec<(u64, End)> {
        let default = pool("default", |live| {
            vec![server(live, 1, 1, true), server(live, 2, 2, false)]
        });
        let decisions = decide(&Pools::new(default), own, others, |_| is_over);
        decisions
            .iter()
            .map(|decision| (decision.id().0, decision.end))
            .collect()
    }

    #[test]
    fn a_removal_ends_when_nothing_runs_anywhere() {
        let gone = [(1, End::Gone { cut: false })];
        assert_eq!(decided(&finished(&[1]), &[]), gone);
        assert_eq!(decided(&finished(&[1]), &[Some(finished(&[1]))]), gone);
        assert_eq!(decided(&finished(&[1]), &[Some(finished(&[]))]), []);
        assert_eq!(decided(&finished(&[]), &[Some(finished(&[1]))]), []);
        assert_eq!(decided(&finished(&[1]), &[None]), [], "it may run there");
    }

    #[test]
    fn a_removal_ends_at_its_deadline_whatever_runs() {
        let cut = [(1, End::Gone { cut: true })];
        assert_eq!(decided_when(&finished(&[]), &[None], true), cut);
        assert_eq!(decided_when(&finished(&[]), &[None], false), []);
    }

    #[test]
    fn a_majority_of_those_who_report_removes_a_server() {
        let removed = [(2, End::Deregister)];
        assert_eq!(decided(&overdue(&[2]), &[]), removed);
        let (yes, no) = (Some(overdue(&[2])), Some(overdue(&[])));
        assert_eq!(decided(&overdue(&[]), &[yes.clone(), yes.clone()]), removed);
        assert_eq!(decided(&overdue(&[2]), &[yes.clone(), no.clone()]), removed);
        assert_eq!(decided(&overdue(&[2]), &[no.clone(), no.clone()]), []);
        assert_eq!(
            decided(&overdue(&[2]), &[no, None]),
            [],
            "half is not enough"
        );
        assert_eq!(decided(&overdue(&[2]), &[yes, None]), removed);
    }

    #[test]
    fn a_witness_has_no_say_in_whether_a_server_is_unhealthy() {
        let witness = |ids: &[u64]| DrainReport {
            abstains: true,
            ..overdue(ids)
        };
        let removed = [(2, End::Deregister)];
        let (yes, no) = (overdue(&[2]), overdue(&[]));
        assert_eq!(decided(&yes, &[None, Some(witness(&[]))]), removed);
        assert_eq!(decided(&no, &[Some(yes), Some(witness(&[2]))]), []);
        assert_eq!(decided(&witness(&[2]), &[]), []);
    }

    #[test]
    fn a_decision_is_about_the_server_of_one_pool_though_another_has_its_address() {
        let (port, drains) = (1, true);
        let mut pools = Pools::new(pool("default", |live| vec![server(live, 1, port, drains)]));
        pools.put(pool("web", |live| vec![server(live, 2, port, drains)]));
        pools.put(pool("api", |live| vec![server(live, 3, port, false)]));
        let reports = DrainReport {
            overdue: [3].into(),
            ..finished(&[2])
        };
        let decisions = decide(&pools, &reports, &[], |_| false);
        let commands: Vec<_> = decisions.iter().map(Decision::command).collect();
        let (web, api): (PoolName, PoolName) = ("web".parse().unwrap(), "api".parse().unwrap());
        let [ended, begun] = commands.try_into().unwrap();
        assert!(matches!(ended, Command::EndRemoval { pool, id: ServerId(2), .. } if pool == web));
        assert!(
            matches!(begun, Command::BeginRemoval { pool, id: Some(ServerId(3)), .. } if pool == api)
        );
    }
}
