//! Connections inside TLS, over real sockets.

use std::{
    future::poll_fn,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    task::{Poll, ready},
    time::Duration,
};

use rustls::ClientConnection;
use tokio::time::timeout;

use super::{Cork, SecuredFacts, Transport, would_block};
use crate::tls::{
    TicketSecrets,
    test_peer::{NAME, SelfSigned, client_config, feed, sealed_by, serve, server_tls},
};

const BOUND: Duration = Duration::from_secs(20);

/// Our end of a connection inside TLS, the other end of its socket, and the client that speaks on it.
fn pair() -> (Transport, TcpStream, ClientConnection) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let certificate = SelfSigned::new(NAME);
    let tickets = TicketSecrets::default();
    tickets.set_local();
    let tls = server_tls(&certificate, &tickets);
    let (established, client) = serve(&tls, client_config(&certificate, &[]));
    let facts = SecuredFacts {
        version: established.facts.version,
        suite: established.facts.suite,
        is_resumed: false,
        server_name: None,
        certificate: None,
    };
    let transport = Transport::accepted(stream);
    let transport = transport.secured(established, facts, &[], Vec::new());
    (transport, other, client)
}

async fn read(transport: &mut Transport, space: &mut [u8]) -> io::Result<usize> {
    let reading = poll_fn(|cx| {
        loop {
            ready!(transport.poll_readable(cx))?;
            let read = transport.read(space);
            if !would_block(&read) {
                return Poll::Ready(read);
            }
            transport.watch()?;
        }
    });
    timeout(BOUND, reading).await.unwrap()
}

async fn read_all(transport: &mut Transport, length: usize, at_a_time: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let mut space = vec![0; at_a_time];
        let read = read(transport, &mut space).await.unwrap();
        assert!(read > 0, "it ended after {} bytes", all.len());
        all.extend_from_slice(&space[..read]);
    }
    all
}

fn pattern(length: u32) -> Vec<u8> {
    (0..length).flat_map(u32::to_be_bytes).collect()
}

#[tokio::test]
async fn bytes_are_the_same_however_they_are_divided() {
    let sent = pattern(50_000);
    for (read_at, written_at) in [(1, 200_000), (7, 1), (16_384, 99), (70_000, 5_000)] {
        let (mut transport, mut other, mut client) = pair();
        let length = if read_at == 1 { 40_000 } else { sent.len() };
        let sealed = sealed_by(&mut client, &sent[..length.min(60_000)]);
        let expected = sent[..length.min(60_000)].to_vec();
        let writer = tokio::task::spawn_blocking(move || {
            for part in sealed.chunks(written_at.max(64)) {
                other.write_all(part).unwrap();
            }
            other
        });
        let all = read_all(&mut transport, expected.len(), read_at).await;
        assert!(all == expected, "{read_at} {written_at}");
        drop(writer.await.unwrap());
        let Transport::Tls(tls) = &transport else {
            panic!("inside TLS");
        };
        assert_eq!(tls.memory(), 0);
    }
}

#[tokio::test]
async fn a_write_that_the_socket_takes_in_parts_arrives_once() {
    let (mut transport, mut other, mut client) = pair();
    transport.set_send_buffer(4096);
    let sent = pattern(200_000);
    let expected = sent.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut data = Vec::new();
        let mut space = vec![0; 1000];
        while data.len() < expected.len() {
            let read = other.read(&mut space).unwrap();
            data.extend_from_slice(&feed(&mut client, &mut space[..read].to_vec()));
        }
        assert!(data == expected);
    });
    let mut written = 0;
    let writing = async {
        while written < sent.len() {
            let parts: [&[u8]; 4] = [&sent[written..], b"", b"", b""];
            written += poll_fn(|cx| transport.poll_write_parts(cx, &parts, Cork::Off))
                .await
                .unwrap();
        }
    };
    timeout(BOUND, writing).await.unwrap();
    timeout(BOUND, reader).await.unwrap().unwrap();
}

#[tokio::test]
async fn messages_of_tls_itself_are_not_the_end_of_an_idle_connection() {
    let (mut transport, mut other, mut client) = pair();
    assert!(transport.is_idle_in_kernel());
    client.refresh_traffic_keys().unwrap();
    let update = sealed_by(&mut client, b"");
    assert!(!update.is_empty());
    other.write_all(&update).unwrap();
    wait_for_bytes(&transport).await;
    assert!(transport.is_idle_in_kernel());
    other
        .write_all(&sealed_by(&mut client, b"unasked"))
        .unwrap();
    wait_for_bytes(&transport).await;
    assert!(!transport.is_idle_in_kernel());
}

async fn wait_for_bytes(transport: &Transport) {
    let Transport::Tls(tls) = transport else {
        panic!("inside TLS");
    };
    let came = async {
        while tls.tcp().is_idle_in_kernel() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, came).await.unwrap();
}

#[tokio::test]
async fn an_end_without_a_word_is_an_error() {
    let (mut transport, other, _client) = pair();
    drop(other);
    let cut = read(&mut transport, &mut [0; 8]).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    let (mut transport, mut other, mut client) = pair();
    let mut last = sealed_by(&mut client, b"last");
    client.send_close_notify();
    last.extend(sealed_by(&mut client, b""));
    other.write_all(&last).unwrap();
    assert_eq!(read_all(&mut transport, 4, 3).await, b"last");
    assert_eq!(read(&mut transport, &mut [0; 8]).await.unwrap(), 0);
    transport.finish().unwrap();
    let mut rest = Vec::new();
    other.read_to_end(&mut rest).unwrap();
    client.read_tls(&mut rest.as_slice()).unwrap();
    assert!(client.process_new_packets().unwrap().peer_has_closed());
}

#[tokio::test]
async fn a_record_that_does_not_authenticate_is_answered_with_an_alert() {
    let (mut transport, mut other, mut client) = pair();
    let mut sealed = sealed_by(&mut client, b"request");
    *sealed.last_mut().unwrap() ^= 1;
    other.write_all(&sealed).unwrap();
    let refused = read(&mut transport, &mut [0; 8]).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    drop(transport);
    let mut rest = Vec::new();
    let _ = other.read_to_end(&mut rest);
    client.read_tls(&mut rest.as_slice()).unwrap();
    let told = client.process_new_packets().unwrap_err();
    let expected = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
    assert_eq!(told, expected);
}
