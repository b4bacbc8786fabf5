//! One request: from the head that the client sent to the head of its answer.

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body as _;
use hyper::{body::Incoming, client::conn::TrySendError};

use crate::{config::Timeouts, model::ServerId};

use super::{
    body::{Exchange, RequestBody, ResponseBody, ServerBody, Upload},
    connection::Client,
    deadline::{Deadline, Reached},
    error::ProxyError,
    headers, response, retry,
    tally::{AttemptTally, RequestTally},
    upstream::{Connection, Sent, Upstream},
    worker::Worker,
};

/// Answers a client's request: with a server's answer, or with the reason why there is none.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut tally = RequestTally::begin(&worker, &client.state);
    let mut answer = match forward(&worker, &client, request).await {
        Ok(answer) => {
            tally.answered(answer.status());
            answer.map(|answer| answer.into_body(tally, &worker.timeouts))
        }
        Err(error) => {
            let answer = response::explain(&error);
            tracing::debug!(
                client = %client.address,
                status = answer.status().as_u16(),
                error = &error as &dyn std::error::Error,
                "request failed"
            );
            tally.answered(answer.status());
            answer.map(|text| ResponseBody::whole(text, tally))
        }
    };
    if worker.is_draining() {
        headers::close_after(answer.headers_mut());
    }
    Ok(answer)
}

/// A server's answer whose body is still to come.
struct Answer {
    incoming: Incoming,
    attempt: AttemptTally,
    connection: Connection,
    deadline: Deadline,
    upload: Option<Rc<Upload>>,
}

impl Answer {
    fn into_body(self, request: RequestTally, timeouts: &Timeouts) -> ResponseBody {
        let Self {
            incoming,
            attempt,
            connection,
            deadline,
            upload,
        } = self;
        let exchange = Exchange {
            request,
            attempt,
            connection,
            deadline,
            upload,
        };
        if incoming.is_end_stream() {
            return ResponseBody::whole(Bytes::new(), exchange.give_back());
        }
        ResponseBody::Server(Box::new(ServerBody::new(
            incoming,
            exchange,
            timeouts.stream_idle,
        )))
    }
}

/// A request on its way out. What was sent once can be sent again only when it can be made again.
struct Outbound {
    head: request::Parts,
    body: Option<Incoming>,
    upload: Option<Rc<Upload>>,
    /// Its method is idempotent and it has no body.
    replayable: bool,
}

impl Outbound {
    fn new(head: request::Parts, body: Incoming) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        let replayable = body.is_none() && retry::is_idempotent(&head.method);
        let upload = body.is_some().then(Rc::<Upload>::default);
        Self {
            head,
            body,
            upload,
            replayable,
        }
    }

    fn make(&mut self) -> Request<RequestBody> {
        let body = match (self.body.take(), &self.upload) {
            (Some(incoming), Some(upload)) => RequestBody::Client {
                incoming,
                upload: Rc::clone(upload),
            },
            _ => RequestBody::Empty,
        };
        Request::from_parts(self.head.clone(), body)
    }

    /// Takes back what was not sent.
    fn take_back(&mut self, request: Request<RequestBody>) {
        if let RequestBody::Client { incoming, .. } = request.into_body() {
            self.body = Some(incoming);
        }
    }
}

async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
    request: Request<Incoming>,
) -> Result<Response<Answer>, ProxyError> {
    let (mut head, body) = request.into_parts();
    headers::prepare_request(&mut head, &client.forwarded_for, client.state.length_seen())?;
    head.extensions.clear();
    let mut outbound = Outbound::new(head, body);
    let deadline = worker.deadlines.register();
    let mut tried: Vec<ServerId> = Vec::new();
    worker.retries.borrow_mut().earn();
    loop {
        let upstream = worker.choose(&tried)?;
        match attempt(worker, &upstream, &mut outbound, &deadline).await {
            Ok((answer, attempt, connection)) => {
                let (mut head, incoming) = answer.into_parts();
                headers::prepare_response(&mut head);
                let upload = outbound.upload;
                let answer = Answer {
                    incoming,
                    attempt,
                    connection,
                    deadline,
                    upload,
                };
                return Ok(Response::from_parts(head, answer));
            }
            Err(error) => {
                tried.push(upstream.id());
                if !worker.may_retry(tried.len(), &error, outbound.replayable) {
                    return Err(error);
                }
            }
        }
    }
}

