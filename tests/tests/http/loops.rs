//! Requests that would come back to the node that sent them: RFC 9110, section 7.6.3, and RFC 9209.

use tonic::Code;
use weldr::config::Config;
use weldr_proto::v1::{AddServerRequest, BackupRequest, HealthReason, HealthState, RestoreRequest};
use weldr_tests::{
    cluster::{TestCluster, members_of},
    node::{Client, TestNode, connect, get_server, reaches},
    origin::Origin,
    raw, wait,
};

/// A node that listens on every address of this machine.
async fn on_every_address() -> TestNode {
    TestNode::start_with(|config| {
        config.listen = vec![
            ([0, 0, 0, 0], 0).into(),
            "[::]:0".parse().expect("an address"),
        ];
    })
    .await
}

async fn refused(client: &mut Client, address: &str) -> String {
    let request = AddServerRequest {
        address: address.to_owned(),
        ..AddServerRequest::default()
    };
    let refused = client.add_server(request).await.expect_err(address);
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    refused.message().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_no_server_of_its_own() {
    let node = on_every_address().await;
    let port = node.proxy().port();
    for ip in ["127.0.0.1", "127.9.9.9"] {
        let said = refused(&mut node.client(), &format!("{ip}:{port}")).await;
        assert!(
            said.starts_with(&format!("address: \"{ip}:{port}\" is not accepted")),
            "{said}"
        );
        assert!(
            said.contains(&format!("proxies on 0.0.0.0:{port}")),
            "{said}"
        );
    }
    let management = node.management();
    let said = refused(&mut node.client(), &management.to_string()).await;
    assert!(said.contains("management API"), "{said}");
    let body = format!(
        r#"{{"ip":"{}","port":{}}}"#,
        management.ip(),
        management.port()
    );
    let rest = node.rest("POST", "/servers", &body).await;
    assert_eq!(rest.status, 400, "{rest}");
    assert!(rest.text().contains("management API"), "{rest}");
    // Another port of this machine is another process.
    let origin = Origin::saying("hi");
    node.add(origin.address()).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_an_own_address_is_not_restored() {
    let (first, second) = tokio::join!(TestNode::start(), TestNode::start());
    first.add_with(second.proxy(), |_| {}).await;
    let mut members = members_of(first.management(), wait::LIMIT);
    let backup = members.backup(BackupRequest::default()).await;
    let file = backup.expect("a backup").into_inner().file;
    let mut members = members_of(second.management(), wait::LIMIT);
    let restored = members.restore(RestoreRequest { file }).await;
    let refused = restored.expect_err("it is the address of the second node");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused.message().contains(&second.proxy().to_string()),
        "{refused}"
    );
    assert!(second.server(second.proxy()).await.is_none());
    first.shutdown().await;
    second.shutdown().await;
}

/// Another node may have a server at an address that this one listens on itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_use_its_own_address_that_another_one_added() {
    let cluster = TestCluster::start(2).await;
    let own = cluster.proxy(1);
    let (mut first, mut second) = (
        connect(cluster.management(0)),
        connect(cluster.management(1)),
    );
    let request = AddServerRequest {
        address: own.to_string(),
        ..AddServerRequest::default()
    };
    first.add_server(request).await.expect("to be added");
    let unused = reaches(&mut second, own, HealthState::Unused).await;
    let health = unused.health.unwrap_or_default();
    assert_eq!(health.reason(), HealthReason::OwnAddress, "{health:?}");
    assert!(health.description.contains("this node"), "{health:?}");
    reaches(&mut first, own, HealthState::Healthy).await;
    // The pool fails open, but not to that.
    let response = raw::get(own, "/").await;
    assert_eq!(response.status, 503, "{response}");
    // Through the other node, it is one hop to the same response.
    let response = raw::get(cluster.proxy(0), "/").await;
    assert_eq!(response.status, 503, "{response}");
    assert!(get_server(&mut second, own).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_two_nodes_is_found_at_its_first_round() {
    let (first, second) = tokio::join!(TestNode::start(), TestNode::start());
    first.add(second.proxy()).await;
    second.add(first.proxy()).await;
    let response = raw::get(first.proxy(), "/").await;
    assert_eq!(response.status, 508, "{response}");
    let status = response.fields.all("proxy-status").join(", ");
    assert!(status.contains("error=proxy_loop_detected"), "{status}");
    assert!(response.text().contains("loop"), "{response}");
    wait::until("three requests", async || {
        let all = requests(&first).await + requests(&second).await;
        if all == 3 { Ok(()) } else { Err(all) }
    })
    .await;
    first.shutdown().await;
    second.shutdown().await;
}

async fn requests(node: &TestNode) -> u64 {
    let client = node.stats().await.client.unwrap_or_default();
    client.success + client.failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_nodes_is_no_loop() {
    let origin = Origin::saying("hi");
    let mut chain = vec![TestNode::before(&[origin.address()]).await];
    for _ in 0..4 {
        let next = chain.last().expect("a node").proxy();
        chain.push(TestNode::before(&[next]).await);
    }
    let first = chain.last().expect("a node").proxy();
    let response = raw::get(first, "/").await;
    assert_eq!((response.status, response.text()), (200, "hi".to_owned()));
    let via = origin.only_request().await.fields.all("via").join(", ");
    let names: Vec<&str> = via.split(", ").collect();
    assert_eq!(names.len(), 5, "{via}");
    for (at, name) in names.iter().enumerate() {
        assert!(name.starts_with("1.1 weldr-"), "{via}");
        assert!(
            !names[..at].contains(name),
            "each node has its own name: {via}"
        );
    }
    for node in chain {
        node.shutdown().await;
    }
}

/// A proxy on the way may rename what is in Via.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_does_not_go_through_nodes_without_end() {
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    for (nodes, status) in [(9, 200), (10, 508)] {
        let via = vec!["1.1 weldr-0"; nodes].join(", ");
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n");
        let mut client = raw::Client::connect(node.proxy()).await;
        let response = client.exchange("GET", request).await;
        assert_eq!(response.status, status, "{response}");
    }
    node.shutdown().await;
}

/// What comes through a data path may be anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_refuses_requests_through_a_proxy() {
    let managed = TestNode::start().await;
    let proxy = TestNode::before(&[managed.management()]).await;
    let through = raw::request(
        proxy.proxy(),
        "POST",
        "/servers",
        r#"{"ip":"127.0.0.1","port":9}"#,
    );
    let response = through.await;
    assert_eq!(response.status, 403, "{response}");
    assert!(
        response.text().contains("through a proxy of Weldr"),
        "{response}"
    );
    assert!(managed.server(([127, 0, 0, 1], 9).into()).await.is_none());
    managed.shutdown().await;
    proxy.shutdown().await;
}

#[test]
fn a_server_option_with_an_own_address_is_refused() {
    for (listen, management, server) in [
        ("127.0.0.1:4000", "127.0.0.1:4001", "127.0.0.1:4000"),
        ("0.0.0.0:4000", "127.0.0.1:4001", "127.0.0.2:4000"),
        ("[::]:4000", "127.0.0.1:4001", "[::1]:4000"),
        ("0.0.0.0:4000", "127.0.0.1:4001", "127.0.0.1:4001"),
    ] {
        let config = Config {
            listen: vec![listen.parse().expect("an address")],
            management: management.parse().expect("an address"),
            servers: vec![server.parse().expect("an address")],
            ..weldr_tests::node::config()
        };
        let refused = config.validate().expect_err(server);
        let source = std::error::Error::source(&refused)
            .expect("why")
            .to_string();
        assert!(
            source.starts_with(&format!("server: \"{server}\"")),
            "{source}"
        );
    }
}
