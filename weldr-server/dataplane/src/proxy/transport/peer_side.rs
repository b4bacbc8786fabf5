//! What has become of the peer's side of a connection, without reading what it has sent.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What has become of the peer's side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum PeerSide {
    /// The peer may send more.
    Open,
    /// It has ended its side: it may still read, or be gone.
    Ended,
    /// The connection is reset or has another error.
    Broken,
}

impl PeerSide {
    /// That of the connected socket `socket`.
    pub(super) fn of(socket: BorrowedFd<'_>) -> Self {
        const AT_ONCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
        // An interrupted call is repeated when the connection is looked at again.
        if poll(&mut asked, Some(&AT_ONCE)).is_err() {
            return Self::Open;
        }
        let [asked] = asked;
        let is = |flags| asked.revents().intersects(flags);
        if is(PollFlags::ERR | PollFlags::NVAL) {
            Self::Broken
        } else if is(PollFlags::RDHUP | PollFlags::HUP) {
            Self::Ended
        } else {
            Self::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{Shutdown, TcpListener, TcpStream},
        os::fd::AsFd as _,
        thread,
        time::{Duration, Instant},
    };

    use socket2::SockRef;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    }

    fn until(socket: &TcpStream, side: PeerSide) {
        let begun = Instant::now();
        while PeerSide::of(socket.as_fd()) != side {
            assert!(begun.elapsed() < Duration::from_secs(20), "{side:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn an_end_shows_behind_what_is_unread() {
        let (socket, mut peer) = pair();
        peer.write_all(b"unread").unwrap();
        assert_eq!(PeerSide::of(socket.as_fd()), PeerSide::Open);
        peer.shutdown(Shutdown::Write).unwrap();
        until(&socket, PeerSide::Ended);
    }

    #[test]
    fn a_reset_is_no_end() {
        let (socket, peer) = pair();
        let linger = Some(Duration::ZERO);
        SockRef::from(&peer).set_linger(linger).unwrap();
        drop(peer);
        until(&socket, PeerSide::Broken);
    }
}
