//! One request of a client that speaks HTTP/1.1: from its head to the end of its response.

use std::{io, rc::Rc};

use crate::{
    http1::{Version, first_line, parse_request},
    proxy::{
        client::Client,
        context::WorkerContext,
        error::ProxyError,
        forward,
        headers::{ClientAddress, ForwardingContext, Prepared, Refusal, Request, prepare},
        http1::response_context::ResponseContext,
        local_reply::LocalReply,
        message::RequestFacts,
        outcome::RequestOutcome,
        tally::RequestTally,
    },
};

use super::{
    after::{After, after},
    attempt::Http1Attempt,
    reply::write_reply,
};

/// Serves the request whose head is the first `length` bytes that the client sent.
pub(super) async fn serve(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    length: usize,
) -> After {
    let ReadRequest {
        to,
        mut prepared,
        line,
        forwarded_client,
    } = read(context, client, length);
    let mut tally = RequestTally::begin(context);
    if let Some(client) = forwarded_client {
        tally.came_from(client);
    }
    let after = match prepared {
        // Borrowed, because moving it into the future costs a copy.
        Ok(Prepared::Forward(ref mut request)) => {
            let after = forward(context, client, to, request, &mut tally).await;
            let head = std::mem::take(&mut request.head);
            tally.log(client.peer.address, to.version, &head, &request.spans);
            context.buffers.take_head_back(head);
            return after;
        }
        Ok(Prepared::ToProxy(request)) => {
            let reply = LocalReply::to_proxy_request(request);
            send_reply(context, client, to, &mut tally, &reply, true).await
        }
        Err(refusal) => fail(context, client, to, &mut tally, &refusal.into(), true).await,
    };
    tally.log_line(client.peer.address, to.version, &line);
    after
}

/// Replies to bytes that are not a valid request.
pub(super) async fn refuse(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    error: ProxyError,
) -> After {
    let line = line_for_log(context, client.buffer.filled());
    let mut tally = RequestTally::begin(context);
    let to = ResponseContext::default();
    let after = fail(context, client, to, &mut tally, &error, true).await;
    tally.log_line(client.peer.address, to.version, &line);
    after
}

/// The first line of the head, for the access log of a request that is not forwarded.
fn line_for_log(context: &WorkerContext, came: &[u8]) -> Vec<u8> {
    const MAX_LENGTH: usize = 1024;
    if context.access_log.is_none() {
        return Vec::new();
    }
    let line = first_line(came);
    line[..line.len().min(MAX_LENGTH)].to_vec()
}

/// A request of a client.
struct ReadRequest {
    /// What the response depends on.
    to: ResponseContext,
    /// The parsed request, or why it is refused.
    prepared: Result<Prepared, Refusal>,
    /// The request line for the access log, if there is no head for a server.
    line: Vec<u8>,
    /// The client for the access log, if the peer is a trusted proxy.
    forwarded_client: Option<ClientAddress>,
}

fn read(context: &WorkerContext, client: &mut Client, length: usize) -> ReadRequest {
    let head = &client.buffer.filled()[..length];
    let mut fields = context.fields.borrow_mut();
    let request = match parse_request(head, context.head_limits(), &mut fields) {
        Ok(request) => request,
        Err(defect) => {
            return ReadRequest {
                to: ResponseContext::default(),
                prepared: Err(Refusal::Head(defect)),
                line: line_for_log(context, head),
                forwarded_client: None,
            };
        }
    };
    let facts = RequestFacts::of(head, &request, &fields);
    let local = match request.version {
        Version::Http10 => client.transport.local_address(),
        Version::Http11 => None,
    };
    let forwarding = ForwardingContext {
        peer: &client.peer,
        local,
        policy: &context.http,
        facts,
        ids: context.new_ids(),
    };
    let prepared = prepare(head, &request, &fields, &forwarding, context.buffers.head());
    let line = match &prepared {
        Ok(Prepared::Forward(_)) => Vec::new(),
        Ok(Prepared::ToProxy(_)) | Err(_) => line_for_log(context, head),
    };
    let log = context.access_log.as_ref();
    let forwarded_client = log.and_then(|_| client.peer.client(head, &fields, &context.http));
    client.buffer.consume(length);
    if client.buffer.is_empty() {
        context.buffers.take_back(&mut client.buffer);
    }
    ReadRequest {
        to: ResponseContext {
            request: facts,
            version: request.version,
        },
        prepared,
        line,
        forwarded_client,
    }
}

async fn forward(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    to: ResponseContext,
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
    let mut attempt = Http1Attempt::new(context, client, to, request);
    let forwarded = forward::forward(context, &mut attempt, tally).await;
    let (outcome, exchanged) = attempt.end(forwarded);
    client.deadline.wait_for_none();
    let after = after(&outcome, exchanged);
    match (outcome, after) {
        (RequestOutcome::BrokenOff(error), _) => {
            if !error.is_clients_fault() {
                tally.broken_off();
            }
            tally.ended_by(&error);
            tracing::debug!(
                client = %client.peer.address,
                error = &error as &dyn std::error::Error,
                "response broken off"
            );
            after.unwrap_or(After::Cut)
        }
        (RequestOutcome::Failed(error), _) => {
            let close = !exchanged.keeps();
            fail(context, client, to, tally, &error, close).await
        }
        (RequestOutcome::Complete | RequestOutcome::Tunnelled, after) => {
            after.unwrap_or(After::Cut)
        }
    }
}

/// Turns a failure into a response; the only place that does.
async fn fail(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    to: ResponseContext,
    tally: &mut RequestTally<'_>,
    error: &ProxyError,
    close: bool,
) -> After {
    tracing::debug!(
        client = %client.peer.address,
        status = error.verdict().status,
        error = error as &dyn std::error::Error,
        "request failed"
    );
    // A failure on a server is logged by the attempt that met it.
    if error.server().is_none() {
        context.failures.report(error, None);
    }
    tally.ended_by(error);
    if matches!(error, ProxyError::ClientGone | ProxyError::ClientStalled) {
        tally.replied(error.verdict().status);
        return After::Cut;
    }
    let close = close || error.is_clients_fault() || context.closes_connections();
    let reply = LocalReply::to_failure(error, to.request, &context.how_to_add);
    send_reply(context, client, to, tally, &reply, close).await
}

async fn send_reply(
    context: &WorkerContext,
    client: &mut Client,
    to: ResponseContext,
    tally: &mut RequestTally<'_>,
    reply: &LocalReply,
    close: bool,
) -> After {
    let mut out = Vec::new();
    write_reply(&mut out, reply, to, close, &context.date());
    tally.replied(reply.status);
    let written: io::Result<()> = client.write_all(context, &out).await;
    match written {
        Ok(()) => {
            if !to.request.is_head {
                tally.passed(0, reply.body.len() as u64);
            }
            if close { After::Close } else { After::Keep }
        }
        Err(_) => After::Cut,
    }
}
