//! One request: from the head that the client sent to the end of its answer.

use std::{
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Instant,
};

use crate::model::ServerId;

use super::{
    connection::{After, Client, write_all},
    deadline::Reached,
    error::ProxyError,
    exchange::{Answer, Behind, Exchange, Parts},
    flow::Flow,
    headers::{Circumstances, LocalAnswer, Prepared, Refusal, Request, prepare},
    http1::{Decoder, Framing, Version, first_line, parse_request},
    response::{self, Asker, Here},
    retry::{Progress, Replay},
    tally::{AttemptTally, RequestTally},
    trailers::Trailers,
    upgrade,
    upstream::{Connection, Upstream},
    worker::Worker,
};

/// Answers the request whose head is the first `length` bytes that the client sent.
pub(super) async fn serve(worker: &Rc<Worker>, client: &mut Client, length: usize) -> After {
    let (asker, prepared, line) = read(worker, client, length);
    let mut tally = RequestTally::begin(worker);
    let after = match prepared {
        Ok(Prepared::Forward(request)) => {
            let after = forward(worker, client, asker, &request, &mut tally).await;
            let Request { head, marks, .. } = request;
            tally.log(client.peer.address, asker.version, &head, &marks);
            worker.buffers.take_head_back(head);
            return after;
        }
        Ok(Prepared::AnswerHere(answer)) => {
            answer_here(worker, client, asker, &mut tally, &answer).await
        }
        Err(refusal) => fail(worker, client, asker, &mut tally, &refusal.into(), true).await,
    };
    tally.log_line(client.peer.address, asker.version, &line);
    after
}

/// Answers something that is not a request.
pub(super) async fn refuse(worker: &Rc<Worker>, client: &mut Client, error: ProxyError) -> After {
    let line = line_for_log(worker, client.buffer.filled());
    let mut tally = RequestTally::begin(worker);
    let asker = Asker::default();
    let after = fail(worker, client, asker, &mut tally, &error, true).await;
    tally.log_line(client.peer.address, asker.version, &line);
    after
}

/// The first line of what came, for a request that may not become one to a server.
fn line_for_log(worker: &Worker, came: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 1024;
    if worker.access_log.is_none() {
        return Vec::new();
    }
    let line = first_line(came);
    line[..line.len().min(LONGEST)].to_vec()
}

/// What was asked, and the line for the log where that is not in a head for a server.
fn read(
    worker: &Worker,
    client: &mut Client,
    length: usize,
) -> (Asker, Result<Prepared, Refusal>, Vec<u8>) {
    let head = &client.buffer.filled()[..length];
    let mut fields = worker.fields.borrow_mut();
    let request = match parse_request(head, worker.head_limits(), &mut fields) {
        Ok(request) => request,
        Err(defect) => {
            let line = line_for_log(worker, head);
            return (Asker::default(), Err(Refusal::Head(defect)), line);
        }
    };
    let asker = Asker::of(head, &request, &fields);
    let local = match request.version {
        Version::Http10 => client.stream.local_address(),
        Version::Http11 => None,
    };
    let around = Circumstances {
        peer: &client.peer,
        local,
        policy: &worker.http,
        ids: worker.new_ids(),
    };
    let prepared = prepare(head, &request, &fields, &around, worker.buffers.head());
    let line = match &prepared {
        Ok(Prepared::Forward(_)) => Vec::new(),
        Ok(Prepared::AnswerHere(_)) | Err(_) => line_for_log(worker, head),
    };
    client.buffer.consume(length);
    if client.buffer.is_empty() {
        worker.buffers.take_back(&mut client.buffer);
    }
    (asker, prepared, line)
}

async fn answer_here(
    worker: &Worker,
    client: &mut Client,
    asker: Asker,
    tally: &mut RequestTally<'_>,
    answer: &LocalAnswer,
) -> After {
    let mut out = Vec::new();
    response::write_local(&mut out, answer, asker, true, &worker.date());
    tally.answered_here(200);
    written(&write_all(worker, client, &out).await)
}

