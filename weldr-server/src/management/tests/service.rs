//! The unary gRPC calls.

use prost_types::Duration as ProtoDuration;
use tonic::{Code, Status};
use tonic_reflection::pb::v1 as reflection;
use tonic_types::StatusExt as _;
use weldr_proto::v1;

use super::{node::TestNode, soon};

const ADDRESS: &str = "127.0.0.1:80";

fn add(address: &str) -> v1::AddServerRequest {
    v1::AddServerRequest {
        address: address.to_owned(),
        ..v1::AddServerRequest::default()
    }
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().unwrap();
    let violations = details.field_violations.into_iter();
    violations.map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_call() {
    let node = TestNode::start().await;
    let mut client = node.client();
    for n in 1..=50_u64 {
        let address = format!("127.0.0.1:{n}");
        let added = client.add_server(add(&address)).await.unwrap().into_inner();
        assert_eq!((added.revision, added.created), (n, true));
        let server = added.server.unwrap();
        assert_eq!((server.id, server.revision), (n, n));
        let get = v1::GetServerRequest {
            address,
            ..Default::default()
        };
        let got = client.get_server(get).await.unwrap().into_inner();
        assert_eq!(got.server, Some(server));
    }
    let list = client.list_servers(v1::ListServersRequest::default()).await;
    let list = list.unwrap().into_inner();
    assert_eq!((list.revision, list.servers.len()), (50, 50));
    let again = client
        .add_server(add("127.0.0.1:1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.revision, again.created), (50, false));
}

#[tokio::test]
async fn a_server_is_changed_where_it_is_asked() {
    let node = TestNode::start().await;
    let mut client = node.client();
    client.add_server(add(ADDRESS)).await.unwrap();
    node.make_healthy(ADDRESS);
    let update = v1::UpdateServerRequest {
        address: ADDRESS.to_owned(),
        weight: Some(9),
        admin_state: v1::AdminState::Maintenance.into(),
        ..v1::UpdateServerRequest::default()
    };
    let updated = client.update_server(update).await.unwrap().into_inner();
    let server = updated.server.unwrap();
    assert_eq!(
        (server.weight, server.revision, updated.revision),
        (9, 2, 2)
    );
    assert_eq!(server.admin_state(), v1::AdminState::Maintenance);
    let health = server.health.unwrap();
    assert_eq!(health.state(), v1::HealthState::Unused);
    assert_eq!(health.reason(), v1::HealthReason::InMaintenance);
    let nothing = v1::UpdateServerRequest {
        address: ADDRESS.to_owned(),
        ..v1::UpdateServerRequest::default()
    };
    let same = client.update_server(nothing).await.unwrap().into_inner();
    assert_eq!(same.revision, 2, "nothing asked, nothing changed");
}

#[tokio::test]
async fn pools_are_changed_and_counted() {
    let node = TestNode::start().await;
    let mut client = node.client();
    for address in ["127.0.0.1:1", "127.0.0.1:2"] {
        client.add_server(add(address)).await.unwrap();
    }
    node.make_healthy("127.0.0.1:2");
    let counted = |counts: &v1::PoolCounts| (counts.initial, counts.healthy) == (1, 1);
    let settings = v1::PoolSettings {
        deregister_after: Some(ProtoDuration {
            seconds: 60,
            nanos: 0,
        }),
        ..v1::PoolSettings::default()
    };
    let update = v1::UpdatePoolRequest {
        settings: Some(settings),
        ..v1::UpdatePoolRequest::default()
    };
    let pool = client
        .update_pool(update)
        .await
        .unwrap()
        .into_inner()
        .pool
        .unwrap();
    assert_eq!(pool.revision, 3);
    assert_eq!(pool.settings.unwrap().deregister_after.unwrap().seconds, 60);
    let two_states = |snapshot: &crate::snapshot::Snapshot| {
        snapshot
            .pools
            .default_pool()
            .count(crate::model::HealthState::Healthy)
            == 1
    };
    soon(node.snapshots.wait_until(two_states)).await.unwrap();
    let got = client.get_pool(v1::GetPoolRequest::default()).await;
    let pool = got.unwrap().into_inner().pool.unwrap();
    assert!(counted(&pool.counts.unwrap()));
}

#[tokio::test]
async fn bad_input_is_named_field_by_field() {
    let node = TestNode::start().await;
    let mut client = node.client();
    let request = v1::AddServerRequest {
        pool: "a b".into(),
        address: "localhost:80".into(),
        weight: Some(257),
        admin_state: 77,
        check: Some(v1::HealthCheck {
            interval: Some(ProtoDuration {
                seconds: -1,
                nanos: 0,
            }),
            ..v1::HealthCheck::default()
        }),
        expected_revision: 0,
    };
    let status = client.add_server(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        fields(&status),
        ["pool", "address", "weight", "admin_state", "check.interval"]
    );
    assert!(
        status.message().contains("localhost:80"),
        "{}",
        status.message()
    );
    let long = add(&"9".repeat(100_000));
    let status = client.add_server(long).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "an error fits its header"
    );
    let settings = v1::PoolSettings {
        balancing: 5,
        drain_deadline: Some(ProtoDuration {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..v1::PoolSettings::default()
    };
    let update = v1::UpdatePoolRequest {
        settings: Some(settings),
        ..v1::UpdatePoolRequest::default()
    };
    let status = client.update_pool(update.clone()).await.unwrap_err();
    assert_eq!(fields(&status), ["settings.balancing"]);
    let remove = v1::RemoveServerRequest {
        address: ADDRESS.into(),
        deadline: Some(ProtoDuration {
            seconds: 86_401,
            nanos: 0,
        }),
        ..v1::RemoveServerRequest::default()
    };
    let status = client.remove_server(remove).await.unwrap_err();
    assert_eq!(fields(&status), ["deadline"]);
}

#[tokio::test]
async fn what_does_not_fit_the_state_has_its_code() {
    let node = TestNode::start().await;
    let mut client = node.client();
    let get = v1::GetServerRequest {
        address: ADDRESS.into(),
        ..Default::default()
    };
    let missing = client.get_server(get).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let update = v1::UpdateServerRequest {
        address: ADDRESS.into(),
        ..Default::default()
    };
    let missing = client.update_server(update.clone()).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    client.add_server(add(ADDRESS)).await.unwrap();
    let heavier = v1::AddServerRequest {
        weight: Some(2),
        ..add(ADDRESS)
    };
    let exists = client.add_server(heavier).await.unwrap_err();
    assert_eq!(exists.code(), Code::AlreadyExists);
    client.add_server(add("127.0.0.1:81")).await.unwrap();
    let stale = v1::AddServerRequest {
        expected_revision: 1,
        ..add("127.0.0.1:82")
    };
    let aborted = client.add_server(stale).await.unwrap_err();
    assert_eq!(aborted.code(), Code::Aborted);
    for pool in ["blue"] {
        let request = v1::ListServersRequest {
            pool: pool.into(),
            ..Default::default()
        };
        let unknown = client.list_servers(request).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(
            unknown.message().contains("default"),
            "{}",
            unknown.message()
        );
        let other = v1::AddServerRequest {
            pool: pool.into(),
            ..add(ADDRESS)
        };
        assert_eq!(
            client.add_server(other).await.unwrap_err().code(),
            Code::NotFound
        );
    }
}

#[tokio::test]
async fn a_request_is_bounded_and_an_unknown_one_is_unimplemented() {
    let node = TestNode::start().await;
    let mut client = node.client();
    let huge = v1::AddServerRequest {
        pool: "x".repeat(1 << 20),
        ..add(ADDRESS)
    };
    let refused = client.add_server(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let other = tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::with_origin;
    let mut nowhere = other(
        node.channel(),
        format!("http://{}/nowhere", node.address).parse().unwrap(),
    );
    let requests = futures_util::stream::empty();
    let unknown = nowhere.server_reflection_info(requests).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn reflection_names_the_services() {
    use reflection::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let node = TestNode::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(node.channel());
    let requests = futures_util::stream::iter([request]);
    let mut responses = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let response = soon(responses.message()).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = response.message_response else {
        panic!("{response:?}");
    };
    let names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in ["weldr.v1.Management", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
}
