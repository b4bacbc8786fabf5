//! Headers to servers.

use std::net::SocketAddr;

use weldr::model::{ListenerPolicy, ListenerSpec, PoolPolicy, PoolSettings, SendProxyProtocol};
use weldr_proto::v1;
use weldr_tests::{
    data_plane::DataPlane,
    node::TestNode,
    origin::{Conversation, Origin},
    raw::Client,
    wait,
};

use super::{GET, LINE, binary};

/// An origin that reads a header of that version, and then requests.
fn origin(version: SendProxyProtocol) -> Origin {
    Origin::script(move |mut connection| async move {
        match version {
            SendProxyProtocol::Off => {}
            SendProxyProtocol::V1 => {
                while let Some(byte) = connection.bytes(1).await
                    && byte != b"\n"
                {}
            }
            SendProxyProtocol::V2 => drop(connection.bytes(28).await),
        }
        respond(&mut connection).await;
    })
}

async fn respond(connection: &mut Conversation) {
    while connection.request().await.is_some() {
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        connection.write(response).await;
    }
}

/// A pool whose servers get a header of that version.
fn sending(version: SendProxyProtocol) -> PoolSettings {
    PoolSettings {
        policy: PoolPolicy {
            send_proxy_protocol: Some(version),
            ..PoolPolicy::default()
        },
        ..PoolSettings::default()
    }
}

fn data_plane(origin: &Origin, version: SendProxyProtocol, policy: ListenerPolicy) -> DataPlane {
    let mut node = DataPlane::start();
    node.pool_with("default", sending(version), &[origin.address()]);
    let spec = ListenerSpec {
        policy,
        ..ListenerSpec::default()
    };
    node.listener_with("default", spec, &[]);
    node.publish();
    node
}

fn line(source: SocketAddr, destination: SocketAddr) -> String {
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n")
}

fn binary_of(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ips = [[127, 0, 0, 1]; 2].concat();
    let ports = [source, destination].map(|address| address.port().to_be_bytes());
    binary(1, 0x11, &[ips, ports.concat()].concat())
}

/// What came on each connection before `GET`.
fn headers(origin: &Origin) -> Vec<Vec<u8>> {
    let before = |bytes: Vec<u8>| {
        let request = bytes.windows(4).position(|word| word == b"GET ");
        bytes[..request.unwrap_or(bytes.len())].to_vec()
    };
    origin.received().into_iter().map(before).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_names_its_client_and_serves_no_other() {
    for version in [SendProxyProtocol::V1, SendProxyProtocol::V2] {
        let origin = origin(version);
        let node = data_plane(&origin, version, ListenerPolicy::default());
        let mut expected = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(node.address()).await;
            assert_eq!(client.get("/").await.text(), "hi");
            let (source, destination) = (client.local_address(), node.address());
            expected.push(match version {
                SendProxyProtocol::V1 => line(source, destination).into_bytes(),
                _ => binary_of(source, destination),
            });
            clients.push(client);
        }
        // Each client has a connection of its own, which its further requests use.
        for client in &mut clients {
            assert_eq!(client.get("/").await.text(), "hi");
        }
        assert_eq!(headers(&origin), expected);
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_has_named_is_passed_on() {
    let origin = origin(SendProxyProtocol::V1);
    let policy = ListenerPolicy {
        proxy_protocol_from: Some(vec!["127.0.0.0/8".parse().unwrap()]),
        ..ListenerPolicy::default()
    };
    let node = data_plane(&origin, SendProxyProtocol::V1, policy);
    let mut client = Client::connect(node.address()).await;
    client.send([LINE, GET].concat()).await;
    assert_eq!(client.response("GET").await.text(), "hi");
    assert_eq!(headers(&origin), [LINE.as_bytes()]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_a_trusted_proxy_is_named() {
    let origin = origin(SendProxyProtocol::V1);
    let policy = ListenerPolicy {
        trusted_proxies: Some(vec!["127.0.0.0/8".parse().unwrap()]),
        ..ListenerPolicy::default()
    };
    let node = data_plane(&origin, SendProxyProtocol::V1, policy);
    let mut client = Client::connect(node.address()).await;
    let mut expected = Vec::new();
    for claimed in ["192.0.2.7", "192.0.2.8"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {claimed}\r\n\r\n");
        assert_eq!(client.exchange("GET", request).await.text(), "hi");
        let claimed = SocketAddr::new(claimed.parse().unwrap(), 0);
        expected.push(line(claimed, node.address()).into_bytes());
    }
    assert_eq!(headers(&origin), expected);
    node.shutdown().await;
}

/// A connection of the time before has named a client, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_setting_uses_no_older_connection() {
    let origin = Origin::script(|mut connection| async move {
        if connection.index == 1 {
            connection.bytes(28).await;
        }
        respond(&mut connection).await;
    });
    let mut node = data_plane(&origin, SendProxyProtocol::Off, ListenerPolicy::default());
    let mut client = Client::connect(node.address()).await;
    let versions = [
        SendProxyProtocol::Off,
        SendProxyProtocol::V2,
        SendProxyProtocol::Off,
    ];
    for version in versions {
        node.change_pool("default", sending(version));
        node.publish();
        for _ in 0..2 {
            assert_eq!(client.get("/").await.text(), "hi");
        }
    }
    let named = binary_of(client.local_address(), node.address());
    assert_eq!(headers(&origin), [Vec::new(), named, Vec::new()]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_say_that_they_have_no_client() {
    let origin = Origin::script(|mut connection| async move {
        connection.until_end().await;
    });
    let node = TestNode::start_checking().await;
    node.add(origin.address()).await;
    for (version, expected) in [
        (v1::SendProxyProtocol::V1, b"PROXY UNKNOWN\r\n".to_vec()),
        (v1::SendProxyProtocol::V2, binary(0, 0, b"")),
    ] {
        let policy = v1::PoolPolicy {
            send_proxy_protocol: version.into(),
            ..v1::PoolPolicy::default()
        };
        node.update_pool(v1::PoolSettings {
            policy: Some(policy),
            ..v1::PoolSettings::default()
        })
        .await;
        wait::until("a check with a header", async || {
            let received = origin.received();
            if received.contains(&expected) {
                Ok(())
            } else {
                Err(format!("{received:?}"))
            }
        })
        .await;
    }
    node.shutdown().await;
}
