//! A whole node whose log was written by a newer version of Weldr.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Code, transport::Endpoint};
use weldr_proto::v1::{
    AddServerRequest, GetClusterRequest, ListServersRequest, cluster_client::ClusterClient,
    management_client::ManagementClient,
};

use super::*;
use crate::cluster::newer;

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(20);

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An origin that answers every request with `hello`.
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

/// The workers of an idle data path.
fn idle_workers(stop: &CancellationToken) -> Workers {
    let (handle, log) = {
        let opened = cluster::open(StoreOptions::default()).unwrap();
        (opened.handle, opened.log)
    };
    let config = Config::default();
    let (_reconciler, snapshots) =
        Reconciler::start(&handle, 2, OwnAddresses::default(), (&config.limits).into());
    let listeners = Listeners::bind(&[local()], 2).unwrap();
    let clients = Arc::new(Sharded::new(2));
    let told = watch::channel(HandOver::None).1;
    let management = local();
    let workers = start_proxy(
        &config, listeners, management, &snapshots, &clients, told, stop,
    )
    .unwrap();
    drop(log);
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_workers_serves_no_address() {
    let stop = CancellationToken::new();
    let workers = idle_workers(&stop);
    let ended = workers.ended();
    let serving = watch::Sender::new(true);
    let Opened { handle, log, .. } = cluster::open(StoreOptions::default()).unwrap();
    let lost = tokio::spawn(leave_without_data_path(ended, serving.clone(), handle));
    let mut told = serving.subscribe();
    let early = time::timeout(Duration::from_millis(50), told.wait_for(|serving| !serving));
    assert!(early.await.is_err(), "they are there");
    stop.cancel();
    let told = time::timeout(LIMIT, told.wait_for(|serving| !serving)).await;
    told.unwrap().unwrap();
    // The task checks for a leadership until the node stops.
    lost.abort();
    task::spawn_blocking(|| workers.join()).await.unwrap();
    log.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_workers_steps_down_until_another_leads_and_when_it_leads_again() {
    let refused = || Err(ChangeError::Refused("b does not answer".to_owned()));
    let mut answers = [refused(), refused(), Ok(()), refused()].into_iter();
    let (asked, mut times) = watch::channel(0);
    let give_up = give_up_leading(|| {
        asked.send_modify(|times| *times += 1);
        std::future::ready(answers.next().unwrap_or(Ok(())))
    });
    let enough = times.wait_for(|times| *times == 5);
    tokio::select! {
        () = give_up => unreachable!("it does not end"),
        enough = time::timeout(LIMIT, enough) => drop(enough.unwrap().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_says_that_it_is_older_than_its_log_and_serves() {
    let directory = newer::directory(origin().await).await;
    let config = Config {
        listen: vec![local()],
        management: local(),
        storage: Storage::Directory(directory.path().to_owned()),
        workers: 1,
        ..Config::default()
    };
    let node = time::timeout(LIMIT, Node::start(config)).await.unwrap();
    let node = node.unwrap();
    let management = node.management_address();
    let mut readiness = node.readiness.subscribe();
    let told = readiness.wait_for(|readiness| *readiness == Readiness::Outdated);
    time::timeout(LIMIT, told).await.unwrap().unwrap();

    let ready = get(management, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.ends_with(r#"{"status":"outdated"}"#), "{ready}");
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
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let said = refused.message();
    assert!(said.contains("this weldr is older than its log"), "{said}");
    assert!(!said.contains("quorum"), "{said}");
    let proxied = get(node.proxy_addresses()[0], "/").await;
    assert!(proxied.ends_with("hello"), "{proxied}");
    time::timeout(LIMIT, node.shutdown()).await.unwrap();
}
