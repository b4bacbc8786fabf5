//! Listeners that open and close at run time.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use weldr::snapshot::BindState;
use weldr_tests::{data_plane::DataPlane, origin::Origin, raw::Client, wait};

use super::{ask, origin, told};

/// A free port; another test may take it, which is what [`BindState::InUse`] is for.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A node with a listener `web` at a port of its own.
fn with_web(rules: &[(&str, &str)]) -> DataPlane {
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut node = DataPlane::start_with(|_, addresses| {
        addresses.insert("web".parse().unwrap(), any_port);
    });
    node.listener("web", Some(([192, 0, 2, 1], 80).into()), rules);
    node.publish();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_another_address_for_a_listener() {
    let mut node = with_web(&[("", "respond 200 web")]);
    let web = node.bound("web").await;
    assert_eq!(told(&ask(web, "GET / HTTP/1.1\nHost: a").await), "200 web");
    assert_eq!(
        ask(node.address(), "GET / HTTP/1.1\nHost: a").await.status,
        503
    );
    assert_eq!(node.live("web").totals().requests.statuses[1], 1);
    node.remove_listener("web");
    node.publish();
    refused(web).await;
    assert_eq!(
        ask(node.address(), "GET / HTTP/1.1\nHost: a").await.status,
        503
    );
    node.shutdown().await;
}

async fn refused(address: SocketAddr) {
    wait::until(
        "the port to be closed",
        async || match tokio::net::TcpStream::connect(address).await {
            Ok(_) => Err("it is open"),
            Err(_) => Ok(()),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_in_use_is_bound_when_it_is_free() {
    let occupied = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = occupied.local_addr().unwrap();
    let mut node = DataPlane::start();
    node.listener("web", Some(address), &[("", "respond 200 web")]);
    // TEST-NET-1: no machine has it.
    node.listener("far", Some(([192, 0, 2, 1], 80).into()), &[]);
    node.publish();
    let binding = node.binding("web", BindState::InUse).await;
    assert_eq!(binding.address, Some(address));
    assert!(binding.description.contains("in use"), "{binding:?}");
    node.binding("far", BindState::NoSuchAddress).await;
    drop(occupied);
    assert_eq!(node.bound("web").await, address);
    assert_eq!(
        told(&ask(address, "GET / HTTP/1.1\nHost: a").await),
        "200 web"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_serves_at_its_address_until_it_has_the_next() {
    let occupied = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (first, next) = (free_port(), occupied.local_addr().unwrap());
    let mut node = DataPlane::start();
    let rules = [("", "respond 200 web")];
    node.listener("web", Some(first), &rules);
    node.publish();
    node.bound("web").await;
    node.listener("web", Some(next), &rules);
    node.publish();
    node.binding("web", BindState::InUse).await;
    let request = "GET / HTTP/1.1\nHost: a";
    assert_eq!(told(&ask(first, request).await), "200 web");
    drop(occupied);
    assert_eq!(node.bound("web").await, next);
    assert_eq!(told(&ask(next, request).await), "200 web");
    refused(first).await;
    // Every address of the machine includes the one that it has.
    let all: SocketAddr = ([0, 0, 0, 0], next.port()).into();
    node.listener("web", Some(all), &rules);
    node.publish();
    wait::until("the listener to be at all addresses", async || {
        match node.live("web").binding() {
            binding if binding.address == Some(all) && binding.state == BindState::Bound => Ok(()),
            binding => Err(format!("{binding:?}")),
        }
    })
    .await;
    assert_eq!(told(&ask(next, request).await), "200 web");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_moves_from_one_listener_to_another() {
    let address = free_port();
    let mut node = DataPlane::start();
    node.listener("web", Some(address), &[("", "respond 200 web")]);
    node.publish();
    node.bound("web").await;
    node.remove_listener("web");
    node.listener("api", Some(address), &[("", "respond 200 api")]);
    node.publish();
    assert_eq!(node.bound("api").await, address);
    assert_eq!(
        told(&ask(address, "GET / HTTP/1.1\nHost: a").await),
        "200 api"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_listener_finishes_requests_and_closes_idle_connections() {
    let (origin, passes) = Origin::gated();
    let mut node = with_web(&[("", "forward gated")]);
    node.pool("gated", &[origin.address()]);
    node.publish();
    let web = node.bound("web").await;
    let (mut idle, mut busy) = (Client::connect(web).await, Client::connect(web).await);
    assert_eq!(idle.get("/").await.status, 200);
    busy.send("GET /gated HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wait::until("the request to reach the server", async || {
        let received = origin.received().concat();
        if received.windows(6).any(|part| part == b"/gated") {
            Ok(())
        } else {
            Err("it has not")
        }
    })
    .await;
    let live = node.live("web");
    node.remove_listener("web");
    node.publish();
    idle.closed().await;
    refused(web).await;
    passes.add_permits(1);
    let response = busy.response("GET").await;
    assert_eq!(response.text(), "hi");
    assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
    busy.closed().await;
    wait::until(
        "the connections to be counted as closed",
        async || match live.connections() {
            0 => Ok(()),
            open => Err(open),
        },
    )
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_over_resets_what_is_left() {
    let (origin, _passes) = Origin::gated();
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut node = DataPlane::start_with(|parts, addresses| {
        parts.stop_timeout = Duration::from_millis(100);
        addresses.insert("web".parse().unwrap(), any_port);
    });
    node.pool("gated", &[origin.address()]);
    node.listener("web", Some(any_port), &[("", "forward gated")]);
    node.publish();
    let web = node.bound("web").await;
    let mut busy = Client::connect(web).await;
    busy.send("GET /gated HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wait::until("the request to reach the server", async || {
        if origin.connections() >= 1 {
            Ok(())
        } else {
            Err("it has not")
        }
    })
    .await;
    node.remove_listener("web");
    node.publish();
    busy.try_response("GET").await.unwrap_err();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_comes_and_goes_disturbs_no_other() {
    const TIMES: u32 = 100;
    let site = origin("site");
    let mut node = with_web(&[("", "respond 200 web")]);
    node.pool("default", &[site.address()]);
    node.publish();
    let (address, over) = (node.address(), Arc::new(AtomicBool::new(false)));
    let served = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for is_new in [false, false, true, true] {
        let (over, served) = (Arc::clone(&over), Arc::clone(&served));
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !over.load(Relaxed) {
                if is_new {
                    client = Client::connect(address).await;
                }
                assert_eq!(client.get("/").await.status, 200);
                served.fetch_add(1, Relaxed);
            }
        }));
    }
    for _ in 0..TIMES {
        node.remove_listener("web");
        node.publish();
        node.listener(
            "web",
            Some(([192, 0, 2, 1], 80).into()),
            &[("", "respond 200 web")],
        );
        node.publish();
        let web = node.bound("web").await;
        assert_eq!(told(&ask(web, "GET / HTTP/1.1\nHost: a").await), "200 web");
    }
    over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Relaxed) > 100, "{served:?}");
    let failed = node.live("default").totals().requests.statuses[4];
    assert_eq!(failed, 0);
    node.shutdown().await;
}
