//! One request of a client that speaks HTTP/1.1: from its head to the end of its response.

use std::{io, rc::Rc, sync::Arc};

use crate::{
    http1::{ClientAddress, Known, Version, first_line, parse_request},
    model::Balancing,
    proxy::{
        client::Client,
        context::WorkerContext,
        error::ProxyError,
        forward::{self, Destination},
        headers::{
            Accepted, ConnectionOptions, ForwardingContext, ProxyRequest, Refusal, Request, Scheme,
            accept, change_fields, path_and_query, write,
        },
        http1::response_context::ResponseContext,
        local_reply::LocalReply,
        message::RequestFacts,
        outcome::RequestOutcome,
        served_listener::ListenerContext,
        tally::RequestTally,
    },
    snapshot::{
        PoolView,
        routes::{CompiledAction, Matched, hash_of},
    },
    stickiness::{Session, SessionKeys, SessionRequest},
};

use super::{
    after::{After, after},
    attempt::Http1Attempt,
    reply::write_reply,
    routing::{Asked, redirect, route},
};

/// Serves the request whose head is the first `length` bytes that the client sent, by the listener that the client has now.
pub(super) async fn serve(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    length: usize,
) -> After {
    let listener = Rc::clone(&client.listener);
    let ReadRequest {
        to,
        mut decided,
        matched,
        line,
        forwarded_client,
    } = read(context, client, &listener, length);
    let mut tally = RequestTally::begin(context, &listener);
    tally.matched(matched.rule.map(AsRef::as_ref));
    if let Some(client) = forwarded_client {
        tally.came_from(client);
    }
    let after = match decided {
        // Borrowed, because moving it into the future costs a copy.
        Ok(Decided::Forward(ref mut request, destination)) => {
            tally.forwarded_to(&destination.pool.name);
            let parts = (&*request, destination, matched);
            let after = forward(context, client, to, parts, &mut tally).await;
            let head = std::mem::take(&mut request.head);
            tally.log(client.end(), to.version, &head, &request.spans);
            context.buffers.take_head_back(head);
            return after;
        }
        Ok(Decided::ToProxy(request)) => {
            let reply = LocalReply::to_proxy_request(request);
            send_reply(context, client, (to, None), &mut tally, &reply, true).await
        }
        Ok(Decided::Reply(reply, close)) => {
            let close = close || client.served.closes_connections();
            let to = (to, Some(matched));
            send_reply(context, client, to, &mut tally, &reply, close).await
        }
        Err(refusal) => fail(context, client, to, &mut tally, &refusal.into(), true).await,
    };
    tally.log_line(client.end(), to.version, &line);
    after
}

/// Replies to bytes that are not a valid request.
pub(super) async fn refuse(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    error: ProxyError,
) -> After {
    let line = line_for_log(context, client.buffer.filled());
    let listener = Rc::clone(&client.listener);
    let mut tally = RequestTally::begin(context, &listener);
    let to = ResponseContext::default();
    let after = fail(context, client, to, &mut tally, &error, true).await;
    tally.log_line(client.end(), to.version, &line);
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
struct ReadRequest<'l> {
    /// What the response depends on.
    to: ResponseContext,
    /// What becomes of the request, or why it is refused.
    decided: Result<Decided<'l>, Refusal>,
    /// The route that decides, which is the default one where a request is refused before.
    matched: Matched<'l>,
    /// The request line for the access log, if there is no head for a server.
    line: Vec<u8>,
    /// The client for the access log and for servers that are told it, if the peer is a trusted proxy.
    forwarded_client: Option<ClientAddress>,
}

/// What becomes of a request.
enum Decided<'l> {
    /// It is sent to a server of this pool.
    Forward(Request, Destination<'l>),
    /// It is for the proxy itself.
    ToProxy(ProxyRequest),
    /// Weldr responds as the route says, and closes the connection if the flag is set: the request has a body, or is the
    /// client's last.
    Reply(LocalReply, bool),
}

