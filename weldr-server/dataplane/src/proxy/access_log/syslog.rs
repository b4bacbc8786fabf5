//! Lines as syslog messages (RFC 5424), a datagram each: by UDP (RFC 5426), or to a Unix socket such as `/dev/log`.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::net::UnixDatagram,
    time::{Duration, SystemTime},
};

use memchr::{memchr, memchr_iter};

use crate::{clock::dates, output::Unwritten, policy::SyslogAddress};

/// Facility local0, severity informational; version 1.
const PRIORITY: &[u8] = b"<134>1 ";
/// How long a collector that is there and does not read may hold up a batch.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// A collector. It need not be there: a line that cannot be sent is lost.
#[derive(Debug)]
pub(super) struct Syslog {
    address: SyslogAddress,
    socket: Option<Socket>,
    /// What a message has between its time and the line.
    origin: Vec<u8>,
    /// The message that is sent.
    message: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Syslog {
    pub(super) fn new(address: SyslogAddress) -> Self {
        let machine = rustix::system::uname();
        Self {
            address,
            socket: None,
            origin: origin(machine.nodename().to_bytes(), std::process::id()),
            message: Vec::new(),
        }
    }

    /// Sends `lines`, each of which ends with a line feed.
    pub(super) fn send(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let time = dates::writable(SystemTime::now());
        let time = humantime::format_rfc3339_micros(time).to_string();
        let mut failure: Option<Unwritten> = None;
        let mut lose = |lines, source| match &mut failure {
            Some(failure) => failure.lines += lines,
            None => failure = Some(Unwritten { lines, source }),
        };
        let mut left = lines;
        while let Some(end) = memchr(b'\n', left) {
            let line = left.get(..end).unwrap_or_default();
            write_message(&mut self.message, &time, &self.origin, line);
            match self.send_message() {
                Ok(None) => {}
                Ok(Some(refused)) => lose(1, refused),
                // The message is too long for a datagram, which says nothing about the next.
                Err(source) if source.raw_os_error() == Some(TOO_LONG) => lose(1, source),
                // The next one would meet the same, and a collector that does not read would be waited for again.
                Err(source) => {
                    lose(memchr_iter(b'\n', left).count() as u64, source);
                    self.close();
                    break;
                }
            }
            left = left.get(end + 1..).unwrap_or_default();
        }
        failure.map_or(Ok(()), Err)
    }

    /// Connects before the next message is sent.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Sends the message. `Some` when an earlier one was refused meanwhile.
    fn send_message(&mut self) -> Result<Option<io::Error>, io::Error> {
        let is_new = self.socket.is_none();
        match self.send_once() {
            Ok(()) => Ok(None),
            Err(error) => match &self.socket {
                // That was the response to an earlier datagram, and this one was not sent.
                Some(Socket::Udp(_)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.send_once().map(|()| Some(error))
                }
                // A collector that was started again has another socket at the path.
                Some(Socket::Unix(_)) if !is_new && is_gone(&error) => {
                    self.close();
                    self.send_once().map(|()| None)
                }
                _ => Err(error),
            },
        }
    }

    fn send_once(&mut self) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::connect(&self.address)?),
        };
        let sent = match socket {
            Socket::Udp(socket) => socket.send(&self.message),
            Socket::Unix(socket) => socket.send(&self.message),
        };
        sent.map(|_| ())
    }
}

/// The message does not fit a datagram.
const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Whether nobody has the other end of a Unix socket any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | NotConnected | BrokenPipe
    )
}

impl Socket {
    fn connect(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Ok(Self::Udp(socket))
            }
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Ok(Self::Unix(socket))
            }
        }
    }
}

