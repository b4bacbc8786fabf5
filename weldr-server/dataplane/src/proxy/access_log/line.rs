//! What a line says, and how JSON and logfmt say it. Pure.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::http1::{ClientAddress, Version};
use crate::policy::{AccessLogField as Field, AccessLogFields};
use crate::proxy::{
    clock::HttpDate,
    text::{write_address, write_decimal, write_ip},
    transport::SecuredFacts,
};

use super::style::{Key, Style, key};

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
    /// The trace id of `traceparent`.
    pub(in crate::proxy) trace_id: &'a [u8],
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
    /// Appends a line with those of the `fields` that it has. Times are in microseconds; a time has no value if its event did
    /// not happen.
    pub(super) fn write<S: Style>(&self, fields: AccessLogFields, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_request::<S>(fields, out);
        self.write_route::<S>(fields, out);
        self.write_times::<S>(fields, out);
        self.write_result::<S>(fields, out);
        S::end_line(out, start);
    }

    fn write_request<S: Style>(&self, fields: AccessLogFields, out: &mut Vec<u8>) {
        if fields.contains(Field::Time) {
            S::begin_text(out, key!("time"));
            out.extend_from_slice(&self.time_text());
            S::end_text(out);
        }
        if fields.contains(Field::Client) {
            S::begin_text(out, key!("client"));
            write_client(out, self.client);
            S::end_text(out);
        }
        if fields.contains(Field::Peer) {
            S::begin_text(out, key!("peer"));
            write_address(out, self.peer);
            S::end_text(out);
        }
        if let Some(tls) = self.tls
            && fields.contains(Field::Tls)
        {
            write_tls::<S>(out, tls);
        }
        let mut parts = self.request_line.split(|&byte| byte == b' ');
        let method = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or_default();
        if fields.contains(Field::Method) {
            S::text(out, key!("method"), method);
        }
        if fields.contains(Field::Target) {
            S::text(out, key!("target"), target);
        }
        if fields.contains(Field::Version) {
            S::begin_text(out, key!("version"));
            out.extend_from_slice(self.version_text());
            S::end_text(out);
        }
        if fields.contains(Field::Status) {
            write_number::<S>(out, key!("status"), self.status.into());
        }
        if fields.contains(Field::BytesReceived) {
            write_number::<S>(out, key!("bytes_received"), self.bytes_received);
        }
        if fields.contains(Field::BytesSent) {
            write_number::<S>(out, key!("bytes_sent"), self.bytes_sent);
        }
    }

    /// The names need no escape: see [`ListenerName`](crate::model::ListenerName).
    fn write_route<S: Style>(&self, fields: AccessLogFields, out: &mut Vec<u8>) {
        if fields.contains(Field::Listener) {
            S::begin_text(out, key!("listener"));
            out.extend_from_slice(self.listener.as_bytes());
            S::end_text(out);
        }
        if fields.contains(Field::Rule) {
            let priority = self.rule.map(u64::from);
            write_number_or_none::<S>(out, key!("rule"), priority);
        }
        if fields.contains(Field::Pool) {
            match self.pool {
                Some(pool) => {
                    S::begin_text(out, key!("pool"));
                    out.extend_from_slice(pool.as_bytes());
                    S::end_text(out);
                }
                None => S::absent(out, key!("pool")),
            }
        }
        if fields.contains(Field::Server) {
            match self.server {
                Some(server) => {
                    S::begin_text(out, key!("server"));
                    write_address(out, server);
                    S::end_text(out);
                }
                None => S::absent(out, key!("server")),
            }
        }
    }

    fn write_times<S: Style>(&self, fields: AccessLogFields, out: &mut Vec<u8>) {
        let times = &self.times;
        if fields.contains(Field::Retries) {
            write_number::<S>(out, key!("retries"), self.retries.into());
        }
        if fields.contains(Field::QueueUs) {
            write_number::<S>(out, key!("queue_us"), micros(times.queue));
        }
        if fields.contains(Field::ConnectUs) {
            let connect = times.connect.map(micros);
            write_number_or_none::<S>(out, key!("connect_us"), connect);
        }
        if fields.contains(Field::FirstByteUs) {
            let first_byte = times.first_byte.map(micros);
            write_number_or_none::<S>(out, key!("first_byte_us"), first_byte);
        }
        if fields.contains(Field::TotalUs) {
            write_number::<S>(out, key!("total_us"), micros(times.total));
        }
    }

    fn write_result<S: Style>(&self, fields: AccessLogFields, out: &mut Vec<u8>) {
        if fields.contains(Field::Termination) {
            S::begin_text(out, key!("termination"));
            out.extend_from_slice(self.termination.as_bytes());
            S::end_text(out);
        }
        if !self.error.is_empty() && fields.contains(Field::Error) {
            S::text(out, key!("error"), self.error);
        }
        if fields.contains(Field::RequestId) {
            S::text(out, key!("request_id"), self.request_id);
        }
        if fields.contains(Field::TraceId) {
            S::text(out, key!("trace_id"), self.trace_id);
        }
        if fields.contains(Field::UserAgent) {
            S::text(out, key!("user_agent"), self.user_agent);
        }
        if fields.contains(Field::Referer) {
            S::text(out, key!("referer"), self.referer);
        }
    }

    pub(super) fn version_text(&self) -> &'static [u8] {
        match self.version {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
        }
    }

    /// RFC 3339, with milliseconds.
    fn time_text(&self) -> [u8; 24] {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = since.subsec_millis();
        let digit = |number: u32| b'0' + (number % 10) as u8;
        let date = &self.date;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        text[..4].copy_from_slice(&date[12..16]);
        text[5..7].copy_from_slice(month(&date[8..11]));
        text[8..10].copy_from_slice(&date[5..7]);
        text[11..19].copy_from_slice(&date[17..25]);
        text[20..23].copy_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis)]);
        text
    }
}

