//! Bodies that stand still half way through the proxy: what it holds for them.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time,
};

use crate::process::Program;

/// Which side does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server takes nothing of a request.
    Upload,
    /// The client takes nothing of a response.
    Download,
}

/// Memory of the proxy, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Before there was a body.
    pub before: u64,
    /// When none of them moved any more.
    pub then: u64,
}

/// How long a body has to stand still before it counts as stalled.
const STILL: Duration = Duration::from_secs(1);
/// The system's buffers of our sockets: most of a body is to be held back by the proxy, or not at all.
const SYSTEM_BUFFER: u32 = 64 << 10;

/// Stalls `bodies` of `length` bytes before a proxy of its own.
///
/// # Panics
/// When a body passes whole: nobody has read it.
pub async fn hold(direction: Direction, bodies: usize, length: usize) -> Held {
    let (server, _serving) = serve(direction, length);
    let mut weldr = Program::weldr()
        .args(["--server", &server.to_string(), "--workers", "2"])
        .args([
            "--stream-idle-timeout",
            "10m",
            "--response-header-timeout",
            "10m",
        ])
        .args(["--check-interval", "1h"])
        .start();
    let proxy = weldr.proxy_address().await;
    weldr.logs("healthy").await;
    let before = weldr.resident();
    let clients = (0..bodies).map(|_| stall(proxy, direction, length));
    let stalled: Vec<TcpStream> = join_all(clients).await;
    let then = weldr.resident();
    for stream in &stalled {
        let cut = stream.take_error().expect("a socket of ours");
        assert!(cut.is_none(), "a stalled body was cut: {cut:?}");
    }
    drop(stalled);
    weldr.kill().await;
    Held { before, then }
}

/// A server that reads nothing, or writes what nobody reads.
fn serve(direction: Direction, length: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = listener();
    let address = listener.local_addr().expect("a bound socket");
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                if direction == Direction::Download {
                    let mut head = [0; 4096];
                    // A check sends nothing and closes.
                    if !matches!(stream.read(&mut head).await, Ok(1..)) {
                        return;
                    }
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    let _gone = stream.write_all(head.as_bytes()).await;
                    pour(&mut stream, length).await;
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (address, serving)
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(SYSTEM_BUFFER)
        .expect("a socket of ours");
    socket
        .bind(([127, 0, 0, 1], 0).into())
        .expect("a free port");
    socket.listen(4096).expect("a bound socket")
}

async fn stall(proxy: SocketAddr, direction: Direction, length: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(SYSTEM_BUFFER)
        .expect("a socket of ours");
    let mut stream = socket.connect(proxy).await.expect("the proxy listens");
    let head = match direction {
        Direction::Upload => {
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
        }
        Direction::Download => "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    };
    stream
        .write_all(head.as_bytes())
        .await
        .expect("the proxy reads");
    match direction {
        Direction::Upload => pour(&mut stream, length).await,
        Direction::Download => {
            stream.readable().await.expect("a response begins");
            time::sleep(2 * STILL).await;
        }
    }
    stream
}

/// Writes `length` bytes, until nobody has taken any for a while.
async fn pour(stream: &mut TcpStream, length: usize) {
    let block = vec![b'x'; 64 << 10];
    let mut left = length;
    while left > 0 {
        let some = &block[..left.min(block.len())];
        match time::timeout(STILL, stream.write(some)).await {
            Ok(Ok(written)) => left -= written,
            // Cut, when the run is over, or still.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    panic!("a body that nobody reads passed whole");
}
