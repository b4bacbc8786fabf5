//! Programs of others on the other side.

use std::net::SocketAddr;

use weldr::model::{PoolPolicy, PoolSettings, SendProxyProtocol};
use weldr_tests::{
    data_plane::DataPlane,
    other_proxy::{free_address, started},
    process::{Program, installed},
    raw::Client,
};

use super::{requiring, telling};

#[tokio::test(flavor = "multi_thread")]
async fn curl_names_itself() {
    let Some(curl) = installed("curl") else {
        println!("curl is not installed: this test was skipped");
        return;
    };
    let origin = telling();
    let node = requiring(&origin, |_| {}).await;
    let url = format!("http://{}/", node.proxy());
    let ask = |options: &'static [&str]| {
        let program = Program::at("curl", &curl).args(["-s", "--max-time", "20"]);
        program.args(options).arg(&url).run()
    };
    let named = ask(&["--haproxy-protocol"]).await;
    assert_eq!(named.expect_success(), "127.0.0.1");
    assert_ne!(ask(&[]).await.code(), Some(0));
    assert_eq!(node.stats().await.proxy_protocol_refused["missing"], 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_names_its_client() {
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
    ] {
        let origin = telling();
        let node = requiring(&origin, |_| {}).await;
        let (address, proxy) = (free_address(), node.proxy());
        let text = |_: &str| {
            format!(
                "defaults\n  mode tcp\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n\
                 listen l\n  bind {address}\n  source 127.0.0.2\n  server s {proxy} {option}\n"
            )
        };
        let Some(_haproxy) = started("haproxy", "-f", address, text).await else {
            return;
        };
        let mut client = Client::connect(address).await;
        // Its connection comes from 127.0.0.2.
        assert_eq!(client.get("/").await.text(), "127.0.0.1", "{option}");
        assert_eq!(client.get("/").await.text(), "127.0.0.1", "{option}");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_and_nginx_are_told_the_client() {
    let haproxy = |address: SocketAddr| {
        move |_: &str| {
            format!(
                "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n\
                 frontend f\n  bind {address} accept-proxy\n\
                 http-request return status 200 content-type text/plain lf-string \"%ci:%cp\"\n"
            )
        }
    };
    let nginx = |address: SocketAddr| {
        move |directory: &str| {
            format!(
                "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error;\n\
                 events {{ }}\nhttp {{\naccess_log off;\nclient_body_temp_path {directory}/body;\n\
                 proxy_temp_path {directory}/proxy;\nfastcgi_temp_path {directory}/fastcgi;\n\
                 uwsgi_temp_path {directory}/uwsgi;\nscgi_temp_path {directory}/scgi;\n\
                 server {{ listen {address} proxy_protocol;\n\
                 location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }} }}\n"
            )
        }
    };
    let addresses = [free_address(), free_address()];
    let peers = [
        started("haproxy", "-f", addresses[0], haproxy(addresses[0])).await,
        started("nginx", "-c", addresses[1], nginx(addresses[1])).await,
    ];
    for (address, peer) in addresses.into_iter().zip(&peers) {
        for version in [SendProxyProtocol::V1, SendProxyProtocol::V2] {
            if peer.is_none() {
                continue;
            }
            let settings = PoolSettings {
                policy: PoolPolicy {
                    send_proxy_protocol: Some(version),
                    ..PoolPolicy::default()
                },
                ..PoolSettings::default()
            };
            let mut node = DataPlane::start();
            node.pool_with("default", settings, &[address]);
            node.publish();
            let mut client = Client::connect(node.address()).await;
            let expected = client.local_address().to_string();
            assert_eq!(client.get("/").await.text(), expected, "{version:?}");
            node.shutdown().await;
        }
    }
}
