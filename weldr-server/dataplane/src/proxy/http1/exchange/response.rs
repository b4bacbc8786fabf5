//! The state of a response while it is received.

use std::time::Instant;

use crate::proxy::flow::Flow;

/// The state of a response.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Response {
    /// What the client gets before the body: interim responses, and the head.
    pub(in crate::proxy) head: Vec<u8>,
    /// How much of interim responses is written.
    pub(super) interim_written: usize,
    pub(super) interims: u32,
    /// Bytes that were searched for the end of a head.
    pub(super) searched: usize,
    pub(super) body: Option<Flow>,
    /// The status; 0 until the head is complete.
    pub(in crate::proxy) status: u16,
    /// When the head was complete.
    pub(in crate::proxy) first_byte: Option<Instant>,
    /// Whether the connection to the server can carry another request.
    pub(in crate::proxy) server_keeps: bool,
    /// Whether the client was told that its connection ends.
    pub(in crate::proxy) closes: bool,
    /// What follows the head.
    pub(in crate::proxy) behind: Behind,
}

impl Response {
    /// No response yet. `head` is the buffer for its head.
    pub(in crate::proxy) fn new(mut head: Vec<u8>) -> Self {
        head.clear();
        Self {
            head,
            ..Self::default()
        }
    }

    /// Whether the head of the server's response is complete.
    pub(super) fn is_here(&self) -> bool {
        self.body.is_some()
    }

    /// Whether the client has seen some of it, so that it cannot get another.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        let written = self.body.as_ref().map_or(0, Flow::head_written);
        written > self.interim_written
    }

    /// Whether the client has got a part of an interim response, and waits for the rest.
    pub(in crate::proxy) fn is_within_interim(&self) -> bool {
        self.body.is_none() && self.interim_written < self.head.len() && self.interim_written > 0
    }

    /// Changes whenever some of the body was received or something was sent.
    pub(super) fn progress(&self) -> u64 {
        self.body.as_ref().map_or(0, Flow::progress)
    }
}

/// What follows the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::proxy) enum Behind {
    /// A body whose end is marked, or none.
    #[default]
    Body,
    /// A body that ends with the client's connection.
    UntilClose,
    /// Another protocol.
    Tunnel,
}

impl Behind {
    /// Of a response that changes the protocol or not, with a body that ends with the client's connection or not.
    pub(super) fn of(switches: bool, until_close: bool) -> Self {
        match (switches, until_close) {
            (true, _) => Self::Tunnel,
            (false, true) => Self::UntilClose,
            (false, false) => Self::Body,
        }
    }
}
