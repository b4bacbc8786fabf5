//! `WatchServers`: the full state, then the changes since the reader's last message.
//!
//! One message is queued while the reader is slow. When it takes its next message, the newest
//! snapshot is compared with the last one that was sent, so that several changes become one. The stream of a reader that
//! takes nothing for a minute ends.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weldr_proto::v1::{self, watch_servers_response::Event};

use crate::{
    management::{convert, error::Error},
    model::PoolName,
    snapshot::{PoolView, Snapshot},
};

use super::{
    Operations, ResponseStream,
    changes::{ServerEvent, changes},
    pool_in,
    servers::servers,
    slow_reader::{PATIENCE, ended_when_slow},
};

impl Operations {
    pub(in crate::management) fn watch_servers(
        &self,
        request: &v1::WatchServersRequest,
    ) -> Result<ResponseStream<v1::WatchServersResponse>, Error> {
        let (_, pool) = self.snapshot_with(&request.pool)?;
        let watcher = Watcher {
            pool: pool.name().clone(),
            published: self.context.snapshots.subscribe(),
            stop: self.stop.clone(),
            known: None,
            waiting: VecDeque::new(),
        };
        let next = |watcher: Option<Watcher>| async {
            let mut watcher = watcher?;
            match watcher.message().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        };
        let messages = Box::pin(stream::unfold(Some(watcher), next));
        Ok(ended_when_slow(messages, PATIENCE))
    }
}

/// One reader.
struct Watcher {
    pool: PoolName,
    published: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
    /// The snapshot that the reader knows after the waiting messages.
    known: Option<Arc<Snapshot>>,
    /// The messages that lead to `known`.
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    Settings,
    Server(ServerEvent),
}

impl Watcher {
    /// The next message.
    ///
    /// # Errors
    /// The node stops, or the pool was removed.
    async fn message(&mut self) -> Result<v1::WatchServersResponse, Error> {
        let Some(known) = &self.known else {
            let first = Arc::clone(&self.published.borrow_and_update());
            let pool = pool_in(&first, &self.pool)?;
            let message = full_state(&first, pool);
            self.known = Some(first);
            return Ok(message);
        };
        let mut known = Arc::clone(known);
        while self.waiting.is_empty() {
            tokio::select! {
                changed = self.published.changed() => changed.map_err(|_| Error::Stopping)?,
                () = self.stop.cancelled() => return Err(Error::Stopping),
            }
            let newest = Arc::clone(&self.published.borrow_and_update());
            let pools = (pool_in(&known, &self.pool)?, pool_in(&newest, &self.pool)?);
            self.waiting = difference(pools.0, pools.1);
            self.known = Some(Arc::clone(&newest));
            known = newest;
        }
        let pool = pool_in(&known, &self.pool)?;
        // The loop ends when one waits.
        let waiting = self.waiting.pop_front().ok_or(Error::Overtaken)?;
        let event = match waiting {
            Waiting::Settings => Event::Settings(convert::pool_settings(&pool.settings)),
            Waiting::Server(ServerEvent { kind, server, at }) => Event::Change(v1::ServerChange {
                kind: kind.into(),
                server: Some(convert::server(pool.name(), &server)),
                at: Some(at.into()),
            }),
        };
        Ok(v1::WatchServersResponse {
            revision: known.revision.0,
            event: Some(event),
        })
    }
}

fn full_state(snapshot: &Snapshot, pool: &PoolView) -> v1::WatchServersResponse {
    v1::WatchServersResponse {
        revision: snapshot.revision.0,
        event: Some(Event::State(v1::PoolState {
            settings: Some(convert::pool_settings(&pool.settings)),
            servers: servers(pool),
        })),
    }
}

fn difference(before: &Arc<PoolView>, after: &Arc<PoolView>) -> VecDeque<Waiting> {
    if Arc::ptr_eq(before, after) {
        return VecDeque::new();
    }
    let settings = (before.settings != after.settings).then_some(Waiting::Settings);
    let changes = changes(before, after, SystemTime::now());
    settings
        .into_iter()
        .chain(changes.into_iter().map(Waiting::Server))
        .collect()
}
