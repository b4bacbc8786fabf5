//! The server behind the proxy: it records what comes, reads it strictly, and responses as it is told.
//!
//! A request for [`PROBE`] is given its own target, whatever else was told: it shows that the proxy
//! still serves, and that nobody else's response comes instead.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    case::Step,
    wire::{self, Message, Reading},
};

/// How the target of a probe begins.
pub const PROBE: &str = "/probe/";

/// What reached the server since [`Recorder::begin`].
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// Whole requests but for probes, each with the number of its connection.
    pub requests: Vec<(usize, Message)>,
    /// Probes, with the number of their connection.
    pub probes: Vec<usize>,
    /// What came and is no whole request, by connection.
    pub partial: BTreeMap<usize, Vec<u8>>,
    /// What came and is no request at all, and why.
    pub invalid: Vec<String>,
}

impl Arrivals {
    /// Whether nothing came, probes apart.
    pub fn is_nothing(&self) -> bool {
        self.requests.is_empty() && self.partial.is_empty() && self.invalid.is_empty()
    }

    /// What came, in words.
    pub fn in_words(&self) -> String {
        let requests = self.requests.iter().map(|(_, request)| {
            let start = shortened(request.start_line().as_bytes());
            match request.body.len() {
                0 => start,
                length => format!("{start} with {length} bytes"),
            }
        });
        let partial = self.partial.values();
        let partial = partial.map(|bytes| format!("the beginning {}", shortened(bytes)));
        let invalid = self.invalid.iter().map(|why| format!("not HTTP ({why})"));
        let all: Vec<_> = requests.chain(partial).chain(invalid).collect();
        if all.is_empty() {
            "nothing".to_owned()
        } else {
            all.join("; ")
        }
    }
}

/// The start of `bytes` for people.
pub fn shortened(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(160)].escape_ascii().to_string();
    if bytes.len() > 160 {
        format!("{text}… ({} bytes)", bytes.len())
    } else {
        text
    }
}

#[derive(Debug, Default)]
struct State {
    arrivals: Arrivals,
    script: Arc<Vec<Step>>,
    connections: usize,
}

/// A server whose responses are told case by case.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether the client has what it waits for.
    responded: watch::Sender<bool>,
    /// How many scripts have run to their end.
    played: watch::Sender<usize>,
}

impl Recorder {
    /// Starts one on a port of its own.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(any).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            responded: watch::Sender::new(false),
            played: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forgets what came, and responds to requests with `script` from now on; with an empty one it echoes.
    pub fn begin(&self, script: Vec<Step>) {
        let mut state = self.shared.state();
        state.arrivals = Arrivals::default();
        state.script = Arc::new(script);
        drop(state);
        self.shared.responded.send_replace(false);
        self.shared.played.send_replace(0);
    }

    /// Says that the client has what it waits for.
    pub fn client_has_response(&self) {
        self.shared.responded.send_replace(true);
    }

    /// Waits until a script has run to its end.
    pub async fn has_played(&self) {
        let mut played = self.shared.played.subscribe();
        let _sender_lives = played.wait_for(|&played| played > 0).await;
    }

    /// What came since [`Self::begin`].
    pub fn arrivals(&self) -> Arrivals {
        self.shared.state().arrivals.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that was reset in the queue is an error of `accept`; the next one is not.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let mut state = shared.state();
        let number = state.connections;
        state.connections += 1;
        drop(state);
        let connection = Connection {
            stream,
            number,
            shared: Arc::clone(&shared),
            buffer: Vec::new(),
        };
        connections.spawn(connection.serve());
        while connections.try_join_next().is_some() {}
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Away,
}

impl Connection {
    async fn serve(mut self) {
        let _best_effort = self.stream.set_nodelay(true);
        loop {
            while let Some(request) = self.take_request() {
                if self.response(&request).await == Go::Away {
                    let shared = Arc::clone(&self.shared);
                    // Whoever waits for the end of the script finds the connection closed.
                    drop(self);
                    shared.played.send_modify(|played| *played += 1);
                    return;
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Takes a whole request from what came, and notes what is there.
    fn take_request(&mut self) -> Option<Message> {
        let reading = wire::request(&self.buffer);
        let mut state = self.shared.state();
        let arrivals = &mut state.arrivals;
        arrivals.partial.remove(&self.number);
        match reading {
            Reading::Whole(message, length) => {
                self.buffer.drain(..length);
                if message.start[1].starts_with(PROBE.as_bytes()) {
                    arrivals.probes.push(self.number);
                } else {
                    arrivals.requests.push((self.number, (*message).clone()));
                }
                Some(*message)
            }
            Reading::Partial(_) => {
                if !self.buffer.is_empty() {
                    let partial = self.buffer.clone();
                    arrivals.partial.insert(self.number, partial);
                }
                None
            }
            Reading::Invalid(why) => {
                if !self.buffer.is_empty() {
                    let shown = shortened(&self.buffer);
                    arrivals.invalid.push(format!("{why} in {shown}"));
                    self.buffer.clear();
                }
                None
            }
        }
    }

    async fn response(&mut self, request: &Message) -> Go {
        let is_probe = request.start[1].starts_with(PROBE.as_bytes());
        let script = Arc::clone(&self.shared.state().script);
        if is_probe || script.is_empty() {
            return self.echo(request).await;
        }
        let went = self.play(&script).await;
        if went == Go::On {
            self.shared.played.send_modify(|played| *played += 1);
        }
        went
    }

    /// Responds with the target, so that a response says whose it is.
    async fn echo(&mut self, request: &Message) -> Go {
        let body = if request.start[0] == b"HEAD" {
            &b""[..]
        } else {
            &request.start[1]
        };
        let length = request.start[1].len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let response = [head.as_bytes(), body].concat();
        match self.stream.write_all(&response).await {
            Ok(()) => Go::On,
            Err(_) => Go::Away,
        }
    }

    async fn play(&mut self, script: &[Step]) -> Go {
        for step in script {
            match step {
                Step::Send(bytes) => {
                    if self.stream.write_all(bytes).await.is_err() {
                        return Go::Away;
                    }
                }
                Step::WhenResponded => {
                    let mut responded = self.shared.responded.subscribe();
                    let _sender_lives = responded.wait_for(|&responded| responded).await;
                }
                Step::Close => return Go::Away,
                Step::Reset => {
                    let _best_effort = self.stream.set_zero_linger();
                    return Go::Away;
                }
                Step::Stall => {
                    let mut ignored = Vec::new();
                    while let Ok(1..) = self.stream.read_buf(&mut ignored).await {}
                    return Go::Away;
                }
            }
        }
        Go::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{raw::Client, wait};

    #[tokio::test]
    async fn responds_to_probes_with_their_target_and_records_the_rest() {
        let recorder = Recorder::start().await;
        recorder.begin(vec![Step::Send(b"HTTP/1.1 204 No\r\n\r\n".to_vec())]);
        let mut client = Client::connect(recorder.address()).await;
        assert_eq!(client.get("/probe/1").await.text(), "/probe/1");
        assert_eq!(client.get("/x").await.status, 204);
        client.send("GET /y HT").await;
        wait::until("the beginning of a request", async || {
            let arrivals = recorder.arrivals();
            match arrivals.in_words().as_str() {
                "GET /x HTTP/1.1; the beginning GET /y HT" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        assert_eq!(recorder.arrivals().probes, [0]);
    }

    #[tokio::test]
    async fn reads_strictly() {
        let recorder = Recorder::start().await;
        let mut client = Client::connect(recorder.address()).await;
        client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
        wait::until("something that is no request", async || {
            match recorder.arrivals().invalid.len() {
                1 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}
