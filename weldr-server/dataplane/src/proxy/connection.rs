//! One connection of a client while requests come: its deadlines, and its requests one after another.

use std::{
    future::poll_fn,
    io,
    net::{Shutdown, SocketAddr},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    buffer::Buffer,
    deadline::Deadline,
    error::ProxyError,
    flow::poll_fill,
    headers::{Peer, Refusal},
    http1::{HeadDefect, check_begin, end_of_head},
    service,
    socket::{Socket, Then},
    worker::{OpenConnection, Worker},
};

/// How long a connection that waits keeps what serving takes.
const PARK_AFTER: Duration = Duration::from_millis(250);
/// For how long what a client still sends is thrown away after its last answer: closing a socket with something unread
/// resets the connection, and the client might lose the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are thrown away so.
const MOST_LINGERING: usize = 1024 * 1024;

/// A connection that waits for a request.
pub(super) struct Parked {
    pub(super) stream: Socket,
    /// Where the client is.
    pub(super) address: SocketAddr,
    pub(super) deadline: Deadline,
    pub(super) open: OpenConnection,
}

/// Who sends the requests of a connection.
pub(super) struct Client {
    pub(super) stream: Socket,
    /// What it sent and nobody has used.
    pub(super) buffer: Buffer,
    pub(super) peer: Peer,
    /// It will send no more.
    pub(super) half_closed: bool,
    pub(super) deadline: Deadline,
}

impl Client {
    /// Whether it has sent something behind its last request, as far as this thread has been told.
    fn has_sent_more(&self) -> bool {
        !self.buffer.is_empty() || matches!(self.stream.read(&mut [0]), Ok(1..))
    }
}

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It waits for the next request.
    Keep,
    /// It is closed so that the client gets what was written.
    Close,
    /// The same, of a client that has said that it sends no more (RFC 9112, section 9.6).
    Leave,
    /// It is closed at once: the answer broke off, or nobody is there to read it.
    Cut,
    /// The same, and so that nobody can take what came for all there is: its end would be the end of the answer.
    Reset,
}

/// How waiting for a request ended.
enum Awaited {
    /// With a head of so many bytes.
    Head(usize),
    /// Nothing came for a while.
    Nothing,
    /// With the end of the connection.
    End,
    /// With something that is not a request.
    Failed(ProxyError),
}

/// Serves the requests of a connection, of which `buffer` is the begin of the first, until nothing comes for a while:
/// then it is parked once more. `None`: it has ended.
pub(super) async fn serve(parked: Parked, buffer: Buffer) -> Option<Parked> {
    let Parked {
        stream,
        address,
        deadline,
        open,
    } = parked;
    let worker = &open.worker;
    let mut client = Client {
        stream,
        buffer,
        peer: Peer::new(address, &worker.http),
        half_closed: false,
        deadline,
    };
    let after = serve_requests(worker, &mut client).await;
    if let Some(after) = after {
        end(worker, &mut client, after).await;
    }
    worker.buffers.take_back(&mut client.buffer);
    let Client {
        stream, deadline, ..
    } = client;
    if after.is_some() {
        return None;
    }
    deadline.arm(worker.timeouts.client_idle);
    Some(Parked {
        stream,
        address,
        deadline,
        open,
    })
}

/// Serves requests as long as they come. `None`: none came for a while.
async fn serve_requests(worker: &Rc<Worker>, client: &mut Client) -> Option<After> {
    loop {
        let after = match poll_request(worker, client).await {
            Awaited::Head(length) => service::serve(worker, client, length).await,
            Awaited::Nothing => return None,
            Awaited::End => After::Cut,
            Awaited::Failed(error) => service::refuse(worker, client, error).await,
        };
        if after != After::Keep {
            return Some(after);
        }
    }
}

/// Waits for the head of the next request.
async fn poll_request(worker: &Worker, client: &mut Client) -> Awaited {
    let mut heads = Heads {
        searched: 0,
        began: false,
        skipped: false,
    };
    client.deadline.arm(PARK_AFTER);
    poll_fn(|cx| heads.poll(cx, worker, client)).await
}

/// The search for the end of a head.
struct Heads {
    searched: usize,
    /// Whether a byte of it has come.
    began: bool,
    /// Whether an empty line before it was skipped.
    skipped: bool,
}

