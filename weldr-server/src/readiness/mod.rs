//! Whether this node is ready for traffic, and why not. Readiness is derived from what is observed, never set.
//!
//! ```text
//! tasks, workers, disk, engine, snapshots ─► monitor ─► rounds ─► Observations ─► derive ─► Readiness
//!                                                                                     ├► /readyz, grpc.health.v1
//!                                                                                     ├► cluster status, of all nodes
//!                                                                                     └► leadership, virtual addresses
//! ```
//!
//! - `derive` decides (pure): [`Observations`] in, status and reasons out.
//! - `rounds` tells what has lasted for how many looks (pure, without a clock), `first_checks` whether the servers of a
//!   node that has just started were checked (pure; the time is given).
//! - `monitor` is the shell: a thread of its own, so that nothing that hangs can hide that it does.

mod derive;
mod first_checks;
mod monitor;
mod rounds;

use std::time::SystemTime;

pub use derive::{Finding, Observations, TaskObservation, Verdict, derive};
pub use monitor::{Monitor, Sources};

/// Whether this node is ready for traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// In one word.
    pub status: Status,
    /// Why it is not ready, the gravest first; empty when it is.
    pub reasons: Vec<Reason>,
    /// Whether it has a data path at all: at least one worker runs.
    pub data_path: bool,
}

/// One reason not to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub code: Code,
    /// For people, as a sentence without its full stop.
    pub description: String,
    /// Since when it holds, by [`dates`](crate::clock::dates).
    pub since: SystemTime,
}

/// Whether this node is ready for traffic, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not yet: it has just started, and its servers were not checked.
    Starting,
    /// Yes.
    Ready,
    /// No: something that it needs to serve, or to apply changes, does not work.
    Unready,
    /// It serves, but changes no longer reach it: it met a record of a newer weldr.
    Outdated,
    /// No more: it shuts down, and finishes what runs.
    Stopping,
}

/// Why a node is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// It shuts down.
    Stopping,
    /// No worker is left: nothing is served.
    NoWorker,
    /// A task that has to run for as long as the node has ended.
    TaskEnded,
    /// A task makes no progress.
    TaskStalled,
    /// The consensus engine does not run.
    EngineStopped,
    /// The disk refuses writes.
    DiskFailed,
    /// A write to the disk does not end.
    DiskStalled,
    /// There is no file descriptor left for new connections.
    DescriptorsExhausted,
    /// The interface of the virtual addresses has no link.
    NoLink,
    /// It met a record of a newer weldr, and applies nothing more.
    Outdated,
    /// It was removed from the cluster.
    Removed,
    /// Another cluster with the same secret has the better claim to the virtual addresses.
    OtherCluster,
    /// It does not vote yet.
    Joining,
    /// It has just started, the pool does not fail open, and servers wait for their first check.
    FirstChecksPending,
}

impl Readiness {
    /// A node in `status`, without a reason.
    pub fn of(status: Status) -> Self {
        Self {
            status,
            reasons: Vec::new(),
            data_path: true,
        }
    }

    /// Whether the node may hold a virtual address. One that was removed, or belongs to the lesser of two clusters, must not,
    /// although it may lead: the other cluster has a holder.
    pub fn may_hold_addresses(&self) -> bool {
        let forbids = |reason: &Reason| matches!(reason.code, Code::Removed | Code::OtherCluster);
        self.data_path && !self.reasons.iter().any(forbids)
    }

    /// Whether the node is ready for traffic.
    pub fn is_ready(&self) -> bool {
        self.status == Status::Ready
    }
}

impl Status {
    /// The word for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Outdated => "outdated",
            Self::Stopping => "stopping",
        }
    }
}

impl Code {
    /// The word for programs: the proto's names in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NoWorker => "no_worker",
            Self::TaskEnded => "task_ended",
            Self::TaskStalled => "task_stalled",
            Self::EngineStopped => "engine_stopped",
            Self::DiskFailed => "disk_failed",
            Self::DiskStalled => "disk_stalled",
            Self::DescriptorsExhausted => "descriptors_exhausted",
            Self::NoLink => "no_link",
            Self::Outdated => "outdated",
            Self::Removed => "removed",
            Self::OtherCluster => "other_cluster",
            Self::Joining => "joining",
            Self::FirstChecksPending => "first_checks_pending",
        }
    }
}
