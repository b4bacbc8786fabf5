//! A running node: starts its parts in order, and stops them.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use futures_util::future::join_all;
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{service::interceptor::InterceptedService, transport::Server};
use tracing::{error, info, warn};
use uuid::Uuid;
use weldr_proto::raft::v1::{self, raft_server::RaftServer};

use crate::{model::PoolSettings, secrets::Secrets};

use super::{
    error::{OpenError, RecoveryError},
    introduction,
    leadership::{candidacy, lease},
    log::{
        convert,
        proposal::{Proposal, Record},
        types::{Member, StoredMembership},
    },
    membership::{
        background,
        join::{self, Joined},
        observation,
    },
    network::{
        authentication::Authentication,
        connections::Connections,
        founding::{self, Called},
        incoming::incoming,
        peers::{LONGEST_MESSAGE, Peers},
        sizes::{BySize, LONGEST_OF_STRANGERS},
    },
    options::{NetworkOptions, StoreOptions},
    raft::{
        contacts::LastContacts,
        core::{Core, OfCore, Role},
        engine,
        facts::StartFacts,
        invite_ages::InviteAges,
        key_copies::KeyCopies,
        sightings::Sightings,
        voting_rights::VotingRights,
    },
    sealing::search,
    service::RaftService,
    storage::{
        disk::Disk,
        log_store::LogStore,
        node_files::{NodeFile, NodeFiles},
        persistent_state::{Identity, PersistentState, StorageChange},
        recovery::{self, Recovery},
        state_machine::StateMachine,
        store::{OpenedStore, Store},
    },
};

/// How long a start waits for the state to be ready.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop waits for proposals in flight, and then for tasks.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stop waits for the disk: for the engine, which may wait for a write, and for the database to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a voter may take to respond before its majority counts as lost.
const RESPONSE_PATIENCE: Duration = Duration::from_secs(2);

/// The number of calls at the same time on one connection of another node.
const MOST_CALLS: u32 = 1024;

/// The number of notices of deaths that may wait. More are lost.
const WAITING_NOTICES: usize = 16;
/// How long the task that publishes the lease may be busy with a hand-over, which may wait for a hook.
const LONGEST_HAND_OVER: Duration = Duration::from_secs(20);

/// How long a round of the task that observes the other nodes may take.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// A running node.
pub(super) struct RunningNode {
    pub(super) core: Arc<Core>,
    tasks: TaskTracker,
    /// Whether the node founded a new cluster.
    pub(super) is_new: bool,
}

/// The bound listener for other nodes, and the address under which they know it.
struct PeerListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl RunningNode {
    pub(super) async fn start(
        options: StoreOptions,
        store: Option<OpenedStore>,
    ) -> Result<Self, OpenError> {
        let (mut persistent, mut store) = match store {
            Some(OpenedStore {
                store, persistent, ..
            }) => (persistent, Some(store)),
            None => (PersistentState::new(Identity::random()), None),
        };
        introduction::warn_of_wide_files(options.network.as_ref());
        introduction::warn_of_previous(options.network.as_ref());
        let network = options.network.as_ref().map(listen).transpose()?;
        let files = NodeFiles::new(options.data_dir.as_deref());
        let credentials =
            introduction::credentials(&persistent.identity, options.network.as_ref(), &files)?;
        let peers = introduction::peers(&persistent, &options, &credentials, &files)?;
        let member = Member {
            name: options.name.clone(),
            keys: match network {
                Some(_) => credentials.member_keys(),
                None => Vec::new(),
            },
            address: network
                .as_ref()
                .map(|network| network.address.to_string())
                .unwrap_or_default(),
        };
        let peers = if options.recover {
            recover(&mut persistent, store.as_mut(), &peers, &member).await?;
            introduction::peers(&persistent, &options, &credentials, &files)?
        } else {
            peers
        };
        let disk = match store {
            Some(store) => Some(Disk::start(store, persistent.clone())?),
            None => None,
        };
        let log = LogStore::new(persistent, disk);
        let begun = Self::begin(&options, network, peers, member, log.clone(), &files).await;
        if begun.is_err()
            && let Some(disk) = log.disk()
        {
            disk.close().await;
        }
        begun
    }