/// The number of a month by its name: a date is written once a second, and a line a request.
fn month(name: &[u8]) -> &'static [u8; 2] {
    match name {
        b"Jan" => b"01",
        b"Feb" => b"02",
        b"Mar" => b"03",
        b"Apr" => b"04",
        b"May" => b"05",
        b"Jun" => b"06",
        b"Jul" => b"07",
        b"Aug" => b"08",
        b"Sep" => b"09",
        b"Oct" => b"10",
        b"Nov" => b"11",
        _ => b"12",
    }
}

/// Of a connection in plain HTTP there is nothing to say.
fn write_tls<S: Style>(out: &mut Vec<u8>, tls: &SecuredFacts) {
    S::begin_text(out, key!("tls" => "version"));
    out.extend_from_slice(tls.version_text().as_bytes());
    S::end_text(out);
    S::begin_text(out, key!("tls", "suite"));
    tls.write_suite(out);
    S::end_text(out);
    match &tls.server_name {
        Some(name) => S::text(out, key!("tls", "server_name"), name.as_bytes()),
        None => S::absent(out, key!("tls", "server_name")),
    }
    let is_resumed: &[u8] = if tls.is_resumed { b"true" } else { b"false" };
    S::key(out, key!("tls", "resumed"));
    out.extend_from_slice(is_resumed);
    S::end_group(out);
}

/// The address with its port, if known.
fn write_client(out: &mut Vec<u8>, client: ClientAddress) {
    match client.port {
        Some(port) => write_address(out, SocketAddr::new(client.ip, port)),
        None => write_ip(out, client.ip),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[inline]
fn write_number<S: Style>(out: &mut Vec<u8>, key: Key, number: u64) {
    S::key(out, key);
    write_decimal(out, number);
}

#[inline]
fn write_number_or_none<S: Style>(out: &mut Vec<u8>, key: Key, number: Option<u64>) {
    match number {
        Some(number) => write_number::<S>(out, key, number),
        None => S::absent(out, key),
    }
}
