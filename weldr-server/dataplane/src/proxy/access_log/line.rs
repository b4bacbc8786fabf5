//! The formats of a line. Pure.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::http1::{ClientAddress, Version};
use crate::proxy::{
    clock::HttpDate,
    text::{write_address, write_decimal, write_ip, write_padded},
    transport::SecuredFacts,
};

/// The data of an access log line.
#[derive(Debug)]
pub(in crate::proxy) struct LogEntry<'a> {
    /// When the request ended.
    pub(in crate::proxy) time: SystemTime,
    pub(in crate::proxy) date: HttpDate,
    /// The client's address: the peer, unless that is a trusted proxy that names another address.
    pub(in crate::proxy) client: ClientAddress,
    /// The other end of the connection.
    pub(in crate::proxy) peer: SocketAddr,
    /// What its TLS handshake agreed on, if there was one.
    pub(in crate::proxy) tls: Option<&'a SecuredFacts>,
    /// As sent to a server, or as received if it was sent to no server.
    pub(in crate::proxy) request_line: &'a [u8],
    pub(in crate::proxy) version: Version,
    pub(in crate::proxy) user_agent: &'a [u8],
    pub(in crate::proxy) referer: &'a [u8],
    pub(in crate::proxy) request_id: &'a [u8],
    pub(in crate::proxy) status: u16,
    /// Bytes of the request body.
    pub(in crate::proxy) bytes_received: u64,
    /// Bytes of the response body.
    pub(in crate::proxy) bytes_sent: u64,
    pub(in crate::proxy) listener: &'a str,
    /// The priority of the rule that matched; `None`: none did.
    pub(in crate::proxy) rule: Option<u32>,
    pub(in crate::proxy) pool: Option<&'a str>,
    pub(in crate::proxy) server: Option<SocketAddr>,
    pub(in crate::proxy) retries: u32,
    pub(in crate::proxy) times: Times,
    /// `complete`, or the reason of the failure.
    pub(in crate::proxy) termination: &'static str,
    /// The failure with its causes; empty when there is none.
    pub(in crate::proxy) error: &'a [u8],
}

/// Durations from the begin of the request, except `connect`.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::proxy) struct Times {
    /// Until the last attempt began; earlier ones failed.
    pub(in crate::proxy) queue: Duration,
    /// For opening a connection; `None` when one was reused.
    pub(in crate::proxy) connect: Option<Duration>,
    /// Until the head of the response was received.
    pub(in crate::proxy) first_byte: Option<Duration>,
    /// Until the end of the response.
    pub(in crate::proxy) total: Duration,
}

