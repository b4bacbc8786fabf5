//! What a listener accumulates while it lives.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;

use crate::{
    clock::dates,
    model::{ListenerName, Revision},
    stats::{ListenerShard, ListenerTotals, Sharded},
};

/// The part of a listener that outlives snapshots: what each worker counts of it, and whether this node listens.
#[derive(Debug)]
pub struct LiveListener {
    /// Its name.
    pub name: ListenerName,
    /// What each worker counts of it.
    pub shards: Sharded<ListenerShard>,
    binding: ArcSwap<Binding>,
    /// The revision of its settings that `binding` is about.
    followed: AtomicU64,
}

/// Whether this node listens for a listener, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Where this node listens or would.
    pub address: Option<SocketAddr>,
    /// Whether it does.
    pub state: BindState,
    /// Since when, as the clock of this machine is set now.
    pub since: SystemTime,
    /// The error of the system; empty unless that is why it does not listen.
    pub description: String,
}

/// Whether this node listens for a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindState {
    /// Not yet.
    Pending,
    /// It does.
    Bound,
    /// Another process or another listener of this node listens on the address.
    InUse,
    /// The process may not listen on the port.
    NoPermission,
    /// This machine has no such address.
    NoSuchAddress,
    /// For another reason.
    Failed,
    /// This node has no data path.
    NotServed,
}

impl BindState {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Bound => "bound",
            Self::InUse => "in_use",
            Self::NoPermission => "no_permission",
            Self::NoSuchAddress => "no_such_address",
            Self::Failed => "failed",
            Self::NotServed => "not_served",
        }
    }
}

impl LiveListener {
    /// A listener with nothing counted, for `workers` workers.
    pub fn new(name: ListenerName, workers: usize) -> Arc<Self> {
        let binding = Binding {
            address: None,
            state: BindState::Pending,
            since: dates::now(),
            description: String::new(),
        };
        Arc::new(Self {
            name,
            shards: Sharded::new(workers),
            binding: ArcSwap::from_pointee(binding),
            followed: AtomicU64::new(0),
        })
    }

    /// For how many workers it is.
    pub fn workers(&self) -> usize {
        self.shards.workers()
    }

    /// Whether this node listens.
    pub fn binding(&self) -> Binding {
        let binding = Binding::clone(&self.binding.load());
        Binding {
            since: dates::shown(binding.since),
            ..binding
        }
    }

    /// Sets whether this node listens at `address`. Returns whether that is news. There is one caller.
    pub fn set_binding(
        &self,
        address: Option<SocketAddr>,
        state: BindState,
        description: String,
    ) -> bool {
        let before = self.binding.load();
        let is_news = before.state != state || before.address != address;
        let since = if is_news { dates::now() } else { before.since };
        self.binding.store(Arc::new(Binding {
            address,
            state,
            since,
            description,
        }));
        is_news
    }

    /// Notes that [`binding`](Self::binding) is about the settings of `revision`.
    pub fn set_followed(&self, revision: Revision) {
        self.followed.store(revision.0, Release);
    }

    /// The revision of its settings that [`binding`](Self::binding) is about.
    pub fn followed(&self) -> Revision {
        Revision(self.followed.load(Acquire))
    }

    /// How many connections of clients are open, over all workers.
    pub fn connections(&self) -> u64 {
        self.shards.all().map(|shard| shard.connections.get()).sum()
    }

    /// Its counts over all workers.
    pub fn totals(&self) -> ListenerTotals {
        ListenerTotals::sum(&self.shards)
    }
}
