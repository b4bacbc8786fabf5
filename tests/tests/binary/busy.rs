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

/// The body that the server sends.
pub(super) const RESPONSE: &str = "at last";

/// A `weldr`, a server whose responses wait for a gate, and a client with one request that runs there.
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
                serve::response(200, RESPONSE)
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

    /// Lets the server respond to `requests` requests.
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

    /// Expects that the request is completed, and gives the response.
    pub(super) async fn gets_its_response(&mut self) -> Response {
        let response = self.client.response("GET").await;
        assert_eq!((response.status, response.text().as_str()), (200, RESPONSE));
        response
    }

    /// Expects that the request is cut: there is no response, or one that says so.
    pub(super) async fn is_cut(&mut self) {
        let response = self.client.try_response("GET").await;
        assert!(
            !matches!(&response, Ok(response) if response.status < 500),
            "{response:?}"
        );
    }
}