    async fn begin(
        options: &StoreOptions,
        network: Option<PeerListener>,
        peers: Peers,
        member: Member,
        log: LogStore,
        files: &NodeFiles,
    ) -> Result<Self, OpenError> {
        let secrets = Secrets::load(options.data_dir.as_deref())?;
        let bound = network.as_ref().zip(options.network.as_ref());
        let was_member = log.persistent().identity.cluster.is_some();
        let identity = found_or_join(&log, &peers, &member, bound, files).await?;
        let joined = !was_member && !identity.founder;
        // The state machine has a token of its own: it stops with the engine, after the last proposals are answered.
        let machine = StateMachine::new(log.clone(), CancellationToken::new());
        let core = Arc::new(Core {
            member,
            witness: options.witness,
            timing: options.failover.into(),
            raft: watch::Sender::new(None),
            machine,
            log,
            peers,
            lease: watch::Sender::new(None),
            last_words: watch::Sender::new(None),
            led_last: watch::Sender::new(false),
            heard: Mutex::default(),
            dead_term: AtomicU64::new(0),
            leader_lost: tokio::sync::Notify::new(),
            leaving: AtomicBool::new(false),
            lease_withheld: AtomicBool::new(false),
            handing_over: tokio::sync::Mutex::default(),
            step_down_hook: Mutex::default(),
            handed_over: AtomicU64::new(0),
            voting_rights: VotingRights::default(),
            sightings: Sightings::default(),
            sightings_of_members: Sightings::default(),
            removed: AtomicBool::new(false),
            invite_ages: InviteAges::default(),
            rotating: tokio::sync::Mutex::default(),
            secrets,
            key_copies: KeyCopies::default(),
            files: files.clone(),
            network: options.network.clone(),
            role: Mutex::new(Role {
                state: openraft::ServerState::Learner,
                since: Instant::now(),
            }),
            reporter: Mutex::default(),
            drain_report: Mutex::default(),
            readiness: Mutex::default(),
            backups: Mutex::default(),
            listeners: Mutex::default(),
            holder_claim: Mutex::default(),
            last_contacts: LastContacts::default(),
            facts: StartFacts::read(options),
            tasks: options.tasks.clone(),
            in_flight: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        core.peers.roster().follow(OfCore(Arc::downgrade(&core)));
        let running = Self {
            core,
            tasks: TaskTracker::new(),
            is_new: false,
        };
        match running.launch(network, options, identity, joined).await {
            Ok(is_new) => Ok(Self { is_new, ..running }),
            Err(error) => {
                running.core.stop.cancel();
                running.stop().await;
                Err(error)
            }
        }
    }

    /// Starts the engine and all tasks, and waits until there is a state to serve. Returns whether the cluster is new.
    async fn launch(
        &self,
        network: Option<PeerListener>,
        options: &StoreOptions,
        identity: Identity,
        joined: bool,
    ) -> Result<bool, OpenError> {
        self.core.start_engine().await?;
        self.serve(network, options.network.as_ref())?;
        self.spawn_tasks();
        self.settle(identity, joined, &options.initial).await
    }

    /// Starts to serve other nodes.
    fn serve(
        &self,
        network: Option<PeerListener>,
        options: Option<&NetworkOptions>,
    ) -> Result<(), OpenError> {
        let (Some(network), Some(options)) = (network, options) else {
            return Ok(());
        };
        let refused = |source| OpenError::Listen {
            address: options.listen,
            source,
        };
        network.listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(network.listener).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let core = &self.core;
        let service = Arc::new(RaftService(Arc::clone(core)));
        let up_to = |longest: usize| {
            let service = RaftServer::from_arc(Arc::clone(&service))
                .max_decoding_message_size(longest)
                .max_encoding_message_size(LONGEST_MESSAGE);
            InterceptedService::new(service, Authentication(core.peers.clone()))
        };
        let service = BySize {
            of_strangers: up_to(LONGEST_OF_STRANGERS),
            of_members: up_to(LONGEST_MESSAGE),
        };
        let router = Server::builder()
            .max_concurrent_streams(MOST_CALLS)
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(5)))
            .add_service(service);
        let stop = core.stop.clone();
        let cluster = core.peers.cluster().map(tracing::field::display);
        info!(%address, cluster, "cluster listening");
        let connections = Connections::new(options.max_connections);
        let peers = core.peers.clone();
        let (hear, notices) = mpsc::channel(WAITING_NOTICES);
        let tick = core.tasks.register("notices of deaths");
        let notices = candidacy::hear_of_deaths(Arc::clone(core), notices, tick.clone());
        self.tasks.spawn(tick.watch(notices));
        let tick = core.tasks.register_silent("service for the other nodes");
        self.tasks.spawn(tick.watch(async move {
            // Connections of other nodes do not end by themselves, so the server is dropped at the stop.
            let incoming = incoming(listener, hear, connections, peers);
            let served = router.serve_with_incoming(incoming);
            if let Some(Err(error)) = stop.run_until_cancelled(served).await {
                error!(%error, "the listener for other nodes has failed");
            }
        }));
        Ok(())
    }

