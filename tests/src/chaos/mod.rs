//! A cluster of real processes while nodes are killed, stopped, restarted and cut off, by chance from a seed, with
//! clients that write and read at all of them: what they saw could have happened one call after another, and nothing
//! that was acknowledged is missing at the end.

pub mod address;
mod clients;
mod faults;
mod leaders;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::{self, Instant};
use weldr_proto::v1::{ListServersRequest, Server};

pub use clients::Fate;
pub use faults::{Done, Fault};

use crate::{account::Account, cluster::TestCluster, linearizable, node::connect, wait};
use clients::{Book, Client, Record, address_of};
use faults::Chaos;
use leaders::Leaders;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// For how long.
    pub duration: Duration,
    /// What chance begins with. The machine adds its own: a seed repeats the faults, not the moments.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u8,
}

/// How many clients there are at once beside one that stays at each node, and how many registers all of them share.
const CLIENTS: u64 = 6;
const REGISTERS: usize = 16;
/// How long the nodes have at the end to come back to one state.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// What the run began with.
    pub settings: Settings,
    /// What became of each call.
    pub account: Account<Fate>,
    /// What was done to the nodes.
    pub faults: Done,
    /// The longest time without an acknowledged write.
    pub longest_gap: Gap,
    /// In how many terms a leader was seen.
    pub terms: usize,
    /// In how many windows the history was judged.
    pub windows: usize,
    /// What must not be.
    pub problems: Vec<String>,
}

/// A time without an acknowledged write.
#[derive(Debug)]
pub struct Gap {
    /// How long it was.
    pub length: Duration,
    /// What was done from some seconds before it to its end, and when in that time, in seconds.
    pub faults: String,
}

/// How long before a gap its cause may have begun.
const BEFORE: Duration = Duration::from_secs(4);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            duration,
            seed,
            nodes,
        } = self.settings;
        writeln!(f, "seed {seed}: {nodes} nodes for {duration:?}")?;
        writeln!(f, "{}", self.account)?;
        writeln!(f, "{}", self.faults)?;
        writeln!(f, "leaders were seen in {} terms", self.terms)?;
        let Gap { length, faults } = &self.longest_gap;
        writeln!(
            f,
            "longest time without an acknowledged write: {length:.2?} (from {BEFORE:?} before: {faults})"
        )?;
        for problem in &self.problems {
            writeln!(f, "VIOLATION: {problem}")?;
        }
        if self.problems.is_empty() {
            let windows = self.windows;
            write!(f, "linearizable: {REGISTERS} registers, {windows} windows")?;
        }
        Ok(())
    }
}

/// Lets clients work at a cluster of its own while `settings` happen to it.
pub async fn run(settings: Settings) -> Report {
    let mut rng = Rng::with_seed(settings.seed);
    // Nobody listens where the servers are said to be, and nobody needs to know.
    let extra = ["--check-interval", "1h"];
    let cluster = TestCluster::start_with(settings.nodes, &extra).await;
    let mut cluster = cluster.pinned();
    for register in 0..REGISTERS {
        let port = u16::try_from(register + 1).expect("few registers");
        let added = cluster.add(0, port).await;
        added.unwrap_or_else(|status| panic!("add {}: {status}", address_of(register)));
    }
    let nodes: Vec<SocketAddr> = (0..settings.nodes.into())
        .map(|index| cluster.management(index))
        .collect();
    let record = Record::of(REGISTERS);
    let roaming = (0..CLIENTS).map(|_| Client::roaming(&nodes, rng.fork(), Arc::clone(&record)));
    let mut clients: Vec<Client> = roaming.collect();
    let staying = nodes.iter();
    clients.extend(staying.map(|node| Client::staying(*node, rng.fork(), Arc::clone(&record))));
    let clients: Vec<_> = clients
        .into_iter()
        .map(|c| tokio::spawn(c.work()))
        .collect();
    let leaders = tokio::spawn(leaders::watch(nodes, Arc::clone(&record)));
    let begun = Instant::now();
    let mut chaos = Chaos::new(&mut cluster, rng.fork());
    while begun.elapsed() < settings.duration {
        chaos.strike().await;
    }
    let faults = chaos.done();
    let ended = Instant::now();
    record.end();
    for client in join_all(clients).await {
        client.expect("a client panicked");
    }
    let leaders = leaders.await.expect("who looks for leaders panicked");
    let mut problems = Vec::new();
    let servers = settle(&cluster, &mut problems).await;
    read_all(&cluster, &record, &mut problems).await;
    let book = record.take();
    problems.extend(added(&book, &servers));
    problems.extend(one_leader_a_term(&leaders));
    Report {
        settings,
        longest_gap: longest_gap(&book.acknowledged, (begun, ended), &faults),
        faults,
        terms: leaders.len(),
        windows: judge(&book, &mut problems),
        account: book.account,
        problems,
    }
}

