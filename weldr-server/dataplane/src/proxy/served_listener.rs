//! A listener as one worker serves it: its rules and its policy, as the newest snapshot has them, and its drain.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use crate::{model::ListenerName, snapshot::ListenerView, stats::ListenerShard};

use super::{
    client_addresses::{AddressSlot, ClientAddresses},
    client_policy::ClientPolicy,
    context::WorkerContext,
    drain::Drain,
    headers::{Peer, Scheme},
    transport::Transport,
};

/// A listener as one worker serves it, for as long as its socket or a connection of it is open.
pub(super) struct ServedListener {
    pub(super) context: Rc<WorkerContext>,
    current: RefCell<Rc<ListenerContext>>,
    drain: Cell<Drain>,
    /// Whether it can be closed while the worker goes on.
    pub(super) is_removable: bool,
    open: Cell<usize>,
    all_closed: Notify,
}

/// What requests of a listener borrow: nothing of it is copied for a request.
pub(super) struct ListenerContext {
    pub(super) view: Arc<ListenerView>,
    pub(super) policy: ClientPolicy,
    /// This worker's counters of the listener.
    pub(super) counters: Arc<ListenerShard>,
    /// The connections of each client; `None`: they are not limited.
    pub(super) addresses: Option<Arc<ClientAddresses>>,
    /// The changes of listeners after which it was looked up.
    changes: Cell<u64>,
}

/// A client has as many connections as it may have.
pub(super) struct AtLimit;

impl ListenerContext {
    /// A listener as the worker of `context` serves it, from a snapshot after so many `changes`.
    fn new(context: &WorkerContext, view: Arc<ListenerView>, changes: u64) -> Rc<Self> {
        let policy = context.client_policy(&view.desired.spec.policy);
        let limit = policy.connections_per_client;
        Rc::new(Self {
            counters: Arc::clone(view.live.shards.of(context.index())),
            addresses: context.client_addresses(view.name(), limit),
            changes: Cell::new(changes),
            policy,
            view,
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &ListenerName {
        self.view.name()
    }

    /// The client at `address`, whose connection is `transport`.
    pub(super) fn peer(&self, address: SocketAddr, transport: &Transport) -> Peer {
        let http = &self.policy.http;
        let Some(facts) = transport.secured_facts() else {
            return Peer::new(address, Scheme::Http, http);
        };
        let peer = Peer::new(address, Scheme::Https, http);
        if self.view.desired.spec.tls.forward_client_certificate {
            return peer.telling_certificate(facts.certificate.as_deref());
        }
        peer
    }
}

impl ServedListener {
    /// A listener that is served from now on. `view` is that of a snapshot after so many `changes` of listeners: a later
    /// snapshot is followed with the next request.
    pub(super) fn new(
        context: Rc<WorkerContext>,
        (view, changes): (Arc<ListenerView>, u64),
        is_removable: bool,
    ) -> Rc<Self> {
        let first = ListenerContext::new(&context, view, changes);
        Rc::new(Self {
            context,
            current: RefCell::new(first),
            drain: Cell::new(Drain::Serving),
            is_removable,
            open: Cell::new(0),
            all_closed: Notify::new(),
        })
    }

    /// The listener as the newest snapshot has it.
    pub(super) fn current(&self) -> Rc<ListenerContext> {
        let present = Rc::clone(&self.current.borrow());
        self.newer(&present).unwrap_or(present)
    }

    /// The listener as the newest snapshot has it; `None`: that is what `known` is, which it nearly always is.
    pub(super) fn newer(&self, known: &Rc<ListenerContext>) -> Option<Rc<ListenerContext>> {
        if known.changes.get() == self.context.listener_changes() {
            return None;
        }
        self.renew(known)
    }

    #[cold]
    fn renew(&self, known: &Rc<ListenerContext>) -> Option<Rc<ListenerContext>> {
        let present = Rc::clone(&self.current.borrow());
        let (newest, changes) = self.context.listener_view(present.name());
        if present.changes.get() != changes {
            match newest {
                // Another listener may have got the name, while the connections of this one drain.
                Some(newest)
                    if Arc::ptr_eq(&newest.live, &present.view.live)
                        && !Arc::ptr_eq(&newest, &present.view) =>
                {
                    let newest = ListenerContext::new(&self.context, newest, changes);
                    self.current.replace(newest);
                }
                // It did not change, or its connections are the last ones.
                Some(_) | None => present.changes.set(changes),
            }
        }
        let newest = Rc::clone(&self.current.borrow());
        if Rc::ptr_eq(&newest, known) {
            return None;
        }
        Some(newest)
    }

    /// Sets how far its clients are sent away.
    pub(super) fn set_drain(&self, drain: Drain) {
        self.drain.set(drain);
        self.context.deadlines.wake_all();
    }

    /// Whether responses must say that their connections close.
    pub(super) fn closes_connections(&self) -> bool {
        self.drain.get() != Drain::Serving || self.context.closes_connections()
    }

    /// Whether connections without a request must close.
    pub(super) fn closes_idle(&self) -> bool {
        matches!(self.drain.get(), Drain::Closing | Drain::Resetting) || self.context.closes_idle()
    }

    /// Whether all connections must be reset.
    pub(super) fn resets(&self) -> bool {
        self.drain.get() == Drain::Resetting
    }

    /// Whether the listener, or the address of the connection, leaves this machine now. Whoever changes that wakes all tasks.
    pub(super) fn is_reset(&self, transport: &Transport) -> bool {
        let context = &self.context;
        self.resets() || (context.resets() && context.is_to_virtual_address(transport))
    }

    /// How long a connection without a request is kept.
    pub(super) fn client_idle(&self) -> Duration {
        self.current().policy.timeouts.client_idle
    }

    /// Whether it has as many connections as it may have. One that closes takes all that wait.
    pub(super) fn is_full(&self) -> bool {
        if self.drain.get() != Drain::Serving {
            return false;
        }
        let current = self.current();
        let most = current.policy.connections;
        most > 0 && current.view.live.connections() >= most
    }

    /// Counts a connection of the client at `address`, if the connections of a client are limited. A client that is at the
    /// limit is counted and logged.
    pub(super) fn admit(
        &self,
        listener: &ListenerContext,
        address: IpAddr,
    ) -> Result<Option<AddressSlot>, AtLimit> {
        let Some(addresses) = &listener.addresses else {
            return Ok(None);
        };
        let admitted = addresses.admit(address);
        if admitted.is_none() {
            self.context.counters().connections_refused.add(1);
            self.context.accept_log.refused(address);
            return Err(AtLimit);
        }
        Ok(admitted)
    }

    /// Counts a connection that was opened.
    pub(super) fn opened(&self) {
        self.open.set(self.open.get() + 1);
        let current = self.current.borrow();
        current.counters.connections.rise();
        current.counters.connections_total.add(1);
    }

    /// Counts a connection that was closed.
    pub(super) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.current.borrow().counters.connections.fall();
        if self.open.get() == 0 {
            self.all_closed.notify_one();
        }
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Returns when no connection is open.
    pub(super) async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.all_closed.notified().await;
        }
    }
}
