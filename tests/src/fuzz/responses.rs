//! Responses of a server that have changed, through a running proxy, some at a time over shared connections.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{contains, mark, marked, mutate::Mutator};
use crate::{
    conformance::{
        report::proxy_error,
        wire::{self, End, Message, Reading},
    },
    origin::Origin,
    wait,
};

/// What the server does behind a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    Close,
    Reset,
}

/// What a server sends in response to one request.
#[derive(Debug, Clone)]
struct Script {
    mark: String,
    bytes: Vec<u8>,
    then: Then,
}

/// A server that plays what it is told for each target, and responds to any other with the target.
#[derive(Debug)]
pub struct Player {
    origin: Origin,
    scripts: Arc<Mutex<BTreeMap<String, Script>>>,
}

impl Player {
    /// Starts one.
    #[expect(clippy::new_without_default, reason = "it takes a port")]
    pub fn new() -> Self {
        let scripts = Arc::<Mutex<BTreeMap<String, Script>>>::default();
        let told = Arc::clone(&scripts);
        let origin = Origin::script(move |mut conversation| {
            let told = Arc::clone(&told);
            async move {
                while let Some(request) = conversation.request().await {
                    let script = locked(&told).get(&request.target).cloned();
                    let Some(script) = script else {
                        let (target, length) = (&request.target, request.target.len());
                        let response =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}");
                        conversation.write(response).await;
                        continue;
                    };
                    conversation.write(&script.bytes).await;
                    match script.then {
                        Then::Stay => {}
                        Then::Close => return,
                        Then::Reset => return conversation.reset(),
                    }
                }
            }
        });
        Self { origin, scripts }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.origin.address()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client got on one connection.
struct Got {
    bytes: Vec<u8>,
    end: Option<End>,
}

/// Tries `rounds` of eight responses from `seed`; how many reached their client whole.
pub async fn run(
    proxy: SocketAddr,
    player: &Player,
    seed: u64,
    rounds: usize,
) -> Result<usize, String> {
    const AT_ONCE: usize = 8;
    let mut mutator = Mutator::new(super::corpus_of_responses(), seed);
    let mut whole = 0;
    for round in 0..rounds {
        let scripts = (0..AT_ONCE).map(|number| {
            let mark = mark(round * AT_ONCE + number);
            let bytes = marked(&mutator.changed(), &mark);
            let then = match mutator.below(10) {
                0 | 1 => Then::Stay,
                2 => Then::Reset,
                _ => Then::Close,
            };
            Script { mark, bytes, then }
        });
        let scripts: Vec<_> = scripts.collect();
        let named = scripts
            .iter()
            .map(|script| (format!("/{}", script.mark), script.clone()));
        *locked(&player.scripts) = named.collect();
        let asking = scripts.iter().enumerate().map(|(index, script)| {
            let method = if index == 0 { "HEAD" } else { "GET" };
            ask(proxy, method, script, &scripts)
        });
        for (script, asked) in scripts.iter().zip(join_all(asking).await) {
            let asked = asked.map_err(|why| {
                let sent = script.bytes.escape_ascii();
                format!(
                    "seed {seed}, round {round}: {:?} after \"{sent}\": {why}",
                    script.then
                )
            })?;
            whole += usize::from(asked);
        }
    }
    Ok(whole)
}

/// Asks for what `script` responses, and then for something else on the same connection, or on another.
async fn ask(
    proxy: SocketAddr,
    method: &str,
    script: &Script,
    all: &[Script],
) -> Result<bool, String> {
    let mut stream = TcpStream::connect(proxy).await.expect("the proxy listens");
    let first = exchange(&mut stream, method, &format!("/{}", script.mark)).await;
    let others = all.iter().filter(|other| other.mark != script.mark);
    for other in others {
        if contains(&first.bytes, &other.mark) {
            return Err(format!(
                "got another's response: {}",
                first.bytes.escape_ascii()
            ));
        }
    }
    let (response, rest) = read(&first, method)?;
    if !rest.is_empty() {
        return Err(format!(
            "stray bytes behind the response: {}",
            rest.escape_ascii()
        ));
    }
    let whole = response
        .as_ref()
        .is_some_and(|response| !is_of_weldr(response));
    if let (Some(response), true) = (&response, whole) {
        agrees(response, script, method)?;
    }
    if response.is_none() && first.end.is_none() {
        return Err(format!(
            "neither whole nor cut: {}",
            first.bytes.escape_ascii()
        ));
    }
    let goes_on = first.end.is_none()
        && response.is_some_and(|response| !response.closes() && response.status() != 101);
    if !goes_on {
        stream = TcpStream::connect(proxy).await.expect("the proxy listens");
    }
    let target = format!("/after/{}", script.mark);
    let second = exchange(&mut stream, "GET", &target).await;
    let (response, rest) = read(&second, "GET")?;
    match response {
        Some(response) if rest.is_empty() && response.body == target.as_bytes() => Ok(whole),
        // The server of another may have closed as this was sent, once too often.
        Some(response) if rest.is_empty() && is_of_weldr(&response) => Ok(whole),
        _ => Err(format!(
            "the next request got {}",
            second.bytes.escape_ascii()
        )),
    }
}

fn is_of_weldr(response: &Message) -> bool {
    let status = response.fields.all("proxy-status").join(", ");
    proxy_error(&status).is_some()
}

/// What is strictly a response says the same on both sides.
fn agrees(response: &Message, script: &Script, method: &str) -> Result<(), String> {
    let end = match script.then {
        Then::Stay => None,
        Then::Close => Some(End::Closed),
        Then::Reset => Some(End::Reset),
    };
    let mut rest = script.bytes.as_slice();
    loop {
        match wire::response(rest, method, end) {
            Reading::Whole(sent, length) if sent.status() < 200 && sent.status() != 101 => {
                rest = &rest[length..];
            }
            Reading::Whole(sent, _) => {
                let same = sent.status() == response.status() && sent.body == response.body;
                let differs = || format!("{sent:?} became {response:?}");
                return same.then_some(()).ok_or_else(differs);
            }
            Reading::Partial(Some(_)) => return Err(format!("a part became whole: {response:?}")),
            Reading::Partial(None) | Reading::Invalid(_) => return Ok(()),
        }
    }
}

/// The final response, when it is whole, and what is behind it.
fn read<'a>(got: &'a Got, method: &str) -> Result<(Option<Message>, &'a [u8]), String> {
    let mut rest = got.bytes.as_slice();
    loop {
        match wire::response(rest, method, got.end) {
            Reading::Whole(response, length) => {
                rest = &rest[length..];
                if response.status() >= 200 || response.status() == 101 {
                    return Ok((Some(*response), rest));
                }
            }
            Reading::Partial(_) => return Ok((None, b"")),
            Reading::Invalid(why) => return Err(format!("{why} in {}", got.bytes.escape_ascii())),
        }
    }
}

/// Asks for `target`, and reads until the response is whole or the connection ends.
async fn exchange(stream: &mut TcpStream, method: &str, target: &str) -> Got {
    let mut got = Got {
        bytes: Vec::new(),
        end: None,
    };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let exchanging = async {
        if stream.write_all(request.as_bytes()).await.is_err() {
            got.end = Some(End::Reset);
        }
        while got.end.is_none() && matches!(read(&got, method), Ok((None, _))) {
            got.end = match stream.read_buf(&mut got.bytes).await {
                Ok(1..) => None,
                Ok(0) => Some(End::Closed),
                Err(_) => Some(End::Reset),
            };
        }
    };
    wait::bounded("a response or the end", exchanging).await;
    got
}
