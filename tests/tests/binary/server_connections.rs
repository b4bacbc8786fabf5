//! Requests to servers that have as many connections as they may have.

use tokio::task::JoinSet;
use weldr_tests::{
    daemon::Daemon,
    origin::Origin,
    process::Program,
    raw::{Client, get},
    wait,
};

async fn start(limit: &str, origins: &[&Origin]) -> Daemon {
    // A request waits for as long as connecting may take.
    let limits = [
        "--max-server-connections",
        limit,
        "--workers",
        "4",
        "--connect-timeout",
        "15s",
    ];
    let weldr = Daemon::run(Program::weldr().args(limits)).await;
    for origin in origins {
        weldr.add(origin.address()).await;
    }
    weldr
}

async fn in_flight(weldr: &Daemon, expected: u64) {
    wait::until(format!("{expected} running requests"), async || {
        let clients = weldr.stats().await.client_detail;
        match clients.map_or(0, |clients| clients.in_flight) {
            as_expected if as_expected == expected => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// The kernel shares clients out between workers, so that most requests find the connections at another worker.
#[tokio::test]
async fn idle_connections_of_other_workers_yield_to_requests() {
    for limit in ["1", "3"] {
        let origin = Origin::saying("hi");
        let weldr = start(limit, &[&origin]).await;
        for _ in 0..40 {
            let response = get(weldr.proxy(), "/").await;
            assert_eq!(response.status, 200, "limit {limit}: {response}");
        }
    }
}

#[tokio::test]
async fn requests_wait_while_the_only_connection_is_in_use() {
    const CLIENTS: usize = 20;
    let (origin, passes) = Origin::gated();
    let weldr = start("1", &[&origin]).await;
    let mut exchanges = JoinSet::new();
    for _ in 0..CLIENTS {
        let proxy = weldr.proxy();
        exchanges.spawn(async move { get(proxy, "/gated").await });
    }
    in_flight(&weldr, CLIENTS as u64).await;
    passes.add_permits(CLIENTS);
    for response in exchanges.join_all().await {
        assert_eq!(response.status, 200, "{response}");
    }
}

/// The first server never responds, so a request that waited for it would fail.
#[tokio::test]
async fn a_request_that_waits_takes_the_first_server_that_has_room() {
    let ((first, _stays_busy), (second, passes)) = (Origin::gated(), Origin::gated());
    let weldr = start("1", &[&first, &second]).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(weldr.proxy()).await;
        client.send("GET /gated HTTP/1.1\r\nHost: a\r\n\r\n").await;
        busy.push(client);
    }
    in_flight(&weldr, 2).await;
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let proxy = weldr.proxy();
        waiting.spawn(async move { get(proxy, "/").await });
    }
    in_flight(&weldr, 6).await;
    passes.add_permits(1);
    for response in waiting.join_all().await {
        assert_eq!(response.status, 200, "{response}");
    }
}
