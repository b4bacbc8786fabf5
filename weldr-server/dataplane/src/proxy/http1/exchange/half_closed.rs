//! Whether a client that has ended its side of the connection is still there.
//!
//! The end of the client's stream looks the same in both cases: a client that has finished sending and waits for the
//! response, and a client that is gone, for which the server should stop working.

use std::{rc::Rc, task::Context, time::Duration};

use crate::proxy::{
    deadline::{Deadline, Deadlines},
    error::ProxyError,
    transport::{Cork, Transport},
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

/// A client that has ended its side of the connection.
pub(super) struct HalfClosed {
    deadline: Deadline,
    probed: bool,
    /// How long the response has stood still.
    still: Duration,
}

impl HalfClosed {
    /// Starts to watch now.
    pub(super) fn new(deadlines: &Rc<Deadlines>) -> Self {
        let deadline = deadlines.register();
        deadline.arm(GRACE);
        Self {
            deadline,
            probed: false,
            still: Duration::ZERO,
        }
    }

    /// Fails when the client is gone. A client that waits for its response is sent the probe once.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
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