impl Heads {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        client: &mut Client,
    ) -> Poll<Awaited> {
        loop {
            if !client.buffer.is_empty() {
                if !self.began {
                    self.began = true;
                    client.deadline.arm(worker.timeouts.client_header);
                }
                match self.look(worker, client) {
                    Ok(Some(length)) => return Poll::Ready(Awaited::Head(length)),
                    Ok(None) => {}
                    Err(defect) => {
                        return Poll::Ready(Awaited::Failed(Refusal::Head(defect).into()));
                    }
                }
            }
            if client.half_closed {
                return Poll::Ready(self.ended(client));
            }
            let buffers = &worker.buffers;
            match poll_fill(cx, &mut client.stream, &mut client.buffer, buffers) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => client.half_closed = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Awaited::End),
                Poll::Pending => {
                    ready!(client.deadline.poll(cx));
                    return Poll::Ready(if self.began {
                        Awaited::Failed(ProxyError::HeadTimeout)
                    } else {
                        Awaited::Nothing
                    });
                }
            }
        }
    }

    /// The client has sent all that it will.
    fn ended(&self, client: &Client) -> Awaited {
        if self.began && !client.buffer.is_empty() {
            return Awaited::Failed(Refusal::Head(HeadDefect::RequestLine).into());
        }
        Awaited::End
    }

    /// The length of the head, when it is all there; else room for more of it.
    fn look(&mut self, worker: &Worker, client: &mut Client) -> Result<Option<usize>, HeadDefect> {
        let buffer = &mut client.buffer;
        // RFC 9112, section 2.2: some clients send an empty line behind the body of a request.
        if !self.skipped && self.searched == 0 {
            match buffer.filled() {
                [b'\r', b'\n', ..] => {
                    buffer.consume(2);
                    self.skipped = true;
                    if buffer.is_empty() {
                        return Ok(None);
                    }
                }
                [b'\r'] => return Ok(None),
                _ => {}
            }
        }
        let filled = buffer.filled();
        let limit = worker.limits.header_bytes;
        let end = end_of_head(filled, &mut self.searched)?;
        if end.unwrap_or(filled.len()) > limit {
            let line = filled[..limit].contains(&b'\n');
            return Err(if line {
                HeadDefect::TooLarge
            } else {
                HeadDefect::TargetTooLong
            });
        }
        if end.is_none() {
            check_begin(filled)?;
            if buffer.is_full() {
                buffer.compact();
                let more = (buffer.capacity() * 2).min(limit + 1);
                worker.buffers.grow(buffer, more);
            }
        }
        Ok(end)
    }
}

/// Writes all of `bytes` to the client, unless it does not take them in time.
pub(super) async fn write_all(
    worker: &Worker,
    client: &mut Client,
    bytes: &[u8],
) -> io::Result<()> {
    client.deadline.arm(worker.timeouts.stream_idle);
    let mut written = 0;
    poll_fn(|cx| {
        while written < bytes.len() {
            match client
                .stream
                .poll_write(cx, &bytes[written..], Then::GoesOn)
            {
                Poll::Ready(Ok(more)) if more > 0 => written += more,
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    return client
                        .deadline
                        .poll(cx)
                        .map(|_| Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

async fn end(worker: &Worker, client: &mut Client, after: After) {
    match after {
        After::Close | After::Leave => {
            // The last of the answer waits for this.
            let socket = client.stream.options();
            let ended = socket.and_then(|socket| socket.shutdown(Shutdown::Write));
            // What is sent all the same would reset the connection, and the answer with it.
            let may_send = after == After::Close || client.has_sent_more();
            if ended.is_ok() && may_send && !client.half_closed {
                linger(worker, client).await;
            }
        }
        After::Reset => {
            let told = client.stream.options();
            if let Err(error) = told.and_then(|socket| socket.set_linger(Some(Duration::ZERO))) {
                tracing::debug!(%error, "a connection cannot be reset");
            }
        }
        After::Keep | After::Cut => {}
    }
}

/// Throws away what the client still sends.
async fn linger(worker: &Worker, client: &mut Client) {
    client.deadline.arm(LINGER);
    let mut left = MOST_LINGERING;
    poll_fn(|cx| {
        while left > 0 {
            client.buffer.clear();
            match poll_fill(cx, &mut client.stream, &mut client.buffer, &worker.buffers) {
                Poll::Ready(Ok(more)) if more > 0 => left = left.saturating_sub(more),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return client.deadline.poll(cx).map(drop),
            }
        }
        Poll::Ready(())
    })
    .await;
}
