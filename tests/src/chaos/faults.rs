//! What is done to nodes and to the network between them, by chance from a seed.

use std::{collections::BTreeMap, fmt, time::Duration};

use fastrand::Rng;
use tokio::time::{self, Instant};
use weldr_proto::v1::TransferLeadershipRequest;

use crate::{
    cluster::{TestCluster, members_of},
    process::Signal,
    wait,
};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a start with what is on disk.
    Kill,
    /// SIGTERM, and a start.
    Terminate,
    /// SIGSTOP, for longer than an election takes, and SIGCONT.
    Stop,
    /// An order to lead.
    Transfer,
    /// A node reaches nobody, and nobody reaches it.
    CutOff,
    /// A node does not reach another one, which reaches it.
    CutOneWay,
    /// What passes between a node and the others takes longer.
    Delay,
}

/// What may happen to a node at once with [what may happen to the network](LINKS).
const NODES: [Option<Fault>; 5] = [
    Some(Fault::Kill),
    Some(Fault::Terminate),
    Some(Fault::Stop),
    Some(Fault::Transfer),
    None,
];
const LINKS: [Option<Fault>; 5] = [
    Some(Fault::CutOff),
    Some(Fault::CutOneWay),
    Some(Fault::Delay),
    None,
    None,
];

/// What was done when, and to which node.
#[derive(Debug, Default, Clone)]
pub struct Done(Vec<(Instant, Fault, usize)>);

impl Done {
    /// How often.
    pub fn all(&self) -> usize {
        self.0.len()
    }

    /// How often each.
    pub fn kinds(&self) -> BTreeMap<Fault, usize> {
        let mut kinds = BTreeMap::new();
        for (_, fault, _) in &self.0 {
            *kinds.entry(*fault).or_default() += 1;
        }
        kinds
    }

    /// What began in this time, in seconds of it.
    pub(super) fn between(&self, begin: Instant, end: Instant) -> String {
        let during = self.0.iter().filter(|(at, ..)| (begin..end).contains(at));
        let said = during.map(|(at, fault, victim)| {
            let node = char::from(b'a' + u8::try_from(*victim).unwrap_or_default());
            format!("{:.1} {fault:?} {node}", (*at - begin).as_secs_f64())
        });
        said.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults", self.all())?;
        for (index, (fault, count)) in self.kinds().iter().enumerate() {
            let separator = if index == 0 { ":" } else { "," };
            write!(f, "{separator} {fault:?} {count}")?;
        }
        Ok(())
    }
}

/// Who does it.
pub(super) struct Chaos<'a> {
    cluster: &'a mut TestCluster,
    rng: Rng,
    done: Done,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(cluster: &'a mut TestCluster, rng: Rng) -> Self {
        let done = Done::default();
        Self { cluster, rng, done }
    }

    pub(super) fn done(self) -> Done {
        self.done
    }

    /// Something happens to a node, to the network or to both at once, and ends.
    pub(super) async fn strike(&mut self) {
        let leader = self.cluster.leader_now().await;
        let link = LINKS[self.rng.usize(..LINKS.len())];
        let node = NODES[self.rng.usize(..NODES.len())];
        if let Some(fault) = link {
            let victim = self.victim(leader);
            self.harm_link(fault, victim);
            self.pause(0..600).await;
        }
        if let Some(fault) = node {
            let victim = self.victim(leader);
            self.harm_node(fault, victim).await;
        }
        if link.is_some() {
            self.pause(0..1_500).await;
            self.cluster.heal();
        }
        self.pause(100..900).await;
    }

    /// The leader half of the time, and otherwise anyone.
    fn victim(&mut self, leader: Option<usize>) -> usize {
        let leader = leader.filter(|_| self.rng.bool());
        leader.unwrap_or_else(|| self.rng.usize(..self.cluster.nodes.len()))
    }

    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        time::sleep(Duration::from_millis(self.rng.u64(milliseconds))).await;
    }

    fn note(&mut self, fault: Fault, victim: usize) {
        self.done.0.push((Instant::now(), fault, victim));
    }

    fn harm_link(&mut self, fault: Fault, victim: usize) {
        self.note(fault, victim);
        let size = self.cluster.nodes.len();
        match fault {
            Fault::CutOneWay => {
                let other = (victim + self.rng.usize(1..size)) % size;
                let (from, to) = if self.rng.bool() {
                    (victim, other)
                } else {
                    (other, victim)
                };
                self.cluster.cut_one_way(from, to);
            }
            Fault::Delay => {
                let by = Duration::from_millis(self.rng.u64(5..150));
                self.cluster.slow(victim, by);
            }
            _ => self.cluster.isolate(victim),
        }
    }

    async fn harm_node(&mut self, fault: Fault, victim: usize) {
        self.note(fault, victim);
        match fault {
            Fault::Terminate => {
                self.cluster.terminate(victim).await;
                self.pause(0..500).await;
                self.cluster.run(victim).await;
            }
            Fault::Stop => {
                self.cluster.signal(victim, Signal::STOP);
                self.pause(1_300..2_500).await;
                self.cluster.signal(victim, Signal::CONT);
            }
            Fault::Transfer => self.transfer(victim).await,
            _ => {
                self.cluster.kill(victim).await;
                self.pause(0..1_500).await;
                self.cluster.run(victim).await;
            }
        }
    }

    /// Asks any node to have the leadership handed over. It may be refused.
    async fn transfer(&mut self, to: usize) {
        let asked = self.rng.usize(..self.cluster.nodes.len());
        let request = TransferLeadershipRequest {
            name: self.cluster.nodes[to].name.clone(),
        };
        let mut client = members_of(self.cluster.management(asked), wait::LIMIT);
        let _refused = client.transfer_leadership(request).await;
    }
}
