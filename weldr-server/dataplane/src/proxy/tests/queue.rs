//! Requests that wait for a server that runs as many as it may.

use std::{
    cell::{Cell, RefCell},
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    task::{LocalSet, spawn_local, yield_now},
    time,
};

use crate::{
    http1::ClientAddress,
    model::{ListenerName, PoolName, PoolSettings, RequestLimit, Revision},
    proxy::{
        attempt::Attempt,
        context::WorkerContext,
        deadline::Deadline,
        error::ProxyError,
        forward::{Destination, forward},
        retry::Replay,
        served_listener::ServedListener,
        tally::{AttemptTally, RequestTally},
        upstream::Connection,
    },
    proxy_protocol::Ends,
    snapshot::{
        ListenerViews, LivePool, PoolView, Pools, Publisher, Snapshot, routes::CompiledAction,
        test_views,
    },
};

use super::worker;

const BOUND: Duration = Duration::from_secs(20);

/// A request of a client, whose response comes when the gate lets it pass.
struct TestRequest {
    number: u32,
    deadline: Deadline,
    setup: Rc<Setup>,
}

/// A server that runs one request, and what became of the requests.
struct Setup {
    context: Rc<WorkerContext>,
    served: Rc<ServedListener>,
    _servers: [TcpListener; 2],
    _publisher: Publisher,
    gate: Semaphore,
    /// The server of the requests' session.
    session: Option<SocketAddr>,
    /// The requests that reached the server, in their order.
    begun: RefCell<Vec<u32>>,
    /// Where they reached it.
    reached: RefCell<Vec<SocketAddr>>,
    /// The requests whose wait failed.
    refused: RefCell<Vec<u32>>,
    /// The request whose client is gone.
    gone: Cell<u32>,
}

impl Attempt for TestRequest {
    fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    fn replay(&self) -> Replay {
        Replay::Possible
    }

    fn has_responded(&self) -> bool {
        false
    }

    fn session(&self) -> Option<SocketAddr> {
        self.setup.session
    }

    fn ends(&self, _claimed: Option<ClientAddress>) -> Ends {
        let client = ([127, 0, 0, 1], 1).into();
        Ends {
            source: client,
            destination: client,
        }
    }

    fn begin_again(&mut self) {}

    fn poll_client(&mut self, _cx: &mut Context<'_>) -> Poll<ProxyError> {
        if self.setup.gone.get() == self.number {
            Poll::Ready(ProxyError::ClientGone)
        } else {
            Poll::Pending
        }
    }

    async fn exchange(
        &mut self,
        connection: Connection,
        _attempt: &mut AttemptTally<'_>,
        _request: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError> {
        self.setup.begun.borrow_mut().push(self.number);
        self.setup.reached.borrow_mut().push(connection.address());
        self.setup.gate.acquire().await.unwrap().forget();
        Ok(())
    }
}

impl Setup {
    fn new(queue: u32) -> Rc<Self> {
        Self::with(queue, false)
    }

    /// With a second server, and requests of a session that the first one has.
    fn with_session(queue: u32) -> Rc<Self> {
        Self::with(queue, true)
    }

    fn with(queue: u32, is_session: bool) -> Rc<Self> {
        let servers = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [first, second] = servers
            .each_ref()
            .map(|server| server.local_addr().unwrap());
        let settings = PoolSettings {
            limit: RequestLimit {
                requests: 1,
                queue,
                queue_timeout: BOUND,
            },
            ..PoolSettings::default()
        };
        let live = LivePool::new(PoolName::default(), 1);
        let mut pool = PoolView::new(live, settings, Revision(1), vec![]);
        test_views::add_healthy(&mut pool, 1, first.port());
        if is_session {
            test_views::add_healthy(&mut pool, 2, second.port());
        }
        let (publisher, snapshots) = Publisher::new(
            Snapshot {
                version: 0,
                revision: Revision(0),
                removals: 0,
                pools: Pools::new(pool),
                listeners: ListenerViews::default_listener(1),
                session_keys: Arc::default(),
            },
            1,
        );
        let context = worker(&snapshots);
        let (view, changes) = context.listener_view(&ListenerName::default());
        let view = (view.unwrap(), changes);
        let deadlines = Rc::clone(&context.deadlines);
        spawn_local(async move { deadlines.run().await });
        Rc::new(Self {
            served: ServedListener::new(Rc::clone(&context), view, false),
            context,
            _servers: servers,
            session: is_session.then_some(first),
            _publisher: publisher,
            gate: Semaphore::new(0),
            begun: RefCell::default(),
            reached: RefCell::default(),
            refused: RefCell::default(),
            gone: Cell::new(u32::MAX),
        })
    }