impl LogEntry<'_> {
    /// Appends a JSON object and the end of the line. Times are in microseconds; a time is null if its event did not happen.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        let mut parts = self.request_line.split(|&byte| byte == b' ');
        let method = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or_default();
        out.extend_from_slice(b"{\"time\":\"");
        self.write_time(out);
        out.extend_from_slice(b"\",\"client\":\"");
        write_client(out, self.client);
        out.extend_from_slice(b"\",\"peer\":\"");
        write_address(out, self.peer);
        out.push(b'"');
        self.write_tls(out);
        out.extend_from_slice(b",\"method\":");
        write_json_string(out, method);
        out.extend_from_slice(b",\"target\":");
        write_json_string(out, target);
        out.extend_from_slice(b",\"version\":\"");
        out.extend_from_slice(self.version_text());
        out.extend_from_slice(b"\",\"status\":");
        write_decimal(out, self.status.into());
        out.extend_from_slice(b",\"bytes_received\":");
        write_decimal(out, self.bytes_received);
        out.extend_from_slice(b",\"bytes_sent\":");
        write_decimal(out, self.bytes_sent);
        self.write_route(out);
        match self.server {
            Some(server) => {
                out.extend_from_slice(b",\"server\":\"");
                write_address(out, server);
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"server\":null"),
        }
        out.extend_from_slice(b",\"retries\":");
        write_decimal(out, self.retries.into());
        let times = &self.times;
        write_json_time(out, b",\"queue_us\":", Some(times.queue));
        write_json_time(out, b",\"connect_us\":", times.connect);
        write_json_time(out, b",\"first_byte_us\":", times.first_byte);
        write_json_time(out, b",\"total_us\":", Some(times.total));
        out.extend_from_slice(b",\"termination\":\"");
        out.extend_from_slice(self.termination.as_bytes());
        out.push(b'"');
        if !self.error.is_empty() {
            out.extend_from_slice(b",\"error\":");
            write_json_string(out, self.error);
        }
        out.extend_from_slice(b",\"request_id\":");
        write_json_string(out, self.request_id);
        out.extend_from_slice(b",\"user_agent\":");
        write_json_string(out, self.user_agent);
        out.extend_from_slice(b",\"referer\":");
        write_json_string(out, self.referer);
        out.extend_from_slice(b"}\n");
    }

    /// Of a connection in plain HTTP there is nothing to say.
    fn write_tls(&self, out: &mut Vec<u8>) {
        let Some(tls) = self.tls else {
            return;
        };
        out.extend_from_slice(b",\"tls\":{\"version\":\"");
        out.extend_from_slice(tls.version_text().as_bytes());
        out.extend_from_slice(b"\",\"suite\":\"");
        tls.write_suite(out);
        out.extend_from_slice(b"\",\"server_name\":");
        match &tls.server_name {
            Some(name) => write_json_string(out, name.as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
        let resumed: &[u8] = if tls.is_resumed { b"true" } else { b"false" };
        out.extend_from_slice(b",\"resumed\":");
        out.extend_from_slice(resumed);
        out.push(b'}');
    }

    /// The names need no escape: see [`ListenerName`](crate::model::ListenerName).
    fn write_route(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"listener\":\"");
        out.extend_from_slice(self.listener.as_bytes());
        out.extend_from_slice(b"\",\"rule\":");
        match self.rule {
            Some(priority) => write_decimal(out, priority.into()),
            None => out.extend_from_slice(b"null"),
        }
        match self.pool {
            Some(pool) => {
                out.extend_from_slice(b",\"pool\":\"");
                out.extend_from_slice(pool.as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"pool\":null"),
        }
    }

    /// Appends a line of the Combined Log Format, as Apache and nginx write it. Its address is
    /// the client's.
    pub(super) fn write_combined(&self, out: &mut Vec<u8>) {
        let date = &self.date;
        write_ip(out, self.client.ip.to_canonical());
        out.extend_from_slice(b" - - [");
        for part in [
            &date[5..7],
            b"/",
            &date[8..11],
            b"/",
            &date[12..16],
            b":",
            &date[17..25],
        ] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b" +0000] \"");
        let without_version = self
            .request_line
            .strip_suffix(b" HTTP/1.1")
            .unwrap_or(self.request_line);
        write_quoted(out, without_version);
        out.push(b' ');
        out.extend_from_slice(self.version_text());
        out.extend_from_slice(b"\" ");
        write_decimal(out, self.status.into());
        out.push(b' ');
        write_decimal(out, self.bytes_sent);
        out.push(b' ');
        for (text, end) in [(self.referer, b' '), (self.user_agent, b'\n')] {
            out.push(b'"');
            write_quoted(out, if text.is_empty() { b"-" } else { text });
            out.extend_from_slice(&[b'"', end]);
        }
    }

    fn version_text(&self) -> &'static [u8] {
        match self.version {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
        }
    }

    fn write_time(&self, out: &mut Vec<u8>) {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = &self.date;
        // The month by its name: a date is written once a second, and a line a request.
        let month = b"JanFebMarAprMayJunJulAugSepOctNovDec"
            .chunks(3)
            .position(|name| name == &date[8..11])
            .unwrap_or(0)
            + 1;
        out.extend_from_slice(&date[12..16]);
        out.push(b'-');
        write_padded(out, month as u64, 2);
        out.push(b'-');
        out.extend_from_slice(&date[5..7]);
        out.push(b'T');
        out.extend_from_slice(&date[17..25]);
        out.push(b'.');
        write_padded(out, since.subsec_millis().into(), 3);
        out.push(b'Z');
    }
}

/// The address with its port, if known.
fn write_client(out: &mut Vec<u8>, client: ClientAddress) {
    match client.port {
        Some(port) => write_address(out, SocketAddr::new(client.ip, port)),
        None => write_ip(out, client.ip),
    }
}

