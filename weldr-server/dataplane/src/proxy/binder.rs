//! Opens and closes the sockets of listeners at run time, as the snapshots say. The default listener is not its concern: its
//! sockets are bound at the start.
//!
//! The sockets of a listener are bound here, once for each worker, and handed to the workers. An address that cannot be
//! bound is tried again until it can. What became of it is an observation of this node: see
//! [`LiveListener::binding`](crate::snapshot::LiveListener::binding).

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    liveness::Tick,
    model::ListenerName,
    snapshot::{BindState, ListenerView, LiveListener, Snapshot, Snapshots},
};

use super::transport;

/// The time before the first new attempt to bind an address.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Listeners that a worker may still have to open.
pub(super) const MOST_WAITING: usize = 64;

/// A socket of a listener, for one worker.
#[derive(Debug)]
pub(super) struct OpenListener {
    pub(super) view: Arc<ListenerView>,
    pub(super) socket: TcpListener,
    /// Cancelled when the listener is to be closed.
    pub(super) close: CancellationToken,
}

/// Opens and closes the sockets of listeners.
#[derive(Debug)]
pub struct Binder {
    snapshots: Snapshots,
    /// The addresses on this node of listeners that have another one here.
    addresses: BTreeMap<ListenerName, SocketAddr>,
    workers: Vec<mpsc::Sender<OpenListener>>,
    listeners: BTreeMap<ListenerName, Bound>,
}

/// What became of a listener.
#[derive(Debug)]
struct Bound {
    /// Which listener it is: another one may get the name of one that was removed.
    live: Arc<LiveListener>,
    /// Where it was to listen.
    wanted: SocketAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(CancellationToken),
    Failed { retry: Instant, after: Duration },
}

impl Binder {
    pub(super) fn new(
        snapshots: Snapshots,
        addresses: BTreeMap<ListenerName, SocketAddr>,
        workers: Vec<mpsc::Sender<OpenListener>>,
    ) -> Self {
        Self {
            snapshots,
            addresses,
            workers,
            listeners: BTreeMap::new(),
        }
    }

    /// Follows the snapshots until `stop`, or until their publisher is gone. Sockets that are open then are the workers' to
    /// close.
    pub async fn run(mut self, stop: CancellationToken, tick: Tick) {
        let mut published = self.snapshots.subscribe();
        loop {
            tick.tick();
            let snapshot = Arc::clone(&published.borrow_and_update());
            let retry = self.follow(&snapshot).await;
            let retry = retry.unwrap_or_else(|| Instant::now() + LONGEST_RETRY);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() {
                    return;
                },
                () = time::sleep_until(retry) => {}
                () = Tick::due() => {}
            }
        }
    }

    /// Opens and closes what `snapshot` says. Returns when the next attempt is due.
    async fn follow(&mut self, snapshot: &Snapshot) -> Option<Instant> {
        self.listeners.retain(|name, bound| {
            let view = snapshot.listeners.get(name);
            let wanted = view.and_then(|view| wanted(&self.addresses, view));
            let is_same = view.is_some_and(|view| Arc::ptr_eq(&view.live, &bound.live));
            let stays = is_same && wanted == Some(bound.wanted);
            if let (State::Open(close), false) = (&bound.state, stays) {
                tracing::info!(listener = %name, address = %bound.wanted, "listener closes");
                close.cancel();
            }
            stays
        });
        for view in snapshot.listeners.iter() {
            let Some(wanted) = wanted(&self.addresses, view) else {
                continue;
            };
            let after = match self.listeners.get(view.name()).map(|bound| &bound.state) {
                Some(State::Open(_)) => continue,
                Some(State::Failed { retry, .. }) if *retry > Instant::now() => continue,
                Some(State::Failed { after, .. }) => (*after * 2).min(LONGEST_RETRY),
                None => FIRST_RETRY,
            };
            let state = self.open(view, wanted, after).await;
            let live = Arc::clone(&view.live);
            let bound = Bound {
                live,
                wanted,
                state,
            };
            self.listeners.insert(view.name().clone(), bound);
        }
        for view in snapshot.listeners.iter() {
            view.live.set_followed(view.desired.spec_revision);
        }
        let retries = self
            .listeners
            .values()
            .filter_map(|bound| match bound.state {
                State::Failed { retry, .. } => Some(retry),
                State::Open(_) => None,
            });
        retries.min()
    }

    async fn open(&self, view: &Arc<ListenerView>, wanted: SocketAddr, after: Duration) -> State {
        let retry = Instant::now() + after;
        let failed = State::Failed { retry, after };
        if self.workers.is_empty() {
            view.live
                .set_binding(Some(wanted), BindState::NotServed, String::new());
            return failed;
        }
        let (address, sockets) = match bind(wanted, self.workers.len()) {
            Ok(bound) => bound,
            Err(error) => {
                let (state, description) = (bind_state(&error), error.to_string());
                if view.live.set_binding(Some(wanted), state, description) {
                    tracing::warn!(
                        listener = %view.name(), address = %wanted, %error,
                        "listener cannot listen; it is tried again"
                    );
                }
                return failed;
            }
        };
        let close = CancellationToken::new();
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let open = OpenListener {
                view: Arc::clone(view),
                socket,
                close: close.clone(),
            };
            // A worker that has ended serves nothing any more, and the node is not ready.
            let _ = worker.send(open).await;
        }
        view.live
            .set_binding(Some(address), BindState::Bound, String::new());
        tracing::info!(listener = %view.name(), %address, "listener listens");
        State::Open(close)
    }
}