/// Waits until all nodes have the same; gives the servers of the first.
async fn settle(cluster: &TestCluster, problems: &mut Vec<String>) -> Vec<Server> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pools = cluster.running_nodes().into_iter().map(async |node| {
            let pool = pool(cluster, node).await;
            pool.unwrap_or_else(|status| panic!("a pool of node {node}: {status}"))
        });
        let mut pools = join_all(pools).await;
        let first = pools.swap_remove(0);
        if pools.iter().all(|pool| *pool == first) {
            return first.1;
        }
        if Instant::now() >= deadline {
            let revisions: Vec<u64> = pools.iter().map(|pool| pool.0).collect();
            problems.push(format!(
                "after {PATIENCE:?}, the first node is at revision {} with {} servers, the others at {revisions:?}, \
                 and they do not have the same",
                first.0,
                first.1.len(),
            ));
            return first.1;
        }
        time::sleep(Duration::from_millis(100)).await;
    }
}

/// The revision and the servers of a node, without what is its own view.
async fn pool(cluster: &TestCluster, node: usize) -> Result<(u64, Vec<Server>), tonic::Status> {
    let request = ListServersRequest {
        stale: true,
        ..ListServersRequest::default()
    };
    let list = cluster.client(node).list_servers(request).await?;
    let list = list.into_inner();
    let desired = |server| Server {
        health: None,
        in_flight: 0,
        ..server
    };
    Ok((
        list.revision,
        list.servers.into_iter().map(desired).collect(),
    ))
}

/// Reads each register at each node, after everything that was written.
async fn read_all(cluster: &TestCluster, record: &Record, problems: &mut Vec<String>) {
    for node in cluster.running_nodes() {
        let mut client = connect(cluster.management(node));
        for register in 0..REGISTERS {
            let read = record.read(&mut client, register, wait::LIMIT).await;
            if let Err(status) = read {
                problems.push(format!("a last read at node {node}: {status}"));
            }
        }
    }
}

/// What is wrong with the servers that were added.
fn added(book: &Book, servers: &[Server]) -> Vec<String> {
    let is_there = |address: &str| servers.iter().any(|server| server.address == address);
    let wrong = book.added.iter().filter_map(|(address, fate)| match fate {
        Fate::Ok if !is_there(address) => {
            Some(format!("{address} was acknowledged and is missing"))
        }
        Fate::Refused if is_there(address) => Some(format!("{address} was refused and is there")),
        _ => None,
    });
    wrong.collect()
}

fn one_leader_a_term(leaders: &Leaders) -> Vec<String> {
    let several = leaders.iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|(term, names)| format!("in term {term}, {names:?} lead"))
        .collect()
}

fn longest_gap(acknowledged: &[Instant], (begun, ended): (Instant, Instant), done: &Done) -> Gap {
    let mut moments: Vec<Instant> = acknowledged.to_vec();
    moments.extend([begun, ended]);
    moments.sort_unstable();
    let gaps = moments.windows(2).map(|pair| (pair[0], pair[1]));
    let longest = gaps.max_by_key(|(from, to)| *to - *from);
    let (from, to) = longest.unwrap_or((begun, begun));
    Gap {
        length: to - from,
        faults: done.between(from - BEFORE, to),
    }
}

/// Judges each register; gives the number of windows.
fn judge(book: &Book, problems: &mut Vec<String>) -> usize {
    let mut windows = 0;
    for (register, calls) in book.registers.iter().enumerate() {
        match linearizable::judge(calls, 0) {
            Ok(judged) => windows += judged,
            Err(impossible) => problems.push(format!(
                "{} is not linearizable: {impossible}",
                address_of(register)
            )),
        }
    }
    windows
}
