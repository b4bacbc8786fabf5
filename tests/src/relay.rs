//! A stretch of network between nodes that can be cut or slow: for all who come over it or for some, while others
//! go on.
//!
//! What is cut is not closed: bytes wait, as they do when a network drops every packet.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time,
};

/// What happens to bytes of connections that come from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// They wait.
    Cut,
    /// Each piece comes later by this.
    Delayed(Duration),
}

type Troubles = HashMap<IpAddr, Trouble>;

/// What has passed a relay.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Vec<u8>>>>);

impl Recording {
    /// The bytes of each connection and direction.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A place for the bytes of one direction of a connection.
    fn begin(&self) -> Track {
        let mut tracks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.push(Vec::new());
        Track {
            recording: self.clone(),
            place: tracks.len() - 1,
        }
    }
}

/// Where the bytes of one direction of a connection are recorded.
struct Track {
    recording: Recording,
    place: usize,
}

impl Track {
    fn add(&self, bytes: &[u8]) {
        let tracks = self.recording.0.lock();
        let mut tracks = tracks.unwrap_or_else(PoisonError::into_inner);
        tracks[self.place].extend_from_slice(bytes);
    }
}

/// A relay in front of one address.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    troubles: Arc<watch::Sender<Troubles>>,
    recording: Arc<OnceLock<Recording>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A relay on a port of its own; connections wait until it has a target.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = watch::Sender::new(None);
        let troubles = Arc::new(watch::Sender::new(Troubles::new()));
        let recording = Arc::default();
        let accepting = accept(
            listener,
            target.subscribe(),
            Arc::clone(&troubles),
            Arc::clone(&recording),
        );
        let accepting = tokio::spawn(accepting);
        Self {
            address,
            target,
            troubles,
            recording,
            accepting,
        }
    }

    /// Records what passes on connections that are made from now on.
    pub fn record(&self) -> Recording {
        self.recording.get_or_init(Recording::default).clone()
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
        self.trouble(from, Trouble::Cut);
    }

    /// Everything of connections that come from `from` takes longer by this, in either direction.
    pub fn delay(&self, from: IpAddr, by: Duration) {
        self.trouble(from, Trouble::Delayed(by));
    }

    fn trouble(&self, from: IpAddr, trouble: Trouble) {
        self.troubles.send_modify(|troubles| {
            troubles.insert(from, trouble);
        });
    }

    /// Everything passes again, at once.
    pub fn heal(&self) {
        self.troubles.send_modify(Troubles::clear);
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
    troubles: Arc<watch::Sender<Troubles>>,
    recording: Arc<OnceLock<Recording>>,
) {
    while let Ok((stream, peer)) = listener.accept().await {
        let known = target.wait_for(Option::is_some).await;
        let Some(target) = known.ok().and_then(|target| *target) else {
            return;
        };
        let recording = recording.get().cloned();
        let troubles = troubles.subscribe();
        tokio::spawn(relay(stream, target, peer.ip(), troubles, recording));
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    from: IpAddr,
    mut troubles: watch::Receiver<Troubles>,
    recording: Option<Recording>,
) {
    if !passes(from, &mut troubles).await {
        return;
    }
    // Who is not there refuses, and so does the relay: by closing.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let track = || recording.as_ref().map(Recording::begin);
    tokio::select! {
        () = pump(client_in, server_out, from, troubles.clone(), track()) => {}
        () = pump(server_in, client_out, from, troubles, track()) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    ip: IpAddr,
    mut troubles: watch::Receiver<Troubles>,
    track: Option<Track>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !passes(ip, &mut troubles).await {
            return;
        }
        if let Some(track) = &track {
            track.add(&buffer[..read]);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Returns when what comes from `from` is let through; whether it ever is.
async fn passes(from: IpAddr, troubles: &mut watch::Receiver<Troubles>) -> bool {
    let now = troubles.borrow_and_update().get(&from).copied();
    if let Some(Trouble::Delayed(by)) = now {
        time::sleep(by).await;
    }
    let open = troubles.wait_for(|troubles| troubles.get(&from) != Some(&Trouble::Cut));
    open.await.is_ok()
}
