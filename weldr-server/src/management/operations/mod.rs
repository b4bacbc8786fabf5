//! The calls of the API, for gRPC and REST: each call takes a request of the proto and returns its
//! response or an [`Error`].

mod access;
mod acme;
mod certificates;
mod change_words;
mod changes;
mod cluster;
mod configuration;
mod explain;
mod explained_url;
mod invites;
mod listeners;
mod logged_write;
mod metrics;
mod object_stats;
mod pool;
mod pools;
mod rules;
mod servers;
mod settling;
mod slow_reader;
mod stats;
mod watch;
mod watch_objects;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    cluster::ProposeError,
    model::{Applied, Command, PoolName, Rejection},
    snapshot::{PoolView, Snapshot},
};

use super::{ManagementContext, access::Caller, convert, error::Error};
use logged_write::LoggedWrite;

/// The time limit for a write.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// A stream of responses. Ends with an error when the node stops.
pub(super) type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// The client of a call, and how long it waits for the response.
#[derive(Debug, Clone)]
pub(super) struct ApiCaller {
    pub(super) caller: Caller,
    pub(super) timeout: Duration,
}

/// The calls of the API.
#[derive(Debug)]
pub(super) struct Operations {
    context: ManagementContext,
    stop: CancellationToken,
}

impl Operations {
    /// Streams end when `stop` is cancelled.
    pub(super) fn new(context: ManagementContext, stop: CancellationToken) -> Self {
        Self { context, stop }
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.context.snapshots.current()
    }

    /// The newest snapshot, and the pool `name` in it.
    fn snapshot_with(&self, name: &str) -> Result<(Arc<Snapshot>, Arc<PoolView>), Error> {
        let name = convert::pool_name(name)?;
        let snapshot = self.snapshot();
        let pool = Arc::clone(pool_in(&snapshot, &name)?);
        Ok((snapshot, pool))
    }

    /// A snapshot for a read. Unless `stale`, it contains every write that returned before, at any
    /// node.
    async fn read(&self, stale: bool) -> Result<Arc<Snapshot>, Error> {
        if stale {
            return Ok(self.snapshot());
        }
        let ManagementContext {
            cluster, snapshots, ..
        } = &self.context;
        let published = async {
            let revision = cluster.catch_up().await.map_err(of_read)?;
            snapshots.wait_for(revision).await.ok_or(Error::Stopping)
        };
        match time::timeout(READ_TIMEOUT, published).await {
            Ok(published) => published,
            Err(_) => Err(Error::NoQuorum { missing: vec![] }),
        }
    }

    /// Proposes `command`, and waits until requests see the change.
    ///
    /// Here, where the pool of the command is known, callers who may change some pools only are refused the others. The
    /// work continues if the caller stops waiting, so that a change that is made is also logged.
    async fn write(
        &self,
        caller: ApiCaller,
        command: Command,
    ) -> Result<(Applied, Arc<Snapshot>), Error> {
        let ManagementContext {
            cluster, snapshots, ..
        } = self.context.clone();
        if let Some(pool) = command.pool() {
            caller.caller.may_change(pool)?;
        }
        let ApiCaller { caller, timeout } = caller;
        let work = tokio::spawn(time::timeout(WRITE_TIMEOUT, async move {
            let write = LoggedWrite::of(&command);
            let from = caller.to_string();
            let applied = cluster
                .propose_from(command, &from)
                .await
                .map_err(Error::from);
            write.log(&caller, &applied);
            let applied = applied?;
            let snapshot = snapshots.wait_for(applied.revision).await;
            Ok((applied, snapshot.ok_or(Error::Stopping)?))
        }));
        match time::timeout(timeout, work).await {
            Ok(Ok(Ok(result))) => result,
            // The time limit was reached, the task panicked, or the caller stopped waiting.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Error::Unknown { missing: vec![] }),
        }
    }
}

impl Operations {
    /// Waits for a change of the whole state, and until requests see it. Returns its revision.
    async fn propose_change(
        &self,
        caller: ApiCaller,
        call: &'static str,
        change: impl Future<Output = Result<Applied, ProposeError>> + Send + 'static,
    ) -> Result<u64, Error> {
        let snapshots = self.context.snapshots.clone();
        let ApiCaller { caller, timeout } = caller;
        let work = tokio::spawn(time::timeout(WRITE_TIMEOUT, async move {
            let applied = change.await?;
            let peer = &caller.permissions().peer;
            info!(%caller, %peer, call, revision = %applied.revision, "write applied");
            let published = snapshots.wait_for(applied.revision).await;
            published.ok_or(Error::Stopping)?;
            Ok(applied.revision.0)
        }));
        match time::timeout(timeout, work).await {
            Ok(Ok(Ok(result))) => result,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Error::Unknown { missing: vec![] }),
        }
    }
}

/// The error of a read that fails.
fn of_read(error: ProposeError) -> Error {
    match error {
        // Nothing was to be written.
        ProposeError::NotDurable(_) => Error::ClusterUnavailable(
            "the data directory of this node cannot be written, so it lacks changes that other nodes have made: ask \
             another node, or read what this one has with `stale`"
                .to_owned(),
        ),
        error => error.into(),
    }
}

/// The pool of that name in a snapshot.
fn pool_in<'a>(snapshot: &'a Snapshot, name: &PoolName) -> Result<&'a Arc<PoolView>, Error> {
    let missing = || Rejection::NoSuchPool { pool: name.clone() };
    Ok(snapshot.pools.get(name).ok_or_else(missing)?)
}
