//! The origin behind every proxy: responses that were made beforehand, over HTTP/1.1 connections that are kept.
//!
//! * `GET /bytes/N`: a response with a body of N bytes. `POST` and `PUT` take a body with a length first.
//! * A request with `Upgrade: websocket`: from then on, whatever comes is sent back.

mod connection;
mod request;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    rc::Rc,
};

use slab::Slab;

use self::connection::Connection;
use super::{poller::Poller, socket};

/// The longest body that is asked for.
const MAX_BODY: usize = 16 << 20;

/// Bytes taken with one read.
const CHUNK: usize = 256 * 1024;

/// Set in the tokens of listening sockets.
const LISTENER: u64 = 1 << 63;

/// Responses by the length of their body, head included.
#[derive(Debug, Default)]
struct Responses(HashMap<usize, Rc<[u8]>>);

impl Responses {
    fn of(&mut self, bytes: usize) -> Rc<[u8]> {
        let response = self
            .0
            .entry(bytes.min(MAX_BODY))
            .or_insert_with_key(|bytes| {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                 Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n"
                );
                let mut response = head.into_bytes();
                response.resize(response.len() + bytes, b'x');
                response.into()
            });
        Rc::clone(response)
    }
}

/// Listens on `listeners` ports of its own, prints each, and serves until the process is ended.
pub(crate) fn run(listeners: usize) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let listeners = listen(&poller, listeners)?;
    let mut connections = Slab::new();
    let mut responses = Responses::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        poller.wait(None)?;
        for index in 0..poller.len() {
            let ready = poller.ready(index);
            let key = usize::try_from(ready.token & !LISTENER).unwrap_or(usize::MAX);
            if ready.token & LISTENER != 0 {
                while let Some(stream) = listeners.get(key).and_then(socket::accept) {
                    let entry = connections.vacant_entry();
                    poller.add(&stream, entry.key() as u64)?;
                    entry.insert(Connection::new(stream));
                }
            } else if let Some(connection) = connections.get_mut(key)
                && !connection.advance(ready, &mut responses, &mut chunk)
            {
                connections.remove(key);
            }
        }
    }
}

fn listen(poller: &Poller, count: usize) -> io::Result<Vec<TcpListener>> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners = Vec::with_capacity(count);
    let mut stdout = io::stdout().lock();
    for index in 0..count {
        let listener = socket::listen(any_port)?;
        writeln!(stdout, "{}", listener.local_addr()?)?;
        poller.add_listener(&listener, LISTENER | index as u64)?;
        listeners.push(listener);
    }
    stdout.flush()?;
    Ok(listeners)
}