    /// Sends request number `number`.
    fn send(self: &Rc<Self>, number: u32) {
        let setup = Rc::clone(self);
        spawn_local(async move {
            let listener = setup.served.current();
            let mut tally = RequestTally::begin(&setup.context, &listener);
            let CompiledAction::Pool(pool) = &listener.view.router.unmatched().route.action else {
                panic!("the default route forwards to a pool");
            };
            let mut request = TestRequest {
                number,
                deadline: setup.context.deadlines.register(),
                setup: Rc::clone(&setup),
            };
            let destination = Destination { pool, key: None };
            let sent = forward(&setup.context, &mut request, destination, &mut tally).await;
            if sent.is_err() {
                setup.refused.borrow_mut().push(number);
            }
        });
    }

    /// Waits until `count` requests have reached the server.
    async fn until_begun(&self, count: usize) {
        until(|| self.begun.borrow().len() == count).await;
    }
}

/// Lets the tasks run until `level` is there.
async fn until(level: impl Fn() -> bool) {
    let begun = Instant::now();
    while !level() {
        assert!(begun.elapsed() < BOUND);
        yield_now().await;
    }
}

/// Lets each task run until it waits.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

async fn with_local_tasks(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn requests_get_room_in_the_order_of_their_arrival_and_none_passes_those_that_wait() {
    with_local_tasks(async {
        let setup = Setup::new(100);
        setup.send(0);
        setup.until_begun(1).await;
        for number in 1..10 {
            setup.send(number);
        }
        for number in 10..20 {
            // Requests that wait look again from time to time, which changes no order.
            time::advance(Duration::from_millis(30)).await;
            settle().await;
            setup.gate.add_permits(1);
            setup.send(number);
            setup.until_begun(number as usize - 8).await;
        }
        setup.gate.add_permits(20);
        setup.until_begun(20).await;
        let expected: Vec<u32> = (0..20).collect();
        assert_eq!(*setup.begun.borrow(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_request_gives_its_place_back_when_it_has_room_or_its_client_is_gone() {
    with_local_tasks(async {
        let setup = Setup::new(1);
        setup.send(0);
        setup.until_begun(1).await;
        setup.send(1);
        setup.gate.add_permits(1);
        setup.until_begun(2).await;
        // Request 1 runs: its place is free.
        setup.send(2);
        settle().await;
        assert!(setup.refused.borrow().is_empty());
        setup.send(3);
        settle().await;
        assert_eq!(*setup.refused.borrow(), [3]);
        setup.gone.set(2);
        until(|| setup.refused.borrow().len() == 2).await;
        setup.send(4);
        settle().await;
        setup.gate.add_permits(2);
        setup.until_begun(3).await;
        assert_eq!(*setup.begun.borrow(), [0, 1, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_request_of_a_session_waits_for_its_server_while_another_has_room() {
    with_local_tasks(async {
        let setup = Setup::with_session(1);
        setup.send(0);
        setup.until_begun(1).await;
        setup.send(1);
        settle().await;
        assert_eq!(setup.begun.borrow().len(), 1, "it went elsewhere");
        setup.gate.add_permits(1);
        setup.until_begun(2).await;
        let reached = setup.reached.borrow().clone();
        assert_eq!(reached, [setup.session.unwrap(); 2]);
        setup.gate.add_permits(1);
    })
    .await;
}
