//! Whether the client of a request is still there, after it has ended its side of the connection.
//!
//! The end of the client's stream looks the same in both cases: a client that has finished sending and waits for the
//! response, and a client that is gone, for which neither a server nor a place in a queue should be occupied.

use std::{rc::Rc, task::Context, time::Duration};

use crate::proxy::{
    deadline::{Deadline, Deadlines},
    error::ProxyError,
    transport::{Cork, PeerSide, Transport},
};

/// How long after the client's end the probe is sent.
const GRACE: Duration = Duration::from_millis(250);
/// How long a response may stand still after the client's end until the client counts as gone: within a response, no
/// probe can be sent.
const STILL: Duration = Duration::from_secs(1);
/// How often the connection is checked.
const LOOK: Duration = Duration::from_millis(50);
/// An interim response. Every client must skip it (RFC 9110, section 15.2); the kernel of a client that is gone replies
/// with a reset.
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The watch over the client of one request, in all attempts to send it.
#[derive(Default)]
pub(super) struct ClientWatch {
    half_closed: Option<HalfClosed>,
    /// When the connection is looked at next, while the request waits for a server.
    next_look: Option<Deadline>,
}

impl ClientWatch {
    /// Whether the client is known to have ended its side of the connection.
    pub(super) fn has_seen_end(&self) -> bool {
        self.half_closed.is_some()
    }

    /// Notes that the client has ended its side of the connection.
    pub(super) fn saw_end(&mut self, deadlines: &Rc<Deadlines>) {
        self.half_closed
            .get_or_insert_with(|| HalfClosed::new(deadlines));
    }

    /// Begins anew for the next attempt, in which the client is probed again: it may have gone since.
    pub(super) fn begin_again(&mut self) {
        if let Some(half_closed) = &mut self.half_closed {
            half_closed.deadline.arm(GRACE);
            half_closed.probed = false;
        }
    }

    /// Fails when a client that has ended its side is gone. One that waits for its response is sent the probe once in each
    /// attempt.
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        client: &mut Transport,
        response: ResponseState,
    ) -> Result<(), ProxyError> {
        match &mut self.half_closed {
            Some(half_closed) => half_closed.poll(cx, client, response),
            None => Ok(()),
        }
    }

    /// The same, while the request waits for a server and nothing of the client's is read: what it has sent may be a body,
    /// longer than any buffer. So the kernel is asked from time to time. It sees no end that comes behind more bytes than it
    /// takes ahead: such a request waits until its time is over.
    pub(super) fn poll_unread(
        &mut self,
        cx: &Context<'_>,
        deadlines: &Rc<Deadlines>,
        client: &mut Transport,
        response: ResponseState,
    ) -> Result<(), ProxyError> {
        let next_look = self.next_look.get_or_insert_with(|| {
            let deadline = deadlines.register();
            deadline.arm(LOOK);
            deadline
        });
        while self.half_closed.is_none() && next_look.poll(cx).is_ready() {
            next_look.arm(LOOK);
            match client.peer_side() {
                PeerSide::Open => {}
                PeerSide::Ended => self.half_closed = Some(HalfClosed::new(deadlines)),
                PeerSide::Broken => return Err(ProxyError::ClientGone),
            }
        }
        self.poll(cx, client, response)
    }
}

/// A client that has ended its side of the connection.
struct HalfClosed {
    deadline: Deadline,
    probed: bool,
    /// How long the response has stood still.
    still: Duration,
}

impl HalfClosed {
    /// Starts to watch now.
    fn new(deadlines: &Rc<Deadlines>) -> Self {
        let deadline = deadlines.register();
        deadline.arm(GRACE);
        Self {
            deadline,
            probed: false,
            still: Duration::ZERO,
        }
    }

    fn poll(
        &mut self,
        cx: &Context<'_>,
        client: &mut Transport,
        response: ResponseState,
    ) -> Result<(), ProxyError> {
        if response == ResponseState::Moved {
            self.still = Duration::ZERO;
        }
        while self.deadline.poll(cx).is_ready() {
            self.deadline.arm(LOOK);
            match response {
                ResponseState::Awaited {
                    can_be_probed: true,
                } if !self.probed => {
                    self.probed = true;
                    // A failure shows as the error of the socket.
                    let _ = client.write(PROBE, Cork::Off);
                }
                ResponseState::Still => self.still += LOOK,
                ResponseState::Awaited { .. } | ResponseState::Moved => {}
            }
            if self.still >= STILL || !matches!(client.take_error(), Ok(None)) {
                return Err(ProxyError::ClientGone);
            }
        }
        Ok(())
    }
}

/// How much of the response has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseState {
    /// No head has arrived. HTTP/1.0 has no interim responses, so such a client cannot be probed.
    Awaited {
        can_be_probed: bool,
    },
    Moved,
    Still,
}
