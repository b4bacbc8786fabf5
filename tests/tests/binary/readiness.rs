//! Whether a node says that it is ready exactly while it is.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpStream, sync::watch};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use weldr_proto::v1::{
    AddServerRequest, GetClusterRequest, HealthState, ListServersRequest, ReadinessStatus,
    UnreadyCode, UnreadyReason, cluster_client::ClusterClient,
};
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    origin::Origin,
    process::Program,
    raw, serve,
    small_disk::{self, DISK, SmallDisk},
    wait,
};

/// A connection to the management API that is there before descriptors run out.
async fn connected(management: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{management}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// Waits until `grpc.health.v1` and the status of the cluster agree that the node is ready, or on the one reason why not.
async fn tells(channel: &Channel, reason: Option<UnreadyCode>) {
    let expected = match reason {
        None => (ServingStatus::Serving, ReadinessStatus::Ready),
        Some(UnreadyCode::FirstChecksPending) => {
            (ServingStatus::NotServing, ReadinessStatus::Starting)
        }
        Some(_) => (ServingStatus::NotServing, ReadinessStatus::Unready),
    };
    let codes: Vec<_> = reason.into_iter().collect();
    wait::until(format!("{expected:?} {codes:?}"), async || {
        let health = HealthClient::new(channel.clone())
            .check(HealthCheckRequest::default())
            .await
            .map_err(|error| error.to_string())?
            .into_inner();
        let cluster = ClusterClient::new(channel.clone())
            .get_cluster(GetClusterRequest {})
            .await
            .map_err(|error| error.to_string())?
            .into_inner();
        let readiness = cluster
            .nodes
            .first()
            .and_then(|node| node.readiness.clone());
        let told = readiness.clone().unwrap_or_default();
        let reasons: Vec<_> = told.reasons.iter().map(UnreadyReason::code).collect();
        if (health.status(), told.status()) == expected && reasons == codes {
            Ok(())
        } else {
            Err(format!("{:?}, {readiness:?}", health.status()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_pool_that_fails_closed_is_ready_when_its_servers_were_checked() {
    let (open, gate) = watch::channel(true);
    let gate = Arc::new(gate);
    let origin = Origin::serve(move |request| {
        let mut gate = watch::Receiver::clone(&gate);
        async move {
            if request.uri().path() == "/health" {
                let _ = gate.wait_for(|open| *open).await;
            }
            serve::response(200, "hello")
        }
    });
    let home = tempfile::tempdir().unwrap();
    let weldr = || {
        Program::weldr_bare()
            .args(QUICK_CHECKS)
            .args(["--check-path", "/health", "--check-timeout", "30s"])
            .in_directory(home.path())
    };
    let before = Daemon::run(weldr()).await;
    before.ctl(&["pool", "set", "--fail-open", "false"]).await;
    before.add(origin.address()).await;
    before.kill().await;

    open.send_replace(false);
    let weldr = Daemon::run(weldr()).await;
    let ready = raw::get(weldr.management(), "/readyz").await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.status, 503);
    assert_eq!(ready.status, 503, "{ready}");
    assert_eq!(ready.json()["status"], "starting");
    assert_eq!(ready.json()["reasons"][0]["code"], "first_checks_pending");
    let channel = connected(weldr.management()).await;
    tells(&channel, Some(UnreadyCode::FirstChecksPending)).await;

    open.send_replace(true);
    wait::until("a node that is ready", async || {
        let ready = raw::get(weldr.management(), "/readyz").await;
        if ready.status == 200 {
            Ok(())
        } else {
            Err(ready)
        }
    })
    .await;
    let response = raw::get(weldr.proxy(), "/").await;
    assert_eq!(response.text(), "hello", "it said that it is ready");
    tells(&channel, None).await;
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_a_node_is_not_ready_until_it_has_some() {
    let origin = Origin::saying("hello");
    let weldr = Daemon::start().await;
    weldr.add(origin.address()).await;
    let channel = connected(weldr.management()).await;
    tells(&channel, None).await;

    let limit = weldr.process().limit_descriptors(5);
    // The kernel completes the connection, and the node cannot accept it.
    let client = TcpStream::connect(weldr.proxy()).await.unwrap();
    tells(&channel, Some(UnreadyCode::DescriptorsExhausted)).await;

    weldr.process().limit_descriptors(limit);
    tells(&channel, None).await;
    assert_eq!(raw::get(weldr.proxy(), "/").await.text(), "hello");
    drop(client);
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_changes_are_refused_and_reads_and_traffic_go_on() {
    let Some(program) = small_disk::program("weldr", "") else {
        return;
    };
    let program = program
        .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
        .args(["--data-dir", DISK])
        .args(QUICK_CHECKS);
    let weldr = Daemon::run(program).await;
    let origin = Origin::saying("hello");
    weldr.add(origin.address()).await;
    let channel = connected(weldr.management()).await;
    tells(&channel, None).await;

    let disk = SmallDisk::of(weldr.process());
    disk.fill();
    let mut acknowledged = vec![origin.address().to_string()];
    let refused = refused_add(&weldr, &mut acknowledged).await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    // What was refused is nowhere, what was acknowledged is there, and nobody waits for the disk to be told so.
    for _ in 0..10 {
        let listed = raw::get(weldr.management(), "/servers").await;
        assert_eq!(listed.status, 200, "{listed}");
        assert_eq!(listed_servers(&weldr).await, acknowledged);
        assert_eq!(raw::get(weldr.proxy(), "/").await.text(), "hello");
    }
    tells(&channel, Some(UnreadyCode::DiskFailed)).await;
    let ready = raw::get(weldr.management(), "/readyz").await;
    assert_eq!(ready.status, 503, "{ready}");
    let description = ready.json()["reasons"][0]["description"].to_string();
    assert!(description.contains("No space left"), "{description}");
    let status = weldr.weldrctl(&["cluster", "status"]).run().await;
    assert!(
        status.stdout.contains("is not ready: the data directory"),
        "{status:#?}"
    );

    disk.empty();
    tells(&channel, None).await;
    weldr.reaches(origin.address(), HealthState::Healthy).await;
    weldr.add_unchecked("127.2.0.1:1".parse().unwrap()).await;
    acknowledged.push("127.2.0.1:1".to_owned());
    assert_eq!(listed_servers(&weldr).await, acknowledged);
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

/// Adds servers until one is refused: the database has some room that it has taken before.
async fn refused_add(weldr: &Daemon, acknowledged: &mut Vec<String>) -> tonic::Status {
    for port in 1..1000 {
        let address = format!("127.1.0.1:{port}");
        let request = AddServerRequest {
            address: address.clone(),
            ..AddServerRequest::default()
        };
        match weldr.client().add_server(request).await {
            Ok(_) => acknowledged.push(address),
            Err(refused) => return refused,
        }
    }
    panic!("a full disk takes everything");
}

async fn listed_servers(weldr: &Daemon) -> Vec<String> {
    let listed = weldr
        .client()
        .list_servers(ListServersRequest::default())
        .await;
    let servers = listed.unwrap().into_inner().servers;
    servers.into_iter().map(|server| server.address).collect()
}
