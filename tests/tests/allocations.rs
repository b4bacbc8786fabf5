//! How often Weldr asks for memory for a request.
//!
//! Client and origin use sockets that block and buffers that are there, so that what is counted is the node's:
//! its worker, and the little that its control plane does meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its runner shows what it prints"
)]

use std::{
    alloc::System,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tokio::runtime::Runtime;
use weldr_tests::node::TestNode;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations that a keep-alive request with a small response may make, reallocations included: none of its own, and the
/// little that happens meanwhile.
const MOST: f64 = 0.5;

/// Requests over which is averaged, so that what happens by the clock weighs nothing.
const REQUESTS: u32 = 1000;

/// How often is counted; the lowest count is the one that nothing disturbed.
const TRIALS: u32 = 3;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_request_allocates_a_small_constant() {
    let runtime = Runtime::new().unwrap();
    let origin = serve();
    let node = runtime.block_on(async {
        let node = TestNode::start_checking_with(|config| {
            config.workers = 1;
            config.pool.check.interval = Duration::from_hours(1);
        });
        let node = node.await;
        node.add(origin).await;
        node
    });
    let mut client = TcpStream::connect(node.proxy()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&mut client);
    let counted = (0..TRIALS).map(|_| {
        let region = Region::new(ALLOCATOR);
        ask(&mut client);
        a_request(region.change())
    });
    let allocations = counted.fold(f64::INFINITY, f64::min);
    println!("{allocations} allocations a request");
    assert!(
        allocations <= MOST,
        "a request makes {allocations} allocations, and {MOST} are its bound"
    );
    let region = Region::new(ALLOCATOR);
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert!(region.change().allocations > 0, "nothing is counted");
    runtime.block_on(node.shutdown());
}

fn a_request(stats: Stats) -> f64 {
    let made = u32::try_from(stats.allocations + stats.reallocations).unwrap();
    f64::from(made) / f64::from(REQUESTS)
}

/// Makes all the requests, one after the other.
fn ask(client: &mut TcpStream) {
    let mut response = [0; 4096];
    for _ in 0..REQUESTS {
        client.write_all(REQUEST).unwrap();
        let mut length = 0;
        while !response[..length].ends_with(b"\r\n\r\nhello") {
            let got = client.read(&mut response[length..]).unwrap();
            assert_ne!(got, 0, "the connection was closed");
            length += got;
        }
        assert!(response.starts_with(b"HTTP/1.1 200 "));
    }
}

/// An origin with a thread for each connection.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || response(&mut stream));
        }
    });
    address
}

/// Responds until the connection ends; a request without a body ends with an empty line.
fn response(stream: &mut TcpStream) {
    let mut request = [0; 4096];
    let mut length = 0;
    loop {
        match stream.read(&mut request[length..]) {
            Ok(0) | Err(_) => return,
            Ok(got) => length += got,
        }
        if request[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            if stream.write_all(RESPONSE).is_err() {
                return;
            }
        }
    }
}
