//! Opens and closes the sockets of listeners at run time, as the snapshots say. The default listener is not its concern: its
//! sockets are bound at the start.
//!
//! The sockets of a listener are bound here, once for each worker, and handed to the workers. An address that cannot be
//! bound is tried again until it can; a listener whose address changes keeps its sockets until then. What became of it is an
//! observation of this node: see [`LiveListener::binding`](crate::snapshot::LiveListener::binding).

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
/// For how long an address that this node has given up may be in use: the workers take the connections that wait first.
const RELEASE: Duration = Duration::from_secs(1);
/// The time between two attempts to bind such an address.
const RELEASE_RETRY: Duration = Duration::from_millis(20);
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
    /// How many listeners may be open at once: the process has descriptors for no more.
    most: usize,
    workers: Vec<mpsc::Sender<OpenListener>>,
    listeners: BTreeMap<ListenerName, Bound>,
    /// The addresses that were given up last, and when.
    released: Vec<(SocketAddr, Instant)>,
}

/// What became of a listener.
#[derive(Debug)]
struct Bound {
    /// Which listener it is: another one may get the name of one that was removed.
    live: Arc<LiveListener>,
    /// Where it is to listen.
    wanted: SocketAddr,
    /// Its sockets, which may still be at an earlier address.
    open: Option<OpenSockets>,
    /// The next attempt to bind `wanted`; `None` when it is bound.
    next: Option<Attempt>,
}

/// The sockets of a listener at one address.
#[derive(Debug)]
struct OpenSockets {
    wanted: SocketAddr,
    /// The same, with the port that the system chose.
    address: SocketAddr,
    close: CancellationToken,
}

/// An attempt to bind an address.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Instant,
    /// The time until the one after it, if it fails.
    pause: Duration,
}

impl Attempt {
    fn first() -> Self {
        Self {
            at: Instant::now(),
            pause: FIRST_RETRY,
        }
    }
}

impl Binder {
    pub(super) fn new(
        snapshots: Snapshots,
        addresses: BTreeMap<ListenerName, SocketAddr>,
        most: usize,
        workers: Vec<mpsc::Sender<OpenListener>>,
    ) -> Self {
        Self {
            snapshots,
            addresses,
            most,
            workers,
            listeners: BTreeMap::new(),
            released: Vec::new(),
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
        self.close_removed(snapshot);
        self.note_wanted(snapshot);
        for view in snapshot.listeners.iter() {
            let bound = self.listeners.get(view.name());
            let next = bound.and_then(|bound| Some((bound.wanted, bound.next?)));
            if let Some((wanted, attempt)) = next
                && attempt.at <= Instant::now()
            {
                self.open(view, wanted, attempt.pause).await;
            }
        }
        for view in snapshot.listeners.iter() {
            view.live.set_followed(view.desired.spec_revision);
        }
        let attempts = self.listeners.values().filter_map(|bound| bound.next);
        attempts.map(|attempt| attempt.at).min()
    }

    /// Closes the listeners that `snapshot` does not have.
    fn close_removed(&mut self, snapshot: &Snapshot) {
        let Self {
            listeners,
            released,
            ..
        } = self;
        listeners.retain(|name, bound| {
            let view = snapshot.listeners.get(name);
            let stays = view.is_some_and(|view| Arc::ptr_eq(&view.live, &bound.live));
            if !stays {
                close(name, bound, released);
            }
            stays
        });
    }

    /// Notes where the listeners of `snapshot` are to listen.
    fn note_wanted(&mut self, snapshot: &Snapshot) {
        for view in snapshot.listeners.iter() {
            let Some(wanted) = wanted(&self.addresses, view) else {
                continue;
            };
            let bound = self.listeners.entry(view.name().clone());
            let bound = bound.or_insert_with(|| Bound {
                live: Arc::clone(&view.live),
                wanted,
                open: None,
                next: Some(Attempt::first()),
            });
            if bound.wanted == wanted {
                continue;
            }
            bound.wanted = wanted;
            bound.next = match &bound.open {
                // The change was undone before the other address could be bound.
                Some(open) if open.wanted == wanted => {
                    let address = Some(open.address);
                    view.live
                        .set_binding(address, BindState::Bound, String::new());
                    None
                }
                _ => Some(Attempt::first()),
            };
        }
    }

    /// Closes the sockets of listeners that leave `address`, or one that takes its connections: until then, it cannot be
    /// bound.
    fn make_way(&mut self, address: SocketAddr) {
        let Self {
            listeners,
            released,
            ..
        } = self;
        for (name, bound) in listeners {
            let is_in_the_way = bound
                .open
                .as_ref()
                .is_some_and(|open| open.wanted != bound.wanted && overlap(open.address, address));
            if is_in_the_way {
                close(name, bound, released);
            }
        }
    }

    /// Binds `wanted` for a listener, whose sockets at another address are closed when that has succeeded.
    async fn open(&mut self, view: &Arc<ListenerView>, wanted: SocketAddr, pause: Duration) {
        let name = view.name();
        if self.workers.is_empty() {
            let state = BindState::NotServed;
            view.live.set_binding(Some(wanted), state, String::new());
            self.set_next(name, None);
            return;
        }
        self.make_way(wanted);
        let bound = match self.expect_room_for(name) {
            Ok(()) => bind(wanted, self.workers.len()),
            Err(error) => Err(error),
        };
        let (address, sockets) = match bound {
            Ok(bound) => bound,
            Err(error) => return self.failed(view, wanted, pause, &error),
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
        tracing::info!(listener = %name, %address, "listener listens");
        if let Some(bound) = self.listeners.get_mut(name) {
            self::close(name, bound, &mut self.released);
            bound.open = Some(OpenSockets {
                wanted,
                address,
                close,
            });
            bound.next = None;
        }
    }

    /// Refuses to open a listener for which the process may have no descriptors left.
    fn expect_room_for(&self, name: &ListenerName) -> io::Result<()> {
        let others = self.listeners.iter().filter(|(other, _)| *other != name);
        let open = others.filter(|(_, bound)| bound.open.is_some()).count();
        if open < self.most {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{open} added listeners are open, for no more than {} of which the limit of open files suffices: raise the limit \
             (ulimit -n, LimitNOFILE), use fewer workers, or remove a listener",
            self.most
        )))
    }

