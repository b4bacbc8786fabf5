//! `WatchObjects`: all objects, or what has changed after a revision, and then each change of the desired state.
//!
//! A change is found in the history, which says what it touched, and the object is sent as it is now: so several changes of an object
//! become one for a slow reader, and nothing is queued for it but the names of objects. The history is replicated, so a stream
//! can be resumed at any node.

use std::{collections::VecDeque, sync::Arc};

use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weldr_proto::v1::{self, watch_objects_response::Event};

use crate::{
    cluster::{self, ChangedObjects},
    management::{
        access::Caller,
        convert::{self, ObjectKey, ObjectKinds},
        error::Error,
    },
    model::{DesiredState, Revision, Role},
};

use super::{
    Operations, ResponseStream,
    slow_reader::{PATIENCE, ended_when_slow},
};

impl Operations {
    pub(in crate::management) async fn watch_objects(
        &self,
        caller: &Caller,
        request: v1::WatchObjectsRequest,
    ) -> Result<ResponseStream<v1::WatchObjectsResponse>, Error> {
        let kinds = kinds_for(caller, &request.kinds)?;
        let cluster = self.context.cluster.clone();
        let after = Revision(request.after_revision);
        if after > cluster.current().revision {
            // This node may be behind the one that sent the reader here.
            self.read(false).await?;
        }
        let mut watcher = ObjectWatcher {
            published: cluster.watch(),
            state: cluster.current(),
            cluster,
            stop: self.stop.clone(),
            kinds,
            known: after,
            waiting: VecDeque::new(),
            begins: true,
        };
        if after == Revision::default() {
            watcher.begin_with_all();
        } else {
            watcher.collect()?;
        }
        let next = |watcher: Option<ObjectWatcher>| async {
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

/// The kinds that `caller` watches.
fn kinds_for(caller: &Caller, given: &[i32]) -> Result<ObjectKinds, Error> {
    let may_see_principals = caller.require(Role::Admin);
    match ObjectKinds::of(given)? {
        Some(kinds) => {
            if kinds.contains(v1::ObjectKind::Principal) {
                may_see_principals?;
            }
            Ok(kinds)
        }
        None if may_see_principals.is_ok() => Ok(ObjectKinds::all()),
        None => Ok(ObjectKinds::without_principals()),
    }
}

/// One reader.
struct ObjectWatcher {
    cluster: cluster::Handle,
    published: watch::Receiver<Arc<DesiredState>>,
    stop: CancellationToken,
    kinds: ObjectKinds,
    /// The state in which the waiting objects are looked up.
    state: Arc<DesiredState>,
    /// What the reader knows before the waiting messages.
    known: Revision,
    /// The objects to send, which lead to `state`.
    waiting: VecDeque<ObjectKey>,
    /// Whether the reader was not told yet that it is up to date for the first time.
    begins: bool,
}

impl ObjectWatcher {
    fn begin_with_all(&mut self) {
        let kinds = &self.kinds;
        self.waiting = all_objects(&self.state)
            .filter(|key| kinds.contains(key.kind()))
            .collect();
    }

    /// Looks up what has changed since `known`.
    ///
    /// # Errors
    /// The history does not reach back to that, or the cluster has not come to it.
    fn collect(&mut self) -> Result<(), Error> {
        let (state, changed) = self.cluster.changed_since(self.known)?;
        let kinds = &self.kinds;
        self.waiting = keys(changed)
            .filter(|key| kinds.contains(key.kind()))
            .collect();
        self.state = Arc::new(state);
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// The node stops, or the reader was so slow that the history does not reach back to what it knows.
    async fn message(&mut self) -> Result<v1::WatchObjectsResponse, Error> {
        loop {
            if let Some(key) = self.waiting.pop_front() {
                if self.waiting.is_empty() && !self.begins {
                    self.known = self.state.revision;
                }
                let change = convert::object(&self.state, &key);
                return Ok(self.with(Event::Change(change)));
            }
            if self.begins || self.known < self.state.revision {
                self.begins = false;
                self.known = self.state.revision;
                return Ok(self.with(Event::UpToDate(v1::UpToDate {})));
            }
            tokio::select! {
                changed = self.published.changed() => changed.map_err(|_| Error::Stopping)?,
                () = self.stop.cancelled() => return Err(Error::Stopping),
            }
            self.collect()?;
        }
    }

    fn with(&self, event: Event) -> v1::WatchObjectsResponse {
        v1::WatchObjectsResponse {
            revision: self.known.0,
            event: Some(event),
        }
    }
}

fn all_objects(state: &DesiredState) -> impl Iterator<Item = ObjectKey> {
    let pools = state.pools.iter().flat_map(|(name, pool)| {
        let servers = pool.servers.keys();
        let servers = servers.map(|address| ObjectKey::Server(name.clone(), *address));
        std::iter::once(ObjectKey::Pool(name.clone())).chain(servers)
    });
    let certificates = state.certificates.keys().cloned();
    let listeners = state.listeners.iter().flat_map(|(name, listener)| {
        let rules = listener.rules.keys();
        let rules = rules.map(|priority| ObjectKey::Rule(name.clone(), *priority));
        std::iter::once(ObjectKey::Listener(name.clone())).chain(rules)
    });
    let principals = state.principals.keys().cloned();
    pools
        .chain(certificates.map(ObjectKey::Certificate))
        .chain(listeners)
        .chain(principals.map(ObjectKey::Principal))
}

fn keys(changed: ChangedObjects) -> impl Iterator<Item = ObjectKey> {
    let ChangedObjects {
        touched,
        principals,
    } = changed;
    let servers = touched.servers.into_iter();
    let rules = touched.rules.into_iter();
    let pools = touched.pools.into_iter().map(ObjectKey::Pool);
    let certificates = touched.certificates.into_iter();
    let listeners = touched.listeners.into_iter();
    pools
        .chain(servers.map(|(pool, address)| ObjectKey::Server(pool, address)))
        .chain(certificates.map(ObjectKey::Certificate))
        .chain(listeners.map(ObjectKey::Listener))
        .chain(rules.map(|(listener, priority)| ObjectKey::Rule(listener, priority)))
        .chain(principals.into_iter().map(ObjectKey::Principal))
}
