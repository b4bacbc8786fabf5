//! Which clients are let in when as many are connected as may be.

use std::future::pending;

use tokio::task::JoinSet;
use weldr_tests::{
    daemon::Daemon, load::Load, origin::Origin, process::Program, raw::Client, serve, wait,
};

const MAX_CONNECTIONS: usize = 4;

async fn start(origin: &Origin, workers: &str) -> Daemon {
    let limits = ["--max-connections", "4", "--workers", workers];
    let weldr = Daemon::run(Program::weldr().args(limits)).await;
    weldr.add(origin.address()).await;
    weldr
}

/// The time limit of an idle connection is a minute, longer than a test waits.
#[tokio::test]
async fn the_longest_idle_connection_yields_to_a_new_one() {
    let origin = Origin::saying("hi");
    let weldr = start(&origin, "1").await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = Client::connect(weldr.proxy()).await;
        client.get("/").await;
        idle.push(client);
    }
    let mut new = Vec::new();
    for mut longest_idle in idle {
        let mut client = Client::connect(weldr.proxy()).await;
        assert_eq!(client.get("/").await.text(), "hi");
        longest_idle.closed().await;
        new.push(client);
    }
}

/// The kernel shares connections out between workers, so one worker may have all that are idle.
#[tokio::test]
async fn idle_connections_yield_to_new_ones_of_other_workers() {
    let origin = Origin::saying("hi");
    let weldr = start(&origin, "4").await;
    let mut clients = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        let mut client = Client::connect(weldr.proxy()).await;
        assert_eq!(client.get("/").await.text(), "hi");
        clients.push(client);
    }
}

#[tokio::test]
async fn a_connection_without_a_first_request_yields_too() {
    let origin = Origin::saying("hi");
    let weldr = start(&origin, "2").await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(Client::connect(weldr.proxy()).await);
    }
    wait::until("all connections to be open", async || {
        match weldr
            .stats()
            .await
            .client_detail
            .map_or(0, |clients| clients.connections)
        {
            4 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let mut new = Client::connect(weldr.proxy()).await;
    assert_eq!(new.get("/").await.text(), "hi");
}

/// Connections that are never idle yield by closing after a response.
#[tokio::test]
async fn busy_clients_take_turns_with_new_ones() {
    let origin = Origin::saying("hi");
    let weldr = start(&origin, "2").await;
    let load = Load::start(weldr.proxy(), MAX_CONNECTIONS, "/");
    load.passes(100).await;
    for _ in 0..MAX_CONNECTIONS {
        let mut new = Client::connect(weldr.proxy()).await;
        assert_eq!(new.get("/").await.text(), "hi");
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn a_connection_with_a_running_request_does_not_yield() {
    let origin = Origin::serve(|request| async move {
        if request.uri().path() == "/slow" {
            pending::<()>().await;
        }
        serve::response(200, "hi")
    });
    let weldr = start(&origin, "1").await;
    let mut running = JoinSet::new();
    for _ in 1..MAX_CONNECTIONS {
        let mut client = Client::connect(weldr.proxy()).await;
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        running.spawn(async move { client.try_response("GET").await });
    }
    let mut idle = Client::connect(weldr.proxy()).await;
    idle.get("/").await;
    let mut new = Client::connect(weldr.proxy()).await;
    assert_eq!(new.get("/").await.text(), "hi");
    idle.closed().await;
    assert!(running.try_join_next().is_none(), "a running request ended");
}

/// Only the connections of the first moment and of the last requests may be kept; all others make room by closing.
#[tokio::test]
async fn responses_close_their_connections_for_as_long_as_clients_wait() {
    const LIMIT: usize = 8;
    const CLIENTS: usize = 60;
    // No response passes before all clients have come.
    let (origin, all_came) = Origin::gated();
    let limits = ["--max-connections", "8", "--workers", "2"];
    let weldr = Daemon::run(Program::weldr().args(limits)).await;
    weldr.add(origin.address()).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(weldr.proxy()).await;
        client.send("GET /gated HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    all_came.add_permits(CLIENTS);
    let mut exchanges = JoinSet::new();
    for mut client in clients {
        exchanges.spawn(async move {
            let response = client.response("GET").await;
            assert_eq!(response.status, 200, "{response}");
            let closes = response.fields.has("connection");
            (!closes).then_some(client)
        });
    }
    let kept: Vec<Client> = exchanges.join_all().await.into_iter().flatten().collect();
    assert!(kept.len() <= 2 * LIMIT, "{} were kept", kept.len());
}
