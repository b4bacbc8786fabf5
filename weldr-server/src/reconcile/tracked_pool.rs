//! One pool: its servers, and what of them is in the next snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use crate::{
    model::{DesiredState, Health, Pool, PoolName, PoolSettings, Revision, ServerId},
    snapshot::{LivePool, LiveServer, PoolView},
    tls::ServerCertificate,
};

use super::{
    follow_up::FollowUps,
    tls::TlsMaterial,
    tracked::{Checks, Tracked},
};

#[derive(Debug)]
pub(super) struct TrackedPool {
    /// The pool in the next snapshot, without the changes of the servers in `touched`.
    view: PoolView,
    servers: BTreeMap<SocketAddr, Tracked>,
    /// Servers that have changed since the last snapshot.
    touched: BTreeSet<SocketAddr>,
    /// The state that was followed last; `None` for a new pool.
    followed: Option<Followed>,
    /// The certificate that is shown to the servers.
    certificate: Option<Arc<ServerCertificate>>,
}

/// The revisions of the last changes of a pool, and that of the whole state.
#[derive(Debug, Clone, Copy)]
struct Followed {
    settings: Revision,
    servers: Revision,
    state: Revision,
}

/// Which servers came and went.
#[derive(Debug, Default)]
pub(super) struct ServerChanges {
    pub(super) added: Vec<Arc<LiveServer>>,
    pub(super) removed: Vec<ServerId>,
}

impl TrackedPool {
    /// A pool in which nothing was followed yet.
    pub(super) fn new(name: PoolName, workers: usize) -> Self {
        let live = LivePool::new(name, workers);
        let settings = PoolSettings::default();
        Self {
            view: PoolView::new(live, settings, Revision::default(), vec![]),
            servers: BTreeMap::new(),
            touched: BTreeSet::new(),
            followed: None,
            certificate: None,
        }
    }

    /// Applies `desired`, the pool in the state of revision `state`. Returns `None` when it is as it was.
    pub(super) fn follow(
        &mut self,
        desired: &Pool,
        state: &DesiredState,
        checks: &Checks,
        tls: &mut TlsMaterial,
    ) -> Option<ServerChanges> {
        let now = Followed {
            settings: desired.settings_revision,
            servers: desired.servers_revision,
            state: state.revision,
        };
        let before = self.followed.replace(now);
        let is_same =
            |before: Followed| before.settings == now.settings && before.servers == now.servers;
        let is_same = before.is_some_and(is_same);
        // A certificate changes without its pool.
        if is_same && desired.settings.tls.client_certificate.is_none() {
            return None;
        }
        let changes_security = self.set_security(desired, state, tls);
        if is_same && !changes_security {
            return None;
        }
        let affects_all = self.set_settings(desired) || changes_security;
        let recent = before.and_then(|before| desired.recent.since(before.state));
        let changed: BTreeSet<SocketAddr> = match recent {
            Some(changed) if !affects_all => changed.collect(),
            _ => {
                let all = self.servers.keys().chain(desired.servers.keys());
                all.copied().collect()
            }
        };
        let mut result = ServerChanges::default();
        for address in changed {
            self.follow_server(desired, address, checks, &mut result);
        }
        Some(result)
    }

    /// Follows how the pool speaks to its servers: by its settings, and by the certificate that it shows them. Returns whether
    /// that changed.
    fn set_security(
        &mut self,
        desired: &Pool,
        state: &DesiredState,
        tls: &mut TlsMaterial,
    ) -> bool {
        let settings = &desired.settings;
        let certificate = settings.tls.client_certificate.as_ref();
        let certificate = certificate.and_then(|name| tls.client_certificate(state, name));
        let before = &self.view.settings;
        let has_same_certificate =
            certificate.as_ref().map(Arc::as_ptr) == self.certificate.as_ref().map(Arc::as_ptr);
        let is_same = before.protocol == settings.protocol && before.tls == settings.tls;
        if is_same && has_same_certificate {
            return false;
        }
        self.certificate = certificate;
        self.view.set_security(tls.of_pool(state, settings))
    }

    /// Returns whether a setting changed that affects every server.
    fn set_settings(&mut self, desired: &Pool) -> bool {
        let (before, after) = (&self.view.settings, &desired.settings);
        let affects_all = before.check != after.check
            || before.deregister_after != after.deregister_after
            || before.strict_responses != after.strict_responses
            || before.outlier != after.outlier
            || before.stickiness.cookie.is_some() != after.stickiness.cookie.is_some()
            || before.policy.send_proxy_protocol != after.policy.send_proxy_protocol;
        self.view
            .set_settings(after.clone(), desired.settings_revision);
        affects_all
    }

    fn follow_server(
        &mut self,
        pool: &Pool,
        address: SocketAddr,
        checks: &Checks,
        changes: &mut ServerChanges,
    ) {
        let desired = pool.servers.get(&address);
        let present = self.servers.get(&address).map(Tracked::id);
        if let Some(id) = present
            && desired.is_none_or(|desired| desired.id != id)
        {
            self.servers.remove(&address);
            self.view.take(address);
            changes.removed.push(id);
        }
        let Some(desired) = desired else { return };
        if let Some(tracked) = self.servers.get_mut(&address) {
            tracked.follow(desired, (&self.view).into());
        } else {
            let live = Arc::clone(&self.view.live);
            let tracked = Tracked::start(live, desired, (&self.view).into(), checks);
            changes.added.push(Arc::clone(&tracked.view().live));
            self.servers.insert(address, tracked);
        }
        self.touched.insert(address);
    }

    /// Looks again which servers this node itself is, after its listeners changed. Returns whether that is another answer.
    pub(super) fn follow_own_addresses(&mut self, checks: &Checks) -> bool {
        let mut changed = false;
        for (address, tracked) in &mut self.servers {
            if tracked.follow_own_addresses((&self.view).into(), checks) {
                self.touched.insert(*address);
                changed = true;
            }
        }
        changed
    }

    /// Applies a change of the observed health of the server at `address`.
    pub(super) fn observe(&mut self, address: SocketAddr, health: Health) {
        if let Some(tracked) = self.servers.get_mut(&address) {
            tracked.observe(health);
            self.touched.insert(address);
        }
    }

    /// Ends the sessions of the server at `address`, which is being removed.
    pub(super) fn end_sessions(&mut self, address: SocketAddr) {
        if let Some(tracked) = self.servers.get_mut(&address) {
            tracked.end_sessions();
            self.touched.insert(address);
        }
    }

    /// The pool for the next snapshot.
    pub(super) fn view(&mut self) -> PoolView {
        let touched = self.touched.iter();
        for tracked in touched.filter_map(|address| self.servers.get(address)) {
            self.view.put(Arc::clone(tracked.view()));
        }
        self.view.settle();
        self.view.clone()
    }

    /// Starts or cancels the follow-ups of the servers that changed, after snapshot `version` was published.
    pub(super) fn follow_up(&mut self, follow_ups: &FollowUps, version: u64) {
        for address in std::mem::take(&mut self.touched) {
            if let Some(tracked) = self.servers.get_mut(&address) {
                tracked.follow_up(follow_ups, &self.view.settings, version);
            }
        }
    }

    /// The servers, all of which leave when the pool does.
    pub(super) fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.servers.values().map(Tracked::id)
    }
}