/// Tries one server. Connections that the server closed while nobody used them do not count as a try.
async fn attempt(
    worker: &Rc<Worker>,
    upstream: &Rc<Upstream>,
    outbound: &mut Outbound,
    deadline: &Deadline,
) -> Result<(Response<Incoming>, AttemptTally, Connection), ProxyError> {
    let mut tally = AttemptTally::begin(worker, upstream);
    deadline.wait_for(upstream.id());
    let outcome = loop {
        let mut connection = match poll_fn(|cx| Poll::Ready(upstream.checkout(cx))).await {
            Some(connection) => connection,
            None => match connect(worker, upstream, deadline).await {
                Ok(connection) => connection,
                Err(error) => break Err(error),
            },
        };
        match exchange(worker, upstream, &mut connection, outbound, deadline).await {
            Ok(answer) => {
                tally.answered(answer.status());
                return Ok((answer, tally, connection));
            }
            Err(Failure::Unsent) if connection.reused => {}
            Err(Failure::Unsent) => {
                break Err(aborted(
                    upstream.live.address,
                    "closed before the request was sent",
                ));
            }
            Err(Failure::Error(error)) => break Err(error),
        }
    };
    outcome.inspect_err(|error: &ProxyError| {
        // A client that breaks off its request says nothing about the server.
        if !error.is_clients_fault() {
            tally.failed();
        }
        if let Some(reason) = error.verdict().connect_failure {
            upstream.counters().connect_failures.add(1);
            upstream.live.report_connect_failure(reason);
        }
    })
}

async fn connect(
    worker: &Worker,
    upstream: &Upstream,
    deadline: &Deadline,
) -> Result<Connection, ProxyError> {
    let server = upstream.live.address;
    let slot = upstream
        .slot(&worker.limits)
        .ok_or(ProxyError::ServerFull { server })?;
    deadline.arm(worker.timeouts.connect);
    let mut connecting = pin!(upstream.connect(slot, &worker.limits));
    poll_fn(|cx| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected.map_err(|source| ProxyError::Connect { server, source }));
        }
        deadline.poll(cx).map(|reached| match reached {
            Reached::Expired => Err(ProxyError::ConnectTimeout { server }),
            Reached::Cut => Err(aborted(server, "the server was removed")),
        })
    })
    .await
}

/// A connection that came to nothing before a request was on it.
fn aborted(server: SocketAddr, why: &'static str) -> ProxyError {
    ProxyError::Connect {
        server,
        source: io::Error::new(io::ErrorKind::ConnectionAborted, why),
    }
}

/// How an exchange on one connection failed.
enum Failure {
    /// The connection was closed before anything of the request was written.
    Unsent,
    Error(ProxyError),
}

async fn exchange(
    worker: &Worker,
    upstream: &Upstream,
    connection: &mut Connection,
    outbound: &mut Outbound,
    deadline: &Deadline,
) -> Result<Response<Incoming>, Failure> {
    let server = upstream.live.address;
    let timeouts = &worker.timeouts;
    let request = outbound.make();
    let upload = outbound.upload.clone();
    deadline.arm(if upload.is_some() {
        timeouts.stream_idle
    } else {
        timeouts.response_header
    });
    let mut uploading = upload.is_some();
    let watch = |cx: &mut Context<'_>| {
        if let Some(upload) = &upload
            && uploading
        {
            if upload.ended() {
                uploading = false;
                deadline.arm(timeouts.response_header);
            } else if upload.take_moved() {
                deadline.arm(timeouts.stream_idle);
            }
        }
        deadline.poll(cx).map(|reached| match (reached, &upload) {
            (Reached::Cut, _) => ProxyError::Removed { server },
            (Reached::Expired, Some(upload)) if uploading && upload.waits_for_client() => {
                ProxyError::BodyTimeout
            }
            (Reached::Expired, _) if uploading => ProxyError::UploadTimeout { server },
            (Reached::Expired, _) => ProxyError::ResponseTimeout { server },
        })
    };
    match connection.send(request, watch).await {
        Sent::Answered(answer) => Ok(answer),
        Sent::Interrupted(error) => Err(Failure::Error(error)),
        Sent::Failed(mut failed) => match failed.take_message() {
            Some(unsent) => {
                outbound.take_back(unsent);
                Err(Failure::Unsent)
            }
            None => Err(Failure::Error(broken(server, upload.as_deref(), *failed))),
        },
    }
}

fn broken(
    server: SocketAddr,
    upload: Option<&Upload>,
    failed: TrySendError<Request<RequestBody>>,
) -> ProxyError {
    let source = failed.into_error();
    if upload.is_some_and(Upload::broken) {
        ProxyError::BodyBroken
    } else if source.is_parse() {
        ProxyError::InvalidAnswer { server, source }
    } else {
        ProxyError::Closed { server, source }
    }
}
