//! How clients leave a worker: when the process stops, and when a virtual address moves to another machine.

/// What a data path that goes on serving does for an address that leaves this machine. After the move, no packet
/// reaches the clients that connected to that address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandOver {
    /// No address leaves.
    #[default]
    None,
    /// Responses say that the connection closes.
    Closing,
    /// In addition, no new connection is let in: a SYN is dropped, and its sender repeats it.
    Shut,
    /// In addition, connections without a request are closed. A connection that was let in just before has sent its
    /// request by then.
    Closed,
    /// In addition, connections to the virtual addresses are reset. Their clients would wait for packets that cannot come.
    Reset,
}

/// How far a worker has sent its clients away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// Not at all.
    Serving,
    /// Responses say that the connection closes.
    LameDuck,
    /// In addition, connections without a request are closed.
    Closing,
    /// In addition, connections to the virtual addresses are reset.
    Resetting,
}

impl From<HandOver> for Drain {
    fn from(hand_over: HandOver) -> Self {
        match hand_over {
            HandOver::None => Self::Serving,
            HandOver::Closing | HandOver::Shut => Self::LameDuck,
            HandOver::Closed => Self::Closing,
            HandOver::Reset => Self::Resetting,
        }
    }
}
