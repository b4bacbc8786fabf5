//! Bodies between two sockets, through pipes and by copying.

use std::{future::poll_fn, iter};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
};

use super::*;
use crate::http1::{Framing, Strictness};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const MIB: usize = 1 << 20;
const TRAILERS: Trailers = Trailers::OfResponse {
    wanted: true,
    strictness: Strictness::Strict,
};

/// How a flow ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    Truncated,
    TooLarge,
}

/// The result of a flow.
struct Passed {
    end: End,
    bytes: Vec<u8>,
    counted: u64,
}

/// A connection of ours, and its peer.
async fn connection() -> (Transport, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let ours = accepted.unwrap().0.into_std().unwrap();
    (Transport::accepted(ours), peer.unwrap())
}

fn pattern(length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

async fn drive(
    flow: &mut Flow,
    from: &mut Transport,
    to: &mut Transport,
    pipes: &Rc<Pipes>,
) -> End {
    let (buffers, mut buffer) = (Buffers::default(), Buffer::default());
    poll_fn(|cx| {
        loop {
            match ready!(flow.advance(cx, to, HEAD, &mut buffer)) {
                Ok(Moved::Ended) => return Poll::Ready(End::Complete),
                Ok(Moved::NeedsMore) => {}
                Err(Stuck::TooLarge) => return Poll::Ready(End::TooLarge),
                Err(stuck) => panic!("{stuck:?}"),
            }
            let filled = ready!(flow.poll_fill(cx, from, &mut buffer, &buffers, pipes));
            if filled.unwrap() == 0 && !flow.ends_with_connection() {
                return Poll::Ready(End::Truncated);
            }
        }
    })
    .await
}

/// Sends `wire` through `flow` in parts of many sizes, to a reader that is sometimes slow.
async fn passed(mut flow: Flow, wire: &[u8], pipes: &Rc<Pipes>) -> Passed {
    let (mut from, mut origin) = connection().await;
    let (mut to, mut client) = connection().await;
    let writing = async {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut left = wire;
        while !left.is_empty() {
            let most = if rng.bool() { 2_000 } else { 500_000 };
            let (part, rest) = left.split_at(rng.usize(1..=most).min(left.len()));
            origin.write_all(part).await.unwrap();
            left = rest;
            yield_now().await;
        }
        drop(origin);
    };
    let reading = async {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut bytes = Vec::new();
        let mut part = vec![0; 300_000];
        loop {
            for _ in 0..rng.usize(0..5) {
                yield_now().await;
            }
            let most = rng.usize(1..=part.len());
            match client.read(&mut part[..most]).await.unwrap() {
                0 => return bytes,
                read => bytes.extend_from_slice(&part[..read]),
            }
        }
    };
    let moving = async {
        let end = drive(&mut flow, &mut from, &mut to, pipes).await;
        drop(to);
        (end, flow.take_uncounted())
    };
    let ((), (end, counted), bytes) = tokio::join!(writing, moving, reading);
    Passed {
        end,
        bytes,
        counted,
    }
}

/// The decoded body of a written message that begins with [`HEAD`].
fn unchunked(written: &[u8]) -> Vec<u8> {
    let mut buffer = Buffer::holding(written.strip_prefix(HEAD).unwrap());
    let mut decoder = Decoder::from(Framing::Chunked);
    let mut body = Vec::new();
    while let Step::Data(data) = decoder.step(&mut buffer).unwrap() {
        body.extend_from_slice(buffer.at(data));
    }
    assert!(decoder.is_done() && buffer.is_empty());
    body
}

fn in_chunks(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(chunk) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend_from_slice(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

/// A worker's pipes, and those of a worker that may have none; and whether there are any.
fn both_kinds() -> [(Rc<Pipes>, bool); 2] {
    let has_pipes = cfg!(target_os = "linux");
    [(Pipes::new(4), has_pipes), (Pipes::new(0), false)]
}

#[tokio::test]
async fn a_long_body_with_a_length_passes_unchanged() {
    let body = pattern(5 * MIB + 12_345);
    for (pipes, has_pipes) in both_kinds() {
        let decoder = Decoder::from(Framing::Length(body.len() as u64));
        let flow = Flow::new(decoder, false, TRAILERS);
        let passed = passed(flow, &body, &pipes).await;
        assert_eq!(passed.end, End::Complete);
        assert!(passed.bytes.strip_prefix(HEAD) == Some(&body[..]));
        assert_eq!(passed.counted, body.len() as u64);
        assert_eq!(pipes.open() > 0, has_pipes);
        assert_eq!(pipes.spare(), pipes.open(), "all of them came back");
    }
}

#[tokio::test]
async fn bytes_behind_a_body_stay_where_they_are() {
    let body = pattern(MIB);
    let wire = [&body[..], b"GET / HTTP/1.1"].concat();
    let flow = Flow::new(Decoder::Length(MIB as u64), false, TRAILERS);
    let passed = passed(flow, &wire, &Pipes::new(1)).await;
    assert_eq!(passed.end, End::Complete);
    assert!(passed.bytes.strip_prefix(HEAD) == Some(&body[..]));
}

#[tokio::test]
async fn large_and_small_chunks_pass_unchanged() {
    let body = pattern(2 * MIB + 321);
    for (pipes, has_pipes) in both_kinds() {
        for chunk in [3_000, 70_000, MIB] {
            let flow = Flow::new(Decoder::from(Framing::Chunked), true, TRAILERS);
            let wire = in_chunks(&body, chunk);
            let passed = passed(flow, &wire, &pipes).await;
            assert_eq!(passed.end, End::Complete);
            assert!(unchunked(&passed.bytes) == body, "in chunks of {chunk}");
            assert_eq!(passed.counted, body.len() as u64);
        }
        assert_eq!(pipes.open() > 0, has_pipes);
    }
}

#[tokio::test]
async fn what_ends_with_its_connection_is_put_into_chunks() {
    let body = pattern(3 * MIB + 5);
    for (pipes, has_pipes) in both_kinds() {
        let decoder = Decoder::UntilClose;
        let passed = passed(Flow::new(decoder, true, TRAILERS), &body, &pipes).await;
        assert_eq!(passed.end, End::Complete);
        assert!(unchunked(&passed.bytes) == body);
        assert_eq!(pipes.open() > 0, has_pipes);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_seen_to_be() {
    let body = pattern(MIB);
    let pipes = Pipes::new(1);
    for (decoder, chunked, wire) in [
        (Decoder::Length(2 * MIB as u64), false, body.clone()),
        (
            Decoder::from(Framing::Chunked),
            true,
            [&b"200000\r\n"[..], &body].concat(),
        ),
    ] {
        let passed = passed(Flow::new(decoder, chunked, TRAILERS), &wire, &pipes).await;
        assert_eq!(passed.end, End::Truncated);
        assert_eq!(passed.counted, MIB as u64, "all that came is passed on");
        assert!(!passed.bytes.ends_with(LAST_CHUNK));
    }
}

#[tokio::test]
async fn a_limit_holds_for_what_passes_through_pipes() {
    let wire = in_chunks(&pattern(2 * MIB), 2 * MIB);
    let flow = Flow::new(Decoder::from(Framing::Chunked), true, Trailers::OfRequest);
    let (mut from, mut origin) = connection().await;
    let (mut to, mut client) = connection().await;
    let mut flow = flow.limited_to(Some(MIB as u64));
    let pipes = Pipes::new(1);
    let writing = async move {
        // Cut when the limit is reached.
        let _ = origin.write_all(&wire).await;
    };
    let moving = async {
        let end = drive(&mut flow, &mut from, &mut to, &pipes).await;
        drop((flow, from, to));
        end
    };
    let mut read = Vec::new();
    let ((), end, _) = tokio::join!(writing, moving, client.read_to_end(&mut read));
    assert_eq!(end, End::TooLarge);
    assert!(read.len() <= HEAD.len() + MIB + 1_000);
    assert_eq!(pipes.open(), 0, "the pipe held bytes of the body");
}

/// The end of a body may arrive when the memory that held its data is already lent to another stream.
#[tokio::test]
async fn the_last_chunk_may_come_long_after_the_data() {
    let (mut from, mut origin) = connection().await;
    let (mut to, mut client) = connection().await;
    let mut flow = Flow::new(Decoder::from(Framing::Chunked), true, TRAILERS);
    let body = pattern(60_000);
    let wire = in_chunks(&body, body.len());
    let (data, end) = wire.split_at(wire.len() - LAST_CHUNK.len());
    let sending = async {
        origin.write_all(data).await.unwrap();
        let mut passed = vec![0; HEAD.len() + body.len()];
        client.read_exact(&mut passed).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        origin.write_all(end).await.unwrap();
        client.read_to_end(&mut passed).await.unwrap();
        passed
    };
    let moving = async {
        let end = drive(&mut flow, &mut from, &mut to, &Pipes::new(0)).await;
        drop(to);
        end
    };
    let (passed, end) = tokio::join!(sending, moving);
    assert_eq!(end, End::Complete);
    assert!(unchunked(&passed) == body);
}

#[tokio::test]
async fn short_parts_need_no_pipe() {
    let (mut from, mut origin) = connection().await;
    let (mut to, mut client) = connection().await;
    let no_trailers = Trailers::OfResponse {
        wanted: false,
        strictness: Strictness::Strict,
    };
    let mut flow = Flow::new(Decoder::UntilClose, false, no_trailers);
    let pipes = Pipes::new(1);
    let talking = async {
        client.read_exact(&mut [0; HEAD.len()]).await.unwrap();
        for _ in 0..50 {
            origin.write_all(&[1; 128]).await.unwrap();
            client.read_exact(&mut [0; 128]).await.unwrap();
        }
        drop(origin);
    };
    let ((), end) = tokio::join!(talking, drive(&mut flow, &mut from, &mut to, &pipes));
    assert_eq!(end, End::Complete);
    assert_eq!(pipes.open(), 0);
}

/// A reader that is so slow that a pipe is not emptied before the stream idle timeout must not count as one that stands
/// still.
#[tokio::test]
async fn what_a_slow_reader_takes_is_progress() {
    const BUFFER: usize = 8 * 1024;
    let (mut from, mut origin) = connection().await;
    let (mut to, mut client) = connection().await;
    to.set_send_buffer(BUFFER);
    socket2::SockRef::from(&client)
        .set_recv_buffer_size(BUFFER)
        .unwrap();
    let mut flow = Flow::new(Decoder::Length(8 * MIB as u64), false, TRAILERS);
    let pipes = Pipes::new(1);
    let (buffers, mut buffer) = (Buffers::default(), Buffer::default());
    let body = pattern(MIB);
    let mut look = async || {
        let mut step = |cx: &mut Context<'_>| loop {
            if flow.advance(cx, &mut to, HEAD, &mut buffer).is_pending() {
                return true;
            }
            let filled = flow.poll_fill(cx, &mut from, &mut buffer, &buffers, &pipes);
            if filled.is_pending() {
                return false;
            }
        };
        let is_stuck = poll_fn(|cx| Poll::Ready(step(cx))).await;
        yield_now().await;
        (is_stuck, flow.taken(), flow.progress())
    };
    let writing = async { origin.write_all(&body).await.unwrap() };
    let reading = async {
        let (mut is_stuck, mut taken, mut before) = look().await;
        while !is_stuck {
            (is_stuck, taken, before) = look().await;
        }
        let mut read = 0;
        loop {
            read += client.read(&mut [0; 2048]).await.unwrap();
            assert!(
                read < MIB,
                "nothing ever moved while a part was being written"
            );
            let (_, taken_now, now) = look().await;
            if now != before && taken_now == taken {
                return;
            }
            (taken, before) = (taken_now, now);
        }
    };
    tokio::join!(writing, reading);
}