    /// Says that `wanted` cannot be bound, and plans the next attempt.
    fn failed(
        &mut self,
        view: &ListenerView,
        wanted: SocketAddr,
        pause: Duration,
        error: &io::Error,
    ) {
        let state = bind_state(error);
        if state == BindState::InUse && self.was_released(wanted) {
            let state = BindState::Pending;
            view.live.set_binding(Some(wanted), state, String::new());
            let at = Instant::now() + RELEASE_RETRY;
            self.set_next(view.name(), Some(Attempt { at, pause }));
            return;
        }
        let bound = self.listeners.get(view.name());
        let still = bound.and_then(|bound| Some(bound.open.as_ref()?.address));
        let description = match still {
            Some(still) => format!("{error}; until it can, it still listens on {still}"),
            None => error.to_string(),
        };
        if view.live.set_binding(Some(wanted), state, description) {
            let still = still.map(tracing::field::display);
            tracing::warn!(
                listener = %view.name(), address = %wanted, still, %error,
                "listener cannot listen; it is tried again"
            );
        }
        let next = Attempt {
            at: Instant::now() + pause,
            pause: (pause * 2).min(LONGEST_RETRY),
        };
        self.set_next(view.name(), Some(next));
    }

    fn set_next(&mut self, name: &ListenerName, next: Option<Attempt>) {
        if let Some(bound) = self.listeners.get_mut(name) {
            bound.next = next;
        }
    }

    /// Whether this node has given `address` up so lately that its sockets may still be open.
    fn was_released(&mut self, address: SocketAddr) -> bool {
        self.released.retain(|(_, at)| at.elapsed() < RELEASE);
        let mut released = self.released.iter();
        released.any(|(released, _)| overlap(*released, address))
    }
}

/// Closes the sockets of a listener, if it has any.
fn close(name: &ListenerName, bound: &mut Bound, released: &mut Vec<(SocketAddr, Instant)>) {
    if let Some(OpenSockets { address, close, .. }) = bound.open.take() {
        tracing::info!(listener = %name, %address, "listener closes");
        close.cancel();
        released.retain(|(_, at)| at.elapsed() < RELEASE);
        released.push((address, Instant::now()));
    }
}