fn read<'l>(
    context: &WorkerContext,
    client: &mut Client,
    listener: &'l ListenerContext,
    length: usize,
) -> ReadRequest<'l> {
    let head = &client.buffer.filled()[..length];
    let policy = &listener.policy;
    let mut fields = context.fields.borrow_mut();
    let mut matched = listener.view.router.unmatched();
    let request = match parse_request(head, policy.head, &mut fields) {
        Ok(request) => request,
        Err(defect) => {
            return ReadRequest {
                to: ResponseContext::default(),
                decided: Err(Refusal::Head(defect)),
                matched,
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
        policy: &policy.http,
        facts,
        ids: context.new_ids(),
    };
    let asked = Asked {
        head,
        request: &request,
        fields: &fields,
        forwarding: &forwarding,
    };
    let decided = accept(head, &request, &fields, &forwarding)
        .and_then(|accepted| decide(context, listener, &asked, &accepted, &mut matched));
    let line = match &decided {
        Ok(Decided::Forward(..)) => Vec::new(),
        Ok(Decided::ToProxy(_) | Decided::Reply(..)) | Err(_) => line_for_log(context, head),
    };
    let is_told = || match &decided {
        _ if context.access_log.is_some() => true,
        Ok(Decided::Forward(_, destination)) => context.names_clients(destination.pool),
        Ok(Decided::ToProxy(_) | Decided::Reply(..)) | Err(_) => false,
    };
    let forwarded_client = if client.peer.is_trusted() && is_told() {
        client.peer.client(head, &fields, &policy.http)
    } else {
        None
    };
    client.buffer.consume(length);
    if client.buffer.is_empty() {
        context.buffers.take_back(&mut client.buffer);
    }
    ReadRequest {
        to: ResponseContext {
            request: facts,
            version: request.version,
        },
        decided,
        matched,
        line,
        forwarded_client,
    }
}

/// Decides what becomes of an accepted request, by the rules of its listener.
fn decide<'l>(
    context: &WorkerContext,
    listener: &'l ListenerContext,
    asked: &Asked<'_>,
    accepted: &Accepted,
    matched: &mut Matched<'l>,
) -> Result<Decided<'l>, Refusal> {
    let Asked {
        head,
        request,
        fields,
        forwarding,
    } = *asked;
    if let Some(request) = accepted.to_proxy(head, request, fields) {
        return Ok(Decided::ToProxy(request));
    }
    // Without rules, nothing of the request is looked at.
    if !listener.view.router.is_plain() {
        *matched = route(&listener.view.router, asked, accepted)?;
    }
    let closes = || {
        let options = ConnectionOptions::of(head, fields);
        accepted.has_body() || accepted.ends_connection(&options, request.version)
    };
    let pool = match &matched.route.action {
        CompiledAction::Pool(pool) => pool,
        CompiledAction::Pools(shares) => context.pick_pool(shares, |pool, keys| {
            let session = session(context, pool, keys, asked);
            let server = session.and_then(|session| session.server());
            server.is_some_and(|server| pool.keeping_sessions(server).is_some())
        }),
        CompiledAction::Redirect { status, location } => {
            let location = redirect(location, asked, accepted, matched.prefix);
            let reply = LocalReply::redirect(*status, &location);
            return Ok(Decided::Reply(reply, closes()));
        }
        CompiledAction::Respond(response) => {
            let reply = LocalReply::fixed(response);
            return Ok(Decided::Reply(reply, closes()));
        }
    };
    let changes = matched.route.changes.as_deref();
    let out = context.buffers.head();
    let mut request = write(head, request, fields, forwarding, (accepted, changes), out);
    let found = context.look_at_request(pool, |pool, keys| {
        let by_hash = pool.settings.balancing == Balancing::ConsistentHash;
        let key = by_hash.then(|| {
            let (path, _) = path_and_query(head, asked.request);
            hash_of(&pool.settings.hash_key, asked, path, || asked.source())
        });
        (key, session(context, pool, keys, asked))
    });
    let (key, session) = found.unwrap_or_default();
    if let Some(session) = session {
        request.join(session);
    }
    Ok(Decided::Forward(request, Destination { pool, key }))
}

/// The session of a request to `pool`, if that is sticky.
fn session(
    context: &WorkerContext,
    pool: &PoolView,
    keys: &Arc<SessionKeys>,
    asked: &Asked<'_>,
) -> Option<Session> {
    let cookies = asked
        .fields
        .iter()
        .filter(|field| field.known == Known::Cookie);
    let cookies = cookies.map(|field| field.value.of(asked.head));
    let request = SessionRequest {
        at: context.now().0,
        is_secure: asked.forwarding.peer.scheme == Scheme::Https,
    };
    Some(pool.sticky.as_ref()?.session(keys, cookies, request))
}

async fn forward(
    context: &Rc<WorkerContext>,
    client: &mut Client,
    to: ResponseContext,
    (request, destination, matched): (&Request, Destination<'_>, Matched<'_>),
    tally: &mut RequestTally<'_>,
) -> After {
    if let Some(objection) = request.objection {
        tracing::warn!(
            client = %client.peer.address,
            objection = %objection,
            "request forwarded that strict mode would refuse"
        );
    }
    let changes = matched.route.changes.as_deref();
    let changes = changes.map(|changes| &changes.response);
    let mut attempt = Http1Attempt::new(context, client, to, (request, changes));
    let forwarded = forward::forward(context, &mut attempt, destination, tally).await;
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
            if let ProxyError::NoServer(_) = error {
                context.count_unavailable(destination.pool, error.verdict());
            }
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
        context.failures.report(error, tally.pool(), None);
    }
    tally.ended_by(error);
    if matches!(error, ProxyError::ClientGone | ProxyError::ClientStalled) {
        tally.replied(error.verdict().status);
        return After::Cut;
    }
    let close = close || error.is_clients_fault() || client.served.closes_connections();
    let reply = LocalReply::to_failure(error, to.request, &context.how_to_add);
    send_reply(context, client, (to, None), tally, &reply, close).await
}

/// Sends a response of Weldr's: a failure, or what a route says, whose changes it gets.
async fn send_reply(
    context: &WorkerContext,
    client: &mut Client,
    (to, matched): (ResponseContext, Option<Matched<'_>>),
    tally: &mut RequestTally<'_>,
    reply: &LocalReply,
    close: bool,
) -> After {
    let mut out = Vec::new();
    write_reply(&mut out, reply, to, close, &context.date());
    if let Some(changes) = matched.and_then(|matched| matched.route.changes.as_deref()) {
        change_fields(&mut out, 0, &changes.response);
    }
    let has_body = !to.request.is_head && reply.may_have_body();
    if has_body {
        out.extend_from_slice(&reply.body);
    }
    tally.replied_locally(reply.status, reply.reason);
    let written: io::Result<()> = client.write_all(context, &out).await;
    match written {
        Ok(()) => {
            if has_body {
                tally.passed(0, reply.body.len() as u64);
            }
            if close { After::Close } else { After::Keep }
        }
        Err(_) => After::Cut,
    }
}
