//! Clients that go away or end their side of the connection while their request waits for a full server.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::Semaphore;
use weldr::model::{PoolSettings, RequestLimit};
use weldr_tests::{
    data_plane::DataPlane,
    http1::status_of,
    origin::Origin,
    raw::{self, Client},
    wait,
};

/// A server with a request that it does not respond to yet, and a node that lets it run no other.
struct Full {
    origin: Origin,
    passes: Arc<Semaphore>,
    node: DataPlane,
    first: Client,
}

async fn full() -> Full {
    let (origin, passes) = Origin::gated();
    let mut node = DataPlane::start();
    let settings = PoolSettings {
        limit: RequestLimit {
            requests: 1,
            queue: 1,
            queue_timeout: wait::LIMIT * 10,
        },
        ..PoolSettings::default()
    };
    node.pool_with("default", settings, &[origin.address()]);
    node.publish();
    let mut first = Client::connect(node.address()).await;
    first.send("GET /gated HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let running = async || match origin.connections() {
        0 => Err("none"),
        _ => Ok(()),
    };
    wait::until("the first request to run", running).await;
    Full {
        origin,
        passes,
        node,
        first,
    }
}

impl Full {
    async fn until_queue(&self, waits: bool) {
        let pool = self.node.live_pool("default");
        let what = format!("a request to wait: {waits}");
        wait::until(what, async || match pool.has_queue() {
            queue if queue == waits => Ok(()),
            queue => Err(queue),
        })
        .await;
    }

    /// A client whose request waits in the queue.
    async fn waiting(&self, request: impl AsRef<[u8]>) -> Client {
        let mut client = Client::connect(self.node.address()).await;
        client.send(request).await;
        self.until_queue(true).await;
        client
    }

    /// The targets of the requests that reached the server, after those that waited have run.
    async fn targets(mut self) -> Vec<String> {
        self.passes.add_permits(100);
        assert_eq!(self.first.response("GET").await.status, 200);
        let last = raw::get(self.node.address(), "/last").await;
        assert_eq!(last.status, 200);
        let requests = self.origin.requests().await;
        self.node.shutdown().await;
        let mut targets: Vec<String> = requests.into_iter().map(|request| request.target).collect();
        targets.sort();
        targets
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_gives_its_place_up_and_its_request_is_not_sent() {
    let full = full().await;
    // Longer than a buffer of the proxy, and shorter than those of the system, behind which an end is not seen.
    let long_body = "x".repeat(40_000);
    let post =
        format!("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n{long_body}");
    for request in [get("/gone"), get("/gone") + &get("/gone"), post] {
        let client = full.waiting(&request).await;
        // Most clients close, which looks as if they waited for the response.
        drop(client);
        full.until_queue(false).await;
        let client = full.waiting(&request).await;
        client.reset();
        full.until_queue(false).await;
    }
    assert_eq!(full.targets().await, ["/gated", "/last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_ended_its_side_keeps_its_place() {
    let full = full().await;
    let mut client = full.waiting(get("/half")).await;
    client.finish_sending().await;
    // It skips the interim response, and waits on.
    assert_eq!(status_of(&client.head().await).ok(), Some(100));
    assert!(full.node.live_pool("default").has_queue());
    full.passes.add_permits(1);
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(full.targets().await, ["/gated", "/half", "/last"]);
}

/// Closes the connection of a client whose request `origin` does not respond to, and waits until the server is left.
async fn abandoned_by(client: Client, origin: &Origin) {
    drop(client);
    wait::until("the server to be left", async || match origin.abandoned() {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
}

fn node_before(server: SocketAddr) -> DataPlane {
    let mut node = DataPlane::start();
    node.pool("default", &[server]);
    node.publish();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ended_its_side_in_an_earlier_attempt_is_watched_in_the_next() {
    let fails = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&fails);
    let origin = Origin::script(move |mut conversation| {
        let gate = Arc::clone(&gate);
        async move {
            conversation.head().await;
            if conversation.index > 0 {
                return conversation.stall().await;
            }
            let _ = gate.acquire().await;
        }
    });
    let node = node_before(origin.address());
    let mut client = Client::connect(node.address()).await;
    client.send(get("/")).await;
    client.finish_sending().await;
    assert_eq!(status_of(&client.head().await).ok(), Some(100));
    fails.add_permits(1);
    wait::until("the next attempt", async || match origin.connections() {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    abandoned_by(client, &origin).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ended_its_side_in_an_earlier_request_is_watched_in_the_next() {
    let responds = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&responds);
    let origin = Origin::script(move |mut conversation| {
        let gate = Arc::clone(&gate);
        async move {
            conversation.head().await;
            let _ = gate.acquire().await;
            let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
            conversation.write(response).await;
            conversation.head().await;
            conversation.stall().await;
        }
    });
    let node = node_before(origin.address());
    let mut client = Client::connect(node.address()).await;
    client.send(get("/first") + &get("/second")).await;
    client.finish_sending().await;
    assert_eq!(status_of(&client.head().await).ok(), Some(100));
    responds.add_permits(1);
    assert_eq!(client.response("GET").await.status, 200);
    abandoned_by(client, &origin).await;
    node.shutdown().await;
}
