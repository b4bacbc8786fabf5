//! The floor: forwards bytes between each client and a connection of its own to the origin, and understands
//! nothing. What it costs is what the kernel asks of anything that stands between two sockets.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
};

use slab::Slab;

use super::{
    poller::{Poller, Ready},
    socket::{self, Progress},
};

const LISTENER: u64 = u64::MAX;

/// Bytes taken with one read.
const CHUNK: usize = 64 * 1024;

/// A client and its connection to the origin.
#[derive(Debug)]
struct Pair {
    sides: [Side; 2],
}

#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// Read from the other side and not yet taken by this one.
    pending: Vec<u8>,
}

/// Forwards until the process is ended.
pub(crate) fn run(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let listener = socket::listen(listen)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    drop(stdout);
    let mut poller = Poller::new()?;
    poller.add_listener(&listener, LISTENER)?;
    let mut pairs = Slab::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        poller.wait(None)?;
        for index in 0..poller.len() {
            let ready = poller.ready(index);
            if ready.token == LISTENER {
                while let Some(client) = socket::accept(&listener) {
                    // A client whose origin cannot be reached is let go.
                    let _ = open(&poller, &mut pairs, client, origin);
                }
            } else {
                forward(&mut pairs, ready, &mut chunk);
            }
        }
    }
}

fn open(
    poller: &Poller,
    pairs: &mut Slab<Pair>,
    client: TcpStream,
    origin: SocketAddr,
) -> io::Result<()> {
    let upstream = socket::connect(origin)?;
    let entry = pairs.vacant_entry();
    let token = (entry.key() as u64) << 1;
    poller.add(&client, token)?;
    poller.add(&upstream, token | 1)?;
    entry.insert(Pair {
        sides: [client, upstream].map(|stream| Side {
            stream,
            pending: Vec::new(),
        }),
    });
    Ok(())
}

fn forward(pairs: &mut Slab<Pair>, ready: Ready, chunk: &mut [u8]) {
    let key = usize::try_from(ready.token >> 1).unwrap_or(usize::MAX);
    let Some(pair) = pairs.get_mut(key) else {
        return;
    };
    let [client, upstream] = &mut pair.sides;
    let (this, other) = if ready.token & 1 == 0 {
        (client, upstream)
    } else {
        (upstream, client)
    };
    // What waited for room in this side goes first, and what it held back in the other one follows.
    let mut open = !ready.writable || this.pending.is_empty() || pump(other, this, false, chunk);
    if open && ready.readable {
        open = pump(this, other, ready.ending, chunk);
    }
    if !open {
        pairs.remove(key);
    }
}

/// Moves what there is; false when it is over.
fn pump(from: &Side, to: &mut Side, until_end: bool, chunk: &mut [u8]) -> bool {
    if !to.pending.is_empty() {
        match socket::write(&to.stream, &to.pending) {
            Progress::Moved(sent) => drop(to.pending.drain(..sent)),
            Progress::Blocked => return true,
            Progress::Closed => return false,
        }
        if !to.pending.is_empty() {
            return true;
        }
    }
    loop {
        let got = match socket::read(&from.stream, chunk) {
            Progress::Moved(got) => got,
            Progress::Blocked => return true,
            Progress::Closed => return false,
        };
        let sent = match socket::write(&to.stream, &chunk[..got]) {
            Progress::Moved(sent) => sent,
            Progress::Blocked => 0,
            Progress::Closed => return false,
        };
        if sent < got {
            to.pending.extend_from_slice(&chunk[sent..got]);
            return true;
        }
        // A short read has emptied the socket.
        if got < chunk.len() && !until_end {
            return true;
        }
    }
}
