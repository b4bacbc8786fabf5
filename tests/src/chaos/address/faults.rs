//! What is done to the nodes of a cluster behind an address, by chance from a seed. Each step ends with machines that work and
//! nodes that run; what they make of it is for the judge.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use fastrand::Rng;
use serde_json::Value;
use tokio::time::{self, Instant};

use super::MANAGEMENT;
use crate::{
    address_cluster::{AddressCluster, NAMES, ip},
    netns::Host,
    process::{Signal, Stream, signal_child},
    wait,
};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL of a node, and a start with what is on disk.
    Kill,
    /// SIGTERM of a node, and a start.
    Terminate,
    /// SIGSTOP of a node, for longer than an election takes, and SIGCONT.
    Stop,
    /// SIGKILL of the guard of a node.
    KillGuard,
    /// SIGSTOP of the guard of a node.
    StopGuard,
    /// The link of a machine goes down, and up.
    Link,
    /// A machine reaches no other one, and its link stays up.
    Isolate,
    /// What a machine sends to another one is lost.
    CutOneWay,
    /// An order to lead.
    Transfer,
    /// The disk of a node is full for a while.
    FullDisk,
    /// The disk of a node does not respond for a while.
    FrozenDisk,
    /// The wall clock of a machine is set.
    Clock,
    /// SIGHUP to a node, some times.
    Hangup,
    /// A node has no file descriptor left for a while.
    Descriptors,
    /// Nobody reads the log of a node, which is killed later.
    StalledLog,
    /// A node loses its data, is started with a wrong command, and then with the right one.
    Wipe,
    /// A node is removed at any node, and joins again; or this is refused, because another one is dead.
    Remove,
}

const ALL: [Fault; 17] = [
    Fault::Kill,
    Fault::Terminate,
    Fault::Stop,
    Fault::KillGuard,
    Fault::StopGuard,
    Fault::Link,
    Fault::Isolate,
    Fault::CutOneWay,
    Fault::Transfer,
    Fault::FullDisk,
    Fault::FrozenDisk,
    Fault::Clock,
    Fault::Hangup,
    Fault::Descriptors,
    Fault::StalledLog,
    Fault::Wipe,
    Fault::Remove,
];

/// How long a call of an operator may take. It may be refused.
const CALL: Duration = Duration::from_secs(15);
/// How long a node that was started with a wrong command is left to do harm.
const WRONG: Duration = Duration::from_secs(4);