/// The one place where a failure becomes an answer, or the end of one.
async fn fail(
    worker: &Worker,
    client: &mut Client,
    asker: Asker,
    tally: &mut RequestTally<'_>,
    error: &ProxyError,
    close: bool,
) -> After {
    let verdict = error.verdict();
    tracing::debug!(
        client = %client.peer.address,
        status = verdict.status,
        error = error as &dyn std::error::Error,
        "request failed"
    );
    tally.answered_here(verdict.status);
    tally.ended_by(error);
    if matches!(error, ProxyError::ClientGone | ProxyError::ClientStalled) {
        return After::Cut;
    }
    let close = close || error.is_clients_fault() || worker.is_draining();
    let mut out = Vec::new();
    let here = Here {
        date: &worker.date(),
        how_to_add: &worker.how_to_add,
    };
    response::write_failure(&mut out, error, asker, close, here);
    let written = written(&write_all(worker, client, &out).await);
    if written == After::Close && !close {
        After::Keep
    } else {
        written
    }
}

fn written(result: &io::Result<()>) -> After {
    if result.is_ok() {
        After::Close
    } else {
        After::Cut
    }
}

async fn forward(
    worker: &Rc<Worker>,
    client: &mut Client,
    asker: Asker,
    request: &Request,
    tally: &mut RequestTally<'_>,
) -> After {
    if let Some(objection) = request.objection {
        tracing::warn!(
            client = %client.peer.address,
            objection = %objection,
            "request forwarded that strict mode would refuse"
        );
    }
    let mut attempts = Attempts {
        worker,
        asker,
        request,
        upload: upload(worker, request),
        answer: Answer::new(worker.buffers.head()),
        tried: Vec::new(),
        repeats: 0,
    };
    let outcome = attempts.run(client, tally).await;
    client.deadline.wait_for_none();
    let Attempts { upload, answer, .. } = attempts;
    let keeps = request.keep_alive && upload.is_taken() && !answer.closes;
    let after = match outcome {
        Ok(()) if answer.behind == Behind::Tunnel => After::Cut,
        Ok(()) if keeps => After::Keep,
        Ok(()) if !request.keep_alive && upload.is_taken() => After::Leave,
        Ok(()) => After::Close,
        Err(error) if answer.has_begun() || answer.is_within_interim() => {
            if !error.is_clients_fault() {
                tally.broken_off();
            }
            tally.ended_by(&error);
            tracing::debug!(
                client = %client.peer.address,
                error = &error as &dyn std::error::Error,
                "answer broken off"
            );
            if answer.behind == Behind::UntilClose {
                After::Reset
            } else {
                After::Cut
            }
        }
        Err(error) => fail(worker, client, asker, tally, &error, !keeps).await,
    };
    worker.buffers.take_head_back(answer.head);
    after
}

fn upload(worker: &Worker, request: &Request) -> Flow {
    let chunked = request.framing == Framing::Chunked;
    Flow::new(Decoder::from(request.framing), chunked, Trailers::OfRequest)
        .limited_to(worker.http.max_body_bytes)
}

/// The attempts to have one request answered.
struct Attempts<'a> {
    worker: &'a Rc<Worker>,
    asker: Asker,
    request: &'a Request,
    upload: Flow,
    answer: Answer,
    /// Servers that were tried in vain.
    tried: Vec<ServerId>,
    /// How often it was sent again on a new connection.
    repeats: usize,
}