/// Where this node is to listen for a listener; `None` for the default one.
fn wanted(
    addresses: &BTreeMap<ListenerName, SocketAddr>,
    view: &ListenerView,
) -> Option<SocketAddr> {
    if *view.name() == ListenerName::default() {
        return None;
    }
    addresses
        .get(view.name())
        .copied()
        .or(view.desired.spec.address)
}

/// Binds `address` for each of `workers` workers. The address that results has the port that the system chose.
fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let actual = transport::reserve(address)?;
    let sockets = (0..workers).map(|_| transport::bind(actual, true));
    Ok((actual, sockets.collect::<io::Result<_>>()?))
}

fn bind_state(error: &io::Error) -> BindState {
    match error.kind() {
        ErrorKind::AddrInUse => BindState::InUse,
        ErrorKind::PermissionDenied => BindState::NoPermission,
        ErrorKind::AddrNotAvailable => BindState::NoSuchAddress,
        _ => BindState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::dates,
        liveness::Tasks,
        model::{Listener, ListenerSpec, PoolName, PoolSettings, Revision},
        snapshot::{Binding, ListenerViews, LivePool, PoolView, Pools, Publisher},
    };

    fn view(name: &str, address: SocketAddr) -> ListenerView {
        let spec = ListenerSpec {
            address: Some(address),
            ..ListenerSpec::default()
        };
        let live = LiveListener::new(name.parse().unwrap(), 1);
        ListenerView::new(live, Arc::new(Listener::new(spec, Revision(1))))
    }

    fn snapshot(version: u64, listeners: &ListenerViews) -> Snapshot {
        let live = LivePool::new(PoolName::default(), 1);
        let pool = PoolView::new(live, PoolSettings::default(), Revision(1), vec![]);
        Snapshot {
            version,
            revision: Revision(version),
            removals: 0,
            pools: Pools::new(pool),
            listeners: listeners.clone(),
        }
    }

    async fn until(live: &LiveListener, state: BindState) -> Binding {
        let bound = async {
            loop {
                let binding = live.binding();
                if binding.state == state {
                    return binding;
                }
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(Duration::from_secs(20), bound).await.unwrap()
    }

    #[tokio::test]
    async fn a_listener_is_opened_retried_and_closed() {
        let occupied = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = occupied.local_addr().unwrap();
        let mut listeners = ListenerViews::default_listener(1, None);
        let (publisher, snapshots) = Publisher::new(snapshot(0, &listeners), 1);
        let (worker, mut opened) = mpsc::channel(4);
        let binder = Binder::new(snapshots, BTreeMap::new(), vec![worker]);
        let stop = CancellationToken::new();
        let tick = Tasks::default().register("binder");
        let running = tokio::spawn(binder.run(stop.clone(), tick));
        listeners.put(view("web", address));
        // 192.0.2.0/24 is for documentation: no machine has it.
        listeners.put(view("far", ([192, 0, 2, 1], 80).into()));
        publisher.publish(snapshot(1, &listeners));
        let live = |name: &str| Arc::clone(&listeners.get(&name.parse().unwrap()).unwrap().live);
        let binding = until(&live("web"), BindState::InUse).await;
        assert_eq!(binding.address, Some(address));
        assert!(!binding.description.is_empty() && binding.since <= dates::now());
        until(&live("far"), BindState::NoSuchAddress).await;
        drop(occupied);
        until(&live("web"), BindState::Bound).await;
        let open = opened.recv().await.unwrap();
        assert_eq!(open.socket.local_addr().unwrap(), address);
        let mut without = listeners.clone();
        without.take(&"web".parse().unwrap());
        publisher.publish(snapshot(2, &without));
        open.close.cancelled().await;
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn errors_have_a_state() {
        for (kind, state) in [
            (ErrorKind::AddrInUse, BindState::InUse),
            (ErrorKind::PermissionDenied, BindState::NoPermission),
            (ErrorKind::AddrNotAvailable, BindState::NoSuchAddress),
            (ErrorKind::OutOfMemory, BindState::Failed),
        ] {
            assert_eq!(bind_state(&io::Error::from(kind)), state);
        }
    }
}
