//! A process with few file descriptors and more clients than it can hold.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use weldr_tests::{
    daemon::Daemon,
    load::Load,
    origin::Origin,
    process::Program,
    raw::{Client, get},
};

const DESCRIPTORS: u64 = 64;
const CLIENTS: usize = 150;

fn warnings(weldr: &Daemon) -> Vec<String> {
    let log = weldr.process().stderr();
    let warnings = log.lines().filter(|line| line.contains("WARN"));
    warnings.map(str::to_owned).collect()
}

#[tokio::test]
async fn more_clients_than_descriptors_are_served_in_turn_and_management_is_reachable() {
    let origin = Origin::saying("hi");
    let program = Program::weldr_with_descriptors(DESCRIPTORS).args(["--workers", "2"]);
    let weldr = Daemon::run(program).await;
    weldr.add(origin.address()).await;
    weldr.process().logs("is too low for max_connections").await;
    let load = Load::start(weldr.proxy(), CLIENTS, "/");
    load.passes(100).await;
    for _ in 0..10 {
        let ready = get(weldr.management(), "/readyz").await;
        assert_eq!(ready.status, 200, "{ready}");
        let list = weldr.ctl(&["list"]).await;
        assert!(list.contains(&origin.address().to_string()), "{list}");
        load.passes(100).await;
    }
    load.stop().await.assert_none_failed();
    let warnings = warnings(&weldr);
    assert!(warnings.len() < 10, "{warnings:#?}");
}

/// The limit is lowered while Weldr runs, so that its own limits do not keep it from reaching this one.
#[tokio::test]
async fn idle_connections_are_given_up_when_no_descriptor_is_left() {
    const MORE: usize = 8;
    let origin = Origin::saying("hi");
    let weldr = Daemon::run(Program::weldr().args(["--workers", "1"])).await;
    weldr.add(origin.address()).await;
    let mut clients = Vec::new();
    for _ in 0..MORE {
        let mut client = Client::connect(weldr.proxy()).await;
        client.get("/").await;
        clients.push(client);
    }
    let process = weldr.process();
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let open = Some(process.open_files() as u64);
    let lowered = Rlimit {
        current: open,
        maximum: open,
    };
    prlimit(pid, Resource::Nofile, lowered).expect("a process of this user");
    for _ in 0..MORE {
        let mut client = Client::connect(weldr.proxy()).await;
        let response = client.get("/").await;
        assert_eq!(response.status, 200, "{response}");
        clients.push(client);
    }
    let warnings = warnings(&weldr);
    assert!(warnings.len() < 10, "{warnings:#?}");
}

#[tokio::test]
async fn one_client_address_cannot_take_more_connections_than_it_may() {
    let origin = Origin::saying("hi");
    let limits = ["--max-connections-per-client", "2"];
    let weldr = Daemon::run(Program::weldr().args(limits)).await;
    weldr.add(origin.address()).await;
    let mut first = Client::connect(weldr.proxy()).await;
    let mut second = Client::connect(weldr.proxy()).await;
    first.get("/").await;
    second.get("/").await;
    for _ in 0..10 {
        Client::connect(weldr.proxy()).await.closed().await;
    }
    let clients = weldr.stats().await.client_detail.unwrap();
    assert_eq!(clients.connections_refused, 10);
    assert_eq!(first.get("/").await.status, 200);
    drop(second);
    weldr.process().logs("max_connections_per_client").await;
    let freed = weldr_tests::wait::until("a connection to be let in again", async || {
        let mut client = Client::connect(weldr.proxy()).await;
        match client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await {
            Ok(()) => client
                .try_response("GET")
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    assert_eq!(freed.await.status, 200);
}
