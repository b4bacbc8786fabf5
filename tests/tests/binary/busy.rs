//! A `weldr` with a request that runs for as long as the test wants.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::Semaphore;
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    http1::Response,
    origin::Origin,
    process::Program,
    raw::Client,
    serve, wait,
};

/// What the server answers.
pub(super) const ANSWER: &str = "at last";

/// A `weldr`, a server whose answers wait for a gate, and a client with one request that runs there.
pub(super) struct Busy {
    pub(super) weldr: Daemon,
    pub(super) client: Client,
    origin: Origin,
    gate: Arc<Semaphore>,
}

impl Busy {
    /// Starts `program`, which is `weldr` with options.
    pub(super) async fn start(program: Program) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let origin = Origin::serve(move |_| {
            let opened = Arc::clone(&opened);
            async move {
                opened.acquire().await.unwrap().forget();
                serve::answer(200, ANSWER)
            }
        });
        let weldr = Daemon::run(program.args(QUICK_CHECKS)).await;
        weldr.add(origin.address()).await;
        let mut client = Client::connect(weldr.proxy()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let busy = Self {
            weldr,
            client,
            origin,
            gate,
        };
        busy.runs(1).await;
        busy
    }

    /// The address of the server.
    pub(super) fn server(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Lets the server answer `requests` requests.
    pub(super) fn open(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    /// Waits until so many requests run on the server.
    pub(super) async fn runs(&self, requests: u64) {
        wait::until(format!("{requests} in flight"), async || {
            match self.weldr.server(self.server()).await {
                Some(server) if server.in_flight == requests => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Expects that the request is answered, and gives the answer.
    pub(super) async fn is_answered(&mut self) -> Response {
        let answer = self.client.response("GET").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ANSWER));
        answer
    }

    /// Expects that the request is cut: there is no answer, or one that says so.
    pub(super) async fn is_cut(&mut self) {
        let answer = self.client.try_response("GET").await;
        assert!(
            !matches!(&answer, Ok(answer) if answer.status < 500),
            "{answer:?}"
        );
    }
}
