//! A request of an HTTP/1.1 client on connections to servers that speak HTTP/1.1.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    http1::{ClientAddress, Decoder, Framing, Version},
    model::FieldChanges,
    proxy::{
        attempt::Attempt,
        client::Client,
        context::WorkerContext,
        deadline::Deadline,
        error::ProxyError,
        flow::Flow,
        headers::Request,
        http1::{
            client_watch::{ClientWatch, ResponseState},
            exchange::{Behind, Exchange, ExchangeParts, Response},
            response_context::ResponseContext,
            tunnel,
        },
        outcome::RequestOutcome,
        retry::Replay,
        tally::{AttemptTally, RequestTally},
        trailers::Trailers,
        upstream::Connection,
    },
    proxy_protocol::Ends,
};

use super::after::Exchanged;

/// A request, with what the client has seen of the response.
pub(super) struct Http1Attempt<'a> {
    context: &'a Rc<WorkerContext>,
    client: &'a mut Client,
    to: ResponseContext,
    request: &'a Request,
    /// How the route changes the response.
    changes: Option<&'a FieldChanges>,
    upload: Flow,
    response: Response,
    client_watch: ClientWatch,
}

impl<'a> Http1Attempt<'a> {
    pub(super) fn new(
        context: &'a Rc<WorkerContext>,
        client: &'a mut Client,
        to: ResponseContext,
        (request, changes): (&'a Request, Option<&'a FieldChanges>),
    ) -> Self {
        let chunked = request.framing == Framing::Chunked;
        let upload = Flow::new(Decoder::from(request.framing), chunked, Trailers::OfRequest);
        let upload = upload.limited_to(client.listener.policy.http.max_body_bytes);
        Self {
            context,
            client,
            to,
            request,
            changes,
            upload,
            response: Response::new(context.buffers.head()),
            client_watch: ClientWatch::default(),
        }
    }

    /// What became of the request, which was `forwarded` with this result.
    pub(super) fn end(&mut self, forwarded: Result<(), ProxyError>) -> (RequestOutcome, Exchanged) {
        let Self {
            context,
            request,
            upload,
            response,
            ..
        } = self;
        let outcome = match forwarded {
            Ok(()) if response.behind == Behind::Tunnel => RequestOutcome::Tunnelled,
            Ok(()) => RequestOutcome::Complete,
            Err(error) if response.has_begun() || response.is_within_interim() => {
                RequestOutcome::BrokenOff(error)
            }
            Err(error) => RequestOutcome::Failed(error),
        };
        let exchanged = Exchanged {
            client_keeps: request.keep_alive,
            request_is_read: upload.is_taken(),
            said_close: response.closes,
            ends_with_connection: response.behind == Behind::UntilClose,
        };
        let head = std::mem::take(&mut response.head);
        context.buffers.take_head_back(head);
        (outcome, exchanged)
    }

    /// Keeps the connection for another request, if both messages on it are complete.
    fn release(&self, mut connection: Connection, attempt: &AttemptTally<'_>) {
        let nothing_follows = connection.buffer.is_empty();
        self.context.buffers.take_back(&mut connection.buffer);
        let is_over = self.upload.is_over(&self.request.head);
        if nothing_follows && self.response.server_keeps && is_over {
            attempt.upstream().release(connection);
        }
    }
}

impl Attempt for Http1Attempt<'_> {
    fn deadline(&self) -> &Deadline {
        &self.client.deadline
    }

    fn replay(&self) -> Replay {
        let has_body = !self.upload.is_taken();
        if self.to.request.is_idempotent && !has_body {
            Replay::Possible
        } else {
            Replay::Never
        }
    }

    fn has_responded(&self) -> bool {
        self.response.has_begun()
    }

    fn session(&self) -> Option<SocketAddr> {
        self.request.session.as_ref()?.server()
    }

    fn ends(&self, claimed: Option<ClientAddress>) -> Ends {
        let client = &self.client;
        let source = claimed.map_or(client.peer.address, |claimed| {
            // Most proxies name no port.
            SocketAddr::new(claimed.ip, claimed.port.unwrap_or(0))
        });
        let local = || client.transport.local_address();
        Ends {
            source,
            destination: client.destination.or_else(local).unwrap_or_else(|| {
                // The kernel knows it for as long as the connection is open.
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)
            }),
        }
    }

    fn begin_again(&mut self) {
        if !self.upload.is_unsent() {
            self.upload.rewind();
        }
        self.client_watch.begin_again();
        self.response = Response::new(std::mem::take(&mut self.response.head));
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let awaited = ResponseState::Awaited {
            can_be_probed: self.to.version == Version::Http11,
        };
        let (deadlines, client) = (&self.context.deadlines, &mut self.client.transport);
        let watched = self
            .client_watch
            .poll_unread(cx, deadlines, client, awaited);
        watched.map_or_else(Poll::Ready, |()| Poll::Pending)
    }

    async fn exchange(
        &mut self,
        mut connection: Connection,
        attempt: &mut AttemptTally<'_>,
        tally: &mut RequestTally<'_>,
    ) -> Result<(), ProxyError> {
        let context: &WorkerContext = self.context;
        let policy = attempt.upstream().policy();
        let mut has_head = false;
        let mut exchange = Exchange::new(ExchangeParts {
            context,
            client: self.client,
            to: self.to,
            request: self.request,
            upload: &mut self.upload,
            server: &mut connection,
            response: &mut self.response,
            policy: &policy,
            changes: self.changes,
            client_watch: &mut self.client_watch,
        });
        let outcome = poll_fn(|cx| {
            let polled = exchange.poll(cx);
            // Of a response that failed before any of it was written, the client gets nothing.
            let is_sent = !matches!(polled, Poll::Ready(Err(_))) || exchange.response_is_sent();
            if let (Some((status, at)), false, true) =
                (exchange.response_started(), has_head, is_sent)
            {
                has_head = true;
                attempt.response_started(status, at);
                tally.response_started(status, at);
            }
            let (sent, received) = exchange.take_uncounted();
            if sent | received != 0 {
                attempt.passed(sent, received);
                tally.passed(sent, received);
            }
            polled
        })
        .await;
        outcome?;
        if self.response.behind == Behind::Tunnel {
            let idle = policy.tunnel_idle;
            tunnel::run(
                context,
                (self.client, idle),
                &mut connection,
                attempt,
                tally,
            )
            .await;
        } else {
            self.release(connection, attempt);
        }
        Ok(())
    }
}
