//! A whole node, and what it tells of its readiness.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Code as RpcCode, transport::Endpoint};
use weldr_proto::v1::{
    AddServerRequest, GetClusterRequest, ListServersRequest, ReadinessStatus, UnreadyCode,
    cluster_client::ClusterClient, management_client::ManagementClient,
};

use super::*;
use crate::{
    cluster::newer,
    config::Storage,
    liveness::Reading,
    readiness::{Code, Readiness, Status},
};

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(20);

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// An origin that responds to every request with `hello`.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let hello =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                // A TCP health check sends nothing.
                if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(hello).await;
                }
            });
        }
    });
    address
}

/// A lone node on ports of its own, with nothing on disk.
fn config() -> Config {
    Config {
        listen: vec![local()],
        management: local(),
        storage: Storage::Ephemeral,
        workers: 2,
        ..Config::default()
    }
}

async fn start(config: Config) -> Node {
    let node = time::timeout(LIMIT, Node::start(config)).await.unwrap();
    node.unwrap()
}

/// Waits until the node tells what `is_told` looks for.
async fn tells(node: &Node, mut is_told: impl FnMut(&Readiness) -> bool) -> Readiness {
    let mut readiness = node.monitor.readiness();
    let told = readiness.wait_for(|readiness| is_told(readiness));
    time::timeout(LIMIT, told).await.unwrap().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_workers_serves_no_address() {
    let node = start(config()).await;
    let mut told = node.serving.subscribe();
    assert!(*told.borrow_and_update());
    // The workers end, and nobody has said that the node stops.
    node.stop_proxy.cancel();
    time::timeout(LIMIT, told.wait_for(|serving| !serving))
        .await
        .unwrap()
        .unwrap();
    let readiness = tells(&node, |readiness| !readiness.data_path).await;
    let reasons: Vec<_> = readiness.reasons.iter().map(|reason| reason.code).collect();
    assert_eq!(reasons[0], Code::NoWorker, "{readiness:?}");
    let ready = get(node.management_address(), "/readyz").await;
    assert!(ready.contains("no worker is left"), "{ready}");
    time::timeout(LIMIT, node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_and_control_task_ticks() {
    let node = start(config()).await;
    let first = node.tasks().read();
    let names: Vec<&str> = first.iter().map(|task| task.name.as_str()).collect();
    for name in [
        "worker 0",
        "worker 1",
        "reconciler",
        "removal controller",
        "management",
        "request rates",
        "leader lease",
        "supervisor of the consensus engine",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    // Twice more each: a tick when it begins proves nothing.
    let all_tick = async {
        loop {
            let now = node.tasks().read();
            let ticks = |(first, now): (&Reading, &Reading)| {
                first.patience.is_none() || now.ticks >= first.ticks + 2
            };
            if first.iter().zip(&now).all(ticks) {
                break;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ticked = time::timeout(LIMIT, all_tick).await;
    assert!(ticked.is_ok(), "{first:?}, later {:?}", node.tasks().read());
    time::timeout(LIMIT, node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_hangs_or_ends_is_named_and_one_that_goes_on_is_not() {
    let node = start(config()).await;
    let management = node.management_address();
    let (hangs, ends) = (
        node.tasks().register("first task"),
        node.tasks().register("second task"),
    );
    drop(ends.end());
    let readiness = tells(&node, |readiness| !readiness.is_ready()).await;
    assert_eq!(readiness.status, Status::Unready);
    let codes = |readiness: &Readiness| -> Vec<_> {
        let reasons = readiness.reasons.iter();
        reasons
            .map(|reason| (reason.code, reason.description.clone()))
            .collect()
    };
    let ended = (Code::TaskEnded, "second task has ended".to_owned());
    assert_eq!(codes(&readiness), std::slice::from_ref(&ended));
    let readiness = tells(&node, |readiness| readiness.reasons.len() > 1).await;
    let stalled = (Code::TaskStalled, "first task makes no progress".to_owned());
    assert_eq!(codes(&readiness), [ended.clone(), stalled]);
    let ready = get(management, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("first task makes no progress"), "{ready}");
    let endpoint = Endpoint::from_shared(format!("http://{management}")).unwrap();
    let channel = endpoint.timeout(LIMIT).connect().await.unwrap();
    let told = ClusterClient::new(channel)
        .get_cluster(GetClusterRequest {})
        .await;
    let told = told
        .unwrap()
        .into_inner()
        .nodes
        .remove(0)
        .readiness
        .unwrap();
    assert_eq!(told.status(), ReadinessStatus::Unready);
    assert_eq!(told.reasons[1].code(), UnreadyCode::TaskStalled, "{told:?}");
    hangs.tick();
    let readiness = tells(&node, |readiness| readiness.reasons.len() == 1).await;
    assert_eq!(codes(&readiness), [ended]);
    time::timeout(LIMIT, node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_says_that_it_is_older_than_its_log_and_serves() {
    let directory = newer::directory(origin().await).await;
    let node = start(Config {
        storage: Storage::Directory(directory.path().to_owned()),
        ..config()
    })
    .await;
    let management = node.management_address();
    tells(&node, |readiness| readiness.status == Status::Outdated).await;

    let ready = get(management, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(
        ready.contains(r#"{"status":"outdated","reasons":[{"code":"outdated""#),
        "{ready}"
    );
    let endpoint = Endpoint::from_shared(format!("http://{management}")).unwrap();
    let channel = endpoint.timeout(LIMIT).connect().await.unwrap();
    let cluster = ClusterClient::new(channel.clone())
        .get_cluster(GetClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    let stopped = &cluster.nodes[0].stopped;
    let version = format!("it has version {}", newer::VERSION);
    assert!(stopped.contains(&version), "{stopped}");
    assert!(!cluster.quorum, "nothing can be changed");

    let mut client = ManagementClient::new(channel);
    let stale = ListServersRequest {
        stale: true,
        ..ListServersRequest::default()
    };
    let servers = client.list_servers(stale).await.unwrap().into_inner();
    assert_eq!((servers.revision, servers.servers.len()), (1, 1));
    let add = AddServerRequest {
        address: "127.0.0.1:9".to_owned(),
        ..AddServerRequest::default()
    };
    let refused = client.add_server(add).await.unwrap_err();
    assert_eq!(refused.code(), RpcCode::FailedPrecondition, "{refused:?}");
    let said = refused.message();
    assert!(said.contains("this weldr is older than its log"), "{said}");
    assert!(!said.contains("quorum"), "{said}");
    let proxied = get(node.proxy_addresses()[0], "/").await;
    assert!(proxied.ends_with("hello"), "{proxied}");
    time::timeout(LIMIT, node.shutdown()).await.unwrap();
}