/// Whether sockets at both addresses exclude each other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let is_same =
        a == b || ((a.is_unspecified() || b.is_unspecified()) && a.is_ipv4() == b.is_ipv4());
    is_same && one.port() == other.port()
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

    /// As many as a test has at once.
    const MOST: usize = 2;

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
            session_keys: Arc::default(),
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
        let mut listeners = ListenerViews::default_listener(1);
        let (publisher, snapshots) = Publisher::new(snapshot(0, &listeners), 1);
        let (worker, mut opened) = mpsc::channel(4);
        let binder = Binder::new(snapshots, BTreeMap::new(), MOST, vec![worker]);
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

    /// A binder with one worker, which a test plays.
    struct Setup {
        listeners: ListenerViews,
        publisher: Publisher,
        opened: mpsc::Receiver<OpenListener>,
        version: u64,
    }

    impl Setup {
        fn new() -> Self {
            let listeners = ListenerViews::default_listener(1);
            let (publisher, snapshots) = Publisher::new(snapshot(0, &listeners), 1);
            let (worker, opened) = mpsc::channel(4);
            let binder = Binder::new(snapshots, BTreeMap::new(), MOST, vec![worker]);
            let tick = Tasks::default().register("binder");
            // Ends with its publisher.
            tokio::spawn(binder.run(CancellationToken::new(), tick));
            Self {
                listeners,
                publisher,
                opened,
                version: 0,
            }
        }

        /// Sets the addresses of listeners.
        fn set(&mut self, all: &[(&str, SocketAddr)]) {
            for (name, address) in all {
                let spec = ListenerSpec {
                    address: Some(*address),
                    ..ListenerSpec::default()
                };
                let view = match self.listeners.get(&name.parse().unwrap()) {
                    Some(known) => {
                        known.changed_to(Arc::new(Listener::new(spec, Revision(self.version))))
                    }
                    None => view(name, *address),
                };
                self.listeners.put(view);
            }
            self.publish();
        }

        fn publish(&mut self) {
            self.version += 1;
            let snapshot = snapshot(self.version, &self.listeners);
            self.publisher.publish(snapshot);
        }

        fn live(&self, name: &str) -> Arc<LiveListener> {
            Arc::clone(&self.listeners.get(&name.parse().unwrap()).unwrap().live)
        }

        async fn opened(&mut self) -> OpenListener {
            let opened = time::timeout(Duration::from_secs(20), self.opened.recv());
            opened.await.unwrap().unwrap()
        }
    }

    fn free() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_listener_keeps_its_address_until_it_has_the_next() {
        let mut setup = Setup::new();
        let occupied = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (first, next) = (free(), occupied.local_addr().unwrap());
        setup.set(&[("web", first)]);
        let open = setup.opened().await;
        setup.set(&[("web", next)]);
        let live = setup.live("web");
        let binding = until(&live, BindState::InUse).await;
        assert_eq!(binding.address, Some(next));
        let told = format!("still listens on {first}");
        assert!(binding.description.contains(&told), "{binding:?}");
        assert!(!open.close.is_cancelled());
        // Changed back, and once more.
        setup.set(&[("web", first)]);
        let binding = until(&live, BindState::Bound).await;
        assert_eq!(binding.address, Some(first));
        setup.set(&[("web", next)]);
        until(&live, BindState::InUse).await;
        drop(occupied);
        let moved = setup.opened().await;
        assert_eq!(moved.socket.local_addr().unwrap(), next);
        open.close.cancelled().await;
        assert!(!moved.close.is_cancelled());
    }

    #[tokio::test]
    async fn listeners_can_change_places() {
        let mut setup = Setup::new();
        let (one, other) = (free(), free());
        setup.set(&[("a", one), ("b", other)]);
        let (a, b) = (setup.opened().await, setup.opened().await);
        setup.set(&[("a", other), ("b", one)]);
        for socket in [a, b] {
            socket.close.cancelled().await;
        }
        let (a, b) = (setup.opened().await, setup.opened().await);
        let at = |open: &OpenListener| open.socket.local_addr().unwrap();
        let mut both = [
            (a.view.name().to_string(), at(&a)),
            (b.view.name().to_string(), at(&b)),
        ];
        both.sort();
        assert_eq!(both, [("a".to_owned(), other), ("b".to_owned(), one)]);
    }

    #[tokio::test]
    async fn no_more_listeners_are_opened_than_there_are_descriptors_for() {
        let mut setup = Setup::new();
        let (a, b, c) = (free(), free(), free());
        setup.set(&[("a", a), ("b", b), ("c", c)]);
        let _open = (setup.opened().await, setup.opened().await);
        let binding = until(&setup.live("c"), BindState::Failed).await;
        let told = "2 added listeners are open, for no more than 2";
        assert!(binding.description.starts_with(told), "{binding:?}");
        // One that is open may still be moved.
        let elsewhere = free();
        setup.set(&[("a", elsewhere)]);
        assert_eq!(setup.opened().await.socket.local_addr().unwrap(), elsewhere);
        setup.listeners.take(&"b".parse().unwrap());
        setup.set(&[("a", elsewhere), ("c", c)]);
        assert_eq!(setup.opened().await.socket.local_addr().unwrap(), c);
    }

    #[tokio::test]
    async fn an_address_that_was_given_up_just_now_is_not_said_to_be_in_use() {
        let mut setup = Setup::new();
        let address = free();
        setup.set(&[("web", address)]);
        let open = setup.opened().await;
        setup.listeners.take(&"web".parse().unwrap());
        setup.set(&[("api", address)]);
        let live = setup.live("api");
        open.close.cancelled().await;
        // The worker still takes what waits in the queue of its socket.
        let tried = async {
            while live.binding().address.is_none() {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(Duration::from_secs(20), tried).await.unwrap();
        assert_eq!(live.binding().state, BindState::Pending);
        drop(open);
        until(&live, BindState::Bound).await;
    }

    #[test]
    fn all_addresses_of_a_family_overlap_with_each() {
        for (one, other, overlaps) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
        ] {
            let found = overlap(one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(found, overlaps, "{one} {other}");
        }
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
