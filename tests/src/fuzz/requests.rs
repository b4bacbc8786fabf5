//! Streams of clients that have changed, through a running proxy, some at a time over shared connections.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{as_http_1_1, contains, mark, marked, mutate::Mutator};
use crate::{
    conformance::wire::{self, End, Message, Reading},
    http1::Request,
    origin::Origin,
    wait,
};

/// A server that responds to each request with what it holds, and keeps what came.
#[derive(Debug)]
pub struct Echo {
    origin: Origin,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Echo {
    /// Starts one.
    #[expect(clippy::new_without_default, reason = "it takes a port")]
    pub fn new() -> Self {
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let kept = Arc::clone(&seen);
        let origin = Origin::script(move |mut conversation| {
            let kept = Arc::clone(&kept);
            async move {
                while let Some(request) = conversation.request().await {
                    let response = echo(&request);
                    locked(&kept).push(request);
                    conversation.write(response).await;
                }
            }
        });
        Self { origin, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Whether all that ever came is strictly requests, and at most a begin of one more.
    fn heard_strictly(&self, seed: u64) -> Result<(), String> {
        for bytes in self.origin.received() {
            if let (_, wire::Rest::Invalid(why)) = wire::requests(&bytes) {
                let shown = bytes.escape_ascii();
                return Err(format!("seed {seed}: the server got {why}: {shown}"));
            }
        }
        Ok(())
    }

    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *locked(&self.seen))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn echo(request: &Request) -> Vec<u8> {
    let mut body = request.target.as_bytes().to_vec();
    body.push(b' ');
    body.extend(&request.body);
    let is_head = request.method == "HEAD";
    let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
    if request.body.len().is_multiple_of(2) {
        response.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        if !is_head {
            response.extend(body);
        }
    } else {
        response.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        if !is_head {
            response.extend(format!("{:x}\r\n", body.len()).bytes());
            response.extend(body);
            response.extend(b"\r\n0\r\n\r\n");
        }
    }
    response
}

/// What a client sends: a stream whose requests hold a mark of its own.
#[derive(Debug, Clone)]
pub struct Stream {
    mark: String,
    bytes: Vec<u8>,
}

impl Stream {
    /// Puts the mark of `number` into `bytes`.
    pub fn new(bytes: &[u8], number: usize) -> Self {
        let mark = mark(number);
        let host = b"Host: a\r\n";
        let mut bytes = marked(bytes, &mark);
        let mut at = 0;
        while let Some(found) = bytes[at..]
            .windows(host.len())
            .position(|window| window == host)
        {
            at += found + host.len();
            let field = format!("X-Mark: {mark}\r\n");
            bytes.splice(at..at, field.bytes());
        }
        Self { mark, bytes }
    }

    /// How many requests it holds by a strict reading, and which.
    fn requests(&self) -> Vec<Message> {
        wire::requests(&as_http_1_1(&self.bytes)).0
    }
}

/// Sends `streams` at once through `proxy`, which has nothing behind it but `echo`.
///
/// No more requests may arrive than the streams hold; each that arrives is one of the requests of one stream, in
/// their order; and what each client gets is responses, of which none holds anything of another client's.
pub async fn stay_apart(
    proxy: SocketAddr,
    echo: &Echo,
    streams: &[Stream],
) -> Result<Vec<usize>, String> {
    echo.take();
    let sending = streams.iter().map(|stream| exchange(proxy, &stream.bytes));
    let received = join_all(sending).await;
    let arrived = echo.take();
    let mut counts = Vec::new();
    let mut held = 0;
    for (stream, received) in streams.iter().zip(&received) {
        let others = || streams.iter().filter(|other| other.mark != stream.mark);
        if let Some(other) = others().find(|other| contains(received, &other.mark)) {
            let got = received.escape_ascii();
            return Err(wrong(
                stream,
                &format!("got {} of another client: {got}", other.mark),
            ));
        }
        let requests = stream.requests();
        held += requests.len();
        let responses = responses(&requests, received).map_err(|why| wrong(stream, &why))?;
        let of_it = arrived
            .iter()
            .filter(|request| holds(request, &stream.mark));
        let of_it: Vec<_> = of_it.collect();
        if let Some(mixed) = of_it
            .iter()
            .find(|request| others().any(|other| holds(request, &other.mark)))
        {
            return Err(wrong(
                stream,
                &format!("and of another client in {mixed:?}"),
            ));
        }
        in_order(&requests, &of_it).map_err(|why| wrong(stream, &why))?;
        counts.push(responses);
    }
    if arrived.len() > held {
        let streams: Vec<_> = streams
            .iter()
            .map(|stream| stream.bytes.escape_ascii().to_string())
            .collect();
        return Err(format!(
            "{} requests became {}: {streams:?}",
            held,
            arrived.len()
        ));
    }
    Ok(counts)
}

fn wrong(stream: &Stream, why: &str) -> String {
    format!("\"{}\": {why}", stream.bytes.escape_ascii())
}

fn holds(request: &Request, mark: &str) -> bool {
    let trailers = request
        .trailers
        .0
        .iter()
        .any(|(_, value)| contains(value, mark));
    trailers || contains(&request.raw_head, mark) || contains(&request.body, mark)
}

/// Whether `arrived` are some of `requests`, each once and in their order.
fn in_order(requests: &[Message], arrived: &[&Request]) -> Result<(), String> {
    let mut left = requests.iter();
    for request in arrived {
        let method = request.method.as_bytes().escape_ascii().to_string();
        let is_it = |sent: &&Message| sent.method() == method && sent.body == request.body;
        if !left.any(|sent| is_it(&sent)) {
            let all = requests.len();
            return Err(format!(
                "{request:?} is none of its {all} requests, or comes twice"
            ));
        }
    }
    Ok(())
}

/// How many responses came, when they are responses and no more than there can be.
fn responses(requests: &[Message], received: &[u8]) -> Result<usize, String> {
    let mut rest = received;
    let mut count = 0;
    while !rest.is_empty() {
        let method = requests.get(count).map_or("GET".into(), Message::method);
        match wire::response(rest, &method, Some(End::Closed)) {
            Reading::Whole(response, length) => {
                rest = &rest[length..];
                count += usize::from(response.status() >= 200);
            }
            // The refusal of a HEAD that could not be read, and so has a length and no body.
            Reading::Partial(_) if count >= requests.len() => break,
            other => {
                return Err(format!(
                    "got what is no response: {other:?} in {}",
                    received.escape_ascii()
                ));
            }
        }
    }
    match count.checked_sub(requests.len()) {
        None | Some(0 | 1) => Ok(count),
        Some(_) => Err(format!("{count} responses to {} requests", requests.len())),
    }
}

/// Sends all of `bytes`, says that no more comes, and reads until the proxy closes.
async fn exchange(proxy: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let exchanging = async {
        let mut stream = TcpStream::connect(proxy).await.expect("the proxy listens");
        let (mut reading, mut writing) = stream.split();
        let mut received = Vec::new();
        let sending = async {
            // A refusal may come before all is sent.
            let _refused = writing.write_all(bytes).await;
            let _refused = writing.shutdown().await;
        };
        let ((), _reset) = tokio::join!(sending, reading.read_to_end(&mut received));
        received
    };
    wait::bounded("the proxy to close", exchanging).await
}

/// Tries `rounds` of eight streams from `seed`; how many responses came.
pub async fn run(
    proxy: SocketAddr,
    echo: &Echo,
    seed: u64,
    rounds: usize,
) -> Result<usize, String> {
    const AT_ONCE: usize = 8;
    let mut mutator = Mutator::new(super::corpus_of_requests(), seed);
    let mut completed = 0;
    for round in 0..rounds {
        let mut streams = Vec::new();
        for number in 0..AT_ONCE {
            let mut bytes = mutator.changed();
            while mutator.below(3) == 0 {
                bytes.extend(mutator.changed());
            }
            streams.push(Stream::new(&bytes, round * AT_ONCE + number));
        }
        let counts = stay_apart(proxy, echo, &streams).await;
        let counts = counts.map_err(|why| format!("seed {seed}, round {round}: {why}"))?;
        completed += counts.iter().sum::<usize>();
    }
    echo.heard_strictly(seed)?;
    Ok(completed)
}
