//! The client before the proxy: it sends bytes as they are, and keeps all that comes back.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::{
    recorder::{PROBE, shortened},
    wire::{self, End, Message, Reading},
};
use crate::wait;

/// How long a response, or the end of a connection, may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection, and what came back on it.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    received: Vec<u8>,
    end: Option<End>,
    /// The method of each request that was sent, for reading the responses.
    methods: Vec<String>,
}

/// What a session has received.
#[derive(Debug, Default)]
pub struct Received {
    /// Final responses, whole.
    pub responses: Vec<Message>,
    /// All whole responses, interim ones as well.
    pub all: Vec<Message>,
    /// The response that is not whole, when its head is there.
    pub partial: Option<Message>,
    /// The bytes after the last whole response.
    pub rest: Vec<u8>,
    /// Why they are no response.
    pub invalid: Option<String>,
    /// Whether and how the connection ended.
    pub end: Option<End>,
}

impl Received {
    /// What came, in words.
    pub fn in_words(&self) -> String {
        let mut words: Vec<_> = self.all.iter().map(in_words).collect();
        if let Some(partial) = &self.partial {
            words.push(format!("a part of {}", in_words(partial)));
        } else if !self.rest.is_empty() {
            words.push(format!("the bytes {}", shortened(&self.rest)));
        }
        words.extend(self.invalid.iter().map(|why| format!("not HTTP: {why}")));
        words.push(match self.end {
            Some(End::Closed) => "closed".to_owned(),
            Some(End::Reset) => "reset".to_owned(),
            None => "open".to_owned(),
        });
        words.join(", ")
    }
}

fn in_words(response: &Message) -> String {
    response.status().to_string()
}

impl Session {
    /// Connects to `address`.
    ///
    /// # Panics
    /// When nothing listens there.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = wait::bounded("a connection", TcpStream::connect(address)).await;
        let stream = connected.unwrap_or_else(|error| panic!("connect {address}: {error}"));
        stream.set_nodelay(true).expect("a connected socket");
        Self {
            stream,
            received: Vec::new(),
            end: None,
            methods: Vec::new(),
        }
    }

    /// Sends `bytes` and reads until `enough` says so, the connection ends, or patience does.
    pub async fn exchange(
        &mut self,
        bytes: &[u8],
        finishes: bool,
        enough: impl Fn(&Received) -> bool,
    ) -> Received {
        let (requests, _) = wire::requests(bytes);
        self.methods.extend(requests.iter().map(Message::method));
        if requests.is_empty() {
            let method = bytes.split(|&byte| byte == b' ').next();
            let method = method.unwrap_or_default().escape_ascii().to_string();
            self.methods.push(method);
        }
        let exchanging = self.send_and_read(bytes, finishes, enough);
        let _out_of_patience = time::timeout(PATIENCE, exchanging).await;
        self.received()
    }

    async fn send_and_read(
        &mut self,
        bytes: &[u8],
        finishes: bool,
        enough: impl Fn(&Received) -> bool,
    ) {
        let mut sent = 0;
        let mut to_finish = finishes;
        let mut refused = false;
        while self.end.is_none() && !enough(&self.received()) {
            if to_finish && sent == bytes.len() {
                // A peer that closed already has nothing to learn from it.
                let _best_effort = self.stream.shutdown().await;
                to_finish = false;
            }
            let (mut reading, mut writing) = self.stream.split();
            tokio::select! {
                read = reading.read_buf(&mut self.received) => match read {
                    Ok(1..) => {}
                    Ok(0) => self.end = Some(End::Closed),
                    Err(_) => self.end = Some(End::Reset),
                },
                written = writing.write(&bytes[sent..]), if sent < bytes.len() && !refused => {
                    match written {
                        Ok(more) => sent += more,
                        // A request refused before all of it was sent already has its response, or the connection ends.
                        Err(_) => refused = true,
                    }
                }
            }
        }
    }

    /// Waits until the proxy has closed.
    pub async fn until_closed(&mut self) -> Received {
        let closing = async {
            while self.end.is_none() {
                match self.stream.read_buf(&mut self.received).await {
                    Ok(1..) => {}
                    Ok(0) => self.end = Some(End::Closed),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => self.end = Some(End::Reset),
                }
            }
        };
        let _out_of_patience = time::timeout(PATIENCE, closing).await;
        self.received()
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        let mut received = Received {
            end: self.end,
            ..Received::default()
        };
        let mut rest = self.received.as_slice();
        while !rest.is_empty() {
            let method = self.methods.get(received.responses.len());
            let method = method.map_or("GET", String::as_str);
            match wire::response(rest, method, self.end) {
                Reading::Whole(response, length) => {
                    rest = &rest[length..];
                    if !(100..200).contains(&response.status()) || response.status() == 101 {
                        received.responses.push((*response).clone());
                    }
                    received.all.push(*response);
                }
                Reading::Partial(partial) => {
                    received.partial = partial.map(|partial| *partial);
                    break;
                }
                Reading::Invalid(why) => {
                    received.invalid = Some(why);
                    break;
                }
            }
        }
        received.rest = rest.to_vec();
        received
    }

    /// Asks for a probe on this connection: what is complete must be its own response, and the only one.
    pub async fn probe(&mut self, number: usize) -> Result<(), String> {
        let before = self.received();
        let target = format!("{PROBE}{number}");
        let request = format!("GET {target} HTTP/1.1\r\nHost: probe\r\n\r\n");
        let goal = before.responses.len() + 1;
        self.methods.truncate(before.responses.len());
        let after = self
            .exchange(request.as_bytes(), false, |seen| {
                seen.responses.len() >= goal
            })
            .await;
        match after.responses.get(goal - 1) {
            Some(response) if response.status() == 200 && response.body == target.as_bytes() => {
                Ok(())
            }
            Some(response) => Err(format!(
                "a probe got {} {}",
                response.status(),
                shortened(&response.body)
            )),
            None => Err(format!("a probe got no response: {}", after.in_words())),
        }
    }
}
