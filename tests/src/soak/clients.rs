//! Clients of all kinds, polite and not.

use std::net::SocketAddr;

use fastrand::Rng;

use super::{Account, Fate};
use crate::{
    conformance::report::proxy_error,
    http1::{ReadError, Response},
    raw::Client,
};

/// A client that sends requests of any kind, one visit after another.
pub(super) struct Visitor {
    proxy: SocketAddr,
    rng: Rng,
    /// The connection that the last visit left.
    open: Option<Client>,
    number: usize,
    pub(super) account: Account,
}

impl Visitor {
    pub(super) fn new(proxy: SocketAddr, rng: Rng) -> Self {
        Self {
            proxy,
            rng,
            open: None,
            number: 0,
            account: Account::default(),
        }
    }

    /// Sends some requests of one kind; how many.
    pub(super) async fn visit(&mut self) -> usize {
        match self.rng.u32(..100) {
            0..35 => self.plain("GET", "GET", "", "").await,
            35..45 => self.plain("HEAD", "HEAD", "", "").await,
            45..60 => {
                let body = "x".repeat(self.rng.usize(..3000));
                let fields = format!("Content-Length: {}\r\n", body.len());
                self.plain("POST", "POST", &fields, &body).await
            }
            60..70 => {
                let data = "y".repeat(1 + self.rng.usize(..2000));
                let body = format!("1\r\nz\r\n{:x}\r\n{data}\r\n0\r\n\r\n", data.len());
                self.plain("chunked", "PUT", "Transfer-Encoding: chunked\r\n", &body)
                    .await
            }
            70..80 => self.pipelined().await,
            80..83 => self.upgraded().await,
            83..87 => self.aborted().await,
            87..91 => self.half_closed().await,
            91..95 => self.expecting().await,
            _ => self.old().await,
        }
    }

    async fn connection(&mut self) -> Client {
        match self.open.take() {
            Some(client) => client,
            None => Client::connect(self.proxy).await,
        }
    }

    fn target(&mut self) -> String {
        self.number += 1;
        format!("/{:x}-{}", self.rng.u32(..), self.number)
    }

    async fn plain(&mut self, kind: &'static str, method: &str, fields: &str, body: &str) -> usize {
        let target = self.target();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let mut client = self.connection().await;
        // A connection that ends while it is written to has a response to be read, or none.
        let _ended = client.try_send(request).await;
        let read = final_response(&mut client, method).await;
        if self.settle(kind, &target, read) {
            self.open = Some(client);
        }
        1
    }

    /// Books what came; whether the connection goes on.
    fn settle(
        &mut self,
        kind: &'static str,
        target: &str,
        read: Result<Response, ReadError>,
    ) -> bool {
        let (fate, goes_on) = judge(target, &read);
        self.account.book(kind, fate);
        if matches!(fate, Fate::Lost | Fate::Wrong) {
            let seen = match read {
                Ok(response) => response.to_string(),
                Err(error) => error.to_string(),
            };
            self.account.note(format!("{kind} {target}: {seen}"));
        }
        goes_on
    }

    async fn pipelined(&mut self) -> usize {
        let targets = [self.target(), self.target(), self.target()];
        let request = |target: &String| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let requests: String = targets.iter().map(request).collect();
        let mut client = self.connection().await;
        let _ended = client.try_send(requests).await;
        let mut goes_on = true;
        for target in &targets {
            if !goes_on {
                self.account.book("pipelined", Fate::Behind);
                continue;
            }
            let read = final_response(&mut client, "GET").await;
            goes_on = self.settle("pipelined", target, read);
        }
        if goes_on {
            self.open = Some(client);
        }
        targets.len()
    }

    async fn upgraded(&mut self) -> usize {
        let target = self.target();
        let mut client = Client::connect(self.proxy).await;
        let fields = "Host: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n";
        let _ended = client
            .try_send(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"))
            .await;
        let read = final_response(&mut client, "GET").await;
        if read.as_ref().is_ok_and(|response| response.status == 101) {
            let _ended = client.try_send(&target).await;
            client.finish_sending().await;
            let fate = match client.until_end().await {
                Ok(echo) if echo == target.as_bytes() => Fate::Responded,
                Ok(echo) if target.as_bytes().starts_with(&echo) => Fate::Truncated,
                Err(_) => Fate::Truncated,
                Ok(_) => Fate::Wrong,
            };
            self.account.book("upgrade", fate);
        } else if read.as_ref().is_ok_and(|response| response.status == 403) {
            self.account.book("upgrade", Fate::Responded);
        } else {
            self.settle("upgrade", &target, read);
        }
        1
    }

    /// Goes away in the middle of a request, or of its response.
    async fn aborted(&mut self) -> usize {
        let target = self.target();
        let mut client = Client::connect(self.proxy).await;
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let some = self.rng.usize(..=head.len());
        let _ended = client.try_send(&head[..some]).await;
        if self.rng.bool() {
            client.reset();
        }
        self.account.book("abort", Fate::Aborted);
        1
    }

    async fn half_closed(&mut self) -> usize {
        let target = self.target();
        let mut client = Client::connect(self.proxy).await;
        let _ended = client
            .try_send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        client.finish_sending().await;
        let read = final_response(&mut client, "GET").await;
        self.settle("half-close", &target, read);
        1
    }

    async fn expecting(&mut self) -> usize {
        let target = self.target();
        let mut client = self.connection().await;
        let fields = "Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
        let _ended = client
            .try_send(format!("POST {target} HTTP/1.1\r\n{fields}\r\n"))
            .await;
        let mut read = client.try_response("POST").await;
        if read.as_ref().is_ok_and(|response| response.status == 100) {
            let _ended = client.try_send("hello").await;
            read = final_response(&mut client, "POST").await;
        }
        // Without an invitation the body is not sent, and the connection has no other request.
        let invited = !matches!(&read, Ok(response) if response.status >= 400);
        if self.settle("expect", &target, read) && invited {
            self.open = Some(client);
        }
        1
    }

    async fn old(&mut self) -> usize {
        let target = self.target();
        let mut client = Client::connect(self.proxy).await;
        let _ended = client
            .try_send(format!("GET {target} HTTP/1.0\r\n\r\n"))
            .await;
        let read = final_response(&mut client, "GET").await;
        self.settle("HTTP/1.0", &target, read);
        1
    }
}

async fn final_response(client: &mut Client, method: &str) -> Result<Response, ReadError> {
    loop {
        let response = client.try_response(method).await?;
        if response.status >= 200 || response.status == 101 {
            return Ok(response);
        }
    }
}

fn judge(target: &str, read: &Result<Response, ReadError>) -> (Fate, bool) {
    match read {
        Ok(response) => {
            let closes = response
                .fields
                .get("connection")
                .is_some_and(|option| option.contains("close"));
            let status = response.fields.get("proxy-status").unwrap_or_default();
            if proxy_error(&status).is_some() {
                return (Fate::Refused, !closes);
            }
            let is_its_own =
                response.body.is_empty() || response.text().starts_with(&format!("{target} "));
            let fate = if response.status == 200 && is_its_own {
                Fate::Responded
            } else {
                Fate::Wrong
            };
            (fate, !closes)
        }
        Err(ReadError::Closed | ReadError::Io(_)) => (Fate::Lost, false),
        Err(ReadError::Truncated(_)) => (Fate::Truncated, false),
        Err(_) => (Fate::Wrong, false),
    }
}
