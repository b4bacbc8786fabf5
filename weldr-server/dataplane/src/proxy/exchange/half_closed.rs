//! A client that sends no more: whether it is still there.
//!
//! The end of what it sends looks the same whether it has nothing more to ask or has gone for good. Somebody who pipes
//! a request into a socket and closes that side wants the answer; somebody who closed a browser does not, and the
//! server should stop working on it.

use std::{rc::Rc, task::Context, time::Duration};

use super::super::{
    deadline::{Deadline, Deadlines},
    error::ProxyError,
    socket::{Socket, Then},
};

/// How long after the end of what a client sends it is asked whether it is still there.
const GRACE: Duration = Duration::from_millis(250);
/// How long an answer may stand still behind the end of what its client sends. Then it counts as gone: within an
/// answer, nobody can be asked.
const STILL: Duration = Duration::from_secs(1);
/// How often it is looked whether it was.
const LOOK: Duration = Duration::from_millis(50);
/// An interim answer that every client has to skip (RFC 9110, section 15.2), and that one who is gone resets.
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A client that sends no more: it may only have nothing to send, or be gone altogether.
pub(super) struct HalfClosed {
    deadline: Deadline,
    asked: bool,
    /// For how long the answer has stood still.
    still: Duration,
}

impl HalfClosed {
    /// From now on.
    pub(super) fn new(deadlines: &Rc<Deadlines>) -> Self {
        let deadline = deadlines.register();
        deadline.arm(GRACE);
        Self {
            deadline,
            asked: false,
            still: Duration::ZERO,
        }
    }

    /// Finds out whether a client that sends no more is gone. One that waits for its answer is sent an interim answer,
    /// which it has to skip; one that is gone resets the connection.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &Socket,
        answer: AnswerState,
    ) -> Result<(), ProxyError> {
        if answer == AnswerState::Moved {
            self.still = Duration::ZERO;
        }
        while self.deadline.poll(cx).is_ready() {
            self.deadline.arm(LOOK);
            match answer {
                AnswerState::Awaited { can_be_asked: true } if !self.asked => {
                    self.asked = true;
                    // Whether it is taken is seen by the error that follows.
                    let _ = client.write(PROBE, Then::GoesOn);
                }
                AnswerState::Still => self.still += LOOK,
                AnswerState::Awaited { .. } | AnswerState::Moved => {}
            }
            let errors = client.options().map_err(|_| ProxyError::ClientGone)?;
            if self.still >= STILL || !matches!(errors.take_error(), Ok(None)) {
                return Err(ProxyError::ClientGone);
            }
        }
        Ok(())
    }
}

/// How an answer is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerState {
    /// HTTP/1.0 knows no interim answers.
    Awaited {
        can_be_asked: bool,
    },
    Moved,
    Still,
}