impl Attempts<'_> {
    async fn run(
        &mut self,
        client: &mut Client,
        tally: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError> {
        let worker = self.worker;
        let replay = self.replay();
        worker.retries.borrow_mut().earn();
        loop {
            let upstream = worker.choose(&self.tried)?;
            let Err(error) = self.attempt(client, &upstream, replay, tally).await else {
                return Ok(());
            };
            self.tried.push(upstream.id);
            let tried = self.tried.len();
            if self.answer.has_begun() || !worker.may_retry(tried, self.repeats, &error, replay) {
                return Err(error);
            }
            self.begin_anew();
        }
    }

    fn replay(&self) -> Replay {
        let has_body = !self.upload.is_taken();
        if self.request.is_idempotent && !has_body {
            Replay::Possible
        } else {
            Replay::Never
        }
    }

    fn begin_anew(&mut self) {
        if !self.upload.is_unsent() {
            self.upload.rewind();
        }
        self.answer = Answer::new(std::mem::take(&mut self.answer.head));
    }

    /// Tries one server. Connections that the server closed while nobody used them do not count as a try.
    async fn attempt(
        &mut self,
        client: &mut Client,
        upstream: &Rc<Upstream>,
        replay: Replay,
        tally: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError> {
        // The first one begins with the request: the clock need not be asked twice.
        let begun = if self.tried.is_empty() {
            tally.begun()
        } else {
            Instant::now()
        };
        tally.attempted(upstream.address, begun);
        let mut attempt = AttemptTally::begin(self.worker, upstream, begun);
        client.deadline.wait_for(upstream.id);
        // Whether a connection was closed in the moment in which it was used again. Then a new one is opened: others that
        // wait may be closed just now as well.
        let mut raced = false;
        loop {
            let unused = if raced {
                None
            } else {
                upstream.checkout(replay)
            };
            let outcome = if let Some(connection) = unused {
                Ok(connection)
            } else {
                let since = Instant::now();
                let connected = connect(self.worker, client, upstream).await;
                tally.connected(since.elapsed());
                connected
            };
            let reused = matches!(&outcome, Ok(connection) if connection.reused);
            let outcome = match outcome {
                Ok(connection) => self.exchange(client, connection, &mut attempt, tally).await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else {
                return Ok(());
            };
            if let (true, ProxyError::Closed { progress, .. }) = (reused, &error) {
                upstream.closed_under_a_request();
                if self.worker.may_repeat(*progress, replay) {
                    self.repeats += usize::from(*progress == Progress::Sent);
                    raced = true;
                    self.begin_anew();
                    continue;
                }
            }
            // A client that breaks off its request says nothing about the server.
            if !error.is_clients_fault() {
                attempt.failed();
            }
            if let Some(reason) = error.connect_failure() {
                upstream.could_not_connect(reason);
            }
            return Err(error);
        }
    }

    async fn exchange(
        &mut self,
        client: &mut Client,
        mut connection: Connection,
        attempt: &mut AttemptTally<'_>,
        tally: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError> {
        let worker: &Worker = self.worker;
        let mut told = false;
        let mut exchange = Exchange::new(Parts {
            worker,
            client,
            asker: self.asker,
            request: self.request,
            upload: &mut self.upload,
            server: &mut connection,
            answer: &mut self.answer,
        });
        let outcome = poll_fn(|cx| {
            let polled = exchange.poll(cx);
            let failed = matches!(polled, Poll::Ready(Err(_)));
            if let (Some((status, at)), false, false) = (exchange.answered(), told, failed) {
                told = true;
                attempt.answered(status, at);
                tally.answered(status, at);
            }
            let (sent, received) = exchange.take_uncounted();
            attempt.passed(sent, received);
            tally.passed(sent, received);
            polled
        })
        .await;
        drop(exchange);
        outcome?;
        if self.answer.behind == Behind::Tunnel {
            upgrade::tunnel(worker, client, &mut connection, attempt, tally).await;
            return Ok(());
        }
        let quiet = connection.buffer.is_empty();
        worker.buffers.take_back(&mut connection.buffer);
        if quiet && self.answer.server_keeps && self.upload.is_over(&self.request.head) {
            attempt.upstream().release(connection);
        }
        Ok(())
    }
}

async fn connect(
    worker: &Worker,
    client: &Client,
    upstream: &Upstream,
) -> Result<Connection, ProxyError> {
    let server = upstream.address;
    let slot = upstream
        .slot(&worker.limits)
        .ok_or(ProxyError::ServerFull { server })?;
    client.deadline.arm(worker.timeouts.connect);
    let mut connecting = pin!(upstream.connect(slot));
    poll_fn(|cx| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected.map_err(|source| ProxyError::Connect { server, source }));
        }
        client.deadline.poll(cx).map(|reached| match reached {
            Reached::Expired => Err(ProxyError::ConnectTimeout { server }),
            Reached::Cut => Err(removed(server)),
        })
    })
    .await
}

/// The server was removed before a request was on its way to it: another can take it.
fn removed(server: SocketAddr) -> ProxyError {
    let source = io::Error::new(io::ErrorKind::ConnectionAborted, "the server was removed");
    ProxyError::Connect { server, source }
}
