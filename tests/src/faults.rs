//! A link between two parties that does to their bytes what networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
    time,
};

/// What a link does to one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each piece comes later by this.
    Latency(Duration),
    /// So many bytes pass at a time.
    Slices(usize),
    /// After so many bytes, both sides are reset.
    ResetAfter(usize),
    /// After so many bytes, both sides are closed.
    CutAfter(usize),
    /// After so many bytes, nothing passes any more, and nobody is told.
    BlackHoleAfter(usize),
    /// After so many bytes, each byte has another value with this chance in a thousand.
    Corrupt(usize, u32),
}

/// Which way a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who connects.
    Up,
    /// To who connects.
    Down,
}

/// A port that passes connections on, through a fault.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    fault: Mutex<(Way, Fault)>,
    connections: AtomicUsize,
    seed: u64,
}

impl Link {
    /// A link to `to` without a fault; what is random comes from `seed`.
    pub async fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            to,
            fault: Mutex::new((Way::Down, Fault::None)),
            connections: AtomicUsize::new(0),
            seed,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does to connections that come from now on.
    pub fn set(&self, way: Way, fault: Fault) {
        let mut current = self.shared.fault.lock();
        *current.as_deref_mut().expect("no holder panics") = (way, fault);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let number = shared.connections.fetch_add(1, Relaxed) as u64;
            let rng = Rng::with_seed(shared.seed.wrapping_add(number));
            let chosen = *shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(far) = TcpStream::connect(shared.to).await {
                pass(near, far, chosen, rng).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Why a way has ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// Its sender was done.
    Done,
    /// One of the sockets failed.
    Failed,
    Reset,
    Cut,
}

async fn pass(near: TcpStream, far: TcpStream, (way, fault): (Way, Fault), rng: Rng) {
    for stream in [&near, &far] {
        let _best_effort = stream.set_nodelay(true);
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let of = |this: Way| if this == way { fault } else { Fault::None };
    let mut up = Direction::new(from_near, to_far, of(Way::Up), rng.clone());
    let mut down = Direction::new(from_far, to_near, of(Way::Down), rng);
    let (mut up_done, mut down_done) = (false, false);
    while !(up_done && down_done) {
        let ended = tokio::select! {
            ended = up.run(), if !up_done => { up_done = true; ended }
            ended = down.run(), if !down_done => { down_done = true; ended }
        };
        match ended {
            Ended::Done => {}
            Ended::Failed | Ended::Cut => return,
            Ended::Reset => {
                for socket in [up.to.as_ref(), down.to.as_ref()] {
                    let _best_effort = socket.set_zero_linger();
                }
                return;
            }
        }
    }
}

struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    fault: Fault,
    rng: Rng,
    passed: usize,
    /// What was read and has not passed, so that being asked again loses nothing.
    held: Vec<u8>,
}

impl Direction {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, fault: Fault, rng: Rng) -> Self {
        Self {
            from,
            to,
            fault,
            rng,
            passed: 0,
            held: Vec::new(),
        }
    }

    async fn run(&mut self) -> Ended {
        loop {
            while !self.held.is_empty() {
                if let Some(ended) = self.step().await {
                    return ended;
                }
            }
            match self.from.read_buf(&mut self.held).await {
                Ok(1..) => self.corrupt(),
                Ok(0) => {
                    let _gone = self.to.shutdown().await;
                    return Ended::Done;
                }
                Err(_) => return Ended::Reset,
            }
        }
    }

    fn corrupt(&mut self) {
        let Fault::Corrupt(after, chance) = self.fault else {
            return;
        };
        let begin = after.saturating_sub(self.passed);
        for byte in self.held.iter_mut().skip(begin) {
            if self.rng.u32(..1000) < chance {
                *byte ^= 1 << self.rng.u8(..8);
            }
        }
    }

    /// Passes some of what is held on.
    async fn step(&mut self) -> Option<Ended> {
        let left = |after: usize| after.saturating_sub(self.passed);
        let some = match self.fault {
            Fault::None | Fault::Corrupt(..) => self.held.len(),
            Fault::Latency(by) => {
                time::sleep(by).await;
                self.held.len()
            }
            Fault::Slices(size) => size.max(1),
            Fault::ResetAfter(after) if left(after) == 0 => return Some(Ended::Reset),
            Fault::CutAfter(after) if left(after) == 0 => return Some(Ended::Cut),
            Fault::BlackHoleAfter(after) if left(after) == 0 => std::future::pending().await,
            Fault::ResetAfter(after) | Fault::CutAfter(after) | Fault::BlackHoleAfter(after) => {
                left(after)
            }
        };
        let some = some.min(self.held.len());
        match self.to.write(&self.held[..some]).await {
            Ok(written) => {
                self.held.drain(..written);
                self.passed += written;
                None
            }
            Err(_) => Some(Ended::Failed),
        }
    }
}