/// Who does it.
pub(super) struct Faults<'a> {
    pub(super) cluster: &'a mut AddressCluster,
    rng: Rng,
    begun: Instant,
    steps: Vec<String>,
    done: BTreeMap<Fault, usize>,
    problem: Option<String>,
    /// What has not been done yet: each fault comes once before any comes again.
    next: Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(cluster: &'a mut AddressCluster, rng: Rng) -> Self {
        Self {
            cluster,
            rng,
            begun: Instant::now(),
            steps: Vec::new(),
            done: BTreeMap::new(),
            problem: None,
            next: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<String>, BTreeMap<Fault, usize>) {
        (self.steps, self.done)
    }

    /// What was wrong in the last step.
    pub(super) fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Something happens, and ends.
    pub(super) async fn step(&mut self) {
        if self.next.is_empty() {
            self.next = ALL.to_vec();
            self.rng.shuffle(&mut self.next);
        }
        let Some(fault) = self.next.pop() else { return };
        let victim = self.victim();
        self.note(&format!("{fault:?} of {}", NAMES[victim]));
        *self.done.entry(fault).or_default() += 1;
        match fault {
            Fault::Kill => self.kill(victim).await,
            Fault::Terminate => self.terminate(victim).await,
            Fault::Stop => self.stop(victim).await,
            Fault::KillGuard => self.signal_guard(victim, Signal::KILL).await,
            Fault::StopGuard => self.signal_guard(victim, Signal::STOP).await,
            Fault::Link => self.cut_link(victim).await,
            Fault::Isolate => self.isolate(victim).await,
            Fault::CutOneWay => self.cut_one_way(victim).await,
            Fault::Transfer => drop(self.order(&["transfer", NAMES[victim]]).await),
            Fault::FullDisk => self.fill_disk(victim).await,
            Fault::FrozenDisk => self.freeze_disk(victim).await,
            Fault::Clock => self.set_clock(victim).await,
            Fault::Hangup => self.hang_up(victim).await,
            Fault::Descriptors => self.take_descriptors(victim).await,
            Fault::StalledLog => self.stall_log(victim).await,
            Fault::Wipe => self.wipe(victim).await,
            Fault::Remove => self.remove(victim).await,
        }
        self.note("over");
    }

    fn note(&mut self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        self.steps.push(format!("{at:.1} {what}"));
    }

    /// The holder of the address half of the time, and otherwise anyone.
    fn victim(&mut self) -> usize {
        let holds = |node: &usize| self.cluster.machines[*node].has(ip());
        let holder = (0..NAMES.len()).find(holds);
        let holder = holder.filter(|_| self.rng.bool());
        holder.unwrap_or_else(|| self.rng.usize(..NAMES.len()))
    }

    fn other_than(&mut self, node: usize) -> usize {
        (node + self.rng.usize(1..NAMES.len())) % NAMES.len()
    }

    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        time::sleep(Duration::from_millis(self.rng.u64(milliseconds))).await;
    }

    /// Gives an order at any node that runs; what it says.
    async fn order(&mut self, args: &[&str]) -> String {
        let running: Vec<_> = (0..NAMES.len())
            .filter(|node| self.cluster.nodes[*node].is_some())
            .collect();
        let at = running[self.rng.usize(..running.len())];
        let said = match time::timeout(CALL, self.cluster.ctl(at, args)).await {
            Ok(said) => format!("{:?} {}{}", said.code(), said.stdout, said.stderr),
            Err(_) => "it hangs".to_owned(),
        };
        self.note(&format!("at {}: {args:?}: {said}", NAMES[at]));
        said
    }

    async fn kill(&mut self, victim: usize) {
        if let Some(process) = self.cluster.nodes[victim].take() {
            process.kill().await;
        }
        self.pause(0..1_500).await;
        self.cluster.run(victim).await;
    }

    async fn terminate(&mut self, victim: usize) {
        if let Some(process) = self.cluster.nodes[victim].take() {
            process.terminate().await;
        }
        self.pause(0..500).await;
        self.cluster.run(victim).await;
    }

    async fn stop(&mut self, victim: usize) {
        self.cluster.process(victim).signal(Signal::STOP);
        self.pause(1_300..2_500).await;
        self.cluster.process(victim).signal(Signal::CONT);
    }

    async fn signal_guard(&mut self, victim: usize, signal: Signal) {
        let guards = self.cluster.process(victim).children();
        for guard in &guards {
            signal_child(*guard, signal);
        }
        // Then its node fails too, sometimes. Before there is another guard, the kernel would have to remove the address.
        if self.rng.bool() {
            self.another_guard(victim, &guards).await;
            self.kill(victim).await;
        }
    }

    async fn another_guard(&mut self, victim: usize, before: &[u32]) {
        let deadline = Instant::now() + wait::LIMIT;
        loop {
            let guards = self.cluster.process(victim).children();
            if !guards.is_empty() && guards.iter().all(|guard| !before.contains(guard)) {
                // It has begun when it has been told of the lease.
                self.pause(500..1_000).await;
                return;
            }
            if Instant::now() > deadline {
                self.problem = Some(format!("{} has no other guard", NAMES[victim]));
                return;
            }
            self.pause(10..50).await;
        }
    }

    async fn cut_link(&mut self, victim: usize) {
        let flaps = self.rng.u8(1..4);
        for _ in 0..flaps {
            self.cluster
                .lan
                .connect(&self.cluster.machines[victim], false);
            self.pause(0..1_500).await;
            self.cluster
                .lan
                .connect(&self.cluster.machines[victim], true);
            self.pause(0..500).await;
        }
    }

    async fn isolate(&mut self, victim: usize) {
        self.cluster
            .lan
            .isolate(&self.cluster.machines[victim], true);
        self.pause(500..3_000).await;
        self.cluster
            .lan
            .isolate(&self.cluster.machines[victim], false);
    }

    async fn cut_one_way(&mut self, victim: usize) {
        let other = self.other_than(victim);
        let machines = &self.cluster.machines;
        machines[victim].lose_what_goes_to(&machines[other]);
        self.pause(500..4_000).await;
        let machines = &self.cluster.machines;
        machines[victim].reach_again(&machines[other]);
    }

    async fn fill_disk(&mut self, victim: usize) {
        self.cluster.process(victim).limit_files(Some(0));
        self.pause(500..4_000).await;
        self.cluster.process(victim).limit_files(None);
    }

    async fn freeze_disk(&mut self, victim: usize) {
        self.cluster.faults[victim].freeze_disk(true);
        self.pause(500..4_000).await;
        self.cluster.faults[victim].freeze_disk(false);
    }

    /// Up to a day too late or too early, for the rest of the run; something else happens meanwhile.
    async fn set_clock(&mut self, victim: usize) {
        let ahead = self.rng.i64(-86_400..86_400);
        self.note(&format!("{ahead} seconds ahead"));
        self.cluster.faults[victim].set_clock_ahead(ahead);
        let other = self.victim();
        self.kill(other).await;
    }

    async fn hang_up(&mut self, victim: usize) {
        for _ in 0..self.rng.u8(1..5) {
            self.cluster.process(victim).signal(Signal::HUP);
            self.pause(0..300).await;
        }
    }

    async fn take_descriptors(&mut self, victim: usize) {
        let before = self.cluster.process(victim).limit_descriptors(5);
        self.pause(500..5_000).await;
        self.cluster.process(victim).limit_descriptors(before);
    }

    /// Something else happens to the node meanwhile, which it wants to log.
    async fn stall_log(&mut self, victim: usize) {
        self.cluster.process(victim).stall(Stream::Stderr);
        self.hang_up(victim).await;
        self.isolate(victim).await;
        self.pause(500..2_000).await;
        self.kill(victim).await;
    }

    async fn wipe(&mut self, victim: usize) {
        self.lose(victim).await;
        let removed_first = self.rng.bool();
        if removed_first {
            self.order(&["remove", NAMES[victim]]).await;
        }
        let other = self.other_than(victim);
        let wrong = match self.rng.u8(..4) {
            0 => Vec::new(),
            1 => vec!["--found-cluster".to_owned()],
            2 => self.cluster.join(victim),
            // The right one, if it was removed.
            _ => self.cluster.join(other),
        };
        self.note(&format!(
            "{} is empty, and is started with {wrong:?}",
            NAMES[victim]
        ));
        let process = self.cluster.program(victim).args(wrong).start();
        self.cluster.nodes[victim] = Some(process);
        time::sleep(WRONG).await;
        let clusters = [self.cluster_of(victim).await, self.cluster_of(other).await];
        if clusters[0] != clusters[1] && is_ready(&self.cluster.machines[victim]) {
            let name = NAMES[victim];
            self.problem = Some(format!(
                "{name} is ready in a cluster of its own: {clusters:?}"
            ));
        }
        self.rejoin(victim).await;
    }

    async fn remove(&mut self, victim: usize) {
        let dead = Some(self.other_than(victim)).filter(|_| self.rng.bool());
        if let Some(dead) = dead {
            if let Some(process) = self.cluster.nodes[dead].take() {
                process.kill().await;
            }
            self.note(&format!("{} is dead", NAMES[dead]));
            self.pause(0..2_000).await;
        }
        let said = self.order(&["remove", NAMES[victim]]).await;
        if let Some(dead) = dead {
            self.cluster.run(dead).await;
        }
        if said.starts_with("Some(0)") {
            self.stops_to_be_ready(victim).await;
        }
        self.rejoin(victim).await;
    }

    /// Waits until a node that was removed says that it is not ready.
    async fn stops_to_be_ready(&mut self, removed: usize) {
        let deadline = Instant::now() + wait::LIMIT;
        while is_ready(&self.cluster.machines[removed]) {
            if Instant::now() > deadline {
                let name = NAMES[removed];
                self.problem = Some(format!("{name} was removed, and says that it is ready"));
                return;
            }
            self.pause(10..50).await;
        }
    }

    /// The id of the cluster that a node belongs to, as it says; nothing if it says nothing.
    async fn cluster_of(&self, node: usize) -> String {
        let status = self.cluster.ctl(node, &["status", "--output", "json"]);
        let said = time::timeout(CALL, status).await;
        let said = said.map(|said| said.stdout).unwrap_or_default();
        let status = serde_json::from_str::<Value>(&said).unwrap_or_default();
        status["cluster"].to_string()
    }

    /// The data of a node is lost, and the node with it.
    async fn lose(&mut self, victim: usize) {
        if let Some(process) = self.cluster.nodes[victim].take() {
            process.kill().await;
        }
        let _ = fs::remove_dir_all(self.cluster.data_dir(victim));
    }

    /// Does what the documentation says of a node that has lost its data.
    async fn rejoin(&mut self, victim: usize) {
        self.lose(victim).await;
        let other = self.other_than(victim);
        let deadline = Instant::now() + wait::LIMIT;
        loop {
            // It is refused when it was removed already.
            self.order(&["remove", NAMES[victim]]).await;
            let join = self.cluster.join(other);
            let mut process = self.cluster.program(victim).args(join).start();
            if process.logs_or_ends("management listening").await || Instant::now() > deadline {
                self.cluster.nodes[victim] = Some(process);
                return;
            }
            self.note(&format!(
                "{} does not join: {}",
                NAMES[victim],
                process.stderr()
            ));
            process.kill().await;
        }
    }
}

/// Whether the node of a machine says that it is ready.
fn is_ready(machine: &Host) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&MANAGEMENT, CALL)?;
        stream.set_read_timeout(Some(CALL))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    let asked = machine.namespace().run(ask).join();
    let response = asked.expect("the question does not panic");
    response.is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
}
