//! What the API does, once, for gRPC and REST alike: each call takes the proto's request and gives its
//! answer or an [`Error`].

mod changes;
mod cluster;
mod pool;
mod servers;
mod settling;
mod stats;
mod watch;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::ProposeError,
    model::{Applied, Command, Outcome, PoolName, Rejection},
    snapshot::Snapshot,
};

use super::{Parts, convert, error::Error};

/// How long a write may take in all.
pub(super) const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// How long a read may take in all.
const LONGEST_READ: Duration = Duration::from_secs(8);

/// A stream of answers. Ends with an error when the node stops.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// Who asks, and how long they wait for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) patience: Duration,
}

/// The calls of the API.
#[derive(Debug)]
pub(super) struct Operations {
    parts: Parts,
    stop: CancellationToken,
}

impl Operations {
    /// Streams end when `stop` says so.
    pub(super) fn new(parts: Parts, stop: CancellationToken) -> Self {
        Self { parts, stop }
    }

    /// What every answer describes.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.parts.snapshots.current()
    }

    /// The newest snapshot, when it has the pool that `name` names.
    fn snapshot_with(&self, name: &str) -> Result<Arc<Snapshot>, Error> {
        let name = convert::pool_name(name)?;
        let snapshot = self.snapshot();
        expect_pool(&snapshot, &name)?;
        Ok(snapshot)
    }

    /// A snapshot for a read: one that holds every write that returned before, at whichever node, unless
    /// `stale`.
    async fn read(&self, stale: bool) -> Result<Arc<Snapshot>, Error> {
        if stale {
            return Ok(self.snapshot());
        }
        let Parts {
            cluster, snapshots, ..
        } = &self.parts;
        let published = async {
            let revision = cluster.catch_up().await?;
            snapshots.wait_for(revision).await.ok_or(Error::Stopping)
        };
        match time::timeout(LONGEST_READ, published).await {
            Ok(published) => published,
            Err(_) => Err(Error::NoQuorum { missing: vec![] }),
        }
    }

    /// Proposes `command`, and waits until requests see what it did.
    ///
    /// The work goes on when the caller does not wait for it: a change that is made is also logged.
    async fn write(
        &self,
        caller: Caller,
        command: Command,
    ) -> Result<(Applied, Arc<Snapshot>), Error> {
        let Parts {
            cluster, snapshots, ..
        } = self.parts.clone();
        let work = tokio::spawn(time::timeout(LONGEST_WRITE, async move {
            let change = Change::of(&command);
            let from = caller.peer.to_string();
            let applied = cluster
                .propose_from(command, &from)
                .await
                .map_err(Error::from);
            change.log(caller, &applied);
            let applied = applied?;
            let snapshot = snapshots.wait_for(applied.revision).await;
            Ok((applied, snapshot.ok_or(Error::Stopping)?))
        }));
        match time::timeout(caller.patience, work).await {
            Ok(Ok(Ok(answer))) => answer,
            // Too slow for us, a panic below us, or too slow for the caller.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Error::Unknown { missing: vec![] }),
        }
    }
}

impl Operations {
    /// Waits for an order of the whole pool, and until requests see what it did; gives its revision.
    async fn made(
        &self,
        caller: Caller,
        call: &'static str,
        order: impl Future<Output = Result<Applied, ProposeError>> + Send + 'static,
    ) -> Result<u64, Error> {
        let snapshots = self.parts.snapshots.clone();
        let work = tokio::spawn(time::timeout(LONGEST_WRITE, async move {
            let applied = order.await?;
            info!(peer = %caller.peer, call, revision = %applied.revision, "write applied");
            let published = snapshots.wait_for(applied.revision).await;
            published.ok_or(Error::Stopping)?;
            Ok(applied.revision.0)
        }));
        match time::timeout(caller.patience, work).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Error::Unknown { missing: vec![] }),
        }
    }
}

/// There is only the default pool in a snapshot.
fn expect_pool(snapshot: &Snapshot, name: &PoolName) -> Result<(), Error> {
    if snapshot.pool.name == *name {
        return Ok(());
    }
    Err(Rejection::NoSuchPool { pool: name.clone() }.into())
}

/// A write, as the log tells it.
struct Change {
    call: &'static str,
    pool: PoolName,
    address: Option<SocketAddr>,
}

impl Change {
    fn of(command: &Command) -> Self {
        let (call, pool, address) = match command {
            Command::AddServer { pool, address, .. } => ("add_server", pool, Some(*address)),
            Command::UpdateServer { pool, address, .. } => ("update_server", pool, Some(*address)),
            Command::BeginRemoval { pool, address, .. } => ("remove_server", pool, Some(*address)),
            Command::EndRemoval { pool, address, .. } => ("end_removal", pool, Some(*address)),
            Command::UpdatePool { pool, .. } => ("update_pool", pool, None),
        };
        Self {
            call,
            pool: pool.clone(),
            address,
        }
    }

    fn log(&self, caller: Caller, applied: &Result<Applied, Error>) {
        let Self {
            call,
            pool,
            address,
        } = self;
        let address = address.map(tracing::field::display);
        let peer = caller.peer;
        match applied {
            Ok(Applied { revision, outcome }) => {
                let outcome = match outcome {
                    Outcome::Created => "created",
                    Outcome::Changed => "changed",
                    Outcome::Removed => "removed",
                    Outcome::Unchanged => "unchanged",
                };
                info!(%peer, call, %pool, address, outcome, %revision, "write applied");
            }
            Err(Error::NotDurable(cause)) => {
                warn!(%peer, call, %pool, address, error = %cause, "write failed");
            }
            // The callers log what they refuse.
            Err(_) => {}
        }
    }
}