/// HOSTNAME, APP-NAME, PROCID and MSGID, and no STRUCTURED-DATA.
fn origin(host: &[u8], process: u32) -> Vec<u8> {
    let is_valid = (1..=255).contains(&host.len()) && host.iter().all(u8::is_ascii_graphic);
    let mut origin = vec![b' '];
    origin.extend_from_slice(if is_valid { host } else { b"-" });
    // Writing to a vector cannot fail.
    let _ = write!(origin, " weldr {process} access - ");
    origin
}

/// The message of a line. The line has no line feed in it: a collector sees one record, whatever a client has sent.
fn write_message(message: &mut Vec<u8>, time: &str, origin: &[u8], line: &[u8]) {
    message.clear();
    message.extend_from_slice(PRIORITY);
    message.extend_from_slice(time.as_bytes());
    message.extend_from_slice(origin);
    message.extend_from_slice(line);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lost(sent: Result<(), Unwritten>) -> u64 {
        sent.map_or_else(|unwritten| unwritten.lines, |()| 0)
    }

    fn received(collector: &UnixDatagram) -> String {
        let mut message = [0; 1000];
        let length = collector.recv(&mut message).unwrap();
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.rsplit(' ').next().unwrap().to_owned()
    }

    #[test]
    fn a_message_has_the_header_of_rfc_5424() {
        let mut message = Vec::new();
        let time = "2026-11-28T17:00:00.000000Z";
        write_message(&mut message, time, &origin(b"edge-1", 7), b"a=b c");
        assert_eq!(
            message,
            b"<134>1 2026-11-28T17:00:00.000000Z edge-1 weldr 7 access - a=b c"
        );
        for host in ["", "a b", "a\n", &"x".repeat(256)] {
            assert!(origin(host.as_bytes(), 7).starts_with(b" - weldr 7 "));
        }
    }

    #[test]
    fn a_unix_collector_may_come_go_and_come_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let bind = |path: &Path| UnixDatagram::bind(path).unwrap();
        let mut syslog = Syslog::new(SyslogAddress::Unix(path.clone()));
        assert_eq!(lost(syslog.send(b"1\n2\n3\n")), 3, "there is no socket");
        let collector = bind(&path);
        assert_eq!(lost(syslog.send(b"4\n5\n")), 0);
        assert_eq!([received(&collector), received(&collector)], ["4", "5"]);
        drop(collector);
        assert_eq!(lost(syslog.send(b"6\n7\n")), 2, "nobody has it open");
        std::fs::remove_file(&path).unwrap();
        let collector = bind(&path);
        assert_eq!(lost(syslog.send(b"8\n")), 0);
        std::fs::remove_file(&path).unwrap();
        let restarted = bind(&path);
        drop(collector);
        assert_eq!(lost(syslog.send(b"9\n")), 0, "another socket is there");
        assert_eq!(received(&restarted), "9");
    }

    #[test]
    fn a_unix_collector_that_does_not_read_loses_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let _collector = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(SyslogAddress::Unix(path));
        let line = format!("{}\n", "x".repeat(1000));
        let lines = line.repeat(10_000);
        let lost = lost(syslog.send(lines.as_bytes()));
        assert!((1..10_000).contains(&lost), "{lost}");
    }

    #[test]
    fn each_datagram_that_nobody_received_by_udp_is_counted() {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = collector.local_addr().unwrap();
        drop(collector);
        let mut syslog = Syslog::new(SyslogAddress::Udp(address));
        let lost = lost(syslog.send(b"1\n2\n3\n"));
        assert_eq!(lost, 2, "of the last one, nothing is known yet");
    }

    #[test]
    fn a_line_that_is_too_long_for_a_datagram_is_lost_alone() {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog::new(SyslogAddress::Udp(collector.local_addr().unwrap()));
        let lines = format!("1\n{}\n3\n", "x".repeat(70_000));
        assert_eq!(lost(syslog.send(lines.as_bytes())), 1);
        let mut message = [0; 1000];
        for expected in [b'1', b'3'] {
            let length = collector.recv(&mut message).unwrap();
            assert_eq!(message[length - 1], expected);
        }
    }
}
