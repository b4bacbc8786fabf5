//! A hostile peer: opens many connections, says little or nothing, and reads nothing. [`peer`] speaks the protocol between
//! nodes, with keys and claims of its choice, and [`impostor`] answers as a node does.

pub mod impostor;
pub mod peer;

use std::net::SocketAddr;

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

/// Connections that stay open until this is dropped, or the other side closes them.
#[derive(Debug, Default)]
pub struct Connections(Vec<TcpStream>);

impl Connections {
    /// Opens `count` connections from `from` to `target`, and sends `first` on each. One that is refused is left out.
    pub async fn open(count: usize, from: SocketAddr, target: SocketAddr, first: &[u8]) -> Self {
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(from).expect("an address of this machine");
            let Ok(mut stream) = socket.connect(target).await else {
                continue;
            };
            // The other side may have closed it already.
            let _ = stream.write_all(first).await;
            open.push(stream);
        }
        Self(open)
    }

    /// How many the other side has not closed.
    pub fn still_open(&self) -> usize {
        let mut buffer = [0; 4096];
        let is_open = |stream: &&TcpStream| loop {
            match stream.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        };
        let mut is_open = is_open;
        self.0.iter().filter(|stream| is_open(stream)).count()
    }
}
