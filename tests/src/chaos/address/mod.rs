//! A cluster behind an address while its machines, links, disks and clocks fail and its operators make mistakes, by chance
//! from a seed. After each step the cluster is whole again, and:
//!
//! * never have two machines had the address at once;
//! * the neighbours send to the machine that has it;
//! * all members belong to one cluster, and the nodes that are ready are those members;
//! * at the end, what clients saw at all nodes is linearizable, and nothing that was acknowledged is missing.

mod faults;

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::Value;
use tokio::{
    runtime::Builder,
    time::{self, Instant},
};
use weldr_proto::v1::{AddServerRequest, AdminState, ListServersRequest};

use super::{
    REGISTERS, Settings, added,
    clients::{Client, Fate, Record, address_of},
    judge,
};
use crate::{
    account::Account,
    address_cluster::{AddressCluster, NAMES, ip},
    netns::{Host, Watcher},
    node::connect,
    process::{Process, Program},
    wait,
};
pub use faults::Fault;
use faults::Faults;

/// Where each node is managed, on its own machine.
const MANAGEMENT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8687);
/// How long the cluster has to become whole after a step.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a call may take that is for the judge.
const CALL: Duration = Duration::from_secs(10);
/// How many clients there are at each node.
const CLIENTS: usize = 2;

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// What the run began with.
    pub seed: u64,
    /// What became of each call.
    pub account: Account<Fate>,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// How often there was each fault.
    pub faults: BTreeMap<Fault, usize>,
    /// In how many windows the history was judged.
    pub windows: usize,
    /// What must not be.
    pub problems: Vec<String>,
    /// The last lines of the logs, if there are problems.
    pub logs: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} steps", self.seed, self.steps.len())?;
        writeln!(f, "{}", self.account)?;
        for (fault, count) in &self.faults {
            write!(f, "{fault:?} {count}, ")?;
        }
        writeln!(f)?;
        if self.problems.is_empty() {
            let windows = self.windows;
            return write!(f, "linearizable: {REGISTERS} registers, {windows} windows");
        }
        writeln!(f, "{}", self.steps.join("\n"))?;
        writeln!(f, "{}", self.logs)?;
        for problem in &self.problems {
            writeln!(f, "VIOLATION (seed {}): {problem}", self.seed)?;
        }
        Ok(())
    }
}

/// Lets clients work at a cluster behind an address while `settings` happen to it; `None` without namespaces or a C compiler.
pub async fn run(settings: Settings) -> Option<Report> {
    let mut rng = Rng::with_seed(settings.seed);
    let options = ["--check-interval", "1h"];
    let mut cluster = AddressCluster::start_on_faulty_machines(&options).await?;
    let record = Record::of(REGISTERS);
    add_registers(&cluster).await;
    let clients: Vec<_> = cluster
        .machines
        .iter()
        .map(|machine| work(machine, &record, rng.fork()))
        .collect();
    let machines: Vec<&Host> = cluster.machines.iter().collect();
    let sightings = cluster.lan.watch(&machines, ip());
    let mut problems = Vec::new();
    let mut faults = Faults::new(&mut cluster, rng.fork());
    let begun = Instant::now();
    while begun.elapsed() < settings.duration && problems.is_empty() {
        faults.step().await;
        problems.extend(faults.problem());
        problems.extend(after_a_step(faults.cluster).await);
        if sightings.so_far().overlaps > 0 {
            problems.push("two machines had the address at once".to_owned());
        }
    }
    let (steps, done) = faults.finish();
    let overlaps = sightings.finish().overlaps;
    record.end();
    drop(
        clients
            .into_iter()
            .map(Watcher::finish)
            .collect::<Vec<()>>(),
    );
    if problems.is_empty() {
        problems.extend(last_look(&cluster, &record).await);
    }
    let book = record.take();
    let windows = judge(&book, &mut problems);
    if overlaps > 0 {
        problems.push(format!(
            "{overlaps} looks found two machines with the address"
        ));
    }
    if problems.is_empty() {
        match servers(&cluster.machines[0]).await {
            Ok(servers) => problems.extend(added(&book, &servers)),
            Err(error) => problems.push(format!("the last list at a: {error}")),
        }
    }
    Some(Report {
        seed: settings.seed,
        account: book.account,
        steps,
        faults: done,
        windows,
        logs: if problems.is_empty() {
            String::new()
        } else {
            logs(&cluster)
        },
        problems,
    })
}

/// Runs `work` on a machine, in a runtime of its own, whose sockets are there.
async fn at<T: Send + 'static>(
    machine: &Host,
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> T {
    let thread = machine.namespace().run(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work())
    });
    let joined = tokio::task::spawn_blocking(|| thread.join()).await;
    joined.expect("a thread").expect("the work does not panic")
}