/// Microseconds behind the `name` that they have.
fn write_json_time(out: &mut Vec<u8>, name: &[u8], time: Option<Duration>) {
    out.extend_from_slice(name);
    match time {
        Some(time) => write_decimal(out, u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        None => out.extend_from_slice(b"null"),
    }
}

/// A JSON string. What is not UTF-8 is read as Latin-1, so that nothing is lost.
fn write_json_string(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    let is_utf8 = std::str::from_utf8(text).is_ok();
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            0x80.. if is_utf8 => out.push(byte),
            _ => {
                // Writing to a vector cannot fail, here and below.
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push(b'"');
}

/// Whether `text` can stand between quotes as it is, which almost all does.
fn is_plain(text: &[u8]) -> bool {
    // In a part there is no early end: without one, the compiler looks at all of its bytes at once.
    let (parts, rest) = text.as_chunks::<16>();
    let is_plain = |part: &[u8; 16]| {
        part.iter()
            .fold(true, |plain, &byte| plain & plain_byte(byte))
    };
    parts.iter().all(is_plain) && rest.iter().all(|&byte| PLAIN[usize::from(byte)])
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch for each byte would keep it from being many at once"
)]
const fn plain_byte(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte as usize] = plain_byte(byte);
        byte += 1;
    }
    plain
};

/// Between quotes, as Apache writes it: nothing that a client sends ends the quotes or the line.
fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>() -> LogEntry<'a> {
        LogEntry {
            time: UNIX_EPOCH + Duration::from_millis(784_111_777_042),
            date: *b"Sun, 06 Nov 1994 08:49:37 GMT",
            client: SocketAddr::from(([192, 0, 2, 7], 5000)).into(),
            peer: ([192, 0, 2, 9], 6000).into(),
            tls: None,
            request_line: b"GET /a\"b HTTP/1.1",
            version: Version::Http10,
            user_agent: b"curl \xff\n",
            referer: b"",
            request_id: b"7",
            status: 200,
            bytes_received: 1,
            bytes_sent: 2,
            listener: "web",
            rule: Some(10),
            pool: Some("api"),
            server: Some(([127, 0, 0, 1], 80).into()),
            retries: 1,
            times: Times {
                queue: Duration::from_micros(3),
                connect: None,
                first_byte: Some(Duration::from_micros(4)),
                total: Duration::from_millis(5),
            },
            termination: "complete",
            error: b"",
        }
    }

    #[test]
    fn a_connection_inside_tls_says_what_was_agreed_on() {
        let facts = SecuredFacts {
            version: rustls::ProtocolVersion::TLSv1_3,
            suite: rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
            is_resumed: true,
            server_name: Some("shop.example.com".into()),
            certificate: None,
        };
        let mut out = Vec::new();
        let entry = LogEntry {
            tls: Some(&facts),
            ..entry()
        };
        entry.write_json(&mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "version": "TLSv1.3", "suite": "TLS_AES_128_GCM_SHA256",
            "server_name": "shop.example.com", "resumed": true
        });
        assert_eq!(json["tls"], expected);
    }

    #[test]
    fn a_line_of_json() {
        let mut out = Vec::new();
        entry().write_json(&mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("}\n"));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "1994-11-06T08:49:37.042Z", "client": "192.0.2.7:5000",
            "peer": "192.0.2.9:6000", "method": "GET", "target": "/a\"b",
            "version": "HTTP/1.0", "status": 200, "bytes_received": 1, "bytes_sent": 2, "listener": "web", "rule": 10, "pool": "api", "server": "127.0.0.1:80",
            "retries": 1, "queue_us": 3, "connect_us": null, "first_byte_us": 4, "total_us": 5000,
            "termination": "complete", "request_id": "7", "user_agent": "curl \u{ff}\n", "referer": "",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_client_behind_a_proxy_may_have_no_port() {
        let mut out = Vec::new();
        for (ip, port, written) in [
            ("2001:db8::7", None, "2001:db8::7"),
            ("2001:db8::7", Some(80), "[2001:db8::7]:80"),
            ("192.0.2.1", None, "192.0.2.1"),
        ] {
            let ip = ip.parse().unwrap();
            out.clear();
            write_client(&mut out, ClientAddress { ip, port });
            assert_eq!(out, written.as_bytes());
        }
    }

    #[test]
    fn what_has_to_be_escaped_is_found_wherever_it_stands() {
        for (length, byte) in (1..40).flat_map(|length| (0..128).map(move |byte| (length, byte))) {
            for at in 0..length {
                let mut text = vec![b'a'; length];
                text[at] = byte;
                let mut out = Vec::new();
                write_json_string(&mut out, &text);
                let read: String = serde_json::from_slice(&out).unwrap();
                assert_eq!(read.as_bytes(), text);
            }
        }
    }

    #[test]
    fn a_line_of_the_combined_format() {
        let mut out = Vec::new();
        entry().write_combined(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a\\\"b HTTP/1.0\" 200 2 \"-\" \"curl \\xff\\x0a\"\n"
        );
    }
}