    fn spawn_tasks(&self) {
        let core = &self.core;
        if let Some(disk) = core.log.disk().cloned() {
            let (tick, stop) = (
                core.tasks.register("watch of the database"),
                core.stop.clone(),
            );
            let watch = async move { stop.run_until_cancelled(disk.watch(tick.clone())).await };
            self.tasks.spawn(watch);
        }
        let tick = core.tasks.register("supervisor of the consensus engine");
        let supervise = engine::supervise(Arc::clone(core), tick.clone());
        self.tasks.spawn(tick.watch(supervise));
        let tick = core.tasks.register_slow("leader lease", LONGEST_HAND_OVER);
        let watch = lease::watch(Arc::clone(core), tick.clone());
        self.tasks.spawn(tick.watch(watch));
        if !core.member.address.is_empty() {
            let tick = core
                .tasks
                .register_slow("observation of the other nodes", LONGEST_LOOK);
            let observe = observation::observe(Arc::clone(core), tick.clone());
            self.tasks.spawn(tick.watch(observe));
            let tick = core.tasks.register("elections");
            let stand = candidacy::stand(Arc::clone(core), tick.clone());
            self.tasks.spawn(tick.watch(stand));
            let tick = core.tasks.register("promotion of learners");
            let promote = background::promote(Arc::clone(core), tick.clone());
            self.tasks.spawn(tick.watch(promote));
        }
        let tick = core
            .tasks
            .register_slow("search of sealing keys", search::LONGEST_ROUND);
        let search = search::search(Arc::clone(core), tick.clone());
        self.tasks.spawn(tick.watch(search));
        self.tasks.spawn(background::announce(Arc::clone(core)));
    }

    /// Waits until there is a state to serve, and founds the cluster if this node is its founder. `joined`: the node became a
    /// member just now. Returns whether the cluster is new.
    async fn settle(
        &self,
        identity: Identity,
        joined: bool,
        initial: &PoolSettings,
    ) -> Result<bool, OpenError> {
        let core = &self.core;
        let raft = core
            .raft()
            .ok_or_else(|| OpenError::engine("it has ended"))?;
        let is_initialized = raft.is_initialized().await;
        if identity.founder && !is_initialized.map_err(OpenError::engine)? {
            let alone = [(core.local_id(), core.member.clone())];
            let founded = raft
                .initialize(std::collections::BTreeMap::from(alone))
                .await;
            founded.map_err(OpenError::engine)?;
        }
        if core.is_only_voter(&raft).await {
            // No other node can be elected, so there is no reason to wait.
            let elected = raft.trigger().elect(false).await;
            elected.map_err(OpenError::engine)?;
            let mut stopped = core.machine.stopped();
            tokio::select! {
                applied = raft.wait_for_recovery(Some(START_PATIENCE)) => {
                    applied.map_err(OpenError::engine)?;
                }
                // The node found a record that it does not know: it serves the state before that record.
                _ = stopped.wait_for(Option::is_some) => {}
            }
        }
        // A node that has just joined also waits for its vote. One that was a member starts with what it has.
        if core.machine.has_begun() && !joined {
            return Ok(false);
        }
        if identity.founder {
            let settings = initial.clone();
            let record = Record::of(&Proposal::Begin { settings });
            let begun = core.submit(record).await;
            begun.map_err(|failed| OpenError::Begin(failed.into()))?;
            return Ok(true);
        }
        self.caught_up().await.map(|()| false)
    }

    /// Waits until this node, which has joined, has the state and a vote.
    async fn caught_up(&self) -> Result<(), OpenError> {
        let core = &self.core;
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            let votes = core.metrics().is_some_and(|metrics| {
                let mut voters = metrics.committed_membership_config.voter_ids();
                voters.any(|id| id == core.local_id())
            });
            if votes && core.machine.has_begun() {
                return Ok(());
            }
            time::sleep(Duration::from_millis(5)).await;
        }
        Err(OpenError::NotCaughtUp(START_PATIENCE))
    }

    pub(super) async fn stop(self) {
        let core = &self.core;
        core.in_flight.close();
        if time::timeout(STOP_TIMEOUT, core.in_flight.wait())
            .await
            .is_err()
        {
            warn!("stopping without waiting for proposals in flight");
        }
        core.stop.cancel();
        core.machine.stop();
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut in_time = time::timeout_at(deadline, core.end_engine()).await.is_ok();
        self.tasks.close();
        if time::timeout(STOP_TIMEOUT, self.tasks.wait())
            .await
            .is_err()
        {
            warn!("stopping without waiting for tasks of the cluster");
        }
        if let Some(disk) = core.log.disk() {
            in_time &= time::timeout_at(deadline, disk.close()).await.is_ok();
        }
        if !in_time {
            warn!(
                "stopping without waiting for the disk: a change that was not acknowledged may be lost"
            );
        }
    }
}

