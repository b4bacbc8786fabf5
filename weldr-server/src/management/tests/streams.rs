//! The streaming gRPC calls.

use prost_types::Duration as ProtoDuration;
use tonic::{Code, Streaming};
use weldr_proto::v1::{
    self, management_client::ManagementClient, server_change::Kind, watch_servers_response::Event,
};

use super::{node::TestNode, soon};

fn add(address: &str) -> v1::AddServerRequest {
    v1::AddServerRequest {
        address: address.to_owned(),
        ..v1::AddServerRequest::default()
    }
}

async fn watch(node: &TestNode) -> Streaming<v1::WatchServersResponse> {
    let request = v1::WatchServersRequest::default();
    node.client()
        .watch_servers(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut Streaming<v1::WatchServersResponse>) -> (u64, Event) {
    let message = soon(stream.message()).await.unwrap().unwrap();
    (message.revision, message.event.unwrap())
}

async fn change(stream: &mut Streaming<v1::WatchServersResponse>) -> (u64, Kind, v1::Server) {
    match next(stream).await {
        (revision, Event::Change(change)) => {
            assert!(change.at.is_some());
            (revision, change.kind(), change.server.unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watcher_is_told_the_state_and_then_each_change() {
    let node = TestNode::start().await;
    let mut client = node.client();
    client.add_server(add("127.0.0.1:1")).await.unwrap();
    let mut stream = watch(&node).await;
    let (revision, Event::State(state)) = next(&mut stream).await else {
        panic!("the state is first");
    };
    assert_eq!((revision, state.servers.len()), (1, 1));
    assert!(state.settings.is_some());

    client.add_server(add("127.0.0.1:2")).await.unwrap();
    let (revision, kind, server) = change(&mut stream).await;
    assert_eq!(
        (revision, kind, server.address.as_str()),
        (2, Kind::Added, "127.0.0.1:2")
    );

    node.make_healthy("127.0.0.1:2");
    let (revision, kind, server) = change(&mut stream).await;
    assert_eq!((revision, kind), (2, Kind::Health));
    assert_eq!(server.health.unwrap().state(), v1::HealthState::Healthy);

    // A snapshot without a difference that is sent.
    let version = node.snapshots.current().version;
    node.make_healthy("127.0.0.1:2");
    let newer = |snapshot: &crate::snapshot::Snapshot| snapshot.version > version;
    soon(node.snapshots.wait_until(newer)).await.unwrap();

    let update = v1::UpdateServerRequest {
        address: "127.0.0.1:2".into(),
        weight: Some(4),
        ..v1::UpdateServerRequest::default()
    };
    client.update_server(update).await.unwrap();
    let (revision, kind, server) = change(&mut stream).await;
    assert_eq!((revision, kind, server.weight), (3, Kind::Updated, 4));

    let settings = v1::PoolSettings {
        fail_open: Some(false),
        ..v1::PoolSettings::default()
    };
    let update = v1::UpdatePoolRequest {
        settings: Some(settings),
        ..v1::UpdatePoolRequest::default()
    };
    client.update_pool(update).await.unwrap();
    let (revision, Event::Settings(settings)) = next(&mut stream).await else {
        panic!("the settings changed");
    };
    assert_eq!((revision, settings.fail_open), (4, Some(false)));

    let remove = v1::RemoveServerRequest {
        address: "127.0.0.1:1".into(),
        deadline: Some(ProtoDuration::default()),
        ..v1::RemoveServerRequest::default()
    };
    client.remove_server(remove).await.unwrap();
    let (revision, kind, server) = change(&mut stream).await;
    assert_eq!(
        (revision, kind, server.address.as_str()),
        (5, Kind::Removed, "127.0.0.1:1")
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_costs_nothing_and_misses_nothing() {
    const CHANGES: u32 = 400;
    let node = TestNode::start().await;
    let mut client = node.client();
    client.add_server(add("127.0.0.1:1")).await.unwrap();
    let slow = node.endpoint().initial_stream_window_size(65_535);
    let mut stream = ManagementClient::new(slow.connect_lazy())
        .watch_servers(v1::WatchServersRequest::default())
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await;
    // More bytes than the buffers between the node and the reader can hold.
    for weight in (0..CHANGES).map(|n| n % 256) {
        let update = v1::UpdateServerRequest {
            address: "127.0.0.1:1".into(),
            weight: Some(weight),
            check: Some(v1::HealthCheck {
                r#type: Some(v1::health_check::Type::Http(v1::HttpCheck {
                    path: format!("/{}", "x".repeat(2000)),
                    ..v1::HttpCheck::default()
                })),
                ..v1::HealthCheck::default()
            }),
            ..v1::UpdateServerRequest::default()
        };
        client.update_server(update).await.unwrap();
    }
    let last = node.snapshots.current().revision.0;
    let mut messages = 0;
    loop {
        let (revision, _, server) = change(&mut stream).await;
        messages += 1;
        if revision == last {
            assert_eq!(server.weight, (CHANGES - 1) % 256);
            break;
        }
    }
    assert!(
        messages < CHANGES,
        "what was not taken in time is folded: {messages}"
    );
}

#[tokio::test]
async fn statistics_come_at_once_and_again() {
    let node = TestNode::start().await;
    node.clients.of(0).success.add(1);
    let request = v1::StreamStatsRequest {
        interval: Some(ProtoDuration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        ..v1::StreamStatsRequest::default()
    };
    let mut client = node.client();
    let mut stream = client.stream_stats(request).await.unwrap().into_inner();
    let first = soon(stream.message())
        .await
        .unwrap()
        .unwrap()
        .stats
        .unwrap();
    assert_eq!(first.client.unwrap().success, 1);
    node.clients.of(0).success.add(1);
    let second = soon(stream.message())
        .await
        .unwrap()
        .unwrap()
        .stats
        .unwrap();
    assert_eq!(second.client.unwrap().success, 2);

    let hourly = v1::StreamStatsRequest {
        interval: Some(ProtoDuration {
            seconds: 3600,
            nanos: 0,
        }),
        ..v1::StreamStatsRequest::default()
    };
    let mut stream = client.stream_stats(hourly).await.unwrap().into_inner();
    assert!(
        soon(stream.message()).await.unwrap().is_some(),
        "the first comes at once"
    );
}

#[tokio::test]
async fn an_interval_out_of_range_or_an_unknown_pool_is_refused() {
    let node = TestNode::start().await;
    let mut client = node.client();
    for (seconds, nanos) in [(0, 99_999_999), (3600, 1), (-1, 0), (0, 0)] {
        let request = v1::StreamStatsRequest {
            interval: Some(ProtoDuration { seconds, nanos }),
            ..v1::StreamStatsRequest::default()
        };
        let refused = client.stream_stats(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{seconds} {nanos}");
    }
    let request = v1::StreamStatsRequest {
        pool: "blue".into(),
        interval: None,
    };
    assert_eq!(
        client.stream_stats(request).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = v1::WatchServersRequest {
        pool: "blue".into(),
    };
    assert_eq!(
        client.watch_servers(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn streams_end_with_the_node() {
    let node = TestNode::start().await;
    let mut changes = watch(&node).await;
    next(&mut changes).await;
    let hourly = v1::StreamStatsRequest {
        interval: Some(ProtoDuration {
            seconds: 3600,
            nanos: 0,
        }),
        ..v1::StreamStatsRequest::default()
    };
    let mut stats = node
        .client()
        .stream_stats(hourly)
        .await
        .unwrap()
        .into_inner();
    soon(stats.message()).await.unwrap();
    node.shutdown.cancel();
    let ended = soon(changes.message()).await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, "the node is shutting down")
    );
    let ended = soon(stats.message()).await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, "the node is shutting down")
    );
    soon(node.served).await.unwrap();
}
