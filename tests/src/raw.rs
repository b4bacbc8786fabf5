//! A client that sends bytes and reads responses as bytes.

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    http1::{self, Head, ReadError, Reader, Response},
    wait::bounded,
};

/// One connection to a proxy or to a server.
#[derive(Debug)]
pub struct Client {
    reader: Reader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    /// Connects to `address`.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = bounded(
            format!("a connection to {address}"),
            TcpStream::connect(address),
        );
        let stream = stream
            .await
            .unwrap_or_else(|error| panic!("connect {address}: {error}"));
        stream.set_nodelay(true).expect("a connected socket");
        Self {
            reader: Reader::new(stream),
            address,
        }
    }

    /// Sends `bytes` as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.try_send(bytes).await;
        sent.unwrap_or_else(|error| panic!("send to {}: {error}", self.address));
    }

    /// Sends `bytes`; a peer that closed meanwhile is an error, not a failed test.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let write = self.reader.get_mut().write_all(bytes.as_ref());
        bounded("the peer to take what is sent", write).await
    }

    /// Reads one response to `method` whole.
    pub async fn response(&mut self, method: &str) -> Response {
        let read = self.try_response(method).await;
        read.unwrap_or_else(|error| panic!("response of {} to {method}: {error}", self.address))
    }

    /// Reads one response to `method`.
    pub async fn try_response(&mut self, method: &str) -> Result<Response, ReadError> {
        bounded(
            format!("a response to {method}"),
            self.reader.response(method),
        )
        .await
    }

    /// Reads the head of a response; its body is read with [`Self::chunk`] or [`Self::body`].
    pub async fn head(&mut self) -> Head {
        let read = bounded("the head of a response", self.reader.head()).await;
        read.unwrap_or_else(|error| panic!("head of the response: {error}"))
    }

    /// Reads one chunk of a chunked body; an empty one is the last.
    pub async fn chunk(&mut self) -> Result<Vec<u8>, ReadError> {
        bounded("a chunk", self.reader.chunk()).await
    }

    /// Reads the body of the response whose head was read with [`Self::head`].
    pub async fn body(&mut self, method: &str, head: &Head) -> Result<Vec<u8>, ReadError> {
        let framing = http1::response_framing(method, http1::status_of(head)?, &head.fields)?;
        let (body, _trailers) = bounded("a body", self.reader.body(framing)).await?;
        Ok(body)
    }

    /// Reads `length` bytes of whatever comes.
    pub async fn bytes(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        let read = self.reader.body(http1::Framing::Length(length));
        let (bytes, _) = bounded(format!("{length} bytes"), read).await?;
        Ok(bytes)
    }

    /// Reads whatever comes until the peer says that it is done.
    pub async fn until_end(&mut self) -> Result<Vec<u8>, ReadError> {
        let read = self.reader.body(http1::Framing::Close);
        let (bytes, _) = bounded("the end of what is sent", read).await?;
        Ok(bytes)
    }

    /// Sends one request and reads its response.
    pub async fn exchange(&mut self, method: &str, request: impl AsRef<[u8]>) -> Response {
        self.send(request).await;
        self.response(method).await
    }

    /// Sends a GET for `target` on the open connection.
    pub async fn get(&mut self, target: &str) -> Response {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.exchange("GET", request).await
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn finish_sending(&mut self) {
        let shutdown = self.reader.get_mut().shutdown();
        bounded("half-close", shutdown)
            .await
            .expect("an open connection");
    }

    /// Waits until the peer has closed.
    ///
    /// # Panics
    /// When bytes come instead. A reset counts as closed.
    pub async fn closed(&mut self) {
        let end = bounded("the peer to close", self.reader.fill()).await;
        let stray = self.reader.buffered();
        assert!(
            stray.is_empty() && !matches!(end, Ok(1..)),
            "stray bytes instead of the end: {}",
            stray.escape_ascii()
        );
    }

    /// Closes with RST instead of FIN, as a client that died does.
    pub fn reset(self) {
        let stream = self.reader.get_ref();
        stream.set_zero_linger().expect("a connected socket");
    }

    /// The address of this side.
    pub fn local_address(&self) -> SocketAddr {
        self.reader
            .get_ref()
            .local_addr()
            .expect("a connected socket")
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Response {
    Client::connect(address).await.get(target).await
}

/// One request with a body (which may be empty) on a connection of its own: enough for the REST API.
pub async fn request(address: SocketAddr, method: &str, target: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Client::connect(address)
        .await
        .exchange(method, request)
        .await
}