async fn add_registers(cluster: &AddressCluster) {
    at(&cluster.machines[0], async || {
        let mut client = connect(MANAGEMENT);
        for register in 0..REGISTERS {
            let request = AddServerRequest {
                address: address_of(register),
                admin_state: AdminState::Maintenance.into(),
                ..AddServerRequest::default()
            };
            client.add_server(request).await.expect("a register");
        }
    })
    .await;
}

/// Lets clients work at the node of a machine until the run is over.
fn work(machine: &Host, record: &Arc<Record>, rng: Rng) -> Watcher<()> {
    let (record, mut rng) = (Arc::clone(record), rng);
    machine.record(move |_, _| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let clients = (0..CLIENTS).map(|_| {
                let client = Client::staying(MANAGEMENT, rng.fork(), Arc::clone(&record));
                client.work()
            });
            futures_util::future::join_all(clients).await;
        });
    })
}

/// What is wrong when the cluster should be whole again.
async fn after_a_step(cluster: &AddressCluster) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let wrong = wrong(cluster).await?;
        if Instant::now() > deadline {
            return Some(format!("{PATIENCE:?} after a step: {wrong}"));
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wrong(cluster: &AddressCluster) -> Option<String> {
    let mut clusters = Vec::new();
    for (node, name) in NAMES.iter().enumerate() {
        let program = Program::on(&cluster.machines[node], "weldrctl");
        let said = program.args(["cluster", "status", "--output", "json"]);
        let Ok(said) = time::timeout(CALL, said.run()).await else {
            return Some(format!("the status at {name} hangs"));
        };
        let Ok(status) = serde_json::from_str::<Value>(&said.stdout) else {
            return Some(format!("{name} says {said:?}"));
        };
        clusters.push(status["cluster"].to_string());
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        if nodes.len() != NAMES.len() || status["quorum"] != true {
            return Some(format!("{name} sees {status}"));
        }
        for node in &nodes {
            let votes = node["votes"] == true;
            if !votes || node["readiness"]["status"] != "ready" {
                return Some(format!("{name} says {node}"));
            }
        }
    }
    clusters.dedup();
    if clusters.len() > 1 {
        return Some(format!("there are several clusters: {clusters:?}"));
    }
    let mut holders = (0..NAMES.len()).filter(|node| cluster.machines[*node].has(ip()));
    let (Some(holder), None) = (holders.next(), holders.next()) else {
        return Some("not one machine has the address".to_owned());
    };
    let get = || crate::address_clients::get(Duration::from_secs(1));
    let reached = cluster.client.namespace().run(get).join();
    match reached.expect("a request does not panic") {
        Ok(response) if response.starts_with("HTTP/1.1 200") => {}
        other => {
            return Some(format!(
                "the address, which {} has: {other:?}",
                NAMES[holder]
            ));
        }
    }
    let believed = cluster.client.neighbour(ip());
    let at_holder = believed == Some(cluster.machines[holder].mac());
    (!at_holder).then(|| format!("the client sends to {believed:?}, not to {}", NAMES[holder]))
}

async fn servers(machine: &Host) -> Result<Vec<weldr_proto::v1::Server>, String> {
    at(machine, async || {
        let mut client = connect(MANAGEMENT);
        let list = time::timeout(CALL, client.list_servers(ListServersRequest::default()));
        let list = list.await.map_err(|error| error.to_string())?;
        let list = list.map_err(|status| status.to_string())?;
        Ok(list.into_inner().servers)
    })
    .await
}

/// Reads each register at each node.
async fn last_look(cluster: &AddressCluster, record: &Arc<Record>) -> Vec<String> {
    let mut problems = Vec::new();
    for (node, name) in NAMES.iter().enumerate() {
        let record = Arc::clone(record);
        let failed = at(&cluster.machines[node], async move || {
            let mut client = connect(MANAGEMENT);
            let mut failed = None;
            for register in 0..REGISTERS {
                let read = record.read(&mut client, register, wait::LIMIT).await;
                failed = failed.or(read.err());
            }
            failed
        })
        .await;
        problems.extend(failed.map(|status| format!("a last read at {name}: {status}")));
    }
    problems
}

/// The last lines of each node.
fn logs(cluster: &AddressCluster) -> String {
    let tail = |(name, process): (&&str, &Option<Process>)| {
        let log = process.as_ref().map(Process::stderr).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("--- {name}\n{last}")
    };
    let tails = NAMES.iter().zip(&cluster.nodes).map(tail);
    tails.collect::<Vec<_>>().join("\n")
}