fn listen(options: &NetworkOptions) -> Result<PeerListener, OpenError> {
    let refused = |source| OpenError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let address = options.advertise.unwrap_or(bound);
    Ok(PeerListener { listener, address })
}

/// Makes this node the only one of a new cluster, unless the majority of its cluster responds.
async fn recover(
    persistent: &mut PersistentState,
    store: Option<&mut Store>,
    peers: &Peers,
    member: &Member,
) -> Result<(), RecoveryError> {
    let cluster = Uuid::new_v4();
    let Recovery {
        changes,
        revision,
        lost,
    } = recovery::plan(persistent, member, cluster)?;
    let membership = recovery::membership(persistent);
    let responding = responding(peers, &membership).await;
    let voters = membership.voter_ids().count();
    if (responding.len() + 1) * 2 > voters {
        return Err(RecoveryError::MajorityResponds(responding));
    }
    let store = store.ok_or(RecoveryError::Nothing)?;
    store.write(persistent, &changes)?;
    for change in &changes {
        persistent.apply(change);
    }
    let lost: Vec<String> = lost.into_iter().map(|member| member.name).collect();
    warn!(
        %cluster,
        revision = revision.0,
        lost = lost.join(", "),
        "this node is the only one of a new cluster now. Changes after its revision that only the lost nodes had are lost, \
         and a change that nobody was told to be made may be among its own. The lost nodes cannot come back as members: \
         remove their data and start them with --join. Start this node without --recover-from-lost-majority from now on"
    );
    Ok(())
}

/// The other voters that respond, by name.
async fn responding(peers: &Peers, membership: &StoredMembership) -> Vec<String> {
    let others = membership.voter_ids().filter(|id| *id != peers.local_id());
    let asked = others.map(async |id| {
        let member = membership.get_node(&id)?;
        let mut client = peers.client(id, member).ok()?;
        let report = client.report(v1::ReportRequest { servers: false });
        let response = time::timeout(RESPONSE_PATIENCE, report).await;
        matches!(response, Ok(Ok(_))).then(|| member.name.clone())
    });
    let mut names: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
    names.sort();
    names
}

/// Founds a cluster or joins one, unless the node is already a member of one. A node without others founds its own.
async fn found_or_join(
    log: &LogStore,
    peers: &Peers,
    member: &Member,
    network: Option<(&PeerListener, &NetworkOptions)>,
    files: &NodeFiles,
) -> Result<Identity, OpenError> {
    let mut identity = log.persistent().identity;
    if identity.cluster.is_some() {
        return Ok(identity);
    }
    let join = network.map(|(_, options)| &options.join[..]);
    let join = join.unwrap_or_default();
    identity.founder = join.is_empty();
    let token = network.and_then(|(_, options)| options.join_token.as_ref());
    let cluster = if identity.founder {
        if let Some((listener, options)) = network {
            may_found(peers, &listener.listener, options).await?;
        }
        Uuid::new_v4()
    } else {
        let token = token.map(introduction::read_token).transpose()?;
        let Joined { cluster, members } = join::join(peers, member, token.as_ref(), join).await?;
        let image = convert::stored_membership(&members).encode_to_vec();
        files.write(NodeFile::Members, &image)?;
        peers.roster().learn(members);
        cluster
    };
    identity.cluster = Some(cluster);
    let persistent = log.change_durably(StorageChange::Identity(identity)).await;
    persistent.map_err(OpenError::engine)?;
    peers.set_cluster(cluster);
    Ok(identity)
}

/// Whether this node may found a cluster: it was asked to, and no node of a cluster calls it.
async fn may_found(
    peers: &Peers,
    listener: &TcpListener,
    options: &NetworkOptions,
) -> Result<(), OpenError> {
    let wait = options.found.ok_or(OpenError::NoCluster)?;
    match founding::called(peers, listener, wait).await? {
        None => Ok(()),
        Some(Called {
            cluster,
            from,
            is_proven,
        }) => Err(OpenError::MemberElsewhere {
            cluster,
            from,
            is_proven,
        }),
    }
}
