//! A stretch of network between nodes that can be cut: for all who come over it or for some, while others go on.
//!
//! What is cut is not closed: bytes wait, as they do when a network drops every packet.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A relay in front of one address.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    cut: Arc<watch::Sender<HashSet<IpAddr>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A relay on a port of its own; connections wait until it has a target.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = watch::Sender::new(None);
        let cut = Arc::new(watch::Sender::new(HashSet::new()));
        let accepting = tokio::spawn(accept(listener, target.subscribe(), Arc::clone(&cut)));
        Self {
            address,
            target,
            cut,
            accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// Nothing passes any more of connections that come from `from`, in either direction.
    pub fn cut(&self, from: IpAddr) {
        self.cut.send_modify(|cut| {
            cut.insert(from);
        });
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.cut.send_modify(HashSet::clear);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    mut target: watch::Receiver<Option<SocketAddr>>,
    cut: Arc<watch::Sender<HashSet<IpAddr>>>,
) {
    while let Ok((stream, peer)) = listener.accept().await {
        let known = target.wait_for(Option::is_some).await;
        let Some(target) = known.ok().and_then(|target| *target) else {
            return;
        };
        tokio::spawn(relay(stream, target, peer.ip(), cut.subscribe()));
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    from: IpAddr,
    cut: watch::Receiver<HashSet<IpAddr>>,
) {
    let mut open = cut.clone();
    if open.wait_for(|cut| !cut.contains(&from)).await.is_err() {
        return;
    }
    // Who is not there refuses, and so does the relay: by closing.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::select! {
        () = pump(client_in, server_out, from, cut.clone()) => {}
        () = pump(server_in, client_out, from, cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    ip: IpAddr,
    mut cut: watch::Receiver<HashSet<IpAddr>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if cut.wait_for(|cut| !cut.contains(&ip)).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
